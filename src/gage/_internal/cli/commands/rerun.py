"""`gage rerun`: run a run again, from what it was staged with."""

from __future__ import annotations

import argparse

from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.starting import add_quiet_argument, print_record, start
from gage._internal.lifecycle.rerun import stage_rerun
from gage._internal.types import Run

DESCRIPTION = (
    "Run a run again: a new run with the same command, config and files, which come from the run"
    " directory of the old one, so that the project is not needed. Its exit status is that of this"
    " command; 125 means that Gage itself could not do it."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "run",
        metavar="RUN",
        help="id, beginning of an id, name, number in the list, or path of a run directory",
    )
    parser.add_argument(
        "--stage", action="store_true", help="stage it only, and print the id of the new run"
    )
    parser.add_argument("--label", help="give the new run a label")
    parser.add_argument(
        "--tag", dest="tags", action="append", default=[], metavar="TAG", help="add a tag"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="start it here too where it needs what this system does not have",
    )
    add_quiet_argument(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    original = context.find_run(args.run)
    if args.stage:
        _stage(original, args, context)
        return 0
    staged = stage_rerun(original, context.home(), args.label, args.tags, durable=False)
    return start(staged, args, context, print_record)


def _stage(original: Run, args: argparse.Namespace, context: Context) -> None:
    staged = stage_rerun(original, context.home(), args.label, args.tags)
    if context.json:
        printer.print_json({"id": staged.id, "run_dir": staged.run_dir})
    else:
        printer.print_data(staged.id)
