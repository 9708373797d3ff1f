"""Trees of files that are kept in the cache, each made once under the key of what it is made of.

A tree lies in `environments/KEY/tree`, with `contents` (see `contents`) and `facts.json` beside it.
The directory gets its name when all of that is on disk. Who makes it holds `KEY.lock`; whoever
wants the same meanwhile waits.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from gage._internal import fs
from gage._internal.caches import cache_dir, make_folder
from gage._internal.environments.contents import (
    Content,
    find_contents,
    scan_contents,
    write_contents,
)
from gage._internal.lock_files import open_locked, open_shared

FOLDER = "environments"
TREE = "tree"
PART = ".part"
CONTENTS = "contents"
_FACTS = "facts.json"
_WRITE_BITS = 0o222


class KeptTree(NamedTuple):
    """A tree: its directory, what it consists of, and what its maker tells of it.

    `is_new` tells that it was made just now.
    """

    root: str
    contents: Sequence[Content]
    facts: Mapping[str, Any]
    is_new: bool = False


def keep_tree(
    key: str, make: Callable[[str], Mapping[str, Any]], wait: Callable[[], None] = lambda: None
) -> KeptTree:
    """Return the tree of a key; `make` makes it in a directory that it is given, if need be.

    `make` returns facts that JSON has. To them comes `mentions`: the files that name the directory
    where the tree was made. `wait` is called where another process has been making it for a second.

    Raises:
        OSError: it cannot be written.
    """
    found = find_tree(key)
    if found:
        mark_used(os.path.dirname(found.root))
        return found
    folder = os.path.join(cache_dir(), FOLDER, key)
    make_folder(cache_dir(), folder)
    lock = open_locked(folder + ".lock", wait)
    try:
        found = find_tree(key)
        if found:
            return found
        # What a process that was killed has left, or what was changed since.
        for left in (folder, *unfinished(folder)):
            fs.remove_tree(left)
        # What was started by a process that was killed may still write to where that made it.
        part = f"{folder}.{os.urandom(4).hex()}{PART}"
        tree = os.path.join(part, TREE)
        os.makedirs(tree)
        try:
            facts = dict(make(tree))
            _remove_empty(tree)
            _make_read_only(tree)
            contents, mentions = scan_contents(tree, os.fsencode(part))
            write_contents(os.path.join(part, CONTENTS), contents)
            facts["mentions"] = mentions
            fs.replace_file(os.path.join(part, _FACTS), json.dumps(facts).encode())
            fs.sync(part)
            os.rename(part, folder)
        except BaseException:
            fs.remove_tree(part)
            raise
    finally:
        os.close(lock)
    return KeptTree(os.path.join(folder, TREE), contents, facts, is_new=True)


def find_tree(key: str, cache: str | None = None) -> KeptTree | None:
    """Return the tree of a key; None where there is none, or not as it was made."""
    folder = os.path.join(cache or cache_dir(), FOLDER, key)
    contents = find_contents(os.path.join(folder, CONTENTS))
    try:
        facts = json.loads(fs.read_bytes(os.path.join(folder, _FACTS)))
    except (OSError, ValueError):
        return None
    if contents is None or not isinstance(facts, dict):
        return None
    tree = os.path.join(folder, TREE)
    for each in contents:
        try:
            found = os.lstat(f"{tree}/{each.path}")
        except OSError:
            return None
        if not each.target and not each.is_as_found(found):
            return None
    # A module that somebody added would be one of all runs that have the tree.
    more = set(fs.iter_paths(tree)) - {each.path for each in contents}
    if any(not os.path.isdir(f"{tree}/{path}") for path in more):
        return None
    return KeptTree(tree, contents, facts)


def waiting(notice: Callable[[str], None]) -> Callable[[], None]:
    """Return what tells that another process makes the same tree."""

    def wait() -> None:
        notice("another process makes the same environment: waiting for it")

    return wait


def root_of(key: str) -> str:
    """Return the directory that the tree of a key is in, once it was made."""
    return os.path.join(cache_dir(), FOLDER, key, TREE)


def unfinished(folder: str) -> list[str]:
    """Return what of a tree was being made, and maybe is."""
    import glob

    return glob.glob(f"{glob.escape(folder)}.*{PART}")


@contextmanager
def holding(root: str) -> Iterator[None]:
    """Keep a tree from being removed for as long as the context lasts.

    Raises:
        FileNotFoundError: it has been removed just now.
    """
    folder = os.path.dirname(root)
    fd = open_shared(folder + ".lock")
    try:
        os.stat(os.path.join(folder, CONTENTS))
        yield
    finally:
        os.close(fd)


def mark_used(folder: str) -> None:
    """Note that a tree was used: the time of its directory tells when it last was."""
    try:
        os.utime(folder)
    except OSError:
        # A cache that can only be read is as good.
        pass


def _remove_empty(tree: str) -> None:
    for path, stamp in fs.scan(tree).items():
        while path and stat.S_ISDIR(stamp.mode) and not os.listdir(f"{tree}/{path}"):
            os.rmdir(f"{tree}/{path}")
            path = os.path.dirname(path)


def _make_read_only(tree: str) -> None:
    for path, stamp in fs.scan(tree).items():
        if not os.path.islink(f"{tree}/{path}") and stamp.mode & _WRITE_BITS:
            os.chmod(f"{tree}/{path}", stamp.mode & 0o7777 & ~_WRITE_BITS)
