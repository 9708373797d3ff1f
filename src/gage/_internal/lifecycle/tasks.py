"""What a queue is given and tells of: tasks, how they end, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from gage._internal.errors import GageError
from gage._internal.store.resources import Resources
from gage._internal.types import Run

# What a task exits with of which Gage itself could not make or start the run.
CANNOT = 125


class Task(NamedTuple):
    """A run to be started, or to be made first, where `make` is given the runs of tasks it `needs`.

    `name` is what it is called as long as it has no run. `attempt` counts from 1. What is made may
    be a run that has ended: then it stands for the one that need not be made.
    """

    name: str
    resources: Resources
    run: Run | None = None
    make: Callable[[Mapping[str, Run]], Run] | None = None
    needs: Sequence[str] = ()
    attempt: int = 1


class Limits(NamedTuple):
    """How many at once, whether others are started after one has failed, how often one is retried.

    `is_apart`: runs do not share the terminal's input.
    """

    jobs: int = 1
    keep_going: bool = False
    retries: int = 0
    is_apart: bool = True


class Running(NamedTuple):
    """A task that a child is at; `run` is None as long as none is made, `since` is monotonic."""

    task: Task
    run: Run | None
    since: float


class End(NamedTuple):
    """How a task ended: exit code, error; whether somebody else has started its run.

    `is_over`: its run was started, and has ended; `is_needless`: it had ended before.
    """

    task: Task
    run: Run | None
    code: int
    error: GageError | None = None
    note: str | None = None
    is_passed: bool = False
    is_over: bool = False
    is_needless: bool = False


class Counts(NamedTuple):
    """How many tasks have ended well, have failed, execute and wait."""

    done: int
    failed: int
    running: int
    waiting: int


class View(Protocol):
    """Is told how it is about a queue; `interval` is how often, in seconds, if at all."""

    interval: float | None

    def began(self, running: Running) -> None:
        """Tell that a run is started."""

    def ended(self, end: End, again: bool) -> None:
        """Tell how a task ended, and whether its run is run again, as a new run."""

    def dropped(self, task: Task, reason: str) -> None:
        """Tell that a task is not begun, and why."""

    def stopping(self, running: Sequence[Running]) -> None:
        """Tell that nothing is started any more, and what executes was told to stop."""

    def awaiting(self, gpus: int) -> None:
        """Tell that nothing executes, since others have so many GPUs that are needed."""

    def refresh(self, running: Sequence[Running], counts: Counts) -> None:
        """Tell how it is now."""


class Done(NamedTuple):
    """What became of a queue: all ends, the exit status, tasks that were not begun, the signal."""

    ends: Sequence[End]
    code: int
    left: Sequence[Task]
    signal: int | None
