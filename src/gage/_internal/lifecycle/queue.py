"""Many runs, some at once: each is started by a child that is forked, and seen to its end by it.

So a run does not depend on this process: where that is killed, those that execute go on, those that
wait stay staged, and to start all staged runs again goes on with them. This process is one thread,
which starts children, waits for them, and tells how it is. A child is given one run after another,
since to fork costs as much as to start a run.
"""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal import proc
from gage._internal.errors import RunDamaged
from gage._internal.lifecycle.attention import Attention
from gage._internal.lifecycle.budget import Budget, Machine, Share
from gage._internal.lifecycle.host_locks import GpuLocks
from gage._internal.lifecycle.queue_child import (
    Order,
    Work,
    as_error,
    find_begun,
    give_order,
    read_told,
    work_in_child,
)
from gage._internal.lifecycle.start import Outcome
from gage._internal.lifecycle.tasks import (
    CANNOT,
    Counts,
    Done,
    End,
    Limits,
    Running,
    Task,
    View,
)
from gage._internal.store import layout, status
from gage._internal.types import Run

# How often others may overtake a run that has to wait for its share of the machine.
_MOST_OVERTAKEN = 10
# A child tells which run it has made; where one is awaited, it is looked for so often.
_POLL = 0.1
# Seconds between two looks at GPUs that others have.
_GPU_POLL = 1.0


def work_through(
    tasks: Sequence[Task],
    start: Callable[[Run], Outcome],
    retry: Callable[[Run], Run],
    limits: Limits,
    machine: Machine,
    view: View,
    begin: Callable[[], None] = lambda: None,
) -> Done:
    """Start runs, and see all of them to their ends.

    In children, which `begin` is called in first, `start` starts one and sees it to its end, and
    `retry` makes a new run of one that has failed. After a signal that asks to stop nothing is
    started any more.
    """
    # What is there by now is never collected: children would copy it to look at it.
    gc.freeze()
    try:
        with Attention() as attention:
            return _Queue(tasks, start, retry, limits, machine, view, begin, attention).work()
    finally:
        gc.unfreeze()


class _Worker(NamedTuple):
    """A child: the file that it tells in, and the pipe by which it is given runs."""

    pid: int
    told: int
    orders: int


class _Child(NamedTuple):
    """What a child is at, since when, what it has of the machine; where what it tells begins."""

    worker: _Worker
    task: Task
    share: Share
    since: float
    begin: int


