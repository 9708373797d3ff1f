"""`gage jobs`: what became of runs that engines were given."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from gage._internal.catalog.find import list_runs
from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.submitting import job_as_json
from gage._internal.cli.times import age_text
from gage._internal.fs import printable
from gage._internal.lifecycle.jobs import Standing, settle
from gage._internal.store.jobs import find_open_job
from gage._internal.store.record import find_record
from gage._internal.types import Run

DESCRIPTION = (
    "Ask engines what became of the runs that they were given, and list those that wait or"
    " execute. A run that an engine has let go without starting it is staged again; what executed"
    " without this runs home is brought home. The exit status is 1 where an engine does not answer."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("runs_to_list", nargs="*", metavar="RUN", help="a run; default: all")
    parser.add_argument("-a", "--all", action="store_true", help="list those that are over, too")


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    if args.runs_to_list:
        runs: Sequence[Run] = [context.find_run(text) for text in args.runs_to_list]
    else:
        runs = [found for found in list_runs(context.home()) if args.all or find_open_job(found)]
    standings = settle(runs)
    faults = dict.fromkeys(standing.fault for standing in standings if standing.fault)
    for standing in standings:
        if standing.was_returned:
            record = find_record(standing.run)
            said = f": {standing.state.said}" if standing.state and standing.state.said else ""
            printer.print_note(f"run {record.name} was not started, and is staged again{said}")
    listed = [each for each in standings if not each.was_returned]
    if not args.all and not args.runs_to_list:
        listed = [each for each in listed if not each.is_over]
    if context.json:
        printer.print_json([job_as_json(each, find_record(each.run)) for each in listed])
    elif listed:
        columns = ("id", "run", "operation", "status", "engine", "job", "state", "host", "since")
        printer.print_table(columns, [_cells(each) for each in listed], shrink=("state",))
    else:
        printer.print_note(f"no jobs in {printable(context.home())}")
    for fault in faults:
        printer.print_note(fault)
    return 1 if faults else 0


def _cells(standing: Standing) -> list[str]:
    record, note, state = find_record(standing.run), standing.note, standing.state
    said = (state.said or state.state) if state else "?"
    return [
        record.run.id[:8],
        record.name,
        printable(record.opref.name),
        record.status,
        printable(note.engine),
        printable(note.job or (state.job if state else "") or "-"),
        printable(said),
        printable(state.host if state else "") or "-",
        age_text(note.time),
    ]
