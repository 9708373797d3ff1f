"""The child of a queue: it starts one run after another, and tells in a file how it is about each.

What it tells are lines of JSON objects; all of a run's together tell of that.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from gage._internal import fs
from gage._internal.errors import AlreadyStarted, GageError, RunDamaged
from gage._internal.lifecycle.attention import Attention
from gage._internal.lifecycle.host_locks import GpuLocks
from gage._internal.lifecycle.start import Outcome
from gage._internal.lifecycle.tasks import CANNOT, Task
from gage._internal.store import layout, meta, status
from gage._internal.store.attempts import list_attempts
from gage._internal.types import Run

_OVER = (status.TERMINATED, status.LOST)


class Work(NamedTuple):
    """What children do: `begin` is called first, `start` starts a run and sees it to its end.

    `is_apart`: their runs do not share the terminal's input. `gpu_locks` are None where no run is
    to have any GPU. `begun` tells, by the ids of runs that are to be gone on with, how many
    attempts at them had begun.
    """

    start: Callable[[Run], Outcome]
    begin: Callable[[], None]
    is_apart: bool
    gpu_locks: GpuLocks | None
    begun: Mapping[str, int]


class Order(NamedTuple):
    """What a child is at first: a task, the runs of tasks that it needs, and the GPUs it has."""

    task: Task
    runs: Mapping[str, Run]
    gpus: Sequence[str]


class _Made(NamedTuple):
    """A run that a child is at; how many attempts at it had begun before."""

    run: Run
    begun: int


def work_in_child(
    work: Work, attention: Attention, order: Order, told: int, orders: int, parent: int
) -> NoReturn:
    """Be the child of a queue until nothing more is ordered; `parent` is its process.

    `told` is the file to tell in, `orders` the pipe by which more runs are ordered.
    """
    code = CANNOT
    try:
        made: list[_Made] = []
        attention.leave_to(lambda number, frame: _stop(made))
        work.begin()
        if work.is_apart:
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
        lines = os.fdopen(orders, "rb")
        gpus, run = order.gpus, order.task.run
        while True:
            if work.gpu_locks:
                os.environ.update(work.gpu_locks.variables(gpus))
            code = _do(work, order, run, made, lambda **fields: _tell(told, fields))
            if work.gpu_locks:
                work.gpu_locks.let_go(gpus)
            _tell(told, {"code": code})
            if os.getppid() == parent:
                # As if it had ended.
                os.kill(parent, signal.SIGCHLD)
            made.clear()
            line = lines.readline()
            if not line:
                break
            gpus, run = (), layout.run_of_dir(json.loads(line)["run_dir"])
    except KeyboardInterrupt:
        code = 130
        _tell(told, {"left": True})
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _do(
    work: Work, order: Order, run: Run | None, made: list[_Made], tell: Callable[..., None]
) -> int:
    try:
        if run is None:
            assert order.task.make
            run = order.task.make(order.runs)
            if meta.has_meta(run, layout.STOPPED):
                tell(run_dir=run.run_dir, needless=True)
                return 0
            tell(run_dir=run.run_dir)
        made.append(_Made(run, _count_begun(run)))
        outcome = work.start(run)
    except AlreadyStarted as error:
        begun = work.begun.get(run.id) if run else None
        if run is not None and begun is not None and begun == _count_begun(run):
            # Nobody has since: it executes where it did.
            tell(error=_as_fields(error))
            return CANNOT
        tell(passed=True, error=_as_fields(error))
        return 0
    except (GageError, OSError) as error:
        tell(error=_as_fields(error))
        return CANNOT
    tell(over=True, note=outcome.error, stopped=outcome.signal is not None)
    return outcome.exit_code or (CANNOT if outcome.error is not None else 0)


def _stop(made: Sequence[_Made]) -> None:
    """Handle a signal that comes while the command of a run is not executing."""
    if made and _count_begun(made[0].run) != made[0].begun:
        # It has ended, and is being finalized.
        return
    raise KeyboardInterrupt


def _count_begun(run: Run) -> int:
    """Return how many attempts at a run have begun."""
    return 1 + len(list_attempts(run)) if meta.has_meta(run, layout.STARTED) else 0


def find_begun(run: Run) -> int | None:
    """Return how many attempts at a run have begun, where it is to be gone on with."""
    try:
        is_over = meta.has_meta(run, layout.STARTED) and status.run_status(run) in _OVER
        return _count_begun(run) if is_over else None
    except RunDamaged:
        return None


def give_order(orders: int, run: Run) -> None:
    """Order a run to be started, by a pipe.

    Raises:
        BrokenPipeError: the child was killed.
    """
    fs.write_all(orders, json.dumps({"run_dir": run.run_dir}).encode() + b"\n")


def _tell(told: int, fields: Mapping[str, Any]) -> None:
    fs.write_all(told, json.dumps(fields).encode() + b"\n")


def read_told(told: int, begin: int) -> Mapping[str, Any]:
    """Return all that a child has told by now of what it is at."""
    size = os.fstat(told).st_size - begin
    lines = os.pread(told, size, begin).split(b"\n") if size else []
    found: dict[str, Any] = {}
    # Behind the last line end is what is not told to its end.
    for line in lines[:-1]:
        found.update(json.loads(line))
    return found


def _as_fields(error: GageError | OSError) -> Mapping[str, Any]:
    if isinstance(error, OSError):
        return {"reference": "system-error", "message": str(error), "hint": None}
    return {"reference": error.reference, "message": error.message, "hint": error.hint}


def as_error(fields: Mapping[str, Any]) -> GageError:
    """Return an error that a child has told of."""
    error = GageError(fields["message"], fields["hint"])
    error.reference = fields["reference"]
    return error
