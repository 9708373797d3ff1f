"""Execute a command: start it, pass on its output as it comes, and see it end.

The command stays in the process group of the runner: it reads the terminal, stops and goes on
with it, and is part of the user's pipeline. What the terminal sends (Ctrl-C) therefore reaches
it by itself; a signal that somebody sends to the runner is passed on to every process of the
run. A run that does not end then is killed after a grace period.

Three parties: this thread reads both pipes and writes what comes; one thread waits for the
command; one waits for signals, since only `sigwaitinfo` tells where a signal comes from.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import IO, NamedTuple, Protocol

from gage._internal import proc
from gage._internal.store.output import STDERR, STDOUT

GRACE_VARIABLE = "GAGE_GRACE"
_DEFAULT_GRACE = 30.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SENT_BY_KERNEL = 0x80
_READ_SIZE = 1 << 20
_F_SETPIPE_SZ = 1031

Output = Callable[[str, bytes], None]
Spawn = Callable[[Sequence[str], str, Mapping[str, str]], "Child"]


class CannotExecute(Exception):
    """A command cannot be started: `exit_code` is what a shell gives, 126 or 127."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Child(Protocol):
    """A command that was started."""

    pid: int
    returncode: int | None

    @property
    def stdout(self) -> IO[bytes] | None:
        """The pipe that it writes to."""

    @property
    def stderr(self) -> IO[bytes] | None:
        """The pipe that it writes errors to."""

    def wait(self) -> int:
        """Wait for its end, which `returncode` then tells as `subprocess` does."""


class Ended(NamedTuple):
    """How a command ended.

    `exit_text` is its exit status or the name of the signal that ended it; `signal` the name of
    the first signal by which it was told to stop, if it was; `left` the pids of processes that
    it left running. `is_late`: it was told so since its time was over.
    """

    exit_text: str
    signal: str | None = None
    left: tuple[int, ...] = ()
    is_late: bool = False


def execute(
    args: Sequence[str],
    cwd: str,
    env: Mapping[str, str],
    output: Output,
    run_id: str,
    signals: StopSignals,
    spawn: Spawn | None = None,
    meanwhile: Callable[[], AbstractContextManager[object]] = nullcontext,
    timeout: float | None = None,
) -> Ended:
    """Run a command in `cwd` until it ends, giving each piece of output to `output`.

    `output` is called with the stream (`o` or `e`) and the bytes. What `signals`, already entered,
    has caught before is passed on as soon as the command runs. Processes that the command leaves
    behind are not waited for. `spawn` starts it, if that is not to be done in the usual way. What
    `meanwhile` returns is entered when it runs, and left when it has ended. After `timeout` seconds
    it is told to stop, as if somebody had sent SIGTERM.

    Raises:
        CannotExecute: the command is missing or cannot be executed.
    """
    child = (spawn or _spawn)(args, cwd, env)
    wake = _Wake()
    signals.watch(wake)
    waiter = threading.Thread(target=_wait, args=(child, wake), daemon=True)
    waiter.start()
    try:
        with meanwhile():
            return _attend(child, output, signals, wake, run_id, timeout)
    except BaseException:
        proc.send_signal(proc.run_processes(run_id, child.pid), signal.SIGKILL)
        raise
    finally:
        waiter.join()
        signals.unwatch()
        wake.close()


def _spawn(args: Sequence[str], cwd: str, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(args), cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError) and error.filename == cwd:
            raise
        raise cannot_execute(args, cwd, error) from None


def cannot_execute(args: Sequence[str], cwd: str, error: OSError | ValueError) -> CannotExecute:
    """Return what is told of a command that the system would not execute."""
    if isinstance(error, FileNotFoundError):
        found = os.path.join(cwd, args[0]) if os.sep in args[0] else None
        if found and os.path.exists(found):
            return CannotExecute(f"{args[0]}: the interpreter it names is missing", 127)
        return CannotExecute(f"{args[0]}: command not found", 127)
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return CannotExecute(f"{args[0]}: {reason}", 126)


def _wait(child: Child, wake: _Wake) -> None:
    child.wait()
    wake()


def _attend(
    child: Child,
    output: Output,
    signals: StopSignals,
    wake: _Wake,
    run_id: str,
    timeout: float | None,
) -> Ended:
    assert child.stdout and child.stderr
    streams = {child.stdout.fileno(): STDOUT, child.stderr.fileno(): STDERR}
    poller = select.poll()
    for fd in streams:
        _widen(fd)
        poller.register(fd, select.POLLIN)
    poller.register(wake.fd, select.POLLIN)
    stop: str | None = None
    is_late = False
    stop_at = None if timeout is None else time.monotonic() + timeout
    kill_at: float | None = None
    while child.returncode is None:
        for fd, _ in poller.poll(_milliseconds_until(stop_at if stop is None else kill_at)):
            if fd == wake.fd:
                wake.clear()
            elif not _pass_on(fd, streams, output):
                poller.unregister(fd)
        for number, by_terminal in signals.take():
            if stop is None:
                stop = proc.signal_name(number)
                kill_at = time.monotonic() + grace()
            _forward(number, by_terminal, run_id, child.pid)
        if stop is None and stop_at is not None and time.monotonic() >= stop_at:
            is_late, stop = True, proc.signal_name(signal.SIGTERM)
            kill_at = time.monotonic() + grace()
            _forward(signal.SIGTERM, False, run_id, child.pid)
        if kill_at is not None and time.monotonic() >= kill_at:
            proc.send_signal(proc.run_processes(run_id, child.pid), signal.SIGKILL)
            kill_at = time.monotonic() + 1
    held = [fd for fd in list(streams) if not _drain(fd, streams, output)]
    left = tuple(proc.run_processes(run_id)) if held or stop else ()
    if left and stop:
        # Told to stop, a run ends with all its processes.
        proc.send_signal(left, signal.SIGKILL)
        left = ()
    child.stdout.close()
    child.stderr.close()
    return Ended(_exit_text(child.returncode), None if is_late else stop, left, is_late)


