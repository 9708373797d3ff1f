"""Who is staging or running a run: the lock, which is also the claim to start it.

The lock is made by linking, so of several processes one gets it, on a network file system
too. It is never broken: a lock whose process is gone tells what became of the run.

Before a run has a meta directory that could hold a lock, a mark in the runs home tells who
makes it. It stays until the run is staged, so that what was interrupted is found by a look at
the names in the home.
"""

from __future__ import annotations

import json
import os
from typing import NamedTuple

from gage._internal import fs
from gage._internal.proc import ProcessId, is_alive, this_process
from gage._internal.store import layout, meta
from gage._internal.types import Run

# Nobody: what a lock tells whose content a power cut has taken.
_NO_PROCESS = ProcessId("", "", "", 0, "")

# Locks that this process holds for whoever acquires them next in it, with its pid, since a
# fork does not inherit them.
_kept: set[tuple[int, Run]] = set()


class Holder(NamedTuple):
    """The process that holds a lock, and whether it lives (None: cannot be known here)."""

    process: ProcessId
    alive: bool | None

    def __str__(self) -> str:
        if self.process == _NO_PROCESS:
            return "a process that is not known any more"
        return f"process {self.process.pid} on {self.process.host}"


def acquire(run: Run) -> None:
    """Take the lock of a run for this process.

    Raises:
        FileExistsError: the lock is held, or was when its process ended.
    """
    try:
        _kept.remove((os.getpid(), run))
    except KeyError:
        data = meta.json_bytes(this_process()._asdict())
        fs.create_file(layout.meta_path(run, layout.LOCK), data)


def keep(run: Run) -> None:
    """Let the lock that this process has pass to whoever acquires it next in this process."""
    _kept.add((os.getpid(), run))


def is_kept(run: Run) -> bool:
    """Tell whether this process holds the lock for whoever acquires it next in it."""
    return (os.getpid(), run) in _kept


def release(run: Run) -> None:
    """Give the lock back; one that was given back already is no error."""
    _kept.discard((os.getpid(), run))
    fs.remove_file(layout.meta_path(run, layout.LOCK))


def pass_on(run: Run, process: ProcessId) -> None:
    """Give the lock that this process holds, or has the right to, to a process, maybe elsewhere."""
    fs.replace_file(layout.meta_path(run, layout.LOCK), meta.json_bytes(process._asdict()))


def find_holder(run: Run) -> Holder | None:
    """Return who holds the lock of a run, or None where nobody does."""
    data = meta.find_meta(run, layout.LOCK)
    if data is None:
        return None
    if not data:
        return Holder(_NO_PROCESS, alive=False)
    try:
        fields = json.loads(data)
        process = ProcessId(**fields)
    except (ValueError, TypeError):
        raise meta.damaged(run, layout.LOCK, "is not a process") from None
    return Holder(process, is_alive(process))


def announce(run: Run) -> None:
    """Leave a mark in the runs home that this process makes a run."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    os.close(os.open(fs.mark_beside(run.run_dir), flags, fs.READ_ONLY))


def withdraw(run: Run) -> None:
    """Remove the mark of this process; none is no error."""
    fs.remove_file(fs.mark_beside(run.run_dir))


def list_abandoned(home: str) -> list[str]:
    """Return the names in a runs home that processes left there that are surely gone."""
    try:
        names = os.listdir(home)
    except FileNotFoundError:
        return []
    return [name for name in names if name[0] == "." and fs.is_abandoned(name)]
