"""`gage restore`: bring runs back from the trash."""

from __future__ import annotations

import argparse

from gage._internal.catalog.find import find_run
from gage._internal.catalog.trash import restore_run, trash_dir
from gage._internal.cli.context import Context

DESCRIPTION = "Bring deleted runs back. Numbers are those that gage list --deleted shows."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("runs_to_restore", nargs="+", metavar="RUN", help="a deleted run")


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    trash = trash_dir(context.home())
    for each in [find_run(trash, text) for text in args.runs_to_restore]:
        restore_run(each)
    return 0
