"""Terminal sessions in Markdown: the commands in them are run, and what they print compared.

A session is a fenced block of the language `console`. A line that begins with `$ ` is a command,
what follows up to the next one is what it prints, on stdout and stderr. What differs from run to
run (ids, names, times, directories) is compared by its form.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_MASKS = [
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<id>"),
    (r"\bseal [0-9a-f]{16}\b", "seal <digest>"),
    (r"\b[0-9a-f]{8}\b", "<id>"),
    (r"\b[bdfghjklmnprstvz][aiou][a-z][aiou][a-z]-[a-z][aiou][a-z][aiou][a-z]\b", "<name>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+[+-]\d\d:\d\d", "<date>"),
    (r"\b1\d{15}\b", "<microseconds>"),
    (r"\b(\d+\.\d+s|\d+m\d\ds)(?!\S)", "<duration>"),
    (r"(?<= )(now|\d+[smhd])(?= )", "<age>"),
    (r"/\S*/\.gage/runs\b", "<runs>"),
    (r"/\S*/gage-\w{8}\b", "<folder>"),
    (r"(?m)^  (platform|cpu|memory|interpreter|packages)  .*", r"  \1 <what it is>"),
    # Not every system has these.
    (r"(?m)^  (gpu|driver|libc)  .*\n", ""),
    (r"(?m)^ *-r--r--r-- sys/(gpu|driver|libc|packages)\n", ""),
    # A record has more files on one system than on another.
    (r"\d+ files, [\d.]+ k?B sent(, [\d.]+ k?B were there)?", "<bytes> sent"),
    (r">=3\.\d+,<4\b", "<version>"),
    (r"cpython-\d+", "cpython-<version>"),
    (r"CPython \d+(\.\d+)+", "CPython <version>"),
    (r"  +", " "),
]


@dataclass(frozen=True)
class Step:
    """A command of a session, and what it is to print."""

    command: str
    expected: str


def read_sessions(document: Path) -> list[Step]:
    """Return the commands of all sessions of a document."""
    blocks = _BLOCK.findall(document.read_text(encoding="utf-8"))
    steps = [step for block in blocks for step in _steps(block)]
    assert steps, f"{document} has no console session"
    return steps


def _steps(block: str) -> Iterator[Step]:
    first, *parts = re.split(r"^\$ ", block, flags=re.MULTILINE)
    assert not first, f"output before the first command: {first}"
    for part in parts:
        command, _, expected = part.partition("\n")
        yield Step(command, expected)


def check_sessions(document: Path, folder: Path, also: Mapping[str, str] | None = None) -> None:
    """Run the sessions of a document in a folder; `also` has more patterns and their names."""
    cwd = folder
    for step in read_sessions(document):
        change = re.fullmatch(r"cd (\S+)", step.command)
        if change:
            cwd = Path(os.path.normpath(cwd / change[1]))
            continue
        printed = run_shell(step.command, cwd)
        assert mask(printed, also) == mask(step.expected, also), (
            f"{document}: $ {step.command}\nprinted:\n{printed}\nexpected:\n{step.expected}"
        )


def mask(text: str, also: Mapping[str, str] | None = None) -> str:
    """Return a text with everything that differs from run to run replaced by what it is."""
    for pattern, name in [*(also or {}).items(), *_MASKS]:
        text = re.sub(pattern, name, text)
    return text


def run_shell(command: str, cwd: Path) -> str:
    """Run a command as a user would who has Gage on PATH; return all that it prints."""
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=cwd,
        env=user_env(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    return done.stdout


def user_env() -> dict[str, str]:
    """Return the environment of a user who has this Python's scripts first on PATH."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GAGE_", "RUN_", "PYTHON", "PYTEST_"))
    }
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path}
