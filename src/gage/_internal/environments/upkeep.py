"""Trees that are kept in the cache: listed, verified, removed, but while they are made."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from gage._internal import fs
from gage._internal.environments.kept import (
    CONTENTS,
    FOLDER,
    KeptTree,
    find_tree,
    unfinished,
)
from gage._internal.lock_files import find_unlocked

_KEY = re.compile(r"[0-9a-f]{32}")
_READ_SIZE = 1 << 20


class TreeEntry(NamedTuple):
    """A tree that is kept: its key, what it is in words, its bytes; times are in microseconds."""

    key: str
    what: str
    size: int
    made: int
    used: int


def list_trees(cache: str) -> list[TreeEntry]:
    """Return the trees that are kept, what was used last first."""
    entries = []
    for key in _keys(cache):
        folder = os.path.join(cache, FOLDER, key)
        tree = find_tree(key, cache)
        if tree:
            try:
                used = os.lstat(folder).st_mtime_ns // 1000
                made = os.lstat(os.path.join(folder, CONTENTS)).st_mtime_ns // 1000
            except FileNotFoundError:
                continue
            size = sum(each.size for each in tree.contents)
            entries.append(TreeEntry(key, str(tree.facts.get("what", key)), size, made, used))
    return sorted(entries, key=lambda entry: (-entry.used, entry.key))


def remove_damaged_trees(cache: str) -> tuple[int, list[str]]:
    """Read all trees; return how many there are, and what was damaged, which is gone now."""
    damaged = []
    keys = _keys(cache)
    for key in keys:
        with _locked(cache, key) as is_free:
            if not is_free:
                continue
            tree = find_tree(key, cache)
            if tree is None or _is_damaged(tree):
                damaged.append(str(tree.facts.get("what", key)) if tree else key)
                _remove(cache, key)
    return len(keys), damaged


def remove_trees(cache: str, is_chosen: Callable[[TreeEntry], bool]) -> tuple[int, int]:
    """Remove the chosen trees; return how many went, and their bytes. Runs keep what they have."""
    count = size = 0
    for entry in list_trees(cache):
        if is_chosen(entry):
            with _locked(cache, entry.key) as is_free:
                if is_free:
                    _remove(cache, entry.key)
                    count += 1
                    size += entry.size
    return count, size


def remove_unfinished_trees(cache: str) -> None:
    """Remove what is of no use: trees that nobody has got to the end of, or that were changed."""
    root = os.path.join(cache, FOLDER)
    for name in _names(root):
        key = name.partition(".")[0]
        if _KEY.fullmatch(key) and find_tree(key, cache) is None:
            with _locked(cache, key) as is_free:
                if is_free:
                    _remove(cache, key)


def _is_damaged(tree: KeptTree) -> bool:
    return any(
        each.sha256 and _digest(os.path.join(tree.root, each.path)) != each.sha256
        for each in tree.contents
    )


def _digest(path: str) -> str:
    hasher = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(_READ_SIZE):
            hasher.update(data)
    return hasher.hexdigest()


def _remove(cache: str, key: str) -> None:
    folder = os.path.join(cache, FOLDER, key)
    # Without its list a tree is none: whoever looks for it meanwhile makes another.
    fs.remove_file(os.path.join(folder, CONTENTS))
    for path in (folder, *unfinished(folder), folder + ".lock"):
        fs.remove_tree(path)


@contextmanager
def _locked(cache: str, key: str) -> Iterator[bool]:
    """Hold the lock of a tree, if nobody else does; yield whether that is so."""
    fd = find_unlocked(os.path.join(cache, FOLDER, key + ".lock"))
    if fd is None:
        yield False
        return
    try:
        yield True
    finally:
        os.close(fd)


def _keys(cache: str) -> list[str]:
    return [name for name in _names(os.path.join(cache, FOLDER)) if _KEY.fullmatch(name)]


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
