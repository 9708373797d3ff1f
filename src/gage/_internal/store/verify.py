"""Is a run what it was staged as, and ended as: its files by the manifest, its meta by the seal.

A file is compared by type, size, mode, link target and SHA-256, by several processes where there is
much to read. What was verified on this machine before, and provably did not change since, need not
be read again (see `verified`).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal import cores, fs
from gage._internal.errors import RunChanged
from gage._internal.fs import Stamp
from gage._internal.store import layout, meta, verified
from gage._internal.store.logs import DELETED, parse_file_event
from gage._internal.store.manifest import DIRECTORY, FILE, LINK, Entry, entry_of, read_manifest
from gage._internal.store.seal import Seal, find_digests, read_seal, staged_manifest_digest
from gage._internal.types import Run

MISSING = "missing"
CHANGED = "changed"
ADDED = "added"
UNREADABLE = "unreadable"

_READ_SIZE = 1 << 20
_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
# Bytes from which on it matters when a file is read.
_LARGE = 4 << 20
_MOST_TOLD = 20
_KINDS = {FILE: "a file", LINK: "a link", DIRECTORY: "a directory"}

# Is told how many bytes of how many were compared.
Progress = Callable[[int, int], None]


class Fault(NamedTuple):
    """One file that is not as it should be.

    `kind` is `missing`, `changed`, `added` or `unreadable`; `expected` and `found` say, where there
    is something to say, what it should be and what it is. A meta file goes by its name in the meta
    directory, all others by their path in the run directory.
    """

    path: str
    kind: str
    expected: str = ""
    found: str = ""
    is_meta: bool = False

    @property
    def text(self) -> str:
        """The fault in one line."""
        where = ("meta " if self.is_meta else "") + fs.printable(self.path)
        if self.expected and self.found:
            return f"{self.kind}: {where} (expected {self.expected}, found {self.found})"
        return f"{self.kind}: {where}" + (f" ({self.found})" if self.found else "")


class Verified(NamedTuple):
    """What a comparison found: faults, and the stamps of the files that have none.

    A stamp was taken before the file was read, so one that is the same later tells that the file is
    still what was verified.
    """

    faults: Sequence[Fault]
    stamps: Mapping[str, Stamp]
    bytes: int


def verify(run: Run, is_open: bool = False) -> Mapping[str, Stamp]:
    """Make sure that a run is as it should be; return the stamps of its files.

    `is_open`: it was lost, and what it says of its end, if anything, does not count.

    Raises:
        RunChanged: files are missing, changed or added; the message names them.
        RunDamaged: the manifest or the seal cannot be read.
    """
    found = compare_run(run, remember=True, is_open=is_open)
    if found.faults:
        told = f"run {run.id} is not as it was staged:{faults_text(found.faults)}"
        raise RunChanged(told, "stage it again")
    return found.stamps


def compare_run(
    run: Run,
    *,
    quick: bool = False,
    remember: bool = False,
    progress: Progress | None = None,
    is_open: bool = False,
) -> Verified:
    """Compare all of a run that is or was staged with its manifest and its seal.

    `quick` does not read a file whose size, mode and time of modification are those that were
    recorded; `remember` none that was verified before and has not changed since.

    Raises:
        RunDamaged: the manifest or the seal cannot be read.
        OSError: the run directory cannot be.
    """
    seal = read_seal(run)
    if is_open:
        seal = seal._replace(ended=None)
    # Of what a run does until its end, nothing is recorded where it was lost.
    is_open = seal.ended is None and meta.has_meta(run, layout.STARTED)
    faults = list(compare_meta(run, seal, is_open))
    expected = read_manifest(run).present()
    if is_open:
        expected = {path: each for path, each in expected.items() if not each.is_writable}
    found = set(fs.iter_paths(run.run_dir))
    both = _large_first([expected[path] for path in expected.keys() & found])
    stamps: dict[str, Stamp] = {}
    if quick:
        stamps = _find_untouched(run, both)
    elif remember:
        stamps = verified.find_unchanged(run, both)
    left = [entry for entry in both if entry.path not in stamps] if stamps else both
    begun = time.time_ns()
    results = _compare_all(run, left, progress)
    for entry, result in zip(left, results):  # noqa: B905 - of equal length; Python 3.9 has no strict
        if isinstance(result[0], str):
            faults.append(Fault(entry.path, *result))
        else:
            stamps[entry.path] = Stamp(*result)
    if remember:
        verified.remember(run, left, stamps, begun)
    faults += [Fault(path, MISSING) for path in expected.keys() - found]
    if not is_open:
        faults += [Fault(path, ADDED) for path in found - expected.keys()]
    faults.sort(key=lambda fault: (not fault.is_meta, fault.kind, os.fsencode(fault.path)))
    return Verified(faults, stamps, sum(entry.size for entry in both))


def compare_meta(run: Run, seal: Seal, is_open: bool) -> Iterator[Fault]:
    """Yield what is not as it should be of the meta files of a run.

    `is_open` allows for files of which the seal does not tell, as a run has until it has ended.

    Raises:
        RunDamaged: the manifest cannot be read.
    """
    now = find_digests(run)
    is_as_staged = seal.ended is None and not is_open
    digest = now.get(layout.MANIFEST) if is_as_staged else staged_manifest_digest(run)
    if digest != seal.manifest:
        yield Fault(layout.MANIFEST, CHANGED, is_meta=True)
    sealed = {**seal.staged, **(seal.ended or {})}
    for name, digest in sealed.items():
        if name not in now:
            yield Fault(name, MISSING, is_meta=True)
        elif not now[name]:
            yield Fault(name, UNREADABLE, is_meta=True)
        elif now[name] != digest:
            yield Fault(name, CHANGED, f"sha256 {digest}", f"sha256 {now[name]}", is_meta=True)
    if not is_open:
        unsealed = {layout.MANIFEST, layout.RUNNER_LOG, layout.FILES_LOG}
        for name in now.keys() - sealed.keys() - unsealed:
            if name.startswith(f"{layout.ATTEMPTS}/"):
                # Somebody was about to go on.
                continue
            yield Fault(name, ADDED, is_meta=True)


def _compare_all(run: Run, entries: Sequence[Entry], progress: Progress | None) -> list[Any]:
    items = [tuple(entry) for entry in entries]
    much = cores.is_much(len(items), lambda: sum(entry.size for entry in entries))
    if progress is None:
        return cores.do_all(compare_file, items, run.run_dir, much)
    sums = [0]
    for entry in entries:
        sums.append(sums[-1] + entry.size)

    def tell(count: int) -> None:
        progress(sums[count], sums[-1])

    return cores.do_all(compare_file, items, run.run_dir, much, tell)


def _large_first(entries: Iterable[Entry]) -> list[Entry]:
    """Return entries so that no core is left with a large one at the end; the small by path."""
    return sorted(entries, key=lambda e: (-e.size if e.size >= _LARGE else 0, e.path))


def _find_untouched(run: Run, entries: Iterable[Entry]) -> dict[str, Stamp]:
    """Return the stamps of the files that have the size, mode and time that were recorded."""
    times: dict[str, int] = {}
    data = meta.find_meta(run, layout.FILES_LOG) or b""
    for line in os.fsdecode(data).split("\n")[:-1]:
        event = parse_file_event(line)
        times[event.path] = -1 if event.event == DELETED else event.modified
    stamps = {}
    for entry in entries:
        try:
            found = os.lstat(f"{run.run_dir}/{entry.path}")
        except OSError:
            continue
        if (
            entry.kind == FILE
            and stat.S_ISREG(found.st_mode)
            and (stat.S_IMODE(found.st_mode), found.st_size) == (entry.mode, entry.size)
            and found.st_mtime_ns // 1000 == times.get(entry.path)
        ):
            stamps[entry.path] = Stamp.of(found)
    return stamps


def compare_file(item: tuple[Any, ...], root: str) -> tuple[Any, ...]:
    """Return how a file below `root` differs from the entry of which `item` has the values.

    That is the kind of fault, what was expected and what was found; the stamp of a file that does
    not differ. Four system calls for a small file, not more.
    """
    path, kind, type_, mode, size, sha256, target, _ = item
    try:
        if kind != FILE:
            found = os.lstat(f"{root}/{path}")
            entry = entry_of(root, path, type_)
            if entry.kind != kind:
                return CHANGED, _KINDS[kind], _KINDS[entry.kind]
            if entry.target != target:
                return CHANGED, f"a link to {target}", f"one to {entry.target}"
            if kind == DIRECTORY and entry.mode != mode:
                return CHANGED, f"mode {mode:04o}", f"{entry.mode:04o}"
            return tuple(Stamp.of(found))
        fd = os.open(f"{root}/{path}", _READ_FLAGS)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                return CHANGED, _KINDS[kind], _kind_of(found.st_mode)
            if found.st_size != size:
                return CHANGED, f"{size} bytes", f"{found.st_size}"
            digest = _digest_open(fd, size)
            if digest != sha256:
                return CHANGED, f"sha256 {sha256}", digest or "more bytes"
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            return CHANGED, _KINDS[kind], "another kind of file"
        return UNREADABLE, "", error.strerror or str(error)
    except ValueError:
        return CHANGED, _KINDS[kind], "another kind of file"
    found_mode = stat.S_IMODE(found.st_mode)
    if found_mode != mode:
        return CHANGED, f"mode {mode:04o}", f"{found_mode:04o}"
    return found.st_ino, found.st_size, found.st_mode, found.st_mtime_ns, found.st_ctime_ns


def _kind_of(mode: int) -> str:
    return _KINDS[DIRECTORY] if stat.S_ISDIR(mode) else "another kind of file"


def _digest_open(fd: int, size: int) -> str:
    """Return the digest of an open file from where it stands; "" where it is larger."""
    data = os.read(fd, min(size, _READ_SIZE) + 1)
    if len(data) == size:
        return hashlib.sha256(data).hexdigest()
    hasher = hashlib.sha256()
    while data:
        hasher.update(data)
        size -= len(data)
        if size < 0:
            return ""
        data = os.read(fd, _READ_SIZE)
    return hasher.hexdigest()


def faults_text(faults: Sequence[Fault]) -> str:
    """Return faults for the end of a message, a line each; of many the first ones."""
    shown = "".join(f"\n  {fault.text}" for fault in faults[:_MOST_TOLD])
    rest = f"\n  and {len(faults) - _MOST_TOLD} more" if len(faults) > _MOST_TOLD else ""
    return shown + rest
