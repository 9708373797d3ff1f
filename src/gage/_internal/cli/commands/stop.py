"""`gage stop`: stop running runs with all their processes."""

from __future__ import annotations

import argparse
import os
import signal
import time

from gage._internal import proc
from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.errors import NotRunning
from gage._internal.lifecycle.execute import grace
from gage._internal.store import lock, status
from gage._internal.store.names import run_name
from gage._internal.types import Run

DESCRIPTION = (
    "Stop running runs. The runner passes SIGTERM on to every process of the run, and SIGKILL"
    " to what is left after a grace period (30 seconds, or the GAGE_GRACE it was started with)."
)

_POLL = 0.05
_MARGIN = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("runs_to_stop", nargs="+", metavar="RUN", help="a run")


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    for found in [context.find_run(text) for text in args.runs_to_stop]:
        _stop(found)
        printer.print_note(f"run {run_name(found.id)} is {status.run_status(found)}")
    return 0


def _stop(run: Run) -> None:
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
