"""`gage start`: start staged runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from gage._internal.cli.context import Context
from gage._internal.cli.groups import add_group_argument, words_of_group
from gage._internal.cli.starting import (
    add_isolation_arguments,
    add_on_argument,
    add_quiet_argument,
    find_isolated,
    print_record,
    print_records,
    start,
)
from gage._internal.errors import UsageError
from gage._internal.store import status
from gage._internal.store.record import RunRecord
from gage._internal.types import Run

DESCRIPTION = (
    "Start staged runs, one after the other. What each needs of the system is compared first, and"
    " its files are verified: what is missing, or a file that was changed, added or removed, stops"
    " it. The exit status is the first one that is not 0."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "runs_to_start",
        nargs="*",
        metavar="RUN",
        help="id, beginning of an id, name, number in the list, path of a run directory, or"
        " ssh://HOST/RUN",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="start a run here that needs what this system does not have",
    )
    add_on_argument(parser)
    add_isolation_arguments(parser)
    add_quiet_argument(parser)
    add_group_argument(parser, "start the staged runs of a group")


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    args.runs_to_start += words_of_group(args.group, status.STAGED, context)

    find_isolated(args, context)
    # All are found before the first is started: starting changes what numbers mean.
    runs = [_find(text, args.on, args.sealed, context) for text in args.runs_to_start]
    if not runs:
        raise UsageError("which runs?", "gage start RUN..., or --group GROUP")
    if len(runs) == 1:
        return _start(*runs[0], args, context, print_record)
    records: list[RunRecord] = []
    codes = []
    try:
        for staged, on in runs:
            codes.append(_start(staged, on, args, context, records.append))
            if codes[-1] > 128:
                break
    finally:
        if context.json:
            print_records(records)
    return next((code for code in codes if code), 0)


def _find(text: str, on: str | None, is_sealed: bool, context: Context) -> tuple[Run, str | None]:
    """Return the run that a word means, and where it is to be started, if not here."""
    if not text.startswith("ssh://"):
        return context.find_run(text), on
    if is_sealed:
        raise UsageError("--sealed is for runs that are started here", f"{text} is elsewhere")
    from gage._internal.cli.there import find_to_start

    return find_to_start(text, context)


def _start(
    run: Run,
    on: str | None,
    args: argparse.Namespace,
    context: Context,
    show: Callable[[RunRecord], None],
) -> int:
    if on is None:
        return start(run, args, context, show)
    from gage._internal.cli.there import start_there

    return start_there(run, on, args, context, show)
