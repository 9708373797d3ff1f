"""Who is staging or running a run: the lock, which is also the claim to start it.

The lock is made by linking, so of several processes one gets it, on a network file system
too. It is never broken: a lock whose process is gone tells what became of the run, until somebody
with the right to (see `attempts`) passes it on.

Whether a process lives is seen on its own host only. So whoever executes a run touches the lock
every `beats` seconds, which stand in it; where that was not done for long, and the process cannot
be seen, it counts as gone. The time that counts is that of the file, by the clock of the file
system; hosts whose clocks differ by minutes mistake each other's runs.

Before a run has a meta directory that could hold a lock, a mark in the runs home tells who
makes it. It stays until the run is staged, so that what was interrupted is found by a look at
the names in the home.
"""

from __future__ import annotations

import json
import os
import time
from typing import NamedTuple

from gage._internal import fs
from gage._internal.proc import ProcessId, is_alive, this_process
from gage._internal.store import layout, meta
from gage._internal.types import Run

# Nobody: what a lock tells whose content a power cut has taken.
_NO_PROCESS = ProcessId("", "", "", 0, "")

BEATS_VARIABLE = "GAGE_HEARTBEAT"
_DEFAULT_BEATS = 15.0
# So many beats that nobody saw are a process that is gone: a network file system tells of a time
# some minutes late.
_MISSED = 12

# Locks that this process holds for whoever acquires them next in it, with its pid, since a
# fork does not inherit them.
_kept: set[tuple[int, Run]] = set()


class Holder(NamedTuple):
    """The process that holds a lock, and whether it lives (None: cannot be known here).

    `beats` are the seconds between two times that it touches the lock, 0 where it never does.
    """

    process: ProcessId
    alive: bool | None
    beats: float = 0

    @property
    def patience(self) -> float:
        """Seconds without a touch after which it counts as gone."""
        return self.beats * _MISSED

    def __str__(self) -> str:
        if self.process == _NO_PROCESS:
            return "a process that is not known any more"
        if not self.process.pid:
            return self.process.host
        return f"process {self.process.pid} on {self.process.host}"


def acquire(run: Run, beats: float = 0) -> None:
    """Take the lock of a run for this process, which touches it every `beats` seconds.

    Raises:
        FileExistsError: the lock is held, or was when its process ended.
    """
    data = _lock_bytes(this_process(), beats)
    try:
        _kept.remove((os.getpid(), run))
    except KeyError:
        fs.create_file(layout.meta_path(run, layout.LOCK), data)
    else:
        if beats:
            fs.replace_file(layout.meta_path(run, layout.LOCK), data)


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


def pass_on(run: Run, process: ProcessId, beats: float = 0) -> None:
    """Give the lock that this process holds, or has the right to, to a process, maybe elsewhere."""
    fs.replace_file(layout.meta_path(run, layout.LOCK), _lock_bytes(process, beats))


def _lock_bytes(process: ProcessId, beats: float) -> bytes:
    return meta.json_bytes({**process._asdict(), **({"beats": beats} if beats else {})})


def touch(run: Run) -> bool:
    """Touch the lock that this process holds; tell whether it still does."""
    path = layout.meta_path(run, layout.LOCK)
    try:
        held, _ = _parse(run, fs.read_bytes(path))
        # The machine may have got another name meanwhile.
        if held._replace(host="") != this_process()._replace(host=""):
            return False
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def heartbeat() -> float:
    """Return the seconds between two touches: the environment's `GAGE_HEARTBEAT`, or 15."""
    try:
        beats = float(os.environ.get(BEATS_VARIABLE, _DEFAULT_BEATS))
    except ValueError:
        return _DEFAULT_BEATS
    return beats if beats > 0 else _DEFAULT_BEATS


def last_touched(run: Run) -> int | None:
    """Return when the lock was touched last, in nanoseconds; None where there is none."""
    try:
        return os.stat(layout.meta_path(run, layout.LOCK)).st_mtime_ns
    except FileNotFoundError:
        return None


def find_holder(run: Run) -> Holder | None:
    """Return who holds the lock of a run, or None where nobody does."""
    data = meta.find_meta(run, layout.LOCK)
    if data is None:
        return None
    process, beats = _parse(run, data)
    holder = Holder(process, process != _NO_PROCESS and is_alive(process), beats)
    if holder.alive is False and holder.beats and not is_of_this_boot(holder):
        # It was this machine before it started anew, or is another one of the same name.
        holder = holder._replace(alive=None)
    if holder.alive is None and holder.beats:
        touched = last_touched(run)
        if touched is not None and time.time() - touched / 10**9 > holder.patience:
            return holder._replace(alive=False)
    return holder


def _parse(run: Run, data: bytes) -> tuple[ProcessId, float]:
    if not data:
        return _NO_PROCESS, 0
    try:
        fields = json.loads(data)
        beats = float(fields.pop("beats", 0))
        return ProcessId(**fields), beats
    except (ValueError, TypeError, AttributeError):
        raise meta.damaged(run, layout.LOCK, "is not a process") from None


def is_of_this_boot(holder: Holder) -> bool:
    """Tell whether what a process had done before it ended is what can be seen now."""
    return holder.process.boot_id == this_process().boot_id


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
