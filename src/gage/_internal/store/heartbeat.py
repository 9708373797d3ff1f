"""The sign of life of whoever executes a run: it touches the lock, as long as that is its own.

Where another process has taken the lock over, since this one seemed gone (it was suspended, or cut
off from the file system), two would execute one run. Then this one has lost it for good.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gage._internal.proc import this_process
from gage._internal.store import lock
from gage._internal.store.attempts import list_attempts
from gage._internal.types import Run


class Heart:
    """What a process that executes a run knows of its right to: `is_lost` once that is gone."""

    def __init__(self, run: Run, lost: Callable[[], object]) -> None:
        self._run = run
        self._lost = lost
        self.is_lost = False

    def beat(self) -> bool:
        """Touch the lock; tell whether the run is still this process's own."""
        try:
            self.is_lost = self.is_lost or not (lock.touch(self._run) or self._takes_back())
        except OSError:
            # Full or away for a moment: the next beat may be seen.
            pass
        if self.is_lost:
            self._lost()
        return not self.is_lost

    def _takes_back(self) -> bool:
        """Take the lock back from a process that took it after the right to had gone to this one.

        That process was suspended before it took the lock, and executes nothing.
        """
        made = list_attempts(self._run)
        if not made or made[-1].next != this_process() or not lock.find_holder(self._run):
            return False
        lock.pass_on(self._run, this_process(), lock.heartbeat())
        return True

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Beat now and then, in a thread, as long as this lasts."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(lock.heartbeat()) and self.beat():
                pass

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
