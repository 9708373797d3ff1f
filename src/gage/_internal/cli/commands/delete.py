"""`gage delete`: move runs to the trash."""

from __future__ import annotations

import argparse

from gage._internal.catalog.trash import delete_run, refuse_active
from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.store.names import run_name

DESCRIPTION = "Move runs to the trash of the runs home, from where gage restore brings them back."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("runs_to_delete", nargs="+", metavar="RUN", help="a run")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    found = list(dict.fromkeys(context.find_run(text) for text in args.runs_to_delete))
    for each in found:
        refuse_active(each)
    names = " ".join(run_name(each.id) for each in found)
    if not args.yes and not printer.confirm(f"Delete {names}?"):
        printer.print_note("nothing is deleted; -y deletes without asking")
        return 1
    for each in found:
        delete_run(each)
    return 0
