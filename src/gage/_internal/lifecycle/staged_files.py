"""The files of a run while it is staged: copied in, changed by config and hooks, recorded.

What Gage itself writes is recorded as it is written. What hooks and runtimes do is found by
comparing the run directory with what is known of it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from gage._internal import clock, fs
from gage._internal.errors import SourceRefused
from gage._internal.fs import Stamp, printable
from gage._internal.lifecycle.copying import (
    AUTO,
    HARDLINK,
    CannotLink,
    Copied,
    Job,
    Known,
    Restless,
    copy_files,
    identity_of,
)
from gage._internal.lifecycle.digests import Digests
from gage._internal.store import manifest
from gage._internal.store.logs import ADDED, DELETED, MODIFIED, FileEvent, log_files
from gage._internal.store.manifest import DIRECTORY, FILE, LINK, Entry
from gage._internal.types import Run

if TYPE_CHECKING:
    from gage._internal.environments.contents import Content
    from gage._internal.environments.kept import KeptTree
    from gage._internal.lifecycle.freeze import Frozen

SYMLINK = "symlink"
_OWNER_WRITE = 0o200
_WRITE_BITS = 0o222


class StagedFiles:
    """What is known of the files of a run that is being staged.

    Files are read-only from the moment they are copied, but those that `is_writable` names.
    What is copied is searched for `needles` on the way (see `suspects`), unless `digests` knows it.
    With `frozen` it is what lies there, as it was when the first run of a batch was staged.
    """

    def __init__(
        self,
        run: Run,
        is_writable: Callable[[str], bool],
        needles: Sequence[bytes] = (),
        digests: Digests | None = None,
        frozen: Frozen | None = None,
    ) -> None:
        self._run = run
        self._frozen = frozen
        self._is_writable = is_writable
        self._needles = needles
        self._digests = digests or Digests()
        self._entries: dict[str, Entry] = {}
        self._stamps: dict[str, Stamp] = {}
        self._foreign: set[str] = set()
        self._suspects: set[str] = set()
        self._writable: set[str] = set()
        # Other names of files that lie elsewhere, whose mode is not ours to change.
        self._linked: set[str] = set()
        self._folders: set[str] = set()

    def get(self, path: str) -> Entry | None:
        """Return what is known of a path."""
        return self._entries.get(path)

    def has(self, path: str) -> bool:
        """Tell whether the run has a file, or a directory with files in it."""
        if path in self._entries:
            return True
        if not self._folders:
            self._folders.add("")
            for each in self._entries:
                folder = each.rpartition("/")[0]
                while folder not in self._folders:
                    self._folders.add(folder)
                    folder = folder.rpartition("/")[0]
        return path in self._folders

    def is_writable(self, path: str) -> bool:
        """Tell whether the run may write to a path."""
        return path in self._writable or self._is_writable(path)

    def by_path(self) -> Mapping[str, Entry]:
        """Return the entries of all files by path, in the order in which they came."""
        return self._entries

    def suspects(self) -> Collection[str]:
        """Return the files that may hold what is searched for.

        Those that were copied did; those that hooks and runtimes made or changed were not
        searched. Nor was what config wrote, which is known without that.
        """
        return self._suspects | self._foreign

    def entries(self) -> tuple[Entry, ...]:
        """Return the entries of all files, by the bytes of their paths."""
        return tuple(self._entries[path] for path in sorted(self._entries, key=os.fsencode))

    def copy(
        self,
        root: str,
        sources: Iterable[tuple[str, str]],
        type_: str,
        link: str = AUTO,
        is_writable: bool = False,
    ) -> int:
        """Copy files and links from below `root` into the run; return how many.

        `sources` pairs a path relative to `root` with the path it gets in the run. `link` is how
        (see `copying.LINKS`; or `SYMLINK`, which makes links to the files); `is_writable` lets the
        run write to all of them.

        Raises:
            SourceRefused: a link leaves the run, or a file is special, gone, never still, or cannot
                be linked as asked.
            FileExistsError: the run has a file at a path already.
        """
        pairs = list(sources)
        root = root.rstrip("/")
        frozen = self._frozen if link not in (HARDLINK, SYMLINK) else None
        if frozen:
            may_write = self.is_writable if not is_writable else lambda path: True
            root = frozen.freeze(root, pairs, may_write, self._needles)
        made = {""}
        for source, path in pairs:
            self._make_parents(root, source, path, made)
        jobs = []
        for source, path in pairs:
            full = f"{root}/{source}"
            known = frozen.known(full) if frozen else self._digests.find(full, path)
            target = f"{self._run.run_dir}/{path}"
            if is_writable:
                self._writable.add(path)
            if link == HARDLINK:
                self._linked.add(path)
            jobs.append(Job(full, target, self.is_writable(path), known, link))
        events = []
        if link == SYMLINK:
            copies: Sequence[Copied | None] = [None] * len(jobs)
        elif frozen and frozen.may_link:
            copies = self._link_or_copy([path for _, path in pairs], jobs)
        else:
            copies = copy_or_refuse(jobs, self._needles)
        for (_, path), job, copied in zip(pairs, jobs, copies, strict=True):
            if link == SYMLINK:
                entry, stamp = _link_to(job, path, type_)
            elif copied is None:
                entry, stamp = _copy_other(job, path, type_)
            else:
                entry = Entry(path, FILE, type_, copied.mode, copied.size, copied.sha256)
                stamp = _stamp(copied)
                self._digests.add(job.source, path, copied)
                if copied.has_needle:
                    self._suspects.add(path)
            self._entries[path] = entry
            self._stamps[path] = stamp
            events.append(FileEvent(ADDED, type_, stamp.mtime_ns // 1000, path))
        self._folders.clear()
        log_files(self._run, events)
        return len(events)

    def _link_or_copy(self, paths: Sequence[str], jobs: Sequence[Job]) -> Sequence[Copied | None]:
        """Give frozen files another name in the run, where that can be; copy the others."""
        linked: dict[str, Copied] = {}
        for path, job in zip(paths, jobs, strict=True):
            known = job.known
            if known is None or job.is_writable:
                continue
            mode = stat.S_IMODE(os.lstat(job.source).st_mode)
            if not mode & _WRITE_BITS and _link(job.source, job.target):
                self._linked.add(path)
                identity = identity_of(os.lstat(job.target))
                linked[path] = Copied(mode, known.sha256, known.has_needle, identity, identity)
        both = list(zip(paths, jobs, strict=True))
        left = [(path, job) for path, job in both if path not in linked]
        copied = copy_or_refuse([job for _, job in left], self._needles)
        copies = {**linked, **dict(zip((path for path, _ in left), copied, strict=True))}
        return [copies[path] for path in paths]

    def add_tree(self, tree: KeptTree, target: str, type_: str, may_link: bool) -> None:
        """Add a tree of the cache to the run: files get another name there, where that can be.

        Their digests are those of when the tree was made; a start reads them all anyway.

        Raises:
            FileExistsError: the run has a file at a path already.
        """
        made = {""}
        events, left = [], []
        folder = ""
        for each in tree.contents:
            path = f"{target}/{each.path}"
            source, full = f"{tree.root}/{each.path}", self._full(path)
            if path.rpartition("/")[0] != folder:
                folder = path.rpartition("/")[0]
                self._make_parents(tree.root, each.path, path, made)
            if each.target:
                os.symlink(each.target, full)
                entry = Entry(path, LINK, type_, 0o777, len(os.fsencode(each.target)))
                self._entries[path] = entry._replace(target=each.target)
            elif may_link and not self.is_writable(path) and _link(source, full):
                # No hook follows where files may be linked, so nothing has to tell a change.
                self._entries[path] = Entry(path, FILE, type_, each.mode, each.size, each.sha256)
                self._linked.add(path)
            else:
                left.append((each, path))
                continue
            events.append(FileEvent(ADDED, type_, each.mtime_ns // 1000, path))
        self._copy_tree(tree, left, type_, events)
        self._folders.clear()
        log_files(self._run, events)

    def _copy_tree(
        self,
        tree: KeptTree,
        left: Sequence[tuple[Content, str]],
        type_: str,
        events: list[FileEvent],
    ) -> None:
        """Copy those files of a tree that were not linked."""
        jobs = []
        for each, path in left:
            full = f"{tree.root}/{each.path}"
            found = os.lstat(full)
            known = Known(identity_of(found), each.sha256, False)
            is_known = each.is_as_found(found)
            jobs.append(
                Job(full, self._full(path), self.is_writable(path), known if is_known else None)
            )
        for (_, path), copied in zip(left, copy_or_refuse(jobs), strict=True):
            assert copied
            entry = Entry(path, FILE, type_, copied.mode, copied.size, copied.sha256)
            events.append(self._record(entry, ADDED))

    def create(self, path: str, data: bytes, type_: str, is_writable: bool = False) -> None:
        """Write a file that has no source.

        Raises:
            FileExistsError: the run has a file at the path already.
        """
        if is_writable:
            self._writable.add(path)
        full = self._full(path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        fs.create_file(full, data, 0o644 if self.is_writable(path) else 0o444)
        entry = Entry(path, FILE, type_, stat.S_IMODE(os.lstat(full).st_mode), len(data))
        entry = entry._replace(sha256=hashlib.sha256(data).hexdigest())
        self._folders.clear()
        log_files(self._run, [self._record(entry, ADDED)])

    def write(self, path: str, data: bytes) -> None:
        """Replace the content of a file that is staged."""
        entry = self._entries[path]
        fs.replace_file(self._full(path), data, entry.mode)
        entry = entry._replace(size=len(data), sha256=hashlib.sha256(data).hexdigest())
        log_files(self._run, [self._record(entry, MODIFIED)])

    def thaw(self) -> None:
        """Give the files their owner's write bit, for a hook that changes them."""
        for path, entry in self._entries.items():
            is_own = entry.kind == FILE and path not in self._linked
            if is_own and not entry.mode & _OWNER_WRITE:
                self._set_mode(path, entry.mode | _OWNER_WRITE)

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
                entry = _read_entry(self._run.run_dir, path, known.type if known else type_)
                events.append(self._record(entry, MODIFIED if known else ADDED))
                self._foreign.add(path)
        self._folders.clear()
        log_files(self._run, events)
        return len(events)

    def freeze(self) -> None:
        """Take the write bits of all files but the writable."""
        for path, entry in self._entries.items():
            if entry.kind != FILE:
                continue
            writable = self.is_writable(path)
            if path in self._foreign and os.lstat(self._full(path)).st_nlink > 1:
                self._unlink_others(entry, writable)
            mode = entry.mode | _OWNER_WRITE if writable else entry.mode & ~_WRITE_BITS
            if mode != entry.mode:
                self._set_mode(path, mode)

    def _unlink_others(self, entry: Entry, writable: bool) -> None:
        """Make a file that has other names one of its own.

        The others may lie outside the run, and share its mode and content.
        """
        full = self._full(entry.path)
        beside = full + ".unlinked"
        copy_or_refuse([Job(full, beside, writable)])
        os.replace(beside, full)

    def _set_mode(self, path: str, mode: int) -> None:
        os.chmod(self._full(path), mode)
        self._entries[path] = self._entries[path]._replace(mode=mode)
        self._stamps[path] = Stamp.of(os.lstat(self._full(path)))

    def _record(self, entry: Entry, event: str) -> FileEvent:
        found = os.lstat(self._full(entry.path))
        self._entries[entry.path] = entry
        self._stamps[entry.path] = Stamp.of(found)
        return FileEvent(event, entry.type, found.st_mtime_ns // 1000, entry.path)

    def _full(self, path: str) -> str:
        return f"{self._run.run_dir}/{path}"

    def _make_parents(self, root: str, source: str, path: str, made: set[str]) -> None:
        """Make the directories of a path, no more open than those it is copied from."""
        missing = []
        source, path = os.path.dirname(source), os.path.dirname(path)
        while path not in made:
            missing.append((source, path))
            source, path = os.path.dirname(source), os.path.dirname(path)
        for source, path in reversed(missing):
            mode = stat.S_IMODE(os.stat(f"{root}/{source}").st_mode) | 0o700
            folder = self._full(path)
            try:
                os.mkdir(folder, mode & 0o777)
            except FileExistsError:
                if not stat.S_ISDIR(os.lstat(folder).st_mode):
                    raise
                self._forget_empty(path)
            made.add(path)

    def _forget_empty(self, path: str) -> None:
        """Forget an empty directory that gets files."""
        known = self._entries.get(path)
        if known is not None and known.kind == DIRECTORY:
            del self._entries[path], self._stamps[path]


def _link(source: str, target: str) -> bool:
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:
        # It lies elsewhere, or has as many links as it can: then there is a copy.
        return False
    return True


def copy_or_refuse(jobs: Sequence[Job], needles: Sequence[bytes] = ()) -> Sequence[Copied | None]:
    """Copy files, as `copy_files` does.

    Raises:
        SourceRefused: one is gone, never still, or cannot be linked as asked.
    """
    try:
        return copy_files(jobs, needles)
    except Restless as error:
        raise SourceRefused(
            f"{printable(str(error))} changes while it is copied",
            "stop what writes to it, or exclude it",
        ) from None
    except CannotLink as error:
        raise SourceRefused(f"{printable(error.source)} {error.reason}", error.remedy) from None
    except FileNotFoundError as error:
        raise _gone(str(error.filename)) from None


def _gone(source: str) -> SourceRefused:
    return SourceRefused(f"{printable(source)} went away while the run was staged")


def _stamp(copied: Copied) -> Stamp:
    _, inode, size, mtime_ns, ctime_ns = copied.identity
    return Stamp(inode, size, stat.S_IFREG | copied.mode, mtime_ns, ctime_ns)


def _copy_other(job: Job, path: str, type_: str) -> tuple[Entry, Stamp]:
    """Copy what is no regular file: a link, or an empty directory."""
    try:
        found = os.lstat(job.source)
    except FileNotFoundError:
        raise _gone(job.source) from None
    if stat.S_ISLNK(found.st_mode):
        points_to = target_of_link(job.source, path)
        os.symlink(points_to, job.target)
        entry = Entry(path, LINK, type_, 0o777, len(os.fsencode(points_to)), target=points_to)
    elif stat.S_ISDIR(found.st_mode):
        os.mkdir(job.target, stat.S_IMODE(found.st_mode) | 0o700)
        entry = Entry(path, DIRECTORY, type_, stat.S_IMODE(os.stat(job.target).st_mode), 0)
    else:
        raise special(job.source)
    return entry, Stamp.of(os.lstat(job.target))


def _link_to(job: Job, path: str, type_: str) -> tuple[Entry, Stamp]:
    if not os.path.exists(job.source):
        raise _gone(job.source)
    os.symlink(job.source, job.target)
    entry = Entry(path, LINK, type_, 0o777, len(os.fsencode(job.source)), target=job.source)
    return entry, Stamp.of(os.lstat(job.target))


def special(source: str) -> SourceRefused:
    """Return the error for what is no file, link or directory."""
    return SourceRefused(f"{printable(source)} is a socket, a pipe or a device", "exclude it")


def target_of_link(source: str, path: str) -> str:
    """Return what a link points to that is to be at `path` in a run.

    Raises:
        SourceRefused: there it would leave the run.
    """
    points_to = os.readlink(source)
    inside = os.path.normpath(os.path.join(os.path.dirname(path), points_to))
    if points_to.startswith("/") or inside.split("/")[0] == os.pardir:
        raise SourceRefused(
            f"{printable(source)} is a link that leaves the run: {printable(points_to)}",
            "make it a relative link to a file that is staged, or exclude it"
            " and declare what it points to as a dependency",
        )
    return points_to


def _read_entry(run_dir: str, path: str, type_: str) -> Entry:
    try:
        return manifest.entry_of(run_dir, path, type_)
    except ValueError as error:
        raise SourceRefused(str(error)) from None
