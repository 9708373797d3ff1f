"""`gage pull`: bring runs from a remote."""

from __future__ import annotations

import argparse

from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.errors import UsageError
from gage._internal.fs import printable

DESCRIPTION = (
    "Bring runs from a remote into the runs home, verified; what is here is not sent again. A run"
    " that was staged here and has run there gets its results."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "runs_to_pull", nargs="*", metavar="RUN", help="a run there: its id, number or name"
    )
    parser.add_argument("remote", metavar="REMOTE", help="where from: a name or an address")
    parser.add_argument("-a", "--all", action="store_true", help="all runs there")


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    from gage._internal.cli.moving import find_at, move_runs, opened_local, opened_remote

    if args.all == bool(args.runs_to_pull):
        raise UsageError("which runs?", "name runs before the remote, or give --all")
    home = context.home()
    with opened_remote(context, args.remote) as source:
        ids = find_at(source, None if args.all else args.runs_to_pull)
        if not ids:
            printer.print_note(f"no runs at {printable(args.remote)}")
        target = opened_local(home, make=True)
        move_runs(source, target, ids, context, f"pulled from {printable(args.remote)}")
    return 0
