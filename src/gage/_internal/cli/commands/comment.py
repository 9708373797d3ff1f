"""`gage comment`: comment on a run."""

from __future__ import annotations

import argparse

from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.times import date_text
from gage._internal.fs import printable
from gage._internal.store.attributes import add_comment, list_comments

DESCRIPTION = "Add a comment to a run, or print those it has, oldest first."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("run", metavar="RUN", help="a run")
    parser.add_argument("text", nargs="?", metavar="TEXT", help="the comment; without, print them")


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    found = context.find_run(args.run)
    if args.text is not None:
        add_comment(found, args.text)
        return 0
    comments = list_comments(found)
    if context.json:
        printer.print_json([comment._asdict() for comment in comments])
        return 0
    for comment in comments:
        printer.print_data(f"{date_text(comment.time)} {printable(comment.text)}")
    return 0
