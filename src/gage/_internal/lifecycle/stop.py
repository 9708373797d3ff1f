"""Stop a run that executes on this machine, with all its processes."""

from __future__ import annotations

import os
import signal
import time

from gage._internal import proc
from gage._internal.errors import NotRunning
from gage._internal.lifecycle.execute import grace
from gage._internal.store import lock, status
from gage._internal.types import Run

_POLL = 0.05
_MARGIN = 10.0


def stop_run(run: Run) -> None:
    """Stop a run, and wait until it has ended.

    Raises:
        NotRunning: it does not run, or not where it can be reached, or it does not end.
    """
    holder = lock.find_holder(run)
    if holder is None:
        raise NotRunning(f"run {run.id} does not run: it is {status.run_status(run)}")
    if holder.alive is None:
        raise NotRunning(
            f"run {run.id} is held by {holder}, which cannot be reached from here",
            f"stop it on {holder.process.host}",
        )
    if holder.alive:
        os.kill(holder.process.pid, signal.SIGTERM)
        until = time.monotonic() + grace() + _MARGIN
        while status.run_status(run) in status.ACTIVE:
            if time.monotonic() > until:
                raise NotRunning(f"run {run.id} did not stop", f"see gage logs {run.id[:8]}")
            time.sleep(_POLL)
        return
    # The runner is gone; what it has started may not be.
    left = proc.run_processes(run.id)
    if not left:
        raise NotRunning(f"run {run.id} does not run: it is {status.run_status(run)}")
    proc.send_signal(left, signal.SIGTERM)
    until = time.monotonic() + grace()
    while proc.run_processes(run.id):
        if time.monotonic() > until:
            proc.send_signal(proc.run_processes(run.id), signal.SIGKILL)
        time.sleep(_POLL)
