"""Stage a batch: many runs of one project, which is frozen once for all of them.

Each run is as whole, and as independent of the others, as one that is staged alone. What takes
long is done for several at once: to wait for the disk. A run is called staged only after that; so
an interruption leaves runs that are staged, and at most one that has failed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from gage._internal import fs
from gage._internal.errors import GageError
from gage._internal.lifecycle.create import clear_home, create_run, discard_run
from gage._internal.lifecycle.freeze import Frozen
from gage._internal.lifecycle.stage import (
    fill_run,
    freeze_source,
    has_hook,
    recording_failure,
    seal_run,
)
from gage._internal.project.operations import Operation, operation_cmd
from gage._internal.store import layout, lock, meta
from gage._internal.store.failure import record_failed_staging
from gage._internal.types import OpDef, Run

if TYPE_CHECKING:
    from gage.plugins import Notice, Progress

# Runs, and seconds, after which those that are ready are called staged.
_MOST_READY = 200
_LONGEST_READY = 5.0


def stage_batch(
    home: str,
    operation: Operation,
    configs: Sequence[Mapping[str, Any]],
    fill: Callable[[Run], None],
    *,
    group: str | None = None,
    label: str | None = None,
    tags: Sequence[str] = (),
    find_same: Callable[[Run], Run | None] = lambda run: None,
    on_staged: Callable[[Run], None] = lambda run: None,
) -> None:
    """Create a run for each config, have it filled, and call it staged.

    A run for which `find_same` returns another one is needless: it is removed, and was never called
    staged. `on_staged` is told of each that is staged. The others are those of `create_run`.

    Raises:
        UsageError, SecretWritten, BadConfigValue: something is not right; no run is made.
        GageError, OSError, KeyboardInterrupt: a run could not be staged: it is `failed`, those
            before it are staged, and the others not made.
    """
    for config in configs:
        operation_cmd(operation, config)
    clear_home(home)
    with _Staging(home, on_staged) as staging:
        for config in configs:
            run = create_run(home, operation, config, label, tags, group, is_one_more=True)
            with recording_failure(run):
                fill(run)
                staging.add(run, find_same)
            staging.settle()


@contextmanager
def frozen_project(
    home: str,
    opdef: OpDef,
    project_dir: str | None,
    *,
    strict: bool = False,
    share: bool = False,
    notice: Notice = lambda sentence: None,
    progress: Progress = lambda what, done, total: None,
    now: bool = False,
) -> Iterator[Callable[[Run], None]]:
    """Yield what fills runs of an operation from a project that is frozen for all of them.

    What there is to tell is told once. The arguments are those of `stage_run`; and `share` gives
    all runs the same files under other names. With `now` the source code is frozen at once, for
    runs that are made later, maybe by processes that are forked meanwhile.
    """
    told: set[str] = set()

    def tell(sentence: str) -> None:
        if sentence not in told:
            told.add(sentence)
            notice(sentence)

    os.makedirs(home, exist_ok=True)
    with Frozen(home, project_dir, share and not has_hook(opdef)) as frozen:

        def fill(run: Run) -> None:
            with frozen.branch() if now else nullcontext(frozen) as own:
                fill_run(run, project_dir, strict, False, tell, progress, own)

        if now and project_dir is not None:
            freeze_source(home, opdef, project_dir, frozen, tell)
        yield fill


class _Staging:
    """Runs on their way to be called staged: those that are ready.

    A context; what is ready when it is left is called staged, whatever else went wrong.
    """

    def __init__(self, home: str, on_staged: Callable[[Run], None]) -> None:
        self._home = home
        self._on_staged = on_staged
        self._ready: list[tuple[Run, str]] = []
        self._since = time.monotonic()

    def __enter__(self) -> _Staging:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            self._call_staged()
        except KeyboardInterrupt:
            self._call_staged()
            raise
        except (GageError, OSError):
            # What went wrong first is what is to be told; these runs are failed.
            if error is None:
                raise

    def add(self, run: Run, find_same: Callable[[Run], Run | None]) -> None:
        """Take a run whose lock this process has, and that is filled; a needless one is removed."""
        staged = seal_run(run)
        if find_same(run) is None:
            self._ready.append((run, staged))
        else:
            discard_run(run)

    def settle(self) -> None:
        """Call those staged that are ready, where they are many, or have been so for long."""
        is_long_ago = time.monotonic() - self._since > _LONGEST_READY
        if len(self._ready) >= _MOST_READY or is_long_ago:
            self._call_staged()

    def _call_staged(self) -> None:
        """Call those staged that are ready: all that this vouches for is on the disk.

        Where this is interrupted it can be done again.
        """
        if not self._ready:
            return
        try:
            fs.sync(self._home)
        except OSError as error:
            while self._ready:
                run, staged = self._ready.pop()
                fs.discard(staged)
                record_failed_staging(run, str(error))
            raise
        for run, staged in self._ready:
            # A run may be so already, or have failed when somebody interrupted this.
            if not meta.has_meta(run, layout.STAGED) and not meta.has_meta(run, layout.STOPPED):
                lock.release(run)
                fs.put_in_place(staged, layout.meta_path(run, layout.STAGED))
        fs.sync(self._home)
        while self._ready:
            run, _ = self._ready[0]
            lock.withdraw(run)
            del self._ready[0]
            if meta.has_meta(run, layout.STAGED):
                self._on_staged(run)
        self._since = time.monotonic()
