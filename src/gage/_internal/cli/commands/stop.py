"""`gage stop`: stop running runs with all their processes."""

from __future__ import annotations

import argparse

from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.groups import add_group_argument, find_named
from gage._internal.errors import NotRunning
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
    parser.add_argument("runs_to_stop", nargs="*", metavar="RUN", help="a run")
    add_group_argument(parser, "stop the runs of a group that execute or wait at an engine")


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    runs = find_named(args.runs_to_stop, None, context) if args.runs_to_stop else []
    if args.group is not None or not runs:
        of_group = find_named([], args.group, context)
        runs += [found for found in of_group if found not in runs and _is_active(found)]
    if not runs:
        raise NotRunning(
            f"no run of group {args.group} executes", f"gage show --group {args.group}"
        )
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


def _is_active(run: Run) -> bool:
    return status.run_status(run) == status.RUNNING or find_open_job(run) is not None


def _tell(run: Run) -> None:
    printer.print_note(f"run {run_name(run.id)} is {status.run_status(run)}")
