"""`gage tag`: add tags to a run, or take them away."""

from __future__ import annotations

import argparse

from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.fs import printable
from gage._internal.store.attributes import add_tags, list_tags, remove_tags

DESCRIPTION = "Add tags to a run, take some away, or print those it has."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("run", metavar="RUN", help="a run")
    parser.add_argument("tags", nargs="*", metavar="TAG", help="tags; without, print them")
    parser.add_argument("-d", "--delete", action="store_true", help="take the tags away")


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    found = context.find_run(args.run)
    if args.delete:
        remove_tags(found, args.tags)
    elif args.tags:
        add_tags(found, args.tags)
    elif context.json:
        printer.print_json(list_tags(found))
    else:
        for tag in list_tags(found):
            printer.print_data(printable(tag))
    return 0
