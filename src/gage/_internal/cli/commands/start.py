"""`gage start`: start staged runs."""

from __future__ import annotations

import argparse

from gage._internal.catalog.find import find_group, list_runs
from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.groups import add_group_argument
from gage._internal.cli.starting import (
    add_isolation_arguments,
    add_on_argument,
    add_queue_arguments,
    add_quiet_argument,
    find_engine,
    find_isolated,
    is_queued,
    start_each,
    start_many,
)
from gage._internal.errors import HasJob, RunDamaged, UsageError
from gage._internal.lifecycle.start import check_startable
from gage._internal.store.jobs import find_open_job, refuse_job
from gage._internal.store.logs import counted
from gage._internal.types import Run

DESCRIPTION = (
    "Start staged runs, one after the other or some at once. What each needs of the system is"
    " compared first, and its files are verified: what is missing, or a file that was changed,"
    " added or removed, stops it. The exit status is the first one that is not 0."
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
    parser.add_argument("--all", action="store_true", help="start all staged runs, oldest first")
    parser.add_argument(
        "--failed",
        action="store_true",
        help="run those again, as new runs, that failed, were stopped or lost, oldest first",
    )
    add_group_argument(parser, "start the runs of a group that are staged")
    add_queue_arguments(parser)
    parser.add_argument(
        "--force",
        action="store_true",
        help="start a run here that needs what this system does not have",
    )
    add_on_argument(parser)
    add_isolation_arguments(parser)
    add_quiet_argument(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    find_isolated(args, context)
    engine = find_engine(args, context)
    runs = _find_all(args, context)
    if args.runs_to_start:
        # Of those that were found staged, others may have started some already.
        for found, _ in runs:
            refuse_job(found)
            check_startable(found)
    if not runs:
        what = "to be run again" if args.failed else "staged"
        count = 0 if args.failed else _count_given(args.group, context)
        given = f"; engines have {counted(count, 'run')}: gage jobs" if count else ""
        printer.print_note(f"there is no run that is {what}{given}")
        if context.json:
            printer.print_json([])
        return 0
    if engine:
        from gage._internal.cli.submitting import submit

        return submit([found for found, _ in runs], engine, args, context)
    if args.on is None and (not args.runs_to_start or is_queued(args)):
        return start_many([run for run, _ in runs], args, context)
    return start_each(runs, args, context)


def _find_all(args: argparse.Namespace, context: Context) -> list[tuple[Run, str | None]]:
    """Return the runs to be started, and where each is, if not here.

    All are found before the first is started: starting changes what numbers mean.
    """
    is_by_state = args.all or args.failed or args.group is not None
    if bool(args.runs_to_start) == is_by_state or (args.all and args.failed):
        what = "gage start RUN..., gage start --all, --failed or --group GROUP"
        raise UsageError("which runs?", what)
    if args.runs_to_start:
        return [_find(text, args.on, args.sealed, context) for text in args.runs_to_start]
    from gage._internal.catalog.startable import list_failed, list_staged

    runs = (list_failed if args.failed else list_staged)(context.home())
    if args.group is not None:
        group = set(find_group(context.home(), args.group))
        runs = [run for run in runs if run in group]
    if args.failed:
        from gage._internal.lifecycle.rerun import stage_retry

        runs = [stage_retry(run, durable=True) for run in runs if not _has_job(run)]
    return [(run, args.on) for run in runs]


def _count_given(group: str | None, context: Context) -> int:
    """Return how many runs, of a group where one is given, engines were given."""
    home = context.home()
    runs = list_runs(home) if group is None else find_group(home, group)
    return sum(1 for run in runs if find_open_job(run))


def _has_job(run: Run) -> bool:
    """Tell whether an engine may go on with a run, and say so."""
    try:
        refuse_job(run)
    except (HasJob, RunDamaged) as error:
        printer.print_note(f"{error.message}; it is not run again")
        return True
    return False


def _find(text: str, on: str | None, is_sealed: bool, context: Context) -> tuple[Run, str | None]:
    """Return the run that a word means, and where it is to be started, if not here."""
    if not text.startswith("ssh://"):
        return context.find_run(text), on
    if on:
        raise UsageError(f"{text} says itself where it is to be started", "leave out --on")
    if is_sealed:
        raise UsageError("--sealed is for runs that are started here", f"{text} is elsewhere")
    from gage._internal.cli.there import find_to_start

    return find_to_start(text, context)
