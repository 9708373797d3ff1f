"""Make an environment and install what a list pins into it: by uv, or by venv and pip.

The list is a file of requirements with a digest for each, so what is installed is what was locked,
wherever it comes from.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gage._internal.environments.interpreters import Interpreter
from gage._internal.errors import RuntimeFailed
from gage._internal.store.runtime_record import Index

_LAST_LINES = 12


class Wanted(NamedTuple):
    """What is to be installed: a file of pinned requirements, wheels, and where from.

    With `wheels`, a directory, nothing is fetched: all is in there. `projects` are wheels that are
    installed besides. uv reads the settings of `cwd`. What is locked is taken from `indexes` too.
    """

    requirements: str
    projects: Sequence[str] = ()
    wheels: str | None = None
    cwd: str | None = None
    indexes: Sequence[Index] = ()


def find_uv() -> str | None:
    """Return the path of uv: the one on PATH, else one that is installed beside this Python."""
    found = shutil.which("uv")
    if found:
        return found
    import sysconfig

    beside = os.path.join(sysconfig.get_path("scripts"), "uv")
    return beside if os.access(beside, os.X_OK) else None


def install(tree: str, interpreter: Interpreter, wanted: Wanted, uv: str | None) -> None:
    """Make an environment in an empty directory and install into it.

    Raises:
        RuntimeFailed: what does it failed; the message has its last lines.
    """
    if uv:
        _install_by_uv(uv, tree, interpreter, wanted)
    else:
        _install_by_pip(tree, interpreter, wanted)


def _install_by_uv(uv: str, tree: str, interpreter: Interpreter, wanted: Wanted) -> None:
    venv = ["venv", "--quiet", "--no-project", "--relocatable", "--allow-existing"]
    run_tool([uv, *venv, "--python", interpreter.path, tree], "make an environment")
    into = ["--quiet", "--link-mode", "copy", "--python", os.path.join(tree, "bin", "python")]
    source = ["--offline", "--no-index", "--find-links", wanted.wheels] if wanted.wheels else []
    if os.path.getsize(wanted.requirements):
        words = ["pip", "install", *into, *source, "--no-deps"]
        if has_all_digests(wanted.requirements):
            words.append("--require-hashes")
        if wanted.indexes and not wanted.wheels:
            # Whichever has it: the digest says whether it is that.
            words += ["--index-strategy", "unsafe-best-match"]
            for index in wanted.indexes:
                words.append("--default-index" if index.is_default else "--index")
                words.append(f"{index.name}={index.url}" if index.name else index.url)
        words += ["-r", wanted.requirements]
        run_tool([uv, *words], "install what is locked", wanted.cwd or os.path.dirname(tree))
    if wanted.projects:
        words = ["pip", "install", *into, "--offline", "--no-index", "--no-deps"]
        run_tool([uv, *words, *wanted.projects], "install the project", os.path.dirname(tree))


def _install_by_pip(tree: str, interpreter: Interpreter, wanted: Wanted) -> None:
    run_tool([interpreter.path, "-m", "venv", "--without-pip", tree], "make an environment")
    pip = [interpreter.path, "-I", "-m", "pip", "--python", os.path.join(tree, "bin", "python")]
    words = [*pip, "--disable-pip-version-check", "--quiet", "install", "--no-compile", "--no-deps"]
    words.append("--use-pep517")
    source = pip_indexes(wanted.indexes)
    if wanted.wheels:
        source = ["--no-index", "--find-links", wanted.wheels]
    if os.path.getsize(wanted.requirements):
        listed = ["--require-hashes", "-r", wanted.requirements]
        run_tool([*words, *source, *listed], "install what is locked")
    if wanted.projects:
        run_tool([*words, "--no-index", *wanted.projects], "install the project")


def pip_indexes(indexes: Sequence[Index]) -> list[str]:
    """Return the options by which pip takes packages from indexes."""
    words = []
    for index in indexes:
        words += ["--index-url" if index.is_default else "--extra-index-url", index.url]
    return words


def entries_of(text: str) -> list[str]:
    """Return the entries of a list of requirements, each with the lines that continue it."""
    return re.findall(r"(?:[^\n]*\\\n)*[^\n]+\n?|\n", text)


def has_all_digests(path: str) -> bool:
    """Tell whether each requirement of a list has a digest; one of a git commit has none."""
    with open(path, encoding="utf-8", errors="replace") as file:
        wanted = [entry for entry in entries_of(file.read()) if is_requirement(entry)]
    return all("--hash=" in entry for entry in wanted)


def is_requirement(entry: str) -> bool:
    """Tell whether an entry of a list says something, and is no comment."""
    return bool(entry.strip()) and not entry.lstrip().startswith("#")


def run_tool(
    words: Sequence[str], what: str, cwd: str | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Run a tool that is to do something; return what it prints.

    Raises:
        RuntimeFailed: it cannot be run or fails; the message has its last lines.
    """
    import subprocess

    outer = {**os.environ, **(env or {})}
    # They would make a tool work on another environment than the one that it is given.
    for name in ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH", "CONDA_PREFIX"):
        outer.pop(name, None)
    try:
        done = subprocess.run(
            list(words), cwd=cwd, env=outer, stdin=subprocess.DEVNULL, capture_output=True
        )
    except OSError as error:
        raise RuntimeFailed(f"{words[0]} cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        lines = "".join(f"\n  {line}" for line in said[-_LAST_LINES:])
        raise RuntimeFailed(f"{os.path.basename(words[0])} could not {what}:{lines}")
    return done.stdout.decode(errors="surrogateescape")
