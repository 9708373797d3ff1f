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
    find_isolated,
    is_queued,
    print_record,
    start,
    start_many,
)

DESCRIPTION = (
    "Stage an operation or script, then start it. What it prints is passed on as it comes, and"
    " its exit status is that of this command; 125 means that Gage itself could not do it."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    new_run.add_arguments(parser)
    add_queue_arguments(parser)
    add_on_argument(parser)
    add_isolation_arguments(parser)
    add_quiet_argument(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    find_isolated(args, context)
    if args.on:
        from gage._internal.cli.there import start_there

        staged = new_run.new_staged_run(args, context, durable=True)
        return start_there(staged, args.on, args, context, print_record)
    if is_queued(args):
        return start_many([new_run.new_staged_run(args, context, durable=True)], args, context)
    # The command does not wait for the disk: a run that is lost with the machine while it
    # runs cannot be called staged any more.
    staged = new_run.new_staged_run(args, context, durable=False)
    return start(staged, args, context, print_record)
