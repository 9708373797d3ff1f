"""Interpreters of Python on this machine: what each is, and which can take the place of another."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

_SECONDS = 30
# Isolated from the user's settings, and without `site`, which an environment would change.
_DESCRIBE = (
    "import sys, _imp, os\n"
    "base = getattr(sys, '_base_executable', None) or sys.executable\n"
    "print(os.path.realpath(base), sys.implementation.name, '%d.%d.%d' % sys.version_info[:3],\n"
    "      (_imp.extension_suffixes() or [''])[0], os.path.realpath(sys.base_prefix), sep='\\n')\n"
)


class Interpreter(NamedTuple):
    """An interpreter: its own executable, and what decides which files it can load.

    `suffix` is what the names of its compiled modules end with, which tells version, build and
    platform; `prefix` the directory that it is installed in.
    """

    path: str
    implementation: str
    version: str
    suffix: str
    prefix: str

    @property
    def series(self) -> str:
        """The version up to its second number, `3.12`: files of one patch level suit all."""
        return ".".join(self.version.split(".")[:2])

    @property
    def words(self) -> str:
        """What it is, as people say it."""
        name = {"cpython": "CPython", "pypy": "PyPy"}.get(self.implementation, self.implementation)
        return f"{name} {self.version}"

    def facts(self) -> dict[str, str]:
        """Return what is recorded of it, which holds on any machine."""
        return {
            "implementation": self.implementation,
            "version": self.version,
            "suffix": self.suffix,
        }


def interpreter_of(facts: Mapping[str, Any]) -> Interpreter:
    """Return the interpreter that was recorded; it has no path."""
    implementation, version, suffix = (
        str(facts.get(name, "")) for name in ("implementation", "version", "suffix")
    )
    return Interpreter("", implementation, version, suffix, "")


def find_description(path: str) -> Interpreter | None:
    """Return what an executable is, run to tell it; None where it is no interpreter that works."""
    import subprocess

    try:
        done = subprocess.run(
            [path, "-I", "-S", "-c", _DESCRIBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = os.fsdecode(done.stdout).splitlines()
    return Interpreter(*lines) if done.returncode == 0 and len(lines) == 5 else None


def find_interpreter(wanted: Interpreter, path: str | None = None) -> Interpreter | None:
    """Return an interpreter on this machine that loads what was made for another, if there is one.

    The one with the same patch level is the first choice, then any of the same series and build.
    `path` is searched instead of the environment's PATH.
    """
    second = None
    for found in iter_interpreters(_names(wanted), path):
        if (found.implementation, found.suffix) != (wanted.implementation, wanted.suffix):
            continue
        if found.version == wanted.version:
            return found
        if found.series == wanted.series:
            second = second or found
    return second


def iter_interpreters(names: Iterable[str], path: str | None = None) -> Iterator[Interpreter]:
    """Yield the interpreters that go by names on PATH, and the one that executes this."""
    seen = set()
    own = getattr(sys, "_base_executable", None) or sys.executable
    for candidate in [*(shutil.which(name, path=path) for name in names), own]:
        found = find_description(candidate) if candidate else None
        if found is not None and found.path not in seen:
            seen.add(found.path)
            yield found


def _names(wanted: Interpreter) -> list[str]:
    stem = "pypy" if wanted.implementation == "pypy" else "python"
    return [f"{stem}{wanted.series}", f"{stem}3", stem]
