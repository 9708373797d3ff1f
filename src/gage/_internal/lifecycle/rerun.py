"""Stage a run again: a new run of the same command, values and files, out of the old run.

The project is not needed. All files come from the old run directory, as they were staged: each is
hashed while it is copied, and has to be what the old manifest says. What the old run generated is
left there. Of what is recorded, only the system is looked at anew.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal import fs
from gage._internal.errors import NotStaged, RunChanged
from gage._internal.fs import printable
from gage._internal.lifecycle.copying import (
    AUTO,
    HARDLINK,
    CannotLink,
    Copied,
    Job,
    Restless,
    copy_files,
)
from gage._internal.lifecycle.create import define_run
from gage._internal.lifecycle.stage import call_staged, let_go, recording_failure
from gage._internal.lifecycle.system.capture import capture_machine
from gage._internal.lifecycle.system.derive import Staged, find_calls
from gage._internal.store import layout, manifest, meta, status
from gage._internal.store.attributes import (
    find_label,
    list_tags,
    read_attributes,
    write_attributes,
)
from gage._internal.store.logs import ADDED, FileEvent, counted, log_action, log_files
from gage._internal.store.manifest import DIRECTORY, FILE, LINK, Entry, Manifest
from gage._internal.store.record import read_record
from gage._internal.store.seal import read_seal
from gage._internal.store.verify import compare_meta
from gage._internal.types import NOTHING, OpCmd, OpDef, OpRef, Run

# Records of a staging that are as true of the new run.
_KEPT = (layout.DEPENDS, layout.RUNTIME, layout.REQUIRES, layout.UNCOMMITTED)
_INTERPRETER = ("interpreter", "packages")
_WRITE_BITS = 0o222
_OWNER_WRITE = 0o200
_MOST_NAMED = 20

_BY_RUN = (
    "the run changed what it was staged with: stage it from its project again, and let the run"
    " write to files that it makes itself"
)
_SINCE = "somebody changed what the run was staged with: stage it from its project again"


class _Source(NamedTuple):
    """A file of the old run: its entry, what it is now, and how it gets to the new one."""

    entry: Entry
    job: Job


class Old(NamedTuple):
    """What a run was staged with, and what is known of that.

    `kept` are meta files that are as true of a run that is staged from it, None where it has none;
    `patched` is what config changed in the files.
    """

    run: Run
    entries: Sequence[Entry]
    opref: OpRef
    opdef: OpDef
    command: OpCmd
    config: Mapping[str, Any]
    kept: Mapping[str, bytes | None]
    patched: bytes | None
    system: Mapping[str, object]


def stage_rerun(
    original: Run,
    home: str,
    label: str | None = None,
    tags: Sequence[str] = (),
    *,
    durable: bool = True,
    group: str | None = None,
) -> Run:
    """Make a run in a runs home that has all that another one was staged with, and stage it.

    It does not matter what became of the other one, which is only read. `durable` is as for
    `stage_run`, `group` as for `create_run`.

    Raises:
        NotStaged: the other one was never staged; no run is made.
        RunChanged: its files are not those that it was staged with. No run is made where it is
            itself that changed them; else the new one is `failed`.
        RunDamaged: its meta files cannot be read; no run is made.
        UsageError: a tag is empty or too long; no run is made.
    """
    old = read_old(original)
    run = define_run(home, old.opref, old.opdef, old.command, old.config, label, tags, group)
    with recording_failure(run):
        meta.write_text(run, layout.RERUN, original.id)
        log_action(run, f"Staging what run {original.id} was staged with")
        if old.patched is not None:
            fs.append_file(layout.meta_path(run, layout.PATCHED_LOG), old.patched)
        fill_from(run, old)
        call_staged(run, durable)
    let_go(run, durable)
    return run


def stage_retry(original: Run, *, durable: bool) -> Run:
    """Make a run that stands for one that has failed: beside it, known by the same words.

    Raises:
        As `stage_rerun`.
    """
    home = os.path.dirname(original.run_dir)
    group = meta.find_text(original, layout.GROUP)
    label, tags = find_label(original), list_tags(original)
    return stage_rerun(original, home, label, tags, durable=durable, group=group)


def read_old(original: Run) -> Old:
    """Return what a run was staged with.

    Raises:
        NotStaged: it never was.
        RunChanged: it has changed its files itself.
        RunDamaged: its meta files cannot be read.
    """
    return Old(
        original,
        _read_staged(original),
        meta.read_opref(original),
        meta.read_opdef(original),
        meta.read_cmd(original),
        meta.read_config(original),
        {name: meta.find_meta(original, name) for name in _KEPT},
        meta.find_meta(original, layout.PATCHED_LOG),
        read_attributes(original, layout.SYS),
    )


def fill_from(
    run: Run,
    old: Old,
    configure: Callable[[Run, Sequence[Entry]], Sequence[Entry]] = lambda run, entries: entries,
) -> None:
    """Do all to stage a run from an old one but to call it staged.

    `configure` changes files that are there, and returns the entries of all.

    Raises:
        RunChanged: the files of the old run are not those that it was staged with.
    """
    for name, data in old.kept.items():
        if data is not None:
            meta.write_meta(run, name, data)
    _copy_files(run, old.run, old.entries)
    entries = configure(run, old.entries)
    by_path = {entry.path: entry for entry in entries}
    staged = Staged(by_path, lambda path: f"{run.run_dir}/{path}", {}, run.run_dir)
    system = old.system
    if old.kept[layout.RUNTIME] is None:
        calls = find_calls(old.opdef, meta.read_cmd(run), staged)
        capture_machine(run, calls.python, calls.interpreter, NOTHING)
        system = {name: value for name, value in system.items() if name not in _INTERPRETER}
    else:
        capture_machine(run, "", None, NOTHING)
    _keep_attributes(run, system)
    manifest.write_manifest(run, Manifest(tuple(entries)))
    log_action(run, "Writing staged")


def _keep_attributes(run: Run, system: Mapping[str, object]) -> None:
    """Write what was captured of the project and of an environment, which are the same."""
    names = ("git", *_INTERPRETER)
    write_attributes(run, layout.SYS, {name: system[name] for name in names if name in system})


def _read_staged(original: Run) -> tuple[Entry, ...]:
    """Return the entries of the files that a run was staged with.

    Raises:
        NotStaged: it was not.
        RunChanged: it has changed some itself.
    """
    record = read_record(original)
    if record.staged is None:
        hint = "wait until it is" if record.status == status.STAGING else "stage it again"
        raise NotStaged(f"run {original.id} was not staged: it is {record.status}", hint)
    # Of what came after it was staged, nothing counts.
    altered = list(compare_meta(original, read_seal(original)._replace(ended=None), is_open=True))
    if altered:
        raise _not_there(original, [fault.text for fault in altered], _SINCE)
    found = manifest.read_manifest(original)
    left = {entry.path: entry for entry in found.ended or ()}
    faults = []
    for entry in found.staged:
        if not entry.superseded or entry.kind != FILE:
            continue
        now = left.get(entry.path)
        if now is None or (now.kind, now.sha256) != (FILE, entry.sha256):
            what = "removed" if now is None else "changed"
            faults.append(f"{what} by the run: {printable(entry.path)}")
    if faults:
        raise _not_there(original, faults, _BY_RUN)
    return tuple(entry._replace(superseded=False) for entry in found.staged)


def _copy_files(run: Run, original: Run, entries: Sequence[Entry]) -> None:
    """Copy the files of a run; make the links and empty directories that its manifest tells of.

    Raises:
        RunChanged: files are missing, or are not what they were; the message names them.
    """
    sources, faults = _find_sources(run, original, entries)
    made = {""}
    for entry in entries:
        _make_parents(run, original, entry.path, made)
    copies = _copy(original, [source.job for source in sources])
    events = []
    for (entry, job), copied in zip(sources, copies, strict=True):
        if copied is None or copied.sha256 != entry.sha256:
            faults.append(f"changed: {printable(entry.path)}")
            continue
        if copied.mode != entry.mode:
            os.chmod(job.target, entry.mode)
        events.append(FileEvent(ADDED, entry.type, copied.identity[3] // 1000, entry.path))
    if faults:
        raise _not_there(original, sorted(faults), _SINCE)
    # Links come last: nothing is made behind one.
    for entry in entries:
        full = f"{run.run_dir}/{entry.path}"
        if entry.kind == DIRECTORY:
            os.mkdir(full, 0o700)
            os.chmod(full, entry.mode)
        elif entry.kind == LINK:
            os.symlink(entry.target, full)
        else:
            continue
        modified = os.lstat(full).st_mtime_ns // 1000
        events.append(FileEvent(ADDED, entry.type, modified, entry.path))
    log_files(run, sorted(events, key=lambda event: os.fsencode(event.path)))
    log_action(run, f"Copied {counted(len(sources), 'file')}")


def _find_sources(
    run: Run, original: Run, entries: Iterable[Entry]
) -> tuple[list[_Source], list[str]]:
    """Return what is to be copied, and what cannot be, in words."""
    device = os.stat(run.run_dir).st_dev
    sources, faults = [], []
    for entry in entries:
        if entry.kind != FILE:
            continue
        full = f"{original.run_dir}/{entry.path}"
        try:
            found = os.lstat(full)
        except (FileNotFoundError, NotADirectoryError):
            faults.append(f"missing: {printable(entry.path)}")
            continue
        if not stat.S_ISREG(found.st_mode) or found.st_size != entry.size:
            faults.append(f"changed: {printable(entry.path)}")
            continue
        link = HARDLINK if _is_shared(found, entry, device) else AUTO
        is_writable = bool(entry.mode & _OWNER_WRITE)
        target = f"{run.run_dir}/{entry.path}"
        sources.append(_Source(entry, Job(full, target, is_writable, None, link)))
    return sources, faults


def _is_shared(found: os.stat_result, entry: Entry, device: int) -> bool:
    """Tell whether a file has other names, as those of an environment do, and can get one more."""
    return (
        found.st_nlink > 1
        and found.st_dev == device
        and stat.S_IMODE(found.st_mode) == entry.mode
        and not entry.mode & _WRITE_BITS
    )


def _make_parents(run: Run, original: Run, path: str, made: set[str]) -> None:
    """Make the directories of a path, as open as those of the old run."""
    missing = []
    folder = os.path.dirname(path)
    while folder not in made:
        missing.append(folder)
        folder = os.path.dirname(folder)
    for folder in reversed(missing):
        try:
            mode = stat.S_IMODE(os.lstat(f"{original.run_dir}/{folder}").st_mode)
        except OSError:
            # Its files are missing too, and will be named.
            mode = 0o777
        os.mkdir(f"{run.run_dir}/{folder}", mode & 0o777 | 0o700)
        made.add(folder)


def _copy(original: Run, jobs: Sequence[Job]) -> Sequence[Copied | None]:
    try:
        return copy_files(jobs)
    except CannotLink:
        # It has as many names as it can have.
        for job in jobs:
            fs.remove_file(job.target)
        return _copy(original, [job._replace(link=AUTO) for job in jobs])
    except Restless as error:
        path = os.path.relpath(str(error), original.run_dir)
        fault = f"changes while it is copied: {printable(path)}"
        raise _not_there(original, [fault], "stop what writes to it") from None


def _not_there(original: Run, faults: Sequence[str], hint: str) -> RunChanged:
    shown = "".join(f"\n  {fault}" for fault in faults[:_MOST_NAMED])
    more = len(faults) - _MOST_NAMED
    rest = f"\n  and {more} more" if more > 0 else ""
    return RunChanged(
        f"run {original.id} cannot be run again: not all it was staged with is there:{shown}{rest}",
        hint,
    )