def _milliseconds_until(moment: float | None) -> float | None:
    return None if moment is None else max(0.0, moment - time.monotonic()) * 1000


def grace() -> float:
    """Return the seconds between a signal and SIGKILL: the environment's `GAGE_GRACE`, or 30."""
    try:
        return float(os.environ.get(GRACE_VARIABLE, _DEFAULT_GRACE))
    except ValueError:
        return _DEFAULT_GRACE


def _pass_on(fd: int, streams: dict[int, str], output: Output) -> bool:
    """Pass on what has come from a stream; False once the stream has ended."""
    data = os.read(fd, _READ_SIZE)
    if data:
        output(streams[fd], data)
    else:
        del streams[fd]
    return bool(data)


def _drain(fd: int, streams: dict[int, str], output: Output) -> bool:
    """Pass on what is left in the pipe of a command that has ended; True if nobody holds it.

    A process that the command left behind may hold it, and may go on writing: what it writes
    from now on is not waited for.
    """
    os.set_blocking(fd, False)
    left = _READ_SIZE
    while left > 0:
        try:
            data = os.read(fd, left)
        except BlockingIOError:
            return False
        if not data:
            return True
        output(streams[fd], data)
        left -= len(data)
    return False


def _widen(fd: int) -> None:
    """Make a pipe hold a megabyte where the system allows it, for fewer and larger reads."""
    import fcntl

    try:
        fcntl.fcntl(fd, _F_SETPIPE_SZ, _READ_SIZE)
    except OSError:
        pass


def _forward(number: int, by_terminal: bool, run_id: str, command_pid: int) -> None:
    pids = proc.run_processes(run_id, command_pid)
    if by_terminal:
        # The terminal has sent it to the whole process group already.
        group = os.getpgrp()
        pids = [pid for pid in pids if _group(pid) != group]
    proc.send_signal(pids, number)


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _exit_text(returncode: int) -> str:
    return str(returncode) if returncode >= 0 else proc.signal_name(-returncode)


class _Wake:
    """A pipe that wakes the reading thread."""

    def __init__(self) -> None:
        self.fd, self._write_fd = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write_fd, False)

    def __call__(self) -> None:
        try:
            os.write(self._write_fd, b"\0")
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Close the pipe."""
        os.close(self.fd)
        os.close(self._write_fd)

    def clear(self) -> None:
        """Take all that was written."""
        try:
            while os.read(self.fd, 512):
                pass
        except BlockingIOError:
            pass


class StopSignals:
    """Collects, once entered, signals that ask the run to stop, with where they come from.

    Entered before the run is claimed, so that none comes between claim and command and leaves a
    run that nobody attends. While a command runs, a thread takes over from the handlers. What comes
    when it has ended does its work after this, so that what the run has made is recorded; `late` is
    called at once. Outside the main thread, where none of this is possible, signals stay with
    whoever handles them.
    """

    def __init__(self, late: Callable[[], object] = lambda: None) -> None:
        self._late = late
        self._has_run = False
        self._caught: list[tuple[int, bool]] = []
        self._wake: _Wake | None = None
        self._handlers: dict[int, object] = {}
        self._blocked: tuple[int, ...] = ()
        self._watcher: threading.Thread | None = None
        self._closing = False

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in _STOP_SIGNALS:
            # A shell ignores signals for a command in the background, as nohup does.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        for number, _ in self.take():
            os.kill(os.getpid(), number)

    def watch(self, wake: _Wake) -> None:
        """Wake `wake` when a signal comes, from now on knowing its sender where possible."""
        self._wake = wake
        if self._handlers and hasattr(signal, "sigwaitinfo"):
            self._blocked = tuple(self._handlers)
            signal.pthread_sigmask(signal.SIG_BLOCK, self._blocked)
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()
        if self._caught:
            wake()

    def unwatch(self) -> None:
        """Leave signals to the handlers again."""
        if self._watcher is not None:
            self._closing = True
            signal.pthread_kill(self._watcher.ident or 0, self._blocked[0])
            self._watcher.join()
            self._watcher = None
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._blocked)
        self._wake = None
        self._has_run = True

    def take(self) -> list[tuple[int, bool]]:
        """Return the signals that came since the last call: number, and whether the terminal's."""
        caught, self._caught = self._caught, []
        return caught

    def _watch(self) -> None:
        while True:
            info = signal.sigwaitinfo(self._blocked)
            if self._closing:
                return
            self._add(info.si_signo, info.si_code == _SENT_BY_KERNEL)

    def _handle(self, number: int, frame: object) -> None:
        self._add(number, False)
        if self._has_run:
            self._late()

    def _add(self, number: int, by_terminal: bool) -> None:
        self._caught.append((number, by_terminal))
        if self._wake:
            self._wake()
