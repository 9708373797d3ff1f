"""What is kept of downloads: listed, verified, removed. Only what Gage wrote is touched."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from gage._internal import fs
from gage._internal.downloads.cache import (
    ADDRESSES,
    CONTENT,
    PARTIAL,
    Kept,
    content_name,
    find_record,
    has_content,
    key_of,
)
from gage._internal.lock_files import find_unlocked

_CONTENT = re.compile(r"([0-9a-f]{2})/\1[0-9a-f]{62}")
_RECORD = re.compile(r"[0-9a-f]{32}\.json")
_PARTIAL = re.compile(r"[0-9a-f]{32}")
_READ_SIZE = 1 << 20


class Entry(NamedTuple):
    """A content that is kept, of one of its addresses; times are in microseconds since the epoch.

    `kept` is None where no record tells of an address, as where one was interrupted.
    """

    sha256: str
    size: int
    used: int
    kept: Kept | None


def list_entries(cache: str) -> list[Entry]:
    """Return what is kept, what was used last first."""
    entries = []
    contents = _contents(cache)
    unnamed = dict(contents)
    for path in _records(cache):
        kept = find_record(path)
        if kept is not None and kept.sha256 in contents:
            used = os.lstat(path).st_mtime_ns // 1000
            entries.append(Entry(kept.sha256, contents[kept.sha256].st_size, used, kept))
            unnamed.pop(kept.sha256, None)
    for sha256, found in unnamed.items():
        entries.append(Entry(sha256, found.st_size, found.st_mtime_ns // 1000, None))
    return sorted(entries, key=lambda entry: (-entry.used, entry.sha256))


def remove_damaged(cache: str) -> tuple[int, list[str]]:
    """Read all that is kept; return how many contents there are, and which were damaged.

    These are gone now, and records that do not tell of a content.
    """
    contents = sorted(_contents(cache))
    damaged = []
    for sha256 in contents:
        path = os.path.join(cache, content_name(sha256))
        if _digest(path) != sha256:
            fs.remove_file(path)
            damaged.append(sha256)
    _remove_records(cache, lambda kept: False)
    _remove_abandoned(cache)
    return len(contents), damaged


def remove_entries(cache: str, is_chosen: Callable[[Entry], bool]) -> tuple[int, int]:
    """Remove the chosen; return how many contents went, and their bytes.

    A content goes with the last of its addresses. What is being downloaded stays.
    """
    entries = list_entries(cache)
    chosen = [entry for entry in entries if is_chosen(entry)]
    stay = {entry.sha256 for entry in entries if not is_chosen(entry)}
    addresses = {entry.kept.address for entry in chosen if entry.kept}
    _remove_records(cache, lambda kept: kept.address in addresses)
    gone = {entry.sha256: entry.size for entry in chosen if entry.sha256 not in stay}
    for sha256 in gone:
        fs.remove_file(os.path.join(cache, content_name(sha256)))
    return len(gone), sum(gone.values())


def remove_parts(cache: str, address: str | None = None) -> None:
    """Remove what downloads that are over have left, of one address or all."""
    parts = os.path.join(cache, PARTIAL)
    for name in _names(parts):
        key = name.partition(".")[0]
        if not _PARTIAL.fullmatch(key) or (address is not None and key != key_of(address)):
            continue
        if name == key:
            _remove_part(os.path.join(parts, name))
        elif name == f"{key}.json" and not os.path.lexists(os.path.join(parts, key)):
            fs.remove_file(os.path.join(parts, name))
    _remove_abandoned(cache)


def _remove_abandoned(cache: str) -> None:
    """Remove what processes that are gone were writing."""
    for folder in (os.path.join(cache, PARTIAL), os.path.join(cache, ADDRESSES)):
        for name in _names(folder):
            if fs.is_abandoned(name):
                fs.remove_file(os.path.join(folder, name))


def _remove_part(path: str) -> None:
    fd = find_unlocked(path)
    if fd is None:
        # Somebody is at it.
        return
    try:
        fs.remove_file(path + ".json")
        fs.remove_file(path)
    finally:
        os.close(fd)


def _remove_records(cache: str, is_chosen: Callable[[Kept], bool]) -> None:
    """Remove records that are chosen, or tell of nothing."""
    for path in _records(cache):
        kept = find_record(path)
        if kept is None or is_chosen(kept) or not has_content(cache, kept.sha256, kept.size):
            fs.remove_file(path)


def _contents(cache: str) -> dict[str, os.stat_result]:
    """Return what lies where contents do and is called like one, by its name."""
    root = os.path.join(cache, CONTENT)
    found = {}
    for start in _names(root):
        for name in _names(os.path.join(root, start)):
            path = os.path.join(root, start, name)
            if _CONTENT.fullmatch(f"{start}/{name}") and not os.path.islink(path):
                found[name] = os.lstat(path)
    return found


def _records(cache: str) -> Iterator[str]:
    folder = os.path.join(cache, ADDRESSES)
    for name in _names(folder):
        if _RECORD.fullmatch(name):
            yield os.path.join(folder, name)


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _digest(path: str) -> str:
    sha256 = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while data := file.read(_READ_SIZE):
            sha256.update(data)
    return sha256.hexdigest()
