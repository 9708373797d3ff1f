"""`gage delete`: move runs to the trash."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from gage._internal.catalog.trash import delete_run, refuse_active
from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.groups import add_group_argument, find_named
from gage._internal.store.names import run_name
from gage._internal.types import Run

DESCRIPTION = "Move runs to the trash of the runs home, from where gage restore brings them back."

_MOST_NAMED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("runs_to_delete", nargs="*", metavar="RUN", help="a run")
    add_group_argument(parser, "delete all runs of a group")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    found = find_named(args.runs_to_delete, args.group, context)
    for each in found:
        refuse_active(each)
    if not args.yes and not printer.confirm(f"Delete {_in_words(found)}?"):
        printer.print_note("nothing is deleted; -y deletes without asking")
        return 1
    for each in found:
        delete_run(each)
    return 0


def _in_words(runs: Sequence[Run]) -> str:
    names = " ".join(run_name(each.id) for each in runs[:_MOST_NAMED])
    more = len(runs) - _MOST_NAMED
    return f"{names} and {more} more" if more > 0 else names
