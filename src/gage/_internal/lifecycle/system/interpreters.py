"""Python interpreters: which version one is, and what is installed for it.

The one that runs Gage is known. Another one is asked, which takes as long as it takes to start, so
the answer is kept. What only stands for an interpreter, as a shim of pyenv does, goes by variables
and by files in and above the working directory: the answer is kept with all of these.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from gage._internal.lifecycle.system.programs import known_versions
from gage._internal.lifecycle.system.remembered import identity, remembered

# Seconds.
_PATIENCE = 10
# Whatever else it prints, as a wrapper may, comes before.
_MARK = "gage asks"
_QUESTION = (
    f"import sys; i = sys.implementation; print('\\n'.join(['{_MARK}', i.name, i.cache_tag or '',"
    " '.'.join(map(str, sys.version_info[:3])), *sys.path]))"
)
_ENDS = ("/site-packages", "/dist-packages")
_INSTALLED = r"(.+?)-([^-]+)(?:-py[\d.]+)?\.(?:dist-info|egg-info)"
_CHOICE_VARIABLES = ("PYENV_VERSION", "ASDF_PYTHON_VERSION", "MISE_PYTHON_VERSION")
_CHOICE_FILES = ("version", ".python-version", ".tool-versions", "mise.toml")
_READ_SIZE = 1 << 14
# Nanoseconds: what changed a moment ago may change again with no other time.
_YOUNG = 2 * 10**9


class Interpreter(NamedTuple):
    """A Python: `cpython` or another, its tag, such as `cpython-311`, its version.

    `folders` are where what is installed for it lies.
    """

    implementation: str
    tag: str
    version: str
    folders: Sequence[str]


def find_interpreter(path: str, cwd: str) -> Interpreter | None:
    """Return what the Python at a path is, in a working directory; None where it does not tell."""
    if _is_own(path):
        own = sys.implementation
        version = ".".join(map(str, sys.version_info[:3]))
        return Interpreter(own.name, own.cache_tag or "", version, _folders(sys.path))
    depends_on: list[Any] = [path, identity(path), os.environ.get("PYTHONPATH", "")]
    environment = os.path.dirname(os.path.dirname(path))
    if _is_script(path):
        depends_on += _choices(environment, cwd)
    else:
        depends_on.append(identity(os.path.join(environment, "pyvenv.cfg")))
    lines = remembered("interpreter", depends_on, lambda: _ask(path, cwd))
    if lines is None:
        return None
    known_versions[path, cwd] = lines[2]
    return Interpreter(lines[0], lines[1], lines[2], _folders(lines[3:]))


def _choices(root: str, cwd: str) -> list[str]:
    """Return what pyenv, asdf and mise choose a version by."""
    found = [os.environ.get(name, "") for name in _CHOICE_VARIABLES]
    folders = [root]
    while cwd not in folders:
        folders.append(cwd)
        cwd = os.path.dirname(cwd)
    folders.append(os.path.expanduser("~"))
    for folder in folders:
        for name in _CHOICE_FILES:
            try:
                with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                    found.append(file.read(_READ_SIZE))
            except OSError:
                pass
    return found


def installed_packages(interpreter: Interpreter) -> dict[str, str]:
    """Return the version of each package that is installed for an interpreter, by name."""
    found: dict[str, str] = {}
    for folder in interpreter.folders:
        for name, version in _packages_in(folder).items():
            found.setdefault(name, version)
    return dict(sorted(found.items()))


def _packages_in(folder: str) -> dict[str, str]:
    import time

    seen = identity(folder)
    if not seen or max(seen[3:]) > time.time_ns() - _YOUNG:
        return dict(_iter_packages(folder))
    found: dict[str, str] = remembered(
        "packages", [folder, seen], lambda: dict(_iter_packages(folder))
    )
    return found


def _iter_packages(folder: str) -> Iterator[tuple[str, str]]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        match = re.fullmatch(_INSTALLED, name)
        if match:
            yield re.sub(r"[-_.]+", "-", match[1]).lower(), match[2]


def _is_own(path: str) -> bool:
    """Tell whether a path is the Python that runs this, in the same environment."""
    if not sys.executable:
        return False
    return path == sys.executable or (
        os.path.realpath(path) == os.path.realpath(sys.executable)
        and os.path.dirname(os.path.dirname(path)) == sys.prefix
    )


def _is_script(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


def _folders(paths: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(path for path in paths if path.endswith(_ENDS)))


def _ask(path: str, cwd: str) -> list[str] | None:
    import subprocess

    try:
        done = subprocess.run(
            [path, "-c", _QUESTION],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=cwd,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    text = done.stdout.decode(errors="replace").rstrip("\n")
    lines = text.rpartition(f"{_MARK}\n")[2].split("\n")
    is_told = done.returncode == 0 and len(lines) >= 3 and re.match(r"\d+\.\d+", lines[2])
    return lines if is_told else None
