"""`gage rerun`: run a run again, from what it was staged with, and compare what comes of it."""

from __future__ import annotations

import argparse

from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.starting import add_quiet_argument, print_record, start
from gage._internal.errors import NotFinished, UsageError
from gage._internal.fs import printable
from gage._internal.lifecycle.rerun import stage_rerun
from gage._internal.lifecycle.start import start_run
from gage._internal.store.names import run_name
from gage._internal.types import Run

DESCRIPTION = (
    "Run a run again: a new run with the same command, config and files, which come from the run"
    " directory of the old one, so that the project is not needed. Its exit status is that of this"
    " command; 125 means that Gage itself could not do it. With --check the exit status is 0 if"
    " what comes of it is the same, and 1 if it is not."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "run",
        metavar="RUN",
        help="id, beginning of an id, name, number in the list, or path of a run directory",
    )
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument(
        "--stage", action="store_true", help="stage it only, and print the id of the new run"
    )
    ways.add_argument(
        "--check",
        action="store_true",
        help="compare generated files, summary and exit status with those of the old run",
    )
    parser.add_argument(
        "--times",
        type=_count,
        metavar="N",
        help="with --check: run it N times, and compare these too; default: 1",
    )
    parser.add_argument(
        "--tolerance",
        type=_tolerance,
        metavar="REL",
        help="with --check: by how much numbers of the summary may differ, such as 0.01",
    )
    parser.add_argument(
        "--output",
        action="store_true",
        help="with --check: let it count too what the run prints to its standard output",
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


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number of runs")
    return int(text)


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 on and below 1")
    return value


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    if not args.check and (args.times, args.tolerance, args.output) != (None, None, False):
        raise UsageError("--times, --tolerance and --output are for --check")
    original = context.find_run(args.run)
    if args.check:
        return _check(original, args, context)
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


def _check(original: Run, args: argparse.Namespace, context: Context) -> int:
    from gage._internal.catalog import compare_reruns
    from gage._internal.catalog.compare_sides import read_side
    from gage._internal.cli.differences import check_lines

    before = read_side(original)
    if not before.is_finished:
        raise NotFinished(
            f"run {original.id} has no results to compare with: it is {before.record.status}"
        )
    sides = []
    for number in range(1, (args.times or 1) + 1):
        rerun = stage_rerun(original, context.home(), args.label, args.tags, durable=False)
        if not args.quiet:
            told = f"rerun {number} of {args.times or 1}: run {run_name(rerun.id)}"
            printer.print_note(f"{told}, in {printable(rerun.run_dir)}")
        outcome = start_run(rerun, force=args.force)
        if outcome.signal is not None:
            printer.print_note(f"run {run_name(rerun.id)} was stopped by {outcome.signal}")
            return outcome.exit_code or 1
        sides.append(read_side(rerun))
    check = compare_reruns.compare_reruns(before, sides, args.tolerance or 0, args.output)
    if context.json:
        printer.print_json(compare_reruns.check_as_json(check, sides))
    else:
        for line in check_lines(check, len(sides), args.output):
            printer.print_data(line)
        if check.verdict == compare_reruns.DIFFERENT and len(sides) == 1:
            printer.print_note("--times 2 tells whether reruns differ among themselves too")
    return 0 if check.verdict == compare_reruns.IDENTICAL else 1
