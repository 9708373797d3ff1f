"""Programs: those that a command calls, where they are, and which version they are.

Of a command line that a shell reads, only what surely is a program counts: words in the place of
one that are neither the shell's own nor put together when it runs, and not behind `||` or within
`if` and `case`, where the command may do without.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence

# Seconds that a program has to tell its version.
_PATIENCE = 10
_VERSION_ARGS = ("--version", "-version", "version")
# These are compiled where they are used: each run imports this.
_NAMED_VERSION = r"(?i)\bversion:?\s+[\"v]?(\d+(?:\.\d+)*)"
_DOTTED = r"\d+(?:\.\d+)+"
_PYTHON_VERSION = r"Python (\d+(?:\.\d+)*)"
_BEGIN = frozenset(["then", "else", "elif", "do", "while", "until", "!", "{", "time", "exec"])
_END = frozenset(["fi", "done", "esac", "}", "for", "in", "select", "function"])
_MAYBE = {"if": 1, "case": 1, "fi": -1, "esac": -1}
_SHELLS_OWN = frozenset(
    [
        *(".", ":", "[", "alias", "bg", "cd", "command", "echo", "eval", "exit", "export", "false"),
        *("fc", "fg", "getopts", "hash", "jobs", "kill", "local", "printf", "pwd", "read"),
        *("readonly", "return", "set", "shift", "test", "times", "trap", "true", "type", "ulimit"),
        *("umask", "unalias", "unset", "wait", "break", "continue", "source"),
    ]
)
# These start the program that is their argument.
_WRAPPERS = frozenset(["env", "nohup", "nice", "setsid", "stdbuf"])
# Bytes of a script in which its interpreter is named.
_HEAD = 256
_PUNCTUATION = "();<>|&\n"


def programs_of(args: Sequence[str]) -> list[str]:
    """Return the programs that a command calls, as it writes them, the first one first."""
    if len(args) == 3 and list(args[:2]) == ["sh", "-c"]:
        words = ["sh", *_iter_shell_programs(_shell_words(args[2]))]
    else:
        words = list(_iter_programs(args))
    return list(dict.fromkeys(words))


def _iter_programs(args: Sequence[str]) -> Iterator[str]:
    """Yield the program of a command, and the one that it starts where that is all it does."""
    for word in args:
        if _is_assignment(word) or word.startswith("-"):
            continue
        yield word
        if word not in _WRAPPERS:
            return


def _shell_words(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=_PUNCTUATION)
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    try:
        words.extend(lexer)
    except ValueError:
        # A quote has no end: the words before it must do.
        pass
    return words


def _iter_shell_programs(words: Sequence[str]) -> Iterator[str]:
    is_place = True
    is_file = is_comment = False
    maybe = 0
    for word in words:
        if set(word) <= set(_PUNCTUATION):
            is_comment = is_comment and "\n" not in word
            is_file = "<" in word or ">" in word
            if not is_file:
                is_place = word != "||"
        elif is_file or is_comment:
            is_file = False
        elif word.startswith("#"):
            is_comment = True
        elif is_place and not _is_assignment(word):
            maybe += _MAYBE.get(word, 0)
            if word in _BEGIN or word == "if" or word.startswith("-"):
                continue
            is_place = word in _WRAPPERS
            is_plain = not any(char in word for char in "$`*?[~")
            if is_plain and not maybe and word not in _SHELLS_OWN | _END | {"case"}:
                yield word


def _is_assignment(word: str) -> bool:
    name, equals, _ = word.partition("=")
    return bool(equals) and name.isidentifier()


def is_python(program: str) -> bool:
    """Tell whether a program is a Python interpreter, by its name."""
    name = os.path.basename(program)
    return name.rstrip("0123456789.") in ("python", "pypy")


def shebang_of(path: str) -> list[str]:
    """Return the words of the first line of a script that names an interpreter; none of others."""
    try:
        with open(path, "rb") as file:
            line = file.read(_HEAD).partition(b"\n")[0]
    except OSError:
        return []
    return os.fsdecode(line[2:]).split() if line.startswith(b"#!") else []


def find_program(name: str, env: Mapping[str, str], cwd: str) -> str | None:
    """Return the path of a program that is found as a command finds it; None where it is not.

    `env` is what is added to the environment, `cwd` the directory that the command is executed in.
    """
    if os.sep in name:
        return name if _is_program(name) else None
    folders = env.get("PATH", os.environ.get("PATH", os.defpath)).split(os.pathsep)
    paths = (os.path.join(cwd, folder, name) for folder in folders)
    return next(filter(_is_program, paths), None)


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


# The version of each Python by its path and working directory, where it was asked already.
known_versions: dict[tuple[str, str], str] = {}


def python_version(path: str, cwd: str) -> str:
    """Return the version of a Python interpreter; empty where it does not tell.

    What only stands for one, as a shim of pyenv does, may go by the working directory.
    """
    if (path, cwd) in known_versions:
        return known_versions[path, cwd]
    if sys.executable and os.path.realpath(path) == os.path.realpath(sys.executable):
        return ".".join(map(str, sys.version_info[:3]))
    match = re.search(_PYTHON_VERSION, _said(path, "-V", cwd))
    return match[1] if match else ""


def program_version(path: str) -> str:
    """Return the version that a program tells of itself; empty where it does not."""
    for arg in _VERSION_ARGS:
        match = re.search(_NAMED_VERSION, _said(path, arg))
        if match:
            return match[1]
    for arg in _VERSION_ARGS:
        dotted = re.search(_DOTTED, _said(path, arg))
        if dotted:
            return dotted[0]
    return ""


@functools.cache
def _said(path: str, arg: str, cwd: str = os.sep) -> str:
    """Return what a program says, once; empty where it cannot be started or takes too long."""
    import subprocess

    try:
        done = subprocess.run(
            [path, arg],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout[: 1 << 16].decode(errors="replace")
