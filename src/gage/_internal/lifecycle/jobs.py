"""What became of runs that engines were given: asked, and where a job is over, settled.

A job that is gone without having started its run gives it back: the run is staged again. A run
that executed where this runs home is not, comes home when its job is gone. As long as an engine
cannot be reached nothing is concluded.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from gage._internal import clock, proc
from gage._internal.errors import EngineFailed, EngineUnreachable, GageError, NotRunning
from gage._internal.lifecycle.conclude import conclude_run
from gage._internal.portable.unpack import unpack_capsule
from gage._internal.proc import this_process
from gage._internal.store import layout, lock, meta, status
from gage._internal.store.heartbeat import Heart
from gage._internal.store.jobs import (
    JobNote,
    find_job,
    find_open_job,
    has_ended,
    has_stopped,
    read_options,
    remove_job,
    stand_in,
    write_job,
)
from gage._internal.store.logs import log_action
from gage._internal.store.names import run_name
from gage._internal.types import Run
from gage.plugins import GONE, QUEUED, Engine, JobState, Ticket, find_engine

# Microseconds after which a process on another host, that cannot be seen, does not submit any more.
_LONGEST_SUBMITTING = 3_600 * 10**6
# Seconds between two looks at runs, and at most between two questions to an engine.
_LOOK = 0.2
_LONGEST_PAUSE = 5.0
# Seconds after which a job that was cancelled is to be gone, besides those that the option `grace`
# gives it: Kubernetes lets one have 120 by itself, and takes its own time.
_LONGEST_END = 300.0

# An engine, its options, and its jobs.
Asked = tuple[Engine, Mapping[str, Any], Sequence[tuple[Run, JobNote]]]


class Standing(NamedTuple):
    """How it is about a run that an engine was given.

    `state` is None where the engine did not tell, for the reason in `fault`. `is_over` tells that
    there is nothing more to come of the job; `was_returned` that the run is staged as before.
    """

    run: Run
    note: JobNote
    state: JobState | None
    fault: str | None = None
    is_over: bool = False
    was_returned: bool = False


def settle(runs: Iterable[Run]) -> Sequence[Standing]:
    """Ask engines for all their jobs among runs at once, and settle those that are over.

    The order is that of the runs; those that no engine was given are left out.

    Raises:
        RunDamaged: the note of a job cannot be understood.
    """
    found: dict[Run, Standing | None] = {}
    asked: list[tuple[Run, JobNote]] = []
    for run in runs:
        note = find_job(run)
        if note is None:
            continue
        found[run] = None
        if has_ended(run, note):
            found[run] = Standing(run, note, JobState(GONE, note.job), is_over=True)
        else:
            asked.append((run, note))
    for engine, options, jobs in _by_engine(asked):
        for standing in _settle(engine, options, jobs):
            found[standing.run] = standing
    return [standing for standing in found.values() if standing]


def cancel(runs: Iterable[Run], wait: Callable[[Standing], None]) -> None:
    """End the jobs of runs, whether they wait or execute, and wait until they are over.

    `wait` is told of each that is.

    Raises:
        EngineFailed: an engine does not do it, or cannot be reached.
        NotRunning: a job does not end.
    """
    standings = settle(runs)
    open_runs = []
    asked = []
    for standing in standings:
        if standing.state is None:
            raise EngineUnreachable(standing.fault or "", "repeat it later")
        if standing.is_over:
            wait(standing)
        else:
            open_runs.append(standing.run)
            asked.append((standing.run, standing.note._replace(job=standing.state.job)))
    for engine, options, jobs in _by_engine(asked):
        engine.cancel([_ticket(note) for _, note in jobs], options)
    grace = max((note.options.get("grace", 0) for _, note in asked), default=0)
    until = time.monotonic() + _LONGEST_END + grace
    for standing in iter_over(open_runs, lambda: time.monotonic() < until):
        wait(standing)
        open_runs.remove(standing.run)
    left = [run for run in open_runs if find_open_job(run)]
    if left:
        names = ", ".join(run_name(run.id) for run in left)
        raise NotRunning(f"the jobs of {names} did not end", "gage jobs tells how it is about them")


def iter_over(
    runs: Iterable[Run],
    goes_on: Callable[[], bool] = lambda: True,
    tell: Callable[[str], None] = lambda fault: None,
) -> Iterator[Standing]:
    """Yield how it is about runs as their jobs are over, for as long as `goes_on` says.

    `tell` is told when an engine does not answer, once in a row.
    """
    waiting = list(runs)
    pause, next_time, fault = _LOOK, 0.0, None
    while waiting:
        is_due = time.monotonic() >= next_time
        over = settle(waiting if is_due else [run for run in waiting if _was_seen_to_end(run)])
        if is_due:
            pause = min(pause * 1.5, _LONGEST_PAUSE)
            next_time = time.monotonic() + pause
            faults = [standing.fault for standing in over if standing.fault]
            if faults and fault is None:
                tell(faults[0])
            fault = faults[0] if faults else None
        for standing in over:
            if standing.is_over:
                waiting.remove(standing.run)
                yield standing
        if is_due:
            # Whose note somebody else has removed.
            waiting = [run for run in waiting if find_job(run)]
        if not waiting or not goes_on():
            return
        time.sleep(_LOOK)


def _was_seen_to_end(run: Run) -> bool:
    note = find_job(run)
    return note is None or has_ended(run, note)


def _by_engine(asked: Iterable[tuple[Run, JobNote]]) -> Iterator[Asked]:
    """Yield engines with their jobs; those with other options are asked apart."""
    grouped: dict[tuple[str, str], list[tuple[Run, JobNote]]] = {}
    options_of: dict[tuple[str, str], Mapping[str, Any]] = {}
    for run, note in asked:
        options = read_options(run, note)
        key = (note.engine, json.dumps(dict(options), sort_keys=True))
        options_of[key] = options
        grouped.setdefault(key, []).append((run, note))
    for key, jobs in grouped.items():
        yield find_engine(key[0]), options_of[key], jobs


def _ticket(note: JobNote) -> Ticket:
    return Ticket(note.submission, note.number, note.job)


def _settle(
    engine: Engine, options: Mapping[str, Any], jobs: Sequence[tuple[Run, JobNote]]
) -> Iterator[Standing]:
    try:
        states = engine.poll([_ticket(note) for _, note in jobs], options)
        has_files = engine.capabilities(options).has_files
    except EngineFailed as error:
        for run, note in jobs:
            yield Standing(run, note, None, error.message)
        return
    over: list[Ticket] = []
    for (run, note), state in zip(jobs, states, strict=True):
        if state.state != GONE:
            yield Standing(run, _complete(run, note, state), state)
        elif not note.job and _may_submit(note):
            yield Standing(run, note, JobState(QUEUED, "", "SUBMITTING"))
        elif has_files:
            standing = _settle_here(run, note, state)
            if standing.is_over:
                over.append(_ticket(note))
            yield standing
        else:
            standing = _settle_there(run, note, state, engine, options)
            if standing.is_over:
                # At once: what it has left may be much.
                _let_go(engine, [_ticket(note)], options)
            yield standing
    if over:
        _let_go(engine, over, options)


def _let_go(engine: Engine, tickets: Sequence[Ticket], options: Mapping[str, Any]) -> None:
    """Let an engine forget jobs whose runs tell by now what became of them."""
    with suppress(EngineFailed):
        engine.let_go(tickets, options)


def _complete(run: Run, note: JobNote, state: JobState) -> JobNote:
    """Add to a note what the engine calls the job, where whoever submitted it could not."""
    if note.job or not state.job or _may_submit(note):
        return note
    note = note._replace(job=state.job)
    write_job(run, note)
    return note


def _may_submit(note: JobNote) -> bool:
    """Tell whether the process that asks the engine may still be about to."""
    is_alive = proc.is_alive(note.submitter)
    if is_alive is None:
        return clock.now() - note.time < _LONGEST_SUBMITTING
    return is_alive


def _settle_here(run: Run, note: JobNote, state: JobState) -> Standing:
    """Settle a job that is gone, and did or would have done all in this runs home."""
    # What a network file system tells of files that are not there is old, unless one has looked.
    os.listdir(layout.run_meta_dir(run))
    if status.is_cut(run, lock.find_holder(run)):
        with suppress(GageError, OSError):
            conclude_run(run)
    found = status.run_status(run)
    if found == status.STAGED:
        returned = _give_back(run, note, state)
        return Standing(run, note, state, is_over=returned, was_returned=returned)
    # One that is said to be running may be in its last moment, or on a host that is lost: that it
    # is will be seen when it was not heard of for long.
    is_over = found not in status.ACTIVE
    if is_over and not has_ended(run, note):
        # Lost, or killed before it was finalized, or preempted and not started again.
        return _be_over(run, note, state)
    return Standing(run, note, state, is_over=is_over)


def _give_back(run: Run, note: JobNote, state: JobState) -> bool:
    """Let a run be staged as before, as nothing has come of its job; tell whether it is."""
    try:
        lock.acquire(run, lock.heartbeat())
    except FileExistsError:
        holder = lock.find_holder(run)
        if holder is None or holder.alive is not False:
            # Somebody starts it, or gives it back.
            return False
        return _forget(run, note, state)
    try:
        meta.look_again(run)
        return not meta.has_meta(run, layout.STARTED) and _forget(run, note, state)
    finally:
        lock.release(run)


def _forget(run: Run, note: JobNote, state: JobState) -> bool:
    if find_job(run) == note:
        word = note.job or note.submission
        said = f": {state.said}" if state.said else ""
        log_action(run, f"Not started by {note.engine}, which has no job {word} any more{said}")
        remove_job(run)
    return True


def _settle_there(
    run: Run, note: JobNote, state: JobState, engine: Engine, options: Mapping[str, Any]
) -> Standing:
    """Bring home a run whose job is gone, and executed it elsewhere."""
    home = os.path.dirname(run.run_dir)
    with _alone(os.path.join(home, layout.SUBMISSIONS, note.submission)) as is_alone:
        meta.look_again(run)
        if not is_alone or find_job(run) != note:
            return Standing(run, note, state, is_over=has_ended(run, note))
        if has_stopped(run, note):
            return _be_over(run, note, state)
        before = lock.find_holder(run)
        if before is not None and before.process != stand_in(note) and before.alive is not False:
            # Somebody else is at it: submitting was interrupted before it was this job's.
            return Standing(run, note, state)
        lock.pass_on(run, this_process(), lock.heartbeat())
        lock.keep(run)
        try:
            # It may be much, and others are to see that somebody is at it.
            with Heart(run, lambda: None).beating():
                kept = _collect(run, note, engine, options)
        except (GageError, OSError) as error:
            lock.pass_on(run, stand_in(note))
            return Standing(run, note, state, str(error))
        meta.look_again(run)
        if has_stopped(run, note):
            lock.release(run)
            return _be_over(run, note, state)
        was_not_given = not note.job and state.has_begun is None
        if kept is None and (state.has_begun is False or was_not_given):
            # It was never begun; or submitting it was interrupted.
            _forget(run, note, state)
            lock.release(run)
            return Standing(run, note, state, is_over=True, was_returned=True)
        return _lose(run, note, state, kept)


def _be_over(run: Run, note: JobNote, state: JobState) -> Standing:
    """Note that there is nothing more to come of a job."""
    note = note._replace(is_over=True)
    write_job(run, note)
    return Standing(run, note, state, is_over=True)


def _collect(run: Run, note: JobNote, engine: Engine, options: Mapping[str, Any]) -> str | None:
    """Bring home what a job has left; return the path of a capsule that tells of no end.

    Such a one came of a worker whose runner was killed; it is kept beside what was submitted.
    """
    submissions = os.path.join(os.path.dirname(run.run_dir), layout.SUBMISSIONS)
    with tempfile.TemporaryDirectory(prefix=".coming-", dir=submissions) as folder:
        path = os.path.join(folder, f"{run.id}.zip")
        if not engine.collect(_ticket(note), path, options):
            return None
        unpack_capsule(path, os.path.dirname(run.run_dir))
        if has_stopped(run, note):
            return None
        kept = os.path.join(submissions, note.submission, f"{run.id}.zip")
        os.replace(path, kept)
        return kept


def _lose(run: Run, note: JobNote, state: JobState, kept: str | None) -> Standing:
    """Record that a run was begun elsewhere, and that nothing of it is left, or no end."""
    said = f": {state.said}" if state.said else ""
    where = f", where it executed on {state.host}" if state.host else ""
    log_action(run, f"Lost at {note.engine}{where}{said}")
    if kept is not None:
        log_action(run, f"What it had made by then is in {kept}")
    meta.write_time(run, layout.STARTED, clock.now())
    standing = _be_over(run, note, state)
    lock.release(run)
    return standing


@contextmanager
def _alone(folder: str) -> Iterator[bool]:
    """Let one process at a time bring home what was submitted together; tell whether it is this."""
    os.makedirs(folder, exist_ok=True)
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(fd)
