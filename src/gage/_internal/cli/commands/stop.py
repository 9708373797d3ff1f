"""`gage stop`: stop running runs with all their processes."""

from __future__ import annotations

import argparse

from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.lifecycle.stop import stop_run
from gage._internal.store import status
from gage._internal.store.attributes import find_where
from gage._internal.store.jobs import find_open_job
from gage._internal.store.names import run_name
from gage._internal.types import Run

DESCRIPTION = (
    "Stop running runs, and take back those that wait at an engine. The runner passes SIGTERM on"
    " to every process of the run, and SIGKILL to what is left after a grace period (30 seconds, or"
    " the GAGE_GRACE it was started with)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("runs_to_stop", nargs="+", metavar="RUN", help="a run")


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    runs = [context.find_run(text) for text in args.runs_to_stop]
    submitted = [found for found in runs if find_open_job(found)]
    if submitted:
        from gage._internal.lifecycle.jobs import cancel

        cancel(submitted, lambda standing: _tell(standing.run))
    for found in runs:
        if found in submitted:
            continue
        if find_where(found):
            from gage._internal.cli.there import stop_there

            stop_there(found, context)
        else:
            stop_run(found)
        _tell(found)
    return 0


def _tell(run: Run) -> None:
    printer.print_note(f"run {run_name(run.id)} is {status.run_status(run)}")
