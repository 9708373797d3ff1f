"""`gage label`: give a run a label, or take it away."""

from __future__ import annotations

import argparse

from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.errors import UsageError
from gage._internal.fs import printable
from gage._internal.store.attributes import find_label, set_label

DESCRIPTION = "Give a run a label in place of the one it has, take it away, or print it."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("run", metavar="RUN", help="a run")
    parser.add_argument("label", nargs="?", metavar="LABEL", help="the label; without, print it")
    parser.add_argument("--clear", action="store_true", help="take the label away")


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    found = context.find_run(args.run)
    if args.clear and args.label is not None:
        raise UsageError("--clear and a label do not go together")
    if args.clear or args.label is not None:
        set_label(found, args.label)
        return 0
    label = find_label(found)
    if context.json:
        printer.print_json(label)
    elif label is not None:
        printer.print_data(printable(label))
    return 0
