"""`gage restore`: bring runs back from the trash."""

from __future__ import annotations

import argparse

from gage._internal.catalog.trash import find_deleted, restore_run
from gage._internal.cli.context import Context

DESCRIPTION = "Bring deleted runs back. Numbers are those that gage list --deleted shows."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("runs_to_restore", nargs="+", metavar="RUN", help="a deleted run")


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    home = context.home()
    for each in [find_deleted(home, text) for text in args.runs_to_restore]:
        restore_run(each)
    return 0
