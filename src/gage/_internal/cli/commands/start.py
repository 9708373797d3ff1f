"""`gage start`: start staged runs."""

from __future__ import annotations

import argparse

from gage._internal.cli.context import Context
from gage._internal.cli.starting import add_quiet_argument, print_record, print_records, start
from gage._internal.store.record import RunRecord

DESCRIPTION = (
    "Start staged runs, one after the other. What each needs of the system is compared first, and"
    " its files are verified: what is missing, or a file that was changed, added or removed, stops"
    " it. The exit status is the first one that is not 0."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "runs_to_start",
        nargs="+",
        metavar="RUN",
        help="id, beginning of an id, name, number in the list, or path of a run directory",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="start a run here that needs what this system does not have",
    )
    add_quiet_argument(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    # All are found before the first is started: starting changes what numbers mean.
    runs = [context.find_run(text) for text in args.runs_to_start]
    if len(runs) == 1:
        return start(runs[0], args, context, print_record)
    records: list[RunRecord] = []
    codes = []
    try:
        for staged in runs:
            codes.append(start(staged, args, context, records.append))
            if codes[-1] > 128:
                break
    finally:
        if context.json:
            print_records(records)
    return next((code for code in codes if code), 0)
