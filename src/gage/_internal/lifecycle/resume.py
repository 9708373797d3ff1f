"""Go on with a run that was stopped, or whose runner is gone: in its directory, a next attempt.

Only a run whose operation says `resumable` executes again once its command has begun; one whose
runner was gone before that is started as if nothing had been. Whoever has the right to the next
attempt (see `store.attempts`) passes the lock on to itself and opens the run again: what tells of
its end is kept in the record of the attempt and removed from where it stood, so that at any moment
the run is either ended, or lost, or executes.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gage._internal import clock, fs, proc
from gage._internal.errors import AlreadyStarted
from gage._internal.lifecycle.execute import grace
from gage._internal.proc import ProcessId, is_alive, this_process
from gage._internal.store import attempts, layout, lock, manifest, meta, output, status
from gage._internal.store.attempts import Attempt
from gage._internal.store.manifest import Manifest
from gage._internal.store.seal import reopen_seal
from gage._internal.types import Run

_POLL = 0.5
_OPEN = (status.LOST, status.TERMINATED)
# Microseconds that a process may take from its right to the next attempt to the lock.
_LONGEST_TAKING = 180 * 10**6

Notice = Callable[[str], None]


class Gone(NamedTuple):
    """A run that nobody executes any more, and may be gone on with.

    `attempt` is the number of the attempt that is over, `process` what made it, where that is
    known; `holder` is who has the lock, `stopped` when it ended. `has_begun` tells whether the
    command was ever started.
    """

    attempt: int
    process: ProcessId | None
    holder: ProcessId | None
    stopped: int | None
    has_begun: bool


def find_gone(
    run: Run, notice: Notice = lambda sentence: None, *, to_execute: bool = False
) -> Gone | None:
    """Return what there is to go on with; None where the run is executed, or has ended for good.

    `to_execute`: that is the end, too, of a run that has begun and is not resumable. A process on
    another host that cannot be seen is watched for a while, before it counts as gone.
    """
    if not meta.has_meta(run, layout.STAGED):
        return None
    found = status.run_status(run)
    holder = lock.find_holder(run)
    is_cut = status.is_cut(run, holder)
    if not (is_cut or found in _OPEN or (found == status.STAGED and holder)):
        return None
    if to_execute and is_cut and found not in _OPEN:
        # Its command has ended by itself: only that is to be recorded.
        return None
    made = attempts.list_attempts(run)
    stopped = meta.find_time(run, layout.STOPPED)
    if made and _is_being_taken(made[-1], holder, stopped):
        return None
    has_begun = status.has_begun(run, holder)
    if to_execute and has_begun and not attempts.is_resumable(run):
        return None
    if holder:
        # It may have gone on with a run that had ended when its status was looked at.
        is_there = is_alive(holder.process)
        if is_there is False and holder.beats and not lock.is_of_this_boot(holder):
            # Another machine may have the name of this one.
            is_there = holder.alive
        if is_there or (is_there is None and not _stays_untouched(run, holder, notice)):
            return None
    held = holder.process if holder else None
    process = held or (made[-1].next if made else None)
    return Gone(len(made) + 1, process, held, stopped, has_begun)


def _is_being_taken(last: Attempt, holder: lock.Holder | None, stopped: int | None) -> bool:
    """Tell whether somebody has the right to go on, and may be about to take the lock."""
    has_it = holder is not None and holder.process == last.next
    if has_it or (stopped is not None and stopped > last.resumed):
        return False
    return is_alive(last.next) is not False and clock.now() - last.resumed < _LONGEST_TAKING


def take_over(run: Run, gone: Gone) -> Sequence[int]:
    """Take the lock of a run that nobody executes any more, to go on with it or to end it.

    What the last attempt has left on this host is ended; its pids are returned.

    Raises:
        AlreadyStarted: another process has it.
    """
    try:
        attempts.claim_next(run, gone.attempt, gone.process)
    except FileExistsError:
        raise AlreadyStarted(f"run {run.id} is being started by another process") from None
    # What was seen before may be old: somebody may have given the run back, and another started it.
    meta.look_again(run)
    holder = lock.find_holder(run)
    now = (
        holder.process if holder else None,
        meta.find_time(run, layout.STOPPED),
        status.has_begun(run, holder),
    )
    if now != (gone.holder, gone.stopped, gone.has_begun):
        raise AlreadyStarted(f"run {run.id} was started by another process meanwhile")
    lock.pass_on(run, this_process(), lock.heartbeat())
    if len(attempts.list_attempts(run)) != gone.attempt:
        # This process was suspended for long: another has the right to go on by now, and finds out.
        raise AlreadyStarted(f"run {run.id} was started by another process meanwhile")
    return _end_what_is_left(run)


def _end_what_is_left(run: Run) -> Sequence[int]:
    """End what the last attempt has started on this host: two are never at one run."""
    left = proc.run_processes(run.id)
    proc.send_signal(left, signal.SIGTERM)
    until = time.monotonic() + grace()
    while proc.run_processes(run.id):
        if time.monotonic() > until:
            proc.send_signal(proc.run_processes(run.id), signal.SIGKILL)
        time.sleep(_POLL / 10)
    return left


def reopen(run: Run) -> None:
    """Open a run that was taken over again: nothing tells of its end any more."""
    open_again(run)
    attempts.forget_end(run)


def open_again(run: Run) -> None:
    """Open the record of a run that was taken over again; what its command exited with stays.

    The seal comes first: without what it says of the end, the rest may be in any state.
    """
    reopen_seal(run)
    staged = tuple(e._replace(superseded=False) for e in manifest.read_manifest(run).staged)
    manifest.write_manifest(run, Manifest(staged))
    for name in (layout.RUNNER_LOG, layout.FILES_LOG, layout.PATCHED_LOG):
        fs.make_writable(layout.meta_path(run, name))
    for phase in output.phases(run):
        for path in (layout.output_path(run, phase), layout.output_index_path(run, phase)):
            fs.make_writable(path)


def _stays_untouched(run: Run, holder: lock.Holder, notice: Notice) -> bool:
    """Watch the lock of a process that cannot be seen, for as long as it would take to touch it."""
    touched = lock.last_touched(run)
    until = time.monotonic() + holder.patience
    notice(
        f"run {run.id} was executed by {holder}: waiting {holder.patience:.0f}s for a sign of it"
    )
    while time.monotonic() < until:
        time.sleep(min(_POLL, holder.beats))
        if lock.last_touched(run) != touched:
            return False
    return True
