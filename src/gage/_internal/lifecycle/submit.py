"""Give staged runs to an engine, so that none is ever lost between here and there.

Each run is noted as a job before the engine is asked, under a name that the engine keeps with what
it makes of it. So whenever this is interrupted, what is noted and what the engine knows tell
together what became of each run; see `lifecycle.jobs`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gage._internal import clock, fs
from gage._internal.errors import (
    AlreadyStarted,
    EngineFailed,
    EngineUnreachable,
    HasJob,
    NotStaged,
)
from gage._internal.portable.carried import keep_runner
from gage._internal.proc import this_process
from gage._internal.store import layout, lock, meta, status
from gage._internal.store.attempts import is_resumable
from gage._internal.store.jobs import (
    JobNote,
    create_job,
    find_job,
    has_ended,
    refuse_job,
    remove_job,
    stand_in,
    write_job,
    write_private,
)
from gage._internal.store.logs import log_action
from gage._internal.store.resources import resources_of
from gage._internal.types import Run
from gage.plugins import Capabilities, Engine, Job, Submission, find_engine, submission_name

_RUNS = "runs.json"


def submit_runs(
    runs: Sequence[Run], kind: str, options: Mapping[str, Any]
) -> Sequence[tuple[Run, JobNote]]:
    """Give staged runs of one runs home to an engine, as one submission; return their jobs.

    Raises:
        HasJob: one was given to an engine before, and that has not ended.
        NotStaged, AlreadyStarted: one is not to be started.
        EngineUnreachable: nobody knows whether the engine has them; they are noted as if it had.
        EngineFailed: it does not take them; they stay staged.
        UnknownPlugin: no such engine is installed.
    """
    engine, able = reach(kind, options)
    has_files = able.has_files
    for run in runs:
        _check(run, has_files)
    home = os.path.dirname(runs[0].run_dir)
    runner = keep_runner(home)
    name = submission_name()
    folder = os.path.join(home, layout.SUBMISSIONS, name)
    os.makedirs(folder)
    fs.replace_file(os.path.join(folder, _RUNS), meta.json_bytes([run.run_dir for run in runs]))
    process, now = this_process(), clock.now()
    write_private(folder, {n: value for n, value in options.items() if n in able.private})
    noted_options = {n: value for n, value in options.items() if n not in able.private}
    notes = [
        JobNote(kind, noted_options, name, number, "", process, now, ended_before=_find_end(run))
        for number, run in enumerate(runs)
    ]
    noted: list[Run] = []
    try:
        for run, note in zip(runs, notes, strict=True):
            _note(run, note, has_files)
            noted.append(run)
        jobs = [Job(run.id, run.run_dir, resources_of(meta.read_opdef(run).data)) for run in runs]
    except BaseException:
        _withdraw(noted, has_files)
        fs.remove_tree(folder)
        raise
    words = _submit(engine, Submission(name, jobs, runner, folder), options, noted, has_files)
    notes = [note._replace(job=word) for note, word in zip(notes, words, strict=True)]
    for run, note in zip(runs, notes, strict=True):
        write_job(run, note)
    return list(zip(runs, notes, strict=True))


def _find_end(run: Run) -> int | None:
    return meta.find_time(run, layout.STOPPED)


def reach(kind: str, options: Mapping[str, Any]) -> tuple[Engine, Capabilities]:
    """Return an engine that can be reached, and what it does.

    Raises:
        EngineFailed: it cannot be reached, or does not take the options.
        UnknownPlugin: no such engine is installed.
    """
    engine = find_engine(kind)
    able = engine.capabilities(options)
    engine.poll((), options)
    return engine, able


def _submit(
    engine: Engine,
    submission: Submission,
    options: Mapping[str, Any],
    runs: Sequence[Run],
    has_files: bool,
) -> Sequence[str]:
    try:
        return engine.submit(submission, options)
    except EngineUnreachable as error:
        hint = "gage jobs tells later whether it was; until then it counts as submitted"
        raise EngineUnreachable(error.message, hint) from None
    except EngineFailed:
        # What had begun before the rest was refused, is the engine's all the same.
        _withdraw([run for run in runs if _is_open(run, has_files)], has_files)
        fs.remove_tree(submission.folder)
        raise


def _is_open(run: Run, has_files: bool) -> bool:
    return not has_files or status.run_status(run) == status.STAGED


def _check(run: Run, has_files: bool) -> None:
    """Make sure that a run can be given to an engine.

    Raises:
        HasJob, NotStaged, AlreadyStarted: it cannot.
    """
    refuse_job(run)
    found = status.run_status(run)
    if found == status.STAGED:
        return
    if not meta.has_meta(run, layout.STAGED):
        raise NotStaged(f"run {run.id} is not staged: it is {found}", "stage it again")
    is_open = has_files and found in (status.LOST, status.TERMINATED) and is_resumable(run)
    if not is_open:
        hint = "a staged run is started once; gage rerun makes another one of it"
        raise AlreadyStarted(f"run {run.id} was started and is {found}", hint)


def _note(run: Run, note: JobNote, has_files: bool) -> None:
    """Note the job of a run; where it is to execute without this runs home, nobody starts it here.

    Raises:
        HasJob, AlreadyStarted: another process was faster.
    """
    before = find_job(run)
    if before is not None and has_ended(run, before):
        remove_job(run)
    try:
        create_job(run, note)
    except FileExistsError:
        refuse_job(run)
        raise HasJob(f"run {run.id} was given to an engine just now", "gage jobs") from None
    if has_files:
        _log(run, f"Submitting to {note.engine} as {note.submission}, number {note.number}")
        return
    try:
        lock.acquire(run)
    except FileExistsError:
        remove_job(run)
        who = lock.find_holder(run)
        raise AlreadyStarted(f"run {run.id} was started by {who}") from None
    _log(run, f"Submitting to {note.engine} as {note.submission}, number {note.number}")
    lock.pass_on(run, stand_in(note))


def _withdraw(runs: Iterable[Run], has_files: bool) -> None:
    """Take back that runs are jobs: the engine has none of them."""
    for run in runs:
        _log(run, "Not submitted: it was refused")
        if not has_files:
            lock.release(run)
        remove_job(run)


def _log(run: Run, sentence: str) -> None:
    """Log what is done with a run; the log of one that has ended stays as it was sealed."""
    if not meta.has_meta(run, layout.STOPPED):
        log_action(run, sentence)
