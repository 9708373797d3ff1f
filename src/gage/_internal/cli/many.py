"""Many runs started: the queue, what is said of it as it goes, and what at its end."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gage._internal import fs
from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.starting import find_isolated, print_records, tell_ended
from gage._internal.cli.values import config_text
from gage._internal.errors import RunDamaged
from gage._internal.fs import printable
from gage._internal.lifecycle.budget import at_most, find_machine, said_resources
from gage._internal.lifecycle.queue import work_through
from gage._internal.lifecycle.start import Outcome, start_run
from gage._internal.lifecycle.tasks import Counts, Done, End, Limits, Running, Task
from gage._internal.store import lock, meta, status
from gage._internal.store.attempts import is_resumable
from gage._internal.store.logs import counted
from gage._internal.store.names import run_name
from gage._internal.store.record import find_record
from gage._internal.types import Run

if TYPE_CHECKING:
    from gage._internal.lifecycle.tasks import View


def start_runs(runs: Sequence[Run], args: argparse.Namespace, context: Context) -> int:
    """Start staged runs, as many at once as may be; return the exit status.

    Raises:
        RunDamaged: the operation of one cannot be read; none is started.
    """
    tasks = [Task(run.id, said_resources(meta.read_opdef(run).data), run) for run in runs]
    kept = [run for run in runs if lock.is_kept(run)]
    if kept:
        # They are for this process, which has waited for no disk; now others start them.
        fs.sync(kept[0].run_dir)
        for run in kept:
            lock.release(run)
    return work(tasks, args, context)


def work(
    tasks: Sequence[Task], args: argparse.Namespace, context: Context, again: str | None = None
) -> int:
    """Work through a queue, and tell of it; return the exit status.

    `again` is what makes those runs that were not made.
    """
    is_apart = args.jobs > 1
    limits = Limits(args.jobs, args.keep_going, args.retries, is_apart)
    machine = find_machine(with_gpus=any(task.resources.gpus for task in tasks))
    sealed = find_isolated(args, context)
    force = getattr(args, "force", False)
    if force:
        tasks = [task._replace(resources=at_most(task.resources, machine)) for task in tasks]
    is_live = is_apart and not args.quiet and printer.is_watched()

    def start(run: Run) -> Outcome:
        def notice(sentence: str) -> None:
            printer.print_note(f"run {run_name(run.id)}: {sentence}")

        echo = _silent if is_apart else printer.Echo(stdout=2 if context.json else 1)
        return start_run(run, echo, force=force, notice=notice, sealed=sealed, timeout=args.timeout)

    _import_what_runs_need()
    view: View = _Plain(context, args.quiet, with_starts=len(tasks) > 1)
    if is_live:
        from gage._internal.cli.live import Live

        # Nothing but the view itself may draw.
        begin = printer.print_no_notes
        with Live() as view:
            done = work_through(tasks, start, _retry, limits, machine, view, begin)
    else:
        done = work_through(tasks, start, _retry, limits, machine, view)
    if context.json:
        ended = [end.run for end in done.ends if end.run is not None and not end.is_passed]
        print_records(list(map(find_record, ended)))
    _tell_done(done, len(tasks), args.quiet, again)
    return done.code


def _silent(stream: str, data: bytes) -> None:
    pass


def _retry(run: Run) -> Run:
    from gage._internal.lifecycle.rerun import stage_retry

    return stage_retry(run, durable=False)


def _import_what_runs_need() -> None:
    """Import here, once, what each child would import for itself."""
    import fcntl  # noqa: F401


class _Plain:
    """Tells of a queue in lines."""

    interval: float | None = None

    def __init__(self, context: Context, is_quiet: bool, with_starts: bool) -> None:
        self._json = context.json
        self._is_quiet = is_quiet
        self._with_starts = with_starts

    def began(self, running: Running) -> None:
        if self._with_starts and not self._is_quiet and running.run is not None:
            name = called(running.task, running.run)
            printer.print_note(f"run {name} started: {what_of(running.run)}")

    def ended(self, end: End, again: bool) -> None:
        tell_end(end, again, self._json, self._is_quiet)

    def dropped(self, task: Task, reason: str) -> None:
        tell_dropped(task, reason)

    def stopping(self, running: Sequence[Running]) -> None:
        tell_stopping(running)

    def awaiting(self, gpus: int) -> None:
        tell_awaiting(gpus)

    def refresh(self, running: Sequence[Running], counts: Counts) -> None:
        pass


def called(task: Task, run: Run | None) -> str:
    """Return what people call a task: the name of its run, or of what is to be one."""
    run = run or task.run
    return run_name(run.id) if run is not None else printable(task.name)


def what_of(run: Run) -> str:
    """Return which operation a run executes, with which config."""
    try:
        opref, config = meta.read_opref(run), meta.read_config(run)
    except RunDamaged as error:
        return error.message
    return f"{printable(opref.name)} {config_text(config)}".rstrip()


def tell_end(end: End, again: bool, as_json: bool, is_quiet: bool) -> None:
    """Say how a task ended."""
    name = called(end.task, end.run)
    if end.is_passed:
        printer.print_note(f"run {name} is passed over: somebody else has started it")
    elif end.is_needless and end.run is not None:
        from gage._internal.cli.new_batch import tell_needless

        tell_needless(end.run)
    elif end.error is not None:
        printer.print_error(end.error, as_json)
    elif end.run is not None and not is_quiet:
        record = find_record(end.run)
        tell_ended(record)
        if record.reason is not None:
            printer.print_note(f"run {name}: {record.reason}")
    if end.note is not None and is_quiet:
        printer.print_note(end.note)
    if again:
        printer.print_note(f"run {name} is run again, as a new run")


def tell_dropped(task: Task, reason: str) -> None:
    """Say what is not started, and why."""
    what = "stays staged" if task.run is not None else "is not run"
    printer.print_note(f"{called(task, None)} {what}: {reason}")


def tell_stopping(running: Sequence[Running]) -> None:
    """Say what is waited for."""
    waits = f"; waiting for {counted(len(running), 'run')}" if running else ""
    printer.print_note(f"no more runs are started{waits}")


def tell_awaiting(gpus: int) -> None:
    """Say that others have GPUs that are waited for."""
    printer.print_note(f"waiting for {counted(gpus, 'GPU')}: others have them")


def _is_open(run: Run) -> bool:
    """Tell whether a run that was stopped may be gone on with."""
    found = status.run_status(run)
    return found in (status.TERMINATED, status.LOST) and is_resumable(run)


def _tell_done(done: Done, count: int, is_quiet: bool, again: str | None) -> None:
    """Say how all ended, and how to go on."""
    left = [find_record(task.run) for task in done.left if task.run is not None]
    if count > 1 and not is_quiet:
        ended = [find_record(end.run).status for end in done.ends if end.run and end.is_over]
        each = [f"{ended.count(word)} {word}" for word in status.ALL if word in ended]
        if done.left:
            each.append(f"{len(done.left)} not started")
        printer.print_note(", ".join(each) if each else "no run was started")
    staged = [record for record in left if record.status == status.STAGED]
    if staged:
        groups = {record.group for record in staged}
        group = groups.pop() if len(groups) == 1 else None
        which = "--all" if group is None else f"--group {group}"
        printer.print_note(
            f"{counted(len(staged), 'run')} still staged; to go on: gage start {which}"
        )
    unmade = len(done.left) - len(left)
    if unmade and again is not None:
        printer.print_note(f"{counted(unmade, 'run')} not made; to go on: {again}")
    stopped = [end.run for end in done.ends if end.run and end.is_over and _is_open(end.run)]
    # Others may have started some.
    stopped += [task.run for task in done.left if task.run and _is_open(task.run)]
    if stopped:
        names = [run_name(run.id) for run in stopped]
        start = f"gage start {' '.join(names)}"
        printer.print_note(f"{counted(len(stopped), 'run')} not gone on with; to go on: {start}")
