"""What is known of the jobs of a submission, kept where an engine keeps things.

Sent there as it is, where no Gage is installed: needs nothing but the standard library, and is
used by one thread at a time. It decides which execution of a job is the one: the first that asks.
"""

from __future__ import annotations

import time

# What a worker is told that wants to begin.
GO, WAIT, NO = ("go", "wait", "no")
# How it is about a job, in the words of `gage.plugins`.
_QUEUED, _EXECUTING, _GONE = ("queued", "executing", "gone")
_SAID = {_QUEUED: "WAITING", _EXECUTING: "EXECUTING", _GONE: ""}
_OPEN, _COMPLETE, _GIVEN_UP = ("open", "complete", "given up")
# Seconds without a word from whoever submits after which that has failed.
_PATIENCE = 120


class Ledger:
    """The jobs of a submission, by number.

    They begin once the submission is complete. One that is not completed is given up for good,
    so that whoever submits later than that is refused.
    """

    def __init__(self, count: int) -> None:
        self._jobs = [_Known() for _ in range(count)]
        self._phase = _OPEN
        self._heard = time.monotonic()

    def hear(self) -> None:
        """Note that whoever submits is still at it."""
        self._heard = time.monotonic()

    def complete(self) -> bool:
        """Let the jobs begin; tell whether they may."""
        if self._is(_OPEN):
            self._phase = _COMPLETE
        return self._phase == _COMPLETE

    def begin(self, number: int, worker: str, host: str) -> str:
        """Answer a worker that wants to begin: `GO` once only, `WAIT` while jobs are missing."""
        if self._is(_OPEN):
            return WAIT
        job = self._jobs[number]
        if self._phase == _COMPLETE and job.state == _QUEUED:
            job.state, job.has_begun = _EXECUTING, True
            job.worker, job.host = worker, host
            return GO
        # An engine that begins a job again has lost the worker that had it.
        if job.state == _EXECUTING:
            job.state, job.said = _GONE, f"it was lost with its worker on {job.host}"
        elif job.has_left:
            job.has_left, job.said = False, f"what it has left was lost with {job.host}"
        return NO

    def end(self, number: int, said: str, has_begun: bool, has_left: bool) -> None:
        """Note that a job has ended, whether its run was begun, and has left something."""
        job = self._jobs[number]
        job.state, job.said, job.has_begun, job.has_left = _GONE, said, has_begun, has_left

    def fail(self, number: int, said: str) -> None:
        """Note what the engine says of a job that will not end any more."""
        job = self._jobs[number]
        if job.state != _GONE:
            job.state, job.said = _GONE, said

    def stop(self, number: int) -> bool:
        """Have a job stopped that executes; tell whether it has not begun and never will."""
        if not 0 <= number < len(self._jobs):
            return False
        job = self._jobs[number]
        job.is_stopped = True
        if job.state != _QUEUED:
            return False
        job.state, job.said = _GONE, "cancelled before it began"
        return True

    def is_stopped(self, number: int) -> bool:
        """Tell whether a job is to stop."""
        return self._jobs[number].is_stopped

    def is_complete(self) -> bool:
        """Tell whether the jobs may begin."""
        return self._phase == _COMPLETE

    def has_left(self, number: int) -> bool:
        """Tell whether there is something to collect of a job."""
        return 0 <= number < len(self._jobs) and self._jobs[number].has_left

    def let_go(self, number: int) -> None:
        """Note that nothing of a job that is gone is needed any more."""
        if 0 <= number < len(self._jobs) and self._jobs[number].state == _GONE:
            self._jobs[number].has_left, self._jobs[number].is_let_go = False, True

    def executing(self) -> list[tuple[int, str]]:
        """Return the jobs that execute, each with its worker."""
        return [(n, job.worker) for n, job in enumerate(self._jobs) if job.state == _EXECUTING]

    def unfinished(self) -> list[int]:
        """Return the jobs that wait or execute."""
        return [n for n, job in enumerate(self._jobs) if job.state != _GONE]

    def tell(self, number: int) -> tuple[str, str, str, bool]:
        """Return the state of a job, what there is to say, where it executes, whether it began."""
        if not 0 <= number < len(self._jobs):
            return _GONE, "it was not submitted", "", False
        job = self._jobs[number]
        if self._is(_GIVEN_UP):
            return _GONE, "whoever submitted it has not come to an end", "", False
        return job.state, job.said or _SAID[job.state], job.host, job.has_begun

    def is_settled(self) -> bool:
        """Tell whether nobody needs this any more."""
        return self._is(_GIVEN_UP) or all(job.is_settled() for job in self._jobs)

    def _is(self, phase: str) -> bool:
        if self._phase == _OPEN and time.monotonic() - self._heard > _PATIENCE:
            self._phase = _GIVEN_UP
        return self._phase == phase


class _Known:
    """What is known of one job."""

    def __init__(self) -> None:
        self.state = _QUEUED
        self.said = self.worker = self.host = ""
        self.is_stopped = self.has_begun = self.has_left = self.is_let_go = False

    def is_settled(self) -> bool:
        # Of a job without a word, all that became of it is in the runs home.
        is_known = self.is_let_go or not (self.has_left or self.said)
        return self.state == _GONE and is_known