class _Queue:
    def __init__(
        self,
        tasks: Sequence[Task],
        start: Callable[[Run], Outcome],
        retry: Callable[[Run], Run],
        limits: Limits,
        machine: Machine,
        view: View,
        begin: Callable[[], None],
        attention: Attention,
    ) -> None:
        self._retry = retry
        self._limits = limits
        self._budget = Budget(machine, self._choose_gpus)
        self._locks = GpuLocks()
        # The least number of GPUs that a run is to have and others leave too few for; 0 for none.
        self._awaited_gpus = 0
        self._has_told_awaiting = False
        self._view = view
        self._attention = attention
        self._order = {task.name: number for number, task in enumerate(tasks)}
        self._waiting = list(tasks)
        begun = {t.run.id: count for t in tasks if t.run and (count := find_begun(t.run))}
        has_gpus = any(task.resources.gpus for task in tasks)
        locks = self._locks if has_gpus else None
        self._work = Work(start, begin, limits.is_apart, locks, begun)
        self._children: dict[int, _Child] = {}
        self._idle: list[_Worker] = []
        # Children that were let go, and are not known to have ended.
        self._ending: set[int] = set()
        self._runs: dict[str, Run] = {}
        self._overtaken: dict[str, int] = {}
        self._ends: list[End] = []
        # Of tasks that are over, by name: exit codes, and why those that failed did.
        self._codes: dict[str, int] = {}
        self._failed: dict[str, str] = {}
        self._has_failure = False
        self._signal: int | None = None

    def work(self) -> Done:
        """Work through all tasks; return what became of them."""
        for task in self._waiting[:]:
            lack = self._budget.find_lack(task.resources)
            if lack is not None:
                self._drop(task, lack)
        while True:
            self._drop_needless()
            self._awaited_gpus = 0
            if not self._is_closing():
                self._start_those_that_fit()
            self._view.refresh(self._running(), self._counts())
            if not self._children:
                if not self._awaited_gpus:
                    break
                self._tell_awaiting()
            for number, by_terminal in self._attention.wait(self._timeout()):
                self._stop(number, by_terminal)
            self._reap()
        self._let_go_but(0)
        for pid in self._ending:
            os.waitpid(pid, 0)
        codes = [self._codes[name] for name in self._order if name in self._codes]
        code = next((code for code in codes if code), 0)
        if self._signal is not None:
            code = 128 + self._signal
        return Done(self._ends, code, self._waiting, self._signal)

    def _is_closing(self) -> bool:
        if self._signal is not None:
            return True
        # What is refused stays staged: it is in nobody's way.
        return not self._limits.keep_going and self._has_failure

    def _timeout(self) -> float | None:
        is_awaited = any(c.task.name not in self._runs for c in self._children.values())
        if is_awaited:
            return _POLL
        if self._awaited_gpus:
            return min(self._view.interval or _GPU_POLL, _GPU_POLL)
        return self._view.interval

    def _choose_gpus(self, gpus: Sequence[str], count: int) -> Sequence[str] | None:
        if self._awaits_gpus(count):
            # It was tried just now.
            return None
        found = self._locks.take(gpus, count)
        if found is None:
            self._awaited_gpus = count
        return found

    def _awaits_gpus(self, count: int) -> bool:
        return 0 < self._awaited_gpus <= count

    def _tell_awaiting(self) -> None:
        if not self._has_told_awaiting:
            self._has_told_awaiting = True
            self._view.awaiting(self._awaited_gpus)

    def _drop(self, task: Task, reason: str, why: str | None = None) -> None:
        self._waiting.remove(task)
        self._failed[task.name] = why or f"{task.name} is not run: {reason}"
        self._codes[task.name] = CANNOT
        self._view.dropped(task, reason)

    def _drop_needless(self) -> None:
        """Drop what needs a task that has failed, and what needs that."""
        found = bool(self._failed)
        while found:
            found = False
            for task in self._waiting[:]:
                failed = next((name for name in task.needs if name in self._failed), None)
                if failed is not None:
                    self._drop(task, self._failed[failed], self._failed[failed])
                    found = True

    def _start_those_that_fit(self) -> None:
        """Start the first ones that fit, but none any more that would let another one starve."""
        passed: list[Task] = []
        for task in self._waiting[:]:
            if len(self._children) >= self._limits.jobs:
                return
            if any(name not in self._codes for name in task.needs):
                continue
            share = self._budget.take(task.resources)
            if share is None and self._awaits_gpus(task.resources.gpus):
                # No run of this queue is in its way.
                continue
            if share is None:
                passed.append(task)
                if self._overtaken.get(task.name, 0) >= _MOST_OVERTAKEN:
                    return
                continue
            for other in passed:
                self._overtaken[other.name] = self._overtaken.get(other.name, 0) + 1
            self._waiting.remove(task)
            self._assign(task, share)

    def _assign(self, task: Task, share: Share) -> None:
        """Give a task to a child that has none, or to a new one, which knows how to make runs."""
        since = time.monotonic()
        child = self._give_to_idle(task, share, since)
        if child is None:
            # Never are there more than may execute at once.
            self._let_go_but(self._limits.jobs - len(self._children) - 1)
            child = _Child(self._fork(task, share), task, share, since, begin=0)
        self._children[child.worker.pid] = child
        for number in self._attention.pending():
            # It came before or after the child did, which has not claimed its run yet.
            proc.send_signal([child.worker.pid], number)
        if task.run is not None:
            self._runs[task.name] = task.run
            self._view.began(Running(task, task.run, since))

    def _give_to_idle(self, task: Task, share: Share, since: float) -> _Child | None:
        # GPUs are had by locks, which only a new child is given with.
        while self._idle and task.run is not None and not share.gpus:
            worker = self._idle.pop()
            begin = os.fstat(worker.told).st_size
            try:
                give_order(worker.orders, task.run)
            except BrokenPipeError:
                # It was killed.
                self._let_go(worker)
                continue
            return _Child(worker, task, share, since, begin)
        return None

    def _fork(self, task: Task, share: Share) -> _Worker:
        with tempfile.TemporaryFile(buffering=0) as file:
            told = os.dup(file.fileno())
        reader, orders = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(orders)
            for worker in [*self._idle, *(child.worker for child in self._children.values())]:
                # With it open, they would not see this process' parent end.
                os.close(worker.orders)
            order = Order(task, {name: self._runs[name] for name in task.needs}, share.gpus)
            work_in_child(self._work, self._attention, order, told, reader, parent)
        os.close(reader)
        # The child has them locked, also where this process dies.
        self._locks.let_go(share.gpus)
        return _Worker(pid, told, orders)

    def _let_go(self, worker: _Worker) -> None:
        """Let a child end that has nothing to do."""
        os.close(worker.orders)
        os.close(worker.told)
        self._ending.add(worker.pid)

    def _let_go_but(self, count: int) -> None:
        """Let those end that have nothing to do, but so many."""
        while len(self._idle) > count:
            self._let_go(self._idle.pop())

    def _let_go_needless(self) -> None:
        """Let those end that are not given another run, since none waits that they could have."""
        if self._idle and (
            self._is_closing()
            or all(task.run is None or task.resources.gpus for task in self._waiting)
        ):
            self._let_go_but(0)
        for pid in list(self._ending):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self._ending.remove(pid)

    def _stop(self, number: int, by_terminal: bool) -> None:
        if self._signal is None:
            self._signal = number
            self._view.stopping(self._running())
        if not by_terminal:
            proc.send_signal(list(self._children), number)

    def _reap(self) -> None:
        for child in list(self._children.values()):
            pid, wait_status = os.waitpid(child.worker.pid, os.WNOHANG)
            told = read_told(child.worker.told, child.begin)
            self._know_run(child, told)
            if not pid and "code" not in told:
                continue
            del self._children[child.worker.pid]
            self._budget.give_back(child.share)
            if pid:
                os.close(child.worker.orders)
                os.close(child.worker.told)
            else:
                self._idle.append(child.worker)
            code = told["code"] if "code" in told else os.waitstatus_to_exitcode(wait_status)
            self._end(child, code, told)
        self._let_go_needless()

    def _know_run(self, child: _Child, told: Mapping[str, Any]) -> None:
        name = child.task.name
        if name not in self._runs and "run_dir" in told:
            self._runs[name] = layout.run_of_dir(told["run_dir"])
            if "needless" in told:
                return
            self._view.began(Running(child.task, self._runs[name], child.since))

    def _end(self, child: _Child, code: int, told: Mapping[str, Any]) -> None:
        task, run = child.task, self._runs.get(child.task.name)
        code = 128 - code if code < 0 else code
        is_over, is_passed = bool(told.get("over")), bool(told.get("passed"))
        error = as_error(told["error"]) if "error" in told else None
        note, is_needless = told.get("note"), bool(told.get("needless"))
        end = End(task, run, code, error, note, is_passed, is_over, is_needless)
        is_left = "left" in told and "code" not in told
        if self._signal is not None and not is_over and run and (is_left or _is_staged(run)):
            # It was told to stop before it had started, or had been gone on with.
            self._waiting.insert(0, task._replace(run=run, make=None, needs=()))
            return
        again = (
            code != 0
            and is_over
            and not told.get("stopped")
            and self._signal is None
            and task.attempt <= self._limits.retries
        )
        self._ends.append(end)
        self._view.ended(end, again)
        if again:
            failed = run
            assert failed
            del self._runs[task.name]
            self._waiting.insert(
                0,
                task._replace(
                    run=None,
                    make=lambda _: self._retry(failed),
                    attempt=task.attempt + 1,
                ),
            )
            return
        self._codes[task.name] = code
        self._has_failure |= code != 0 and (is_over or run is None or not _is_staged(run))
        if code:
            self._failed[task.name] = f"{task.name} failed: {_reason(end)}"

    def _running(self) -> list[Running]:
        return [
            Running(child.task, self._runs.get(child.task.name), child.since)
            for child in self._children.values()
        ]

    def _counts(self) -> Counts:
        failed = sum(map(bool, self._codes.values()))
        return Counts(len(self._codes) - failed, failed, len(self._children), len(self._waiting))


def _is_staged(run: Run) -> bool:
    try:
        return status.run_status(run) == status.STAGED
    except RunDamaged:
        return False


def _reason(end: End) -> str:
    if end.error is not None:
        return end.error.message
    if end.run is None:
        return "it was interrupted"
    try:
        reason = status.find_reason(end.run, status.run_status(end.run))
    except RunDamaged as error:
        return error.message
    return reason or f"it ended with {end.code}"
