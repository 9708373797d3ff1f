"""What a staging that failed, or was interrupted, leaves: a run that says so, and no files."""

from __future__ import annotations

import os

from gage._internal import clock, fs
from gage._internal.store import layout, lock, meta
from gage._internal.store.logs import log_action
from gage._internal.types import Run


def record_failed_staging(run: Run, reason: str) -> None:
    """Say why a run could not be staged; make room for that on a full disk.

    What was staged so far is of no use, and may be what has filled the disk. Can be repeated
    where it was interrupted: the lock goes last.
    """
    fs.remove_tree(run.run_dir)
    os.mkdir(run.run_dir)
    log_action(run, f"Failed: {reason}")
    meta.write_text(run, layout.ERROR, reason)
    meta.write_time(run, layout.STOPPED, clock.now())
    lock.release(run)
    lock.withdraw(run)
