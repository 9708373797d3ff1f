"""Large files that were verified on this machine, and have provably not changed since.

Kept for a run in the user's cache: one line for each file with its digest, device and stamp. Who
changes a file cannot keep its ctime, and the kernel's clock is at most some milliseconds behind; so
what has the same stamp, and one that was well past when it was read, has the same content. Servers
of network file systems have clocks of their own: there all is read each time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from gage._internal import fs
from gage._internal.caches import cache_dir, make_folder
from gage._internal.fs import Stamp
from gage._internal.store.manifest import FILE, Entry
from gage._internal.types import Run

FOLDER = "verified"
# To read a smaller file again costs about what it costs to look it up here.
_LARGE = 1 << 20
_CLOCK_TICK_NS = 50_000_000
_MOUNTS = "/proc/self/mountinfo"
_LOCAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs")


def find_unchanged(run: Run, entries: Iterable[Entry]) -> dict[str, Stamp]:
    """Return the stamps of those files that are as they were when they were verified."""
    try:
        text = os.fsdecode(fs.read_bytes(_path(run)))
    except OSError:
        return {}
    known = {}
    for line in text.split("\n")[:-1]:
        facts, _, path = line.partition(" ")
        known[fs.unescape_path(path)] = facts
    unchanged = {}
    for entry in entries:
        if entry.path in known:
            try:
                found = os.lstat(f"{run.run_dir}/{entry.path}")
            except OSError:
                continue
            if known[entry.path] == _facts(entry, found.st_dev, Stamp.of(found)):
                unchanged[entry.path] = Stamp.of(found)
    return unchanged


def remember(
    run: Run, entries: Iterable[Entry], stamps: Mapping[str, Stamp], begun_ns: int
) -> None:
    """Add files that were verified; `begun_ns` is when the first of them was begun to be read."""
    lines = []
    for entry in entries:
        stamp = stamps.get(entry.path)
        is_large = entry.kind == FILE and entry.size >= _LARGE
        if stamp is None or not is_large or stamp.ctime_ns > begun_ns - _CLOCK_TICK_NS:
            continue
        device = os.lstat(f"{run.run_dir}/{entry.path}").st_dev
        lines.append(f"{_facts(entry, device, stamp)} {fs.escape_path(entry.path)}\n")
    if not lines or not _is_local(run.run_dir):
        return
    path = _path(run)
    try:
        make_folder(cache_dir(), path)
        fs.append_file(path, os.fsencode("".join(lines)))
    except OSError:
        # A cache that cannot be written to is as good as none.
        pass


def forget(run: Run) -> None:
    """Forget what was verified of a run."""
    fs.discard(_path(run))


def _facts(entry: Entry, device: int, stamp: Stamp) -> str:
    return ":".join(map(str, (entry.sha256, device, *stamp)))


def _path(run: Run) -> str:
    return os.path.join(cache_dir(), FOLDER, run.id)


def _is_local(path: str) -> bool:
    """Tell whether a directory is on a file system of this machine; False if that is not known."""
    found = os.stat(path).st_dev
    device = f"{os.major(found)}:{os.minor(found)}"
    try:
        lines = os.fsdecode(fs.read_bytes(_MOUNTS)).splitlines()
    except OSError:
        return False
    for line in lines:
        fields, _, kind = line.partition(" - ")
        if fields.split(" ")[2:3] == [device]:
            return kind.split(" ")[0] in _LOCAL
    return False
