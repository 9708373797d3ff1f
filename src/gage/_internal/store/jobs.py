"""The job of a run: which engine was given it, kept as a note beside the run.

The note is written before the engine is asked, with the name under which it is asked, so that
whoever is interrupted between the two can be told later what became of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from gage._internal import fs
from gage._internal.errors import HasJob
from gage._internal.proc import ProcessId
from gage._internal.store import layout, meta, status
from gage._internal.store.attempts import is_resumable
from gage._internal.store.names import run_name
from gage._internal.types import NOTHING, Run

_PRIVATE = "private.json"


class JobNote(NamedTuple):
    """A run's job: the kind of engine and how it is come to, and what it is called there.

    Options that nobody else is to read lie beside what was submitted (see `read_options`).

    `submission` names the jobs that were submitted together, `number` this one among them, and
    `job` is the engine's own word for it, "" while that is not known. `submitter` is the process
    that asks the engine. `time` is in microseconds since the epoch. `is_over` tells that nothing
    more comes of the job, where the run itself does not tell. `ended_before` is when the run had
    ended before it was given to the engine, if it had: of one that is resumable.
    """

    engine: str
    options: Mapping[str, Any]
    submission: str
    number: int
    job: str
    submitter: ProcessId
    time: int
    is_over: bool = False
    ended_before: int | None = None


def write_private(folder: str, options: Mapping[str, Any]) -> None:
    """Keep options of an engine in the directory of a submission, for this user's eyes only."""
    if options:
        path = os.path.join(folder, _PRIVATE)
        fs.replace_file(path, meta.json_bytes(dict(options)), mode=0o600)


def read_options(run: Run, note: JobNote) -> Mapping[str, Any]:
    """Return all options by which the engine of a run's job is come to.

    Raises:
        RunDamaged: they cannot be read.
    """
    home = os.path.dirname(run.run_dir)
    path = os.path.join(home, layout.SUBMISSIONS, note.submission, _PRIVATE)
    try:
        return {**note.options, **json.loads(fs.read_bytes(path))}
    except (FileNotFoundError, PermissionError):
        # There are none, or they are another user's: the engine says what is missing.
        return note.options
    except (ValueError, TypeError, OSError) as error:
        raise meta.damaged(run, layout.JOB, f"{path} cannot be read: {error}") from None


def create_job(run: Run, note: JobNote) -> None:
    """Note the job of a run that has none.

    Raises:
        FileExistsError: it has one.
    """
    path = layout.notes_path(run, layout.JOB)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fs.create_file(path, _bytes(note), mode=0o644)


def write_job(run: Run, note: JobNote) -> None:
    """Note the job of a run."""
    path = layout.notes_path(run, layout.JOB)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fs.replace_file(path, _bytes(note), mode=0o644)


def _bytes(note: JobNote) -> bytes:
    table = {**note._asdict(), "options": dict(note.options), "submitter": list(note.submitter)}
    return meta.json_bytes(table)


def remove_job(run: Run) -> None:
    """Forget the job of a run; none is no error."""
    path = layout.notes_path(run, layout.JOB)
    fs.remove_file(path)
    try:
        os.rmdir(os.path.dirname(path))
    except OSError:
        # There are other notes, or none.
        pass


def find_job(run: Run) -> JobNote | None:
    """Return the job of a run; None where no engine was given it.

    Raises:
        RunDamaged: the note cannot be understood.
    """
    try:
        table = json.loads(fs.read_bytes(layout.notes_path(run, layout.JOB)))
        note = JobNote(**{"options": NOTHING, **table})
        return note._replace(submitter=ProcessId(*note.submitter))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, OSError) as error:
        raise meta.damaged(run, layout.JOB, f"cannot be read: {error}") from None


def has_ended(run: Run, note: JobNote) -> bool:
    """Tell whether a run has ended since an engine was given it, or its job has left it lost."""
    if note.is_over:
        return True
    if not has_stopped(run, note):
        return False
    # What is preempted the engine may start again: it is not over before its job is.
    return status.run_status(run) != status.TERMINATED or not is_resumable(run)


def has_stopped(run: Run, note: JobNote) -> bool:
    """Tell whether a run has ended, maybe not for good, since an engine was given it."""
    stopped = meta.find_time(run, layout.STOPPED)
    # Not by what comes first: this is the clock of who executed it, which may be any.
    has_ended_since = stopped is not None and stopped != note.ended_before
    # Of a run that comes home this is written last.
    return has_ended_since and meta.has_meta(run, layout.STARTED)


def find_open_job(run: Run) -> JobNote | None:
    """Return the job of a run that has not ended since an engine was given it, or None.

    Raises:
        RunDamaged: the note cannot be understood.
    """
    note = find_job(run)
    return None if note is None or has_ended(run, note) else note


def stand_in(note: JobNote) -> ProcessId:
    """Return who holds the lock of a run that is at an engine without this runs home."""
    # No host is called so.
    return ProcessId(f"the engine {note.engine}", "", "", 0, "")


def refuse_job(run: Run) -> None:
    """Make sure that no engine was given a run that has not ended since.

    Raises:
        HasJob: one was.
    """
    note = find_open_job(run)
    if note is None:
        return
    job = f"job {note.job}" if note.job else f"submission {note.submission}"
    raise HasJob(
        f"run {run.id} is {job} of {note.engine}",
        f"gage jobs tells how it is about it, gage stop {run_name(run.id)} takes it back",
    )
