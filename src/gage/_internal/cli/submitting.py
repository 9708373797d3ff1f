"""What `run` and `start` share where runs are given to an engine: submit, and wait."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.starting import print_records, tell_ended
from gage._internal.errors import GageError, UnknownEngine, UnknownRemote
from gage._internal.fs import printable
from gage._internal.lifecycle.jobs import Standing, iter_over, settle
from gage._internal.lifecycle.submit import submit_runs
from gage._internal.project.engines import EngineSetting, find_engine_setting, list_engines
from gage._internal.project.projects import find_project_dir, read_project
from gage._internal.project.remotes import find_remote_address
from gage._internal.store import lock, status
from gage._internal.store.jobs import find_open_job, stand_in
from gage._internal.store.names import run_name
from gage._internal.store.record import RunRecord, find_record
from gage._internal.types import NOTHING, Run
from gage.plugins import JobState

# What `run` and `start` exit with where a run was not started.
_NOT_STARTED = 125


def find_engine(text: str, context: Context) -> EngineSetting | None:
    """Return the engine that `--on` names; None where it is the address or name of a remote.

    Raises:
        UnknownEngine: it is neither.
    """
    if "/" in text or ":" in text:
        return None
    cwd = context.cwd
    project_dir = find_project_dir(cwd)
    project = read_project(project_dir) if project_dir else None
    engines = project.engines if project else NOTHING
    found = find_engine_setting(text, engines)
    if found is not None:
        return found
    try:
        find_remote_address(text, cwd, project_dir, project.remotes if project else NOTHING)
    except UnknownRemote:
        known = ", ".join(map(printable, list_engines(engines)))
        hint = f"there are {known}; ssh://HOST is another machine"
        raise UnknownEngine(f"there is no engine or remote {printable(text)}", hint) from None
    return None


def submit(
    runs: Sequence[Run],
    setting: EngineSetting,
    args: argparse.Namespace,
    context: Context,
) -> int:
    """Give staged runs to an engine, and with `--wait` see them to their ends; return the status.

    Raises:
        GageError: they cannot be submitted; they stay staged.
    """
    try:
        jobs = submit_runs(runs, setting.kind, setting.options) if runs else []
    except GageError:
        # What was staged for this is there, for whoever starts it some other way.
        staged = [run_name(run.id) for run in runs if status.run_status(run) == status.STAGED]
        if staged and not args.quiet:
            more = f" and {len(staged) - 1} more" if len(staged) > 1 else ""
            printer.print_note(f"not submitted: run {staged[0]}{more}; gage list shows it")
        raise
    if not args.wait:
        if context.json:
            submitted = [Standing(run, note, None) for run, note in jobs]
            printer.print_json([job_as_json(each, find_record(each.run)) for each in submitted])
        elif not args.quiet:
            for run, note in jobs:
                printer.print_data(f"{run_name(run.id)} {note.job}")
        return 0
    if not args.quiet:
        for run, note in jobs:
            printer.print_note(f"run {run_name(run.id)} is job {note.job} of {note.engine}")
    return _wait(runs, args, context)


def _wait(runs: Sequence[Run], args: argparse.Namespace, context: Context) -> int:
    """See runs to their ends; return the exit status of the first that is not 0."""
    try:
        for standing in iter_over(runs, tell=_tell_fault):
            record = find_record(standing.run)
            if standing.was_returned:
                said = f": {standing.state.said}" if standing.state else ""
                printer.print_note(f"run {record.name} was not started{said}")
            elif not args.quiet:
                tell_ended(record)
    except KeyboardInterrupt:
        printer.print_note("the jobs go on: gage jobs tells how it is about them")
        return 130
    records = [find_record(run) for run in runs]
    if context.json:
        print_records(records)
    return next((code for code in map(_exit_status, records) if code), 0)


def await_output(run: Run, follow: bool) -> None:
    """Have what a run prints here, where it is at an engine that has not this runs home.

    It comes home when the run has ended: with `follow` that is waited for.
    """
    note, holder = find_open_job(run), lock.find_holder(run)
    if note is None or holder is None or holder.process != stand_in(note):
        return
    if follow:
        for _ in iter_over([run], tell=_tell_fault):
            pass
    elif not any(standing.is_over for standing in settle([run])):
        printer.print_note(f"what the run prints comes from {note.engine} when it has ended")


def _tell_fault(fault: str) -> None:
    printer.print_note(f"{fault}; trying again")


def _exit_status(record: RunRecord) -> int:
    if record.status in (status.STAGED, *status.ACTIVE):
        return _NOT_STARTED
    if record.exit is not None:
        return status.exit_code(record.exit) or (0 if record.status == status.COMPLETED else 1)
    return 1


def job_as_json(standing: Standing, record: RunRecord) -> dict[str, Any]:
    """Return what is known of the job of a run as JSON values."""
    note, state = standing.note, standing.state or JobState("")
    return {
        "id": record.run.id,
        "name": record.name,
        "operation": record.opref.name,
        "status": record.status,
        "engine": note.engine,
        "submission": note.submission,
        "number": note.number,
        "job": note.job or state.job or None,
        "state": state.state or None,
        "said": state.said or None,
        "host": state.host or None,
        "submitted": note.time,
    }


def job_text(standing: Standing) -> str:
    """Return how it is about the job of a run, in a few words."""
    note, state = standing.note, standing.state or JobState("")
    job = f"{note.engine} {note.job or state.job or note.submission}"
    said = standing.fault or state.said or ("" if standing.is_over else state.state)
    where = f" on {state.host}" if state.host else ""
    return printable(f"{job}: {said}{where}" if said else job)
