"""`gage unpack`: put the runs of a capsule into the runs home."""

from __future__ import annotations

import argparse
import os

from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.fs import printable
from gage._internal.portable.arrival import MERGED, NEW, THERE
from gage._internal.portable.unpack import unpack_capsule
from gage._internal.store.names import run_name

DESCRIPTION = (
    "Unpack a capsule into the runs home. Each byte is compared before a run is called there, and a"
    " run that is there is never overwritten: one that was staged here and ran elsewhere gets its"
    " results."
)

_TOLD = {NEW: "unpacked", THERE: "is here already", MERGED: "has its results now"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("capsule", metavar="FILE", help="a capsule")
    parser.add_argument(
        "--outside-links", action="store_true", help="take links that lead out of a run, too"
    )


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    path = os.path.join(context.cwd, args.capsule)
    home = context.home()
    with printer.ProgressLine() as line:
        unpacked = unpack_capsule(
            path,
            home,
            lambda done, total: line(f"unpack {args.capsule}", done, total),
            outside_links=args.outside_links,
        )
    if context.json:
        printer.print_json([{"id": run.id, "outcome": outcome} for run, outcome in unpacked])
        return 0
    for each, outcome in unpacked:
        printer.print_data(each.id)
        printer.print_note(f"run {run_name(each.id)} {_TOLD[outcome]}: {printable(each.run_dir)}")
    return 0
