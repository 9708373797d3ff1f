"""Unpack and verify capsules: each byte is compared before anything of a run is called there."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from gage._internal import fs
from gage._internal.errors import CapsuleRefused, RunDamaged
from gage._internal.fs import printable
from gage._internal.portable.arrival import THERE, admit, arriving, check_arrival
from gage._internal.portable.capsule import (
    Capsule,
    CapsuleRun,
    File,
    open_capsule,
    read_file,
    refusal,
)
from gage._internal.store import layout, meta
from gage._internal.store.logs import parse_file_event
from gage._internal.store.manifest import DIRECTORY, FILE, GENERATED, LINK, Entry, read_manifest
from gage._internal.store.record import RunRecord, read_record
from gage._internal.store.seal import read_seal
from gage._internal.store.verify import (
    ADDED,
    CHANGED,
    MISSING,
    Fault,
    compare_meta,
    faults_text,
)
from gage._internal.types import Run

_BLOCK = 4096
_MOST_META = 1 << 30
# Of a run that is not executing there is none of these.
_NEVER = (layout.LOCK, layout.SPARE)

# Is told how many bytes of how many were read.
Progress = Callable[[int, int], None]


class Unpacked(NamedTuple):
    """A run that was in a capsule, where it is now, and what became of it (see `arrival`)."""

    run: Run
    outcome: str


class Inside(NamedTuple):
    """What a capsule has of a run: its record, its seal, its entries and what is wrong with it."""

    record: RunRecord
    seal: str
    entries: Mapping[str, Entry]
    faults: Sequence[Fault]


def unpack_capsule(
    path: str,
    home: str,
    progress: Progress = lambda done, total: None,
    *,
    outside_links: bool = False,
) -> list[Unpacked]:
    """Put the runs of a capsule into a runs home.

    Raises:
        CapsuleRefused: it is none, is damaged or altered, or is hostile; nothing of it was taken.
        RunConflict: a run of the same id is there and is another.
        OSError: it cannot be read, or the home cannot be written to.
    """
    home = os.path.abspath(home)
    with open_capsule(path) as capsule:
        os.makedirs(home, exist_ok=True)
        _check_room(capsule, home)
        meter = _Meter(progress, capsule.runs)
        came = []
        with ExitStack() as stack:
            # All are whole before the first is put in place.
            for each in capsule.runs:
                run = stack.enter_context(arriving(home, each.id))
                inside = _extract_meta(capsule, each, run)
                _refuse(capsule, inside)
                is_there = check_arrival(run, home) == THERE
                if not is_there:
                    if not outside_links:
                        _refuse_outside_links(capsule, inside)
                    _refuse(capsule, _extract_files(capsule, each, run, inside, meter))
                came.append((run, is_there))
            return [
                Unpacked(
                    Run(run.id, os.path.join(home, run.id)),
                    THERE if is_there else admit(run, home),
                )
                for run, is_there in came
            ]


def verify_capsule(path: str, progress: Progress = lambda done, total: None) -> list[Inside]:
    """Compare all that is in a capsule with the manifests and seals in it.

    Raises:
        CapsuleRefused: it is none, is damaged, or is hostile.
        OSError: it cannot be read.
    """
    with open_capsule(path) as capsule:
        meter = _Meter(progress, capsule.runs)
        found = []
        for each, inside, _ in _iter_inside(capsule):
            faults = list(inside.faults)
            faults += _extract_files(capsule, each, None, inside, meter).faults
            found.append(inside._replace(faults=faults))
    return found


@contextmanager
def looking_inside(path: str) -> Iterator[list[tuple[Inside, Run]]]:
    """Give what a capsule has of its runs, each with a run of which there is the meta only.

    Raises:
        CapsuleRefused: it is none, is damaged, or is hostile.
        OSError: it cannot be read.
    """
    with open_capsule(path) as capsule, tempfile.TemporaryDirectory(prefix="gage-") as folder:
        found = []
        for each in capsule.runs:
            run = Run(each.id, os.path.join(folder, each.id))
            found.append((_extract_meta(capsule, each, run), run))
        yield found


def _iter_inside(capsule: Capsule) -> Iterator[tuple[CapsuleRun, Inside, Run]]:
    for each in capsule.runs:
        with tempfile.TemporaryDirectory(prefix="gage-") as folder:
            run = Run(each.id, os.path.join(folder, each.id))
            yield each, _extract_meta(capsule, each, run), run


class _Meter:
    """Counts what was read of a capsule."""

    def __init__(self, progress: Progress, runs: Sequence[CapsuleRun]) -> None:
        self._progress = progress
        self._total = sum(file.info.file_size for run in runs for file in run.files)
        self._done = 0

    def add(self, data: bytes) -> None:
        self._done += len(data)
        self._progress(self._done, self._total)


def _check_room(capsule: Capsule, home: str) -> None:
    needed = sum(
        file.info.file_size
        for run in capsule.runs
        for file in (*run.files, *run.meta, *run.notes)
        if not file.is_sparse
    )
    free = shutil.disk_usage(home).free
    if needed > free:
        told = f"{printable(capsule.path)} needs {needed} bytes, and {printable(home)} has {free}"
        raise CapsuleRefused(told, "make room, or unpack it elsewhere")


def _refuse(capsule: Capsule, inside: Inside) -> None:
    if inside.faults:
        told = f"was altered: run {inside.record.run.id}{faults_text(inside.faults)}"
        raise refusal(capsule.path, told)


def _refuse_outside_links(capsule: Capsule, inside: Inside) -> None:
    for entry in inside.entries.values():
        if entry.leads_out:
            shown = f"{printable(entry.path)} -> {printable(entry.target)}"
            raise CapsuleRefused(
                f"{printable(capsule.path)} has a link that leads out of the run: {shown}",
                "--outside-links takes it, if you trust whoever packed it",
            )


def _extract_meta(capsule: Capsule, packed: CapsuleRun, run: Run) -> Inside:
    """Write the meta directory and the notes of a run, and compare them with its seal."""
    os.makedirs(run.run_dir)
    if sum(file.info.file_size for file in packed.meta) > _MOST_META:
        _check_room(capsule, os.path.dirname(run.run_dir))
    for folder, files in (
        (layout.run_meta_dir(run), packed.meta),
        (layout.run_notes_dir(run), packed.notes),
    ):
        for file in files:
            if file.path in _NEVER or file.info.is_dir():
                raise refusal(capsule.path, f"has what no run has: {printable(file.path)}")
            _write_file(capsule, file, f"{folder}/{file.path}", None, lambda data: None)
    try:
        record = read_record(run)
        if record.staged is None:
            raise RunDamaged(f"run {run.id} was not staged")
        seal = read_seal(run)
        is_open = seal.ended is None and record.started is not None
        faults = list(compare_meta(run, seal, is_open))
        entries = read_manifest(run).present()
    except RunDamaged as error:
        raise refusal(capsule.path, f"is damaged: {error}") from None
    if seal.digest != packed.seal:
        faults.append(Fault(layout.SEAL, CHANGED, packed.seal, seal.digest, is_meta=True))
    if is_open:
        for path, target in packed.links.items():
            size = len(os.fsencode(target))
            link = Entry(path, LINK, GENERATED, 0o777, size, target=target)
            entries = {**entries, path: entries.get(path, link)}
    faults += [Fault(path, ADDED) for path in _below_links(entries)]
    return Inside(record, seal.digest, entries, faults)


def _below_links(entries: Mapping[str, Entry]) -> Iterator[str]:
    """Yield paths that lead through a link: what is written there would be somewhere else."""
    links = {path for path, entry in entries.items() if entry.kind == LINK}
    for path in entries if links else ():
        parent = path.rpartition("/")[0]
        while parent:
            if parent in links:
                yield path
            parent = parent.rpartition("/")[0]


def _extract_files(
    capsule: Capsule, packed: CapsuleRun, run: Run | None, inside: Inside, meter: _Meter
) -> Inside:
    """Read the files of a run, and write them where there is a run; return it with their faults."""
    is_open = inside.record.started is not None and inside.record.stopped is None
    times = _times(run) if run else {}
    faults = []
    missing = {path for path, entry in inside.entries.items() if entry.kind != LINK}
    for file in packed.files:
        entry = inside.entries.get(file.path)
        missing.discard(file.path)
        kind = DIRECTORY if file.info.is_dir() else FILE
        if entry is None and is_open:
            mode = (file.info.external_attr >> 16) & 0o7777
            entry = Entry(file.path, kind, GENERATED, mode, file.info.file_size)
        if entry is None or entry.kind != kind:
            faults.append(Fault(file.path, ADDED))
            continue
        target = f"{run.run_dir}/{file.path}" if run else None
        if kind == DIRECTORY:
            if target:
                os.makedirs(target)
                os.chmod(target, entry.mode)
            continue
        is_changeable = is_open and (entry.is_writable or entry.type == GENERATED)
        if file.info.file_size != entry.size and not is_changeable:
            faults.append(_size_fault(file, entry))
            continue
        if target:
            digest = _write_file(capsule, file, target, entry, meter.add, times.get(file.path))
        else:
            digest = read_file(capsule, file, meter.add)
        if digest != entry.sha256 and not is_changeable:
            faults.append(Fault(file.path, CHANGED, f"sha256 {entry.sha256}", f"sha256 {digest}"))
    faults += [Fault(path, MISSING) for path in sorted(missing)]
    if run and not faults:
        for entry in inside.entries.values():
            if entry.kind == LINK:
                target = f"{run.run_dir}/{entry.path}"
                os.makedirs(os.path.dirname(target), exist_ok=True)
                os.symlink(entry.target, target)
    return inside._replace(faults=faults)


def _size_fault(file: File, entry: Entry) -> Fault:
    return Fault(file.path, CHANGED, f"{entry.size} bytes", str(file.info.file_size))


def _times(run: Run) -> Mapping[str, int]:
    """Return when each file was modified last, in microseconds, as was recorded."""
    data = meta.find_meta(run, layout.FILES_LOG) or b""
    times = {}
    for line in os.fsdecode(data).split("\n")[:-1]:
        try:
            event = parse_file_event(line)
        except ValueError:
            continue
        times[event.path] = event.modified
    return times


def _write_file(
    capsule: Capsule,
    file: File,
    target: str,
    entry: Entry | None,
    count: Callable[[bytes], None],
    modified: int | None = None,
) -> str:
    """Write a file that is not there, with its mode and time; return its digest."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(target, flags, 0o600)
    try:

        def take(data: bytes) -> None:
            if file.is_sparse:
                _write_sparse(fd, data)
            else:
                fs.write_all(fd, data)
            count(data)

        digest = read_file(capsule, file, take)
        if file.is_sparse:
            os.ftruncate(fd, file.info.file_size)
        mode = entry.mode if entry else (file.info.external_attr >> 16) & 0o777
        os.fchmod(fd, stat.S_IMODE(mode))
    finally:
        os.close(fd)
    if modified is not None:
        os.utime(target, ns=(modified * 1000, modified * 1000))
    return digest


def _write_sparse(fd: int, data: bytes) -> None:
    """Write data, and leave a hole for each block of zeros."""
    for start in range(0, len(data), _BLOCK):
        block = data[start : start + _BLOCK]
        if block.count(0) == len(block):
            os.lseek(fd, len(block), os.SEEK_CUR)
        else:
            fs.write_all(fd, block)
