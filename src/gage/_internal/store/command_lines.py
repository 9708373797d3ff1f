"""Commands as a Gage file writes them: `exec` and its hooks.

A list is the arguments as they are. A string means what a shell makes of it; where it uses no
shell syntax it is split into words and started without one, which is the same but for one
process less (GNU make does so too).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

RUN = "run"
FINALIZE = "finalize"

_SHELL_SYNTAX = re.compile(r"[|&;<>()$`*?\[\]#~!{}\n]")
_BUILTINS = frozenset(
    [
        ".",
        ":",
        "[",
        "alias",
        "bg",
        "cd",
        "command",
        "eval",
        "exec",
        "exit",
        "export",
        "fc",
        "fg",
        "getopts",
        "hash",
        "jobs",
        "read",
        "readonly",
        "return",
        "set",
        "shift",
        "test",
        "times",
        "trap",
        "type",
        "ulimit",
        "umask",
        "unalias",
        "unset",
        "wait",
    ]
)


def exec_part(spec: Any, part: str = RUN) -> list[str] | None:
    """Return the arguments of a part of an operation's `exec`, or None where it has no such.

    `part` is `run` or the name of a hook, such as `stage-runtime`.
    """
    if isinstance(spec, dict):
        spec = spec.get(part)
    elif part != RUN:
        spec = None
    if spec is None:
        return None
    return split_command(spec) if isinstance(spec, str) else list(spec)


def split_command(command: str) -> list[str]:
    """Return the arguments that run a command as a shell would."""
    through_shell = ["sh", "-c", command]
    if _SHELL_SYNTAX.search(command):
        return through_shell
    try:
        words = shlex.split(command)
    except ValueError:
        return through_shell
    if not words or words[0] in _BUILTINS or "=" in words[0]:
        return through_shell
    return words


def with_args(command: Sequence[str], args: Sequence[str]) -> list[str]:
    """Return a command with arguments appended, inside a shell's command too."""
    if list(command[:2]) == ["sh", "-c"] and len(command) == 3 and args:
        return ["sh", "-c", f"{command[2]} {shlex.join(args)}"]
    return [*command, *args]


def command_words(args: Sequence[str]) -> list[str]:
    """Return the arguments of a command, or the words and operators of one that a shell is given.

    What the shell would put in place of a word is not known.
    """
    if list(args[:2]) != ["sh", "-c"] or len(args) != 3:
        return list(args)
    lexer = shlex.shlex(args[2], posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    try:
        words.extend(lexer)
    except ValueError:
        # A quote has no end: the words before it must do.
        pass
    return words
