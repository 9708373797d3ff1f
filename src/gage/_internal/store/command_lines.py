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
ARGS = "{args}"

_MARK = "\0"

_SHELL_SYNTAX = re.compile(r"[|&;<>()$`*?\[\]#~!{}\n]")
# The pieces of a command line: quoted, escaped, a comment, where arguments go, a character.
_SHELL_TOKEN = re.compile(
    r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.|(?:^|(?<=[\s;|&()]))\#[^\n]*|\{args\}|.""", re.DOTALL
)
_BETWEEN_WORDS = " \t\n;|&()"
_SEVERAL = re.compile(r"[;|()`\n]|<<|(?<![<>])&(?!>)|(?:^|(?<=\s))#")
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


def run_command(spec: Any, args: Sequence[str]) -> list[str] | None:
    """Return the command of an operation's `exec` with arguments where it has `{args}`.

    An item of a list that is `{args}` becomes them. Within a text, which a shell will read, they
    are quoted. Where there is no `{args}` they are appended. `args_problem` tells what cannot be
    done so.
    """
    if isinstance(spec, dict):
        spec = spec.get(RUN)
    if spec is None:
        return None
    items = split_command(_marked(spec)) if isinstance(spec, str) else list(map(_marked, spec))
    if args and not any(_MARK in item for item in items):
        if isinstance(spec, str):
            items = split_command(f"{spec.rstrip()} {_MARK}")
        elif _shell_text(spec) is not None:
            items[2] = f"{items[2].rstrip()} {_MARK}"
        else:
            items.append(_MARK)
    quoted = shlex.join(args)
    return [
        word
        for item in items
        for word in (args if item == _MARK else [item.replace(_MARK, quoted)])
    ]


def args_problem(command: str | Sequence[str], has_args: bool) -> str | None:
    """Return what is wrong with where a command has `{args}`, or has it not.

    `has_args` tells whether there can be arguments.
    """
    texts = [command] if isinstance(command, str) else command
    is_placed = False
    for text in texts:
        for token in _SHELL_TOKEN.finditer(text):
            if token[0] == ARGS:
                is_placed = True
                around = text[: token.start()][-1:] + text[token.end() :][:1]
                if around.strip(_BETWEEN_WORDS):
                    return f'must have "{ARGS}" as a word of its own'
            elif has_args and token[0][0] in "'\"" and ARGS in token[0]:
                return f'must not have "{ARGS}" in quotes: what comes in its place is quoted'
    if is_placed and not has_args:
        return f'has "{ARGS}", but config has no "args"'
    if is_placed and texts[0].lstrip().startswith(ARGS):
        return f'must begin with a program, not with "{ARGS}"'
    shell_text = _shell_text(command)
    if has_args and not is_placed and shell_text is not None and _is_several(shell_text):
        return f'is more than one command: put "{ARGS}" where the arguments of config go'
    return None


def _marked(text: str) -> str:
    """Return a text with a NUL, which no command has, where arguments go."""
    if ARGS not in text:
        return text
    tokens = _SHELL_TOKEN.findall(text)
    return "".join(_MARK if token == ARGS else token for token in tokens)


def _shell_text(command: str | Sequence[str]) -> str | None:
    """Return what of a command a shell will read."""
    if isinstance(command, str):
        return command
    return command[2] if len(command) == 3 and list(command[:2]) == ["sh", "-c"] else None


def _is_several(text: str) -> bool:
    """Tell whether what is appended to a command line may not be its only command's argument."""
    tokens = _SHELL_TOKEN.findall(text.strip())
    return bool(_SEVERAL.search("".join("x" if t[0] in "'\"\\" else t for t in tokens)))


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
