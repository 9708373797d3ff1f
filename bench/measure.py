"""Time whole processes from outside, two commands in turn."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_LAST_BYTES = 400


class CannotRun(Exception):
    """A command that is measured does not work here."""


@dataclass(frozen=True)
class Command:
    """What is timed; `before` is called before each time, and is not timed."""

    args: Sequence[str]
    cwd: str
    env: Mapping[str, str]
    before: Callable[[], None] | None = None


@dataclass(frozen=True)
class Sample:
    """One execution: wall clock and processor time in seconds, peak memory in bytes.

    The processor time is that of the command and all processes it waited for; the peak is that
    of the largest of them.
    """

    wall: float
    cpu: float
    peak: int


def compare(ours: Command, peer: Command, rounds: int) -> list[tuple[Sample, Sample]]:
    """Run two commands in turn, once each to warm up, then as many times as there are rounds."""
    run_once(ours)
    run_once(peer)
    return [(run_once(ours), run_once(peer)) for _ in range(rounds)]


def run_once(command: Command) -> Sample:
    """Run a command; its standard output is thrown away.

    Raises:
        CannotRun: it is missing or does not exit with 0; the message has its last words.
    """
    if command.before is not None:
        command.before()
    with tempfile.TemporaryFile() as errors:
        begin = time.perf_counter()
        try:
            process = subprocess.Popen(
                command.args,
                cwd=command.cwd,
                env=command.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        except OSError as error:
            raise CannotRun(str(error)) from None
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - _LAST_BYTES))
            words = errors.read().decode(errors="replace").strip()
            raise CannotRun(f"{command.args[0]} exited with {process.returncode}: {words}")
    return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
