"""`gage purge`: remove deleted runs for good."""

from __future__ import annotations

import argparse

from gage._internal.catalog.find import list_runs
from gage._internal.catalog.trash import find_deleted, purge_run, trash_dir
from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.errors import UsageError
from gage._internal.store.names import run_name

DESCRIPTION = "Remove deleted runs from the disk. They cannot be brought back."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("runs_to_purge", nargs="*", metavar="RUN", help="a deleted run")
    parser.add_argument("-a", "--all", action="store_true", help="all deleted runs")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    home = context.home()
    if args.all == bool(args.runs_to_purge):
        raise UsageError("which runs?", "name deleted runs, or give --all")
    found = (
        list_runs(trash_dir(home))
        if args.all
        else [find_deleted(home, t) for t in args.runs_to_purge]
    )
    if not found:
        printer.print_note("there is nothing to purge")
        return 0
    names = " ".join(run_name(each.id) for each in found)
    if not args.yes and not printer.confirm(f"Remove {names} for good?"):
        printer.print_note("nothing is removed; -y removes without asking")
        return 1
    for each in found:
        purge_run(each)
    return 0
