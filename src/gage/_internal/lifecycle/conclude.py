"""Record the end of a run whose runner is gone, that nobody goes on with."""

from __future__ import annotations

from gage._internal.errors import AlreadyStarted
from gage._internal.lifecycle.finalize import finalize_run
from gage._internal.lifecycle.resume import Gone, Notice, find_gone, open_again, reopen, take_over
from gage._internal.store import layout, lock, meta
from gage._internal.store.logs import log_action
from gage._internal.types import Run


def conclude_run(run: Run, notice: Notice = lambda sentence: None) -> bool:
    """Record how a run ended that has begun and that nobody executes; tell whether this did it.

    What its command exited with stands, if its runner saw that; else the run was terminated.

    Raises:
        RunDamaged: its meta files cannot be read.
        OSError: they cannot be written.
    """
    gone = find_gone(run, notice)
    if gone is None or not gone.has_begun:
        return False
    try:
        take_over(run, gone)
    except AlreadyStarted:
        return False
    has_exited = meta.has_meta(run, layout.EXIT) and gone.stopped is None
    (open_again if has_exited else reopen)(run)
    log_action(run, f"Ended: {_name(gone)} is gone")
    finalize_run(run, hook=False)
    return True


def _name(gone: Gone) -> str:
    return str(lock.Holder(gone.process, alive=False)) if gone.process else "its process"
