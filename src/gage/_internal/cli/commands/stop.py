"""`gage stop`: stop running runs with all their processes."""

from __future__ import annotations

import argparse

from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.groups import add_group_argument, words_of_group
from gage._internal.errors import UsageError
from gage._internal.lifecycle.stop import stop_run
from gage._internal.store import status
from gage._internal.store.attributes import find_where
from gage._internal.store.names import run_name

DESCRIPTION = (
    "Stop running runs. The runner passes SIGTERM on to every process of the run, and SIGKILL"
    " to what is left after a grace period (30 seconds, or the GAGE_GRACE it was started with)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("runs_to_stop", nargs="*", metavar="RUN", help="a run")
    add_group_argument(parser, "stop the running runs of a group")


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    args.runs_to_stop += words_of_group(args.group, status.RUNNING, context)
    if not args.runs_to_stop:
        raise UsageError("which runs?", "gage stop RUN..., or --group GROUP")
    for found in [context.find_run(text) for text in args.runs_to_stop]:
        if find_where(found):
            from gage._internal.cli.there import stop_there

            stop_there(found, context)
        else:
            stop_run(found)
        printer.print_note(f"run {run_name(found.id)} is {status.run_status(found)}")
    return 0
