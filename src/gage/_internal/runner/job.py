"""A run executed as the job of an engine, which may start a job twice, or again after it was lost.

Whatever the engine does, the command of a run that is not resumable begins once. A job whose run
is executed by another process waits for its end, so that what the engine thinks of the job is true
of the run. A run whose runner is gone is gone on with where it is `resumable` or nothing of it had
begun; else it ends here, as terminated.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from gage._internal.errors import AlreadyStarted, GageError, RunDamaged
from gage._internal.lifecycle.conclude import conclude_run
from gage._internal.lifecycle.start import start_run
from gage._internal.store import layout, lock, meta, status
from gage._internal.store.attempts import is_resumable
from gage._internal.store.logs import log_action
from gage._internal.store.names import run_name
from gage._internal.types import Run

_POLL = 0.5
_TERMINATED = 128 + signal.SIGTERM

Tell = Callable[[str], None]


def execute_job(run: Run, tell: Tell = lambda sentence: None) -> int:
    """See a run to its end, here or where another process executes it; return its exit status.

    Raises:
        GageError: it cannot be started, or not be gone on with.
    """
    name = run_name(run.id)
    is_waiting = False
    while True:
        found = status.run_status(run)
        if found == status.RUNNING:
            with _passing_on(run):
                if not is_waiting:
                    tell(f"run {name} is executed by {lock.find_holder(run)}: waiting for its end")
                is_waiting = True
                while status.run_status(run) == status.RUNNING:
                    time.sleep(_POLL)
            continue
        if found == status.STAGED or (is_resumable(run) and _is_open(found)):
            try:
                outcome = start_run(run, notice=tell)
            except AlreadyStarted:
                # Another is faster: its end is waited for.
                time.sleep(_POLL)
                continue
            except GageError as error:
                if status.run_status(run) == status.STAGED:
                    # Whoever submitted it is not there to be told.
                    log_action(run, f"Not started on {os.uname().nodename}: {error}")
                raise
            if outcome.error:
                tell(outcome.error)
            tell(f"run {name} is {status.run_status(run)}")
            return outcome.exit_code or (1 if outcome.error else 0)
        if found == status.LOST or status.is_cut(run, lock.find_holder(run)):
            if not conclude_run(run, tell):
                time.sleep(_POLL)
            continue
        return _exit_code(run, found, tell)


def end_job(run: Run, tell: Tell = lambda sentence: None) -> None:
    """Record the end of a run that has begun, if that was not done; it does not execute any more.

    Raises:
        GageError: it cannot be recorded.
    """
    if not meta.has_meta(run, layout.STOPPED):
        conclude_run(run, tell)


def _is_open(found: str) -> bool:
    return found in (status.LOST, status.TERMINATED)


def _exit_code(run: Run, found: str, tell: Tell) -> int:
    """Return what a run has exited with that has ended before.

    Raises:
        RunDamaged: it never was staged, or cannot be read.
    """
    if not meta.has_meta(run, layout.STAGED):
        raise RunDamaged(f"run {run.id} was never staged: it is {found}")
    tell(f"run {run_name(run.id)} is {found}")
    exit_text = meta.find_text(run, layout.EXIT)
    code = _TERMINATED if exit_text is None else status.exit_code(exit_text)
    return code or (0 if found == status.COMPLETED else 1)


@contextmanager
def _passing_on(run: Run) -> Iterator[None]:
    """Pass a signal to stop on to whoever executes a run that is waited for, on this host."""

    def stop(number: int, frame: FrameType | None) -> None:
        holder = lock.find_holder(run)
        if holder and holder.alive:
            os.kill(holder.process.pid, number)
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
