"""The directory that an environment lies in, where its own files name it, and another instead.

conda packages have the directory that they are installed in written into their files. In text it
can be any other. In a binary file the text that names it ends with a NUL, and what follows must
stay where it is: another directory fits if it is no longer, with NULs for what is missing (see
"Making packages relocatable" of conda-build). Only what its package says of a binary file tells
that this is so for it.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import shutil
import stat
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from gage._internal import fs
from gage._internal.errors import RuntimeFailed

# Packages are built for 255 bytes. One that allows for less cannot be installed, and tells so.
LONG = 200
_PART = 100
# Stands for the directory where none is known yet; as long as the one that it was made in.
PLACEHOLDER = "/" + "a-directory-of-an-environment-".ljust(_PART - 2, "-") + "/"
PLACEHOLDER += "-" * (LONG - len(PLACEHOLDER))


class Named(NamedTuple):
    """The directory that files name, and these files: of text, and binary ones."""

    folder: str
    text: Sequence[str]
    binary: Sequence[str]


def long_folder(parent: str) -> str:
    """Return the path of a directory to be, below another, that is as long as the placeholder.

    Raises:
        RuntimeFailed: the other one is too long for that.
    """
    missing = LONG - len(os.fsencode(parent))
    if missing < 2:
        raise RuntimeFailed(
            f"the cache is too deep for an environment of conda packages: {parent}",
            "set GAGE_CACHE to a shorter path",
        )
    padding = (("/" + "_" * (_PART - 1)) * (missing // _PART + 1))[:missing]
    return parent + (padding[:-1] + "_" if padding.endswith("/") else padding)


def find_named(tree: str, folder: str, binary: Collection[str]) -> Named:
    """Return the files of a tree that name a directory; `binary` are those that may be rewritten.

    Other binary files that name it are none of them.
    """
    needle = os.fsencode(folder)
    texts, binaries = [], []
    for path, stamp in sorted(fs.scan(tree).items()):
        full = f"{tree}/{path}"
        if not stat.S_ISREG(stamp.mode) or not stamp.size or not _has(full, needle):
            continue
        if path in binary:
            binaries.append(path)
        elif not _has(full, b"\0"):
            texts.append(path)
    return Named(folder, texts, binaries)


def _has(path: str, needle: bytes) -> bool:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(needle) != -1


def rename_in_files(tree: str, named: Named, folder: str) -> None:
    """Let the files of a tree name another directory.

    Raises:
        RuntimeFailed: that one is longer.
    """
    old, new = os.fsencode(named.folder), os.fsencode(folder)
    if len(new) > len(old):
        raise RuntimeFailed(
            f"the directory of the environment is longer than its files have room for: {folder}",
            "set GAGE_CACHE to a shorter path",
        )
    for path in named.text:
        _rewrite(f"{tree}/{path}", fs.read_bytes(f"{tree}/{path}").replace(old, new))
    terminated = re.compile(re.escape(old) + rb"[^\0]*\0")

    def padded(found: re.Match[bytes]) -> bytes:
        return found.group().replace(old, new).ljust(len(found.group()), b"\0")

    for path in named.binary:
        _rewrite(f"{tree}/{path}", terminated.sub(padded, fs.read_bytes(f"{tree}/{path}")))


def _rewrite(path: str, data: bytes) -> None:
    fs.replace_file(path, data, stat.S_IMODE(os.stat(path).st_mode))


def make_own(tree: str, folder: str) -> None:
    """Take out of a tree what it shares with others: hard links, and links to elsewhere.

    `folder` is where it was made; a link to there is one to the tree.
    """
    for path, stamp in fs.scan(tree).items():
        full = f"{tree}/{path}"
        if stat.S_ISREG(stamp.mode) and os.lstat(full).st_nlink > 1:
            _copy(full, full)
        elif stat.S_ISLNK(stamp.mode) and os.path.isabs(target := os.readlink(full)):
            inside = os.path.relpath(target, folder)
            if not inside.startswith(os.pardir):
                os.unlink(full)
                os.symlink(os.path.relpath(inside, os.path.dirname(path)), full)
            elif os.path.isfile(full):
                _copy(full, full)


def _copy(source: str, target: str) -> None:
    beside = fs.path_beside(target)
    shutil.copy2(source, beside)
    os.replace(beside, target)


def write_named(named: Named) -> bytes:
    """Return what `read_named` reads."""
    return json.dumps(named._asdict(), indent=1).encode() + b"\n"


def read_named(path: str) -> Named:
    """Return what a file says of the files that name a directory.

    Raises:
        RuntimeFailed: it cannot be understood.
    """
    try:
        values: Mapping[str, Sequence[str]] = json.loads(fs.read_bytes(path))
        named = Named(str(values["folder"]), list(values["text"]), list(values["binary"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise RuntimeFailed(f"{path} does not tell which files name a directory") from None
    for inside in (*named.text, *named.binary):
        if os.path.isabs(inside) or os.pardir in inside.split("/"):
            raise RuntimeFailed(f"{path} names a file that is not in the environment: {inside}")
    return named
