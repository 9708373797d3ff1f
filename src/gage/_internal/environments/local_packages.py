"""Wheels of packages whose source is the project's own.

They are built of a copy of the source: building writes beside it, and the project is never written
to. A wheel is kept under the digest of the source.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from gage._internal import fs
from gage._internal.environments.installing import run_tool
from gage._internal.environments.interpreters import Interpreter
from gage._internal.environments.kept import keep_tree, waiting
from gage._internal.errors import RuntimeFailed
from gage._internal.fs import printable
from gage._internal.types import NOTHING

# So that what is built of the same source is the same: the first time that a zip file can tell.
_EPOCH = {"SOURCE_DATE_EPOCH": "315532800"}
_NOT_COPIED = (".git", ".venv", ".runtime", "__pycache__", ".gage")


def build_wheel(
    source: str,
    digest: str,
    interpreter: Interpreter,
    uv: str | None,
    notice: Callable[[str], None],
    variables: Mapping[str, str] = NOTHING,
) -> str:
    """Return the path of a wheel of the package in `source`; `digest` is that of its files.

    Without a digest, all files of the directory are read for one. `notice` is told if it is built,
    which is done with `variables` besides those that are there.

    Raises:
        RuntimeFailed: it cannot be built; the message has the last lines that say why.
    """
    digest = digest or _digest(source)

    env = {**_EPOCH, **variables}

    def make(tree: str) -> Mapping[str, Any]:
        notice("building the project's own package")
        with copied_source(source) as copy:
            words = _words(uv, interpreter, copy, tree)
            run_tool(words, f"build {printable(source)}", os.path.dirname(copy), env)
        for each in os.listdir(tree):
            if not each.endswith(".whl"):
                os.unlink(os.path.join(tree, each))
        return {"what": " ".join(os.listdir(tree))}

    facts = f"wheel\0{interpreter.suffix}\0{digest}"
    if variables:
        facts += f"\0{sorted(variables.items())}"
    key = hashlib.sha256(facts.encode()).hexdigest()[:32]
    tree = keep_tree(key, make, waiting(notice))
    found = glob.glob(os.path.join(glob.escape(tree.root), "*.whl"))
    if not found:
        raise RuntimeFailed(f"to build {printable(source)} made no wheel")
    return found[0]


@contextmanager
def copied_source(source: str) -> Iterator[str]:
    """Yield the path of a copy of a directory, which may be written to and is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "source")
        ignored = shutil.ignore_patterns(*_NOT_COPIED)
        try:
            shutil.copytree(source, copy, symlinks=True, ignore=ignored)
        except shutil.Error as error:
            path, _, reason = error.args[0][0]
            raise RuntimeFailed(f"{printable(path)} cannot be copied: {reason}") from None
        _make_writable(copy)
        yield copy


def _words(uv: str | None, interpreter: Interpreter, source: str, target: str) -> Sequence[str]:
    if uv:
        # What it says of a failure is less where it is to be quiet.
        words = ["build", "--no-progress", "--wheel", "--out-dir", target]
        return [uv, *words, "--python", interpreter.path, source]
    words = ["-I", "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    words.append("--use-pep517")
    return [interpreter.path, *words, "--wheel-dir", target, source]


def _make_writable(folder: str) -> None:
    for path, _, names in os.walk(folder):
        for each in (path, *(os.path.join(path, name) for name in names)):
            if not os.path.islink(each):
                os.chmod(each, os.stat(each).st_mode | 0o200)


def _digest(source: str) -> str:
    """Return the digest of what a copy of a directory has."""
    hasher = hashlib.sha256()
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(set(folders) - set(_NOT_COPIED))
        for name in sorted(names):
            full = os.path.join(folder, name)
            mode = os.lstat(full).st_mode
            hasher.update(os.fsencode(f"{os.path.relpath(full, source)}\0{mode:o}\0"))
            if os.path.islink(full):
                hasher.update(os.fsencode(os.readlink(full)))
            elif os.path.isfile(full):
                hasher.update(hashlib.sha256(fs.read_bytes(full)).digest())
    return hasher.hexdigest()
