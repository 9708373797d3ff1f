"""`gage run`: stage an operation or script, then start it."""

from __future__ import annotations

import argparse

from gage._internal.cli import new_run
from gage._internal.cli.context import Context
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
from gage._internal.errors import UsageError

DESCRIPTION = (
    "Stage an operation or script, then start it. What it prints is passed on as it comes, and"
    " its exit status is that of this command; 125 means that Gage itself could not do it. Where"
    " config has several values, lr=[0.1,0.01] seed=range(5), there is a run for each combination."
)

_OPTIMIZE = (
    "search for the least METRIC of the summary in --trials N runs, proposed by Optuna"
    " (gage[optuna]); with --group G a search goes on to N trials in all"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    new_run.add_arguments(parser)
    add_queue_arguments(parser)
    parser.add_argument(
        "--with-upstream",
        action="store_true",
        help="first run the operations whose runs it takes files of, and what these need",
    )
    parser.add_argument("--optimize", metavar="METRIC", help=_OPTIMIZE)
    parser.add_argument(
        "--maximize", action="store_true", help="with --optimize: search for the greatest"
    )
    add_on_argument(parser)
    add_isolation_arguments(parser)
    add_quiet_argument(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    find_isolated(args, context)
    engine = find_engine(args, context)
    if args.optimize is not None:
        from gage._internal.cli.searching import search

        return search(args, context)
    if args.maximize:
        raise UsageError("--maximize goes with --optimize METRIC")
    if args.with_upstream:
        from gage._internal.cli.upstream import run_with_upstream

        return run_with_upstream(args, context)
    if engine:
        from gage._internal.lifecycle.submit import reach

        # Nothing is staged for an engine that is not there.
        reach(engine.kind, engine.options)
    is_queue = args.on is None and is_queued(args)
    # The command does not wait for the disk: a run that is lost with the machine while it
    # runs cannot be called staged any more.
    staged = new_run.new_staged_runs(args, context, durable=bool(args.on) or is_queue)
    if engine and staged:
        from gage._internal.cli.submitting import submit

        return submit(staged, engine, args, context)
    if is_queue or (args.on is None and len(staged) > 1):
        return start_many(staged, args, context)
    return start_each([(found, args.on) for found in staged], args, context)
