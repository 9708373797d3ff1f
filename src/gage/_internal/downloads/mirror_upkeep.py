"""Mirrors of git repositories that are kept: listed, verified, removed, but while in use."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from gage._internal import fs
from gage._internal.downloads.git_process import GitFailed, run_git
from gage._internal.downloads.git_trees import damaged_files
from gage._internal.downloads.mirrors import (
    GIT,
    LOCK,
    MIRROR,
    RECORD,
    TREES,
    find_record,
    remove_folder,
)
from gage._internal.fs import printable
from gage._internal.lock_files import find_unlocked

_FOLDER = re.compile(r"[0-9a-f]{32}")


class MirrorEntry(NamedTuple):
    """A repository that is kept, and files that were taken out of it; times are in microseconds."""

    address: str
    folder: str
    size: int
    fetched: int
    used: int


def list_mirrors(cache: str) -> list[MirrorEntry]:
    """Return the repositories that are kept, what was used last first."""
    entries = []
    for folder in _folders(cache):
        record = find_record(folder)
        if record is not None and record.fetched:
            used = os.lstat(os.path.join(folder, RECORD)).st_mtime_ns // 1000
            entries.append(MirrorEntry(record.address, folder, _size(folder), record.fetched, used))
    return sorted(entries, key=lambda entry: (-entry.used, entry.address))


def remove_damaged_mirrors(cache: str) -> tuple[int, list[str]]:
    """Read all that is kept; return how many repositories there are, and what was damaged.

    That is gone now.

    Raises:
        DependencyError: there are repositories, and no git.
    """
    damaged: list[str] = []
    count = 0
    for folder in _folders(cache):
        with _locked(folder) as is_free:
            record = find_record(folder)
            if not is_free:
                continue
            if record is None or not record.fetched:
                remove_folder(folder)
                continue
            count += 1
            shown = printable(record.address)
            try:
                mirror = f"--git-dir={os.path.join(folder, MIRROR)}"
                run_git([mirror, "fsck", "--full", "--no-dangling", "--no-progress"])
            except GitFailed:
                damaged.append(shown)
                remove_folder(folder)
                continue
            for name in _names(os.path.join(folder, TREES)):
                paths = damaged_files(folder, name)
                if paths:
                    damaged.append(f"{shown}: {printable(paths[0])}")
                    fs.remove_tree(os.path.join(folder, TREES, name))
    return count, damaged


def remove_mirrors(cache: str, is_chosen: Callable[[MirrorEntry], bool]) -> tuple[int, int]:
    """Remove the chosen repositories; return how many went, and their bytes."""
    count = size = 0
    for entry in list_mirrors(cache):
        if is_chosen(entry):
            with _locked(entry.folder) as is_free:
                if is_free:
                    remove_folder(entry.folder)
                    count += 1
                    size += entry.size
    return count, size


def remove_unfinished_mirrors(cache: str) -> None:
    """Remove what is of no use: repositories that nobody has got to the end of."""
    for folder in _folders(cache):
        with _locked(folder) as is_free:
            record = find_record(folder)
            if is_free and (record is None or not record.fetched):
                remove_folder(folder)


@contextmanager
def _locked(folder: str) -> Iterator[bool]:
    """Hold the lock of a mirror, if nobody else does; yield whether that is so."""
    fd = find_unlocked(os.path.join(folder, LOCK))
    if fd is None:
        yield False
        return
    try:
        yield True
    finally:
        os.close(fd)


def _folders(cache: str) -> list[str]:
    root = os.path.join(cache, GIT)
    names = [name for name in _names(root) if _FOLDER.fullmatch(name)]
    return [folder for name in names if os.path.isdir(folder := os.path.join(root, name))]


def _size(folder: str) -> int:
    return sum(stamp.size for stamp in fs.scan(folder).values())


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
