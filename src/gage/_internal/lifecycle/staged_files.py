"""The files of a run while it is staged: copied in, changed by config and hooks, recorded.

A copy is one pass: read, hash, write; so the digest is that of the bytes that were written.
What hooks did is found by comparing the run directory with what is known of it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable

from gage._internal import clock, fs
from gage._internal.errors import SourceRefused
from gage._internal.fs import Stamp, printable
from gage._internal.store import manifest
from gage._internal.store.logs import ADDED, DELETED, MODIFIED, FileEvent, log_files
from gage._internal.store.manifest import FILE, LINK, Entry
from gage._internal.types import Run

_READ_SIZE = 1 << 20
_COPY_TRIES = 3
_OWNER_WRITE = 0o200
_WRITE_BITS = 0o222


class StagedFiles:
    """What is known of the files of a run that is being staged."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._entries: dict[str, Entry] = {}
        self._stamps: dict[str, Stamp] = {}

    def get(self, path: str) -> Entry | None:
        """Return what is known of a path."""
        return self._entries.get(path)

    def copy(self, root: str, sources: Iterable[tuple[str, str]], type_: str) -> int:
        """Copy files and links from below `root` into the run; return how many.

        `sources` pairs a path relative to `root` with the path it gets in the run.

        Raises:
            SourceRefused: a link leaves the run, or a file is special, gone, or never still.
            FileExistsError: the run has a file at a path already.
        """
        made = {""}
        events = []
        for source, path in sources:
            self._make_parents(root, source, path, made)
            entry = _copy(root, source, self._run.run_dir, path, type_)
            events.append(self._record(entry, ADDED))
        log_files(self._run, events)
        return len(events)

    def write(self, path: str, data: bytes) -> None:
        """Replace the content of a file that is staged."""
        entry = self._entries[path]
        fs.replace_file(os.path.join(self._run.run_dir, path), data, entry.mode)
        entry = entry._replace(size=len(data), sha256=hashlib.sha256(data).hexdigest())
        log_files(self._run, [self._record(entry, MODIFIED)])

    def find_changes(self, type_: str) -> int:
        """Record what was changed from outside, as of a type where new; return how many files.

        Raises:
            SourceRefused: a socket, pipe or device was made.
        """
        found = fs.scan(self._run.run_dir)
        events = []
        for path in sorted(self._stamps.keys() - found.keys()):
            known_type = self._entries.pop(path).type
            del self._stamps[path]
            events.append(FileEvent(DELETED, known_type, clock.now(), path))
        for path in sorted(found):
            if self._stamps.get(path) != found[path]:
                known = self._entries.get(path)
                entry = _entry(self._run.run_dir, path, known.type if known else type_)
                events.append(self._record(entry, MODIFIED if known else ADDED))
        log_files(self._run, events)
        return len(events)

    def freeze(self, is_writable: Callable[[str], bool]) -> tuple[Entry, ...]:
        """Take the write bits of all files but the writable; return the entries by path."""
        frozen = []
        for path in sorted(self._entries, key=os.fsencode):
            entry = self._entries[path]
            if entry.kind == FILE:
                entry = self._freeze_file(entry, is_writable(path))
            frozen.append(entry)
        return tuple(frozen)

    def _freeze_file(self, entry: Entry, writable: bool) -> Entry:
        full = os.path.join(self._run.run_dir, entry.path)
        mode = entry.mode | _OWNER_WRITE if writable else entry.mode & ~_WRITE_BITS
        if os.lstat(full).st_nlink > 1:
            # Another name of the file may lie outside the run: it shares mode and content.
            beside = full + ".unlinked"
            if _copy_file(full, beside, entry.path, entry.type) is None:
                raise _restless(full)
            os.chmod(beside, mode)
            os.replace(beside, full)
        elif mode != entry.mode:
            os.chmod(full, mode)
        return entry._replace(mode=mode)

    def _record(self, entry: Entry, event: str) -> FileEvent:
        found = os.lstat(os.path.join(self._run.run_dir, entry.path))
        self._entries[entry.path] = entry
        self._stamps[entry.path] = Stamp.of(found)
        return FileEvent(event, entry.type, found.st_mtime_ns // 1000, entry.path)

    def _make_parents(self, root: str, source: str, path: str, made: set[str]) -> None:
        """Make the directories of a path, no more open than those it is copied from."""
        missing = []
        source, path = os.path.dirname(source), os.path.dirname(path)
        while path not in made:
            missing.append((source, path))
            source, path = os.path.dirname(source), os.path.dirname(path)
        for source, path in reversed(missing):
            mode = stat.S_IMODE(os.stat(os.path.join(root, source)).st_mode) | 0o700
            folder = os.path.join(self._run.run_dir, path)
            try:
                os.mkdir(folder, mode & 0o777)
            except FileExistsError:
                if not stat.S_ISDIR(os.lstat(folder).st_mode):
                    raise
            made.add(path)


def _copy(root: str, source: str, run_dir: str, path: str, type_: str) -> Entry:
    full = os.path.join(root, source)
    target = os.path.join(run_dir, path)
    try:
        found = os.lstat(full)
        if stat.S_ISLNK(found.st_mode):
            return _copy_link(full, target, path, type_)
        if stat.S_ISDIR(found.st_mode):
            os.mkdir(target, stat.S_IMODE(found.st_mode) | 0o700)
            return manifest.entry_of(run_dir, path, type_)
        if not stat.S_ISREG(found.st_mode):
            raise SourceRefused(f"{printable(full)} is a socket, a pipe or a device", "exclude it")
        for _ in range(_COPY_TRIES):
            entry = _copy_file(full, target, path, type_)
            if entry:
                return entry
    except FileNotFoundError:
        raise SourceRefused(f"{printable(full)} went away while the run was staged") from None
    raise _restless(full)


def _restless(full: str) -> SourceRefused:
    return SourceRefused(
        f"{printable(full)} changes while it is copied", "stop what writes to it, or exclude it"
    )


def _copy_file(full: str, target: str, path: str, type_: str) -> Entry | None:
    """Copy a file; return its entry, or None if it changed meanwhile (the copy is removed)."""
    hasher = hashlib.sha256()
    size = 0
    source = os.open(full, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        before = os.fstat(source)
        mode = stat.S_IMODE(before.st_mode) & 0o777 | _OWNER_WRITE
        copy = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # No further than its size: a file that grows faster than it is copied has no end.
            while size <= before.st_size:
                data = os.read(source, _READ_SIZE)
                if not data:
                    break
                hasher.update(data)
                fs.write_all(copy, data)
                size += len(data)
            os.fchmod(copy, mode)
            os.utime(copy, ns=(before.st_mtime_ns, before.st_mtime_ns))
        finally:
            os.close(copy)
        if Stamp.of(os.fstat(source)) != Stamp.of(before) or size != before.st_size:
            os.unlink(target)
            return None
        return Entry(path, FILE, type_, mode, size, sha256=hasher.hexdigest())
    finally:
        os.close(source)


def _copy_link(full: str, target: str, path: str, type_: str) -> Entry:
    points_to = os.readlink(full)
    inside = os.path.normpath(os.path.join(os.path.dirname(path), points_to))
    if points_to.startswith("/") or inside.split("/")[0] == os.pardir:
        raise SourceRefused(
            f"{printable(full)} is a link that leaves the run: {printable(points_to)}",
            "make it a relative link to a file that is staged, or exclude it"
            " and declare what it points to as a dependency",
        )
    os.symlink(points_to, target)
    return Entry(path, LINK, type_, 0o777, len(os.fsencode(points_to)), target=points_to)


def _entry(run_dir: str, path: str, type_: str) -> Entry:
    try:
        return manifest.entry_of(run_dir, path, type_)
    except ValueError as error:
        raise SourceRefused(str(error)) from None
