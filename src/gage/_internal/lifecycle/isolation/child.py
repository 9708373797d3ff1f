"""Fork a child that enters a rung, has itself watched, waits, and becomes the command.

It is forked before the run is claimed: that it waits shows that the rung works. Until it becomes
the command it says over a socket what becomes of it: that it needs its users mapped; where the
kernel tells what it opens; that it is ready; or what failed. That the socket is closed means that
the command runs. What it waits for comes by a pipe; if that is closed, it ends.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import IO, NamedTuple

from gage._internal.lifecycle.isolation import kernel, rules
from gage._internal.lifecycle.isolation.namespaces import map_users

_MAP, _WATCH, _READY, _FAILED, _NOT_EXECUTED = b"m", b"w", b"r", b"f", b"x"
_DONE = b"d"
_LONGEST = 1 << 14
# Python ignores these for itself.
_RESTORED = ("SIGPIPE", "SIGXFZ", "SIGXFSZ")


class Entrance(NamedTuple):
    """How a child gets where it is to be.

    `enter` is called in it with what has its users mapped by its parent. With `ignore`, which is
    called last, it becomes a program that stays in front of the command.
    """

    enter: Callable[[Callable[[], None]], None]
    watched: bool = True
    ignore: Callable[[], None] | None = None


class CannotEnter(Exception):
    """A rung does not work here; says why."""


class Child:
    """A process that was forked: as much of `subprocess.Popen` as is needed of it."""

    def __init__(self, pid: int, out: int, err: int, is_in_front: bool) -> None:
        self.pid = pid
        self.stdout: IO[bytes] = os.fdopen(out, "rb", 0)
        self.stderr: IO[bytes] = os.fdopen(err, "rb", 0)
        self.returncode: int | None = None
        self._is_in_front = is_in_front

    def wait(self) -> int:
        """Wait for its end; return its exit status, negative for a signal."""
        try:
            _, status = os.waitpid(self.pid, 0)
            code = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            # Nobody can know, in a program that ignores the end of its children.
            code = 0
        if self._is_in_front and 128 < code <= 128 + signal.NSIG:
            code = 128 - code
        self.returncode = code
        return code


class Waiting:
    """A child that has entered, and can become a command."""

    def __init__(self, pid: int, link: socket.socket, pipe: int, child: Child) -> None:
        self._pid = pid
        self._link = link
        self._pipe = pipe
        self._child = child
        # Whether the kernel tells what it opens.
        self.is_watched = False

    def attend(self, watch: Callable[[int], None]) -> None:
        """Hear what it says until it waits; `watch` is given where the kernel tells what it opens.

        Raises:
            CannotEnter: it could not enter, and is gone.
        """
        try:
            self._hear(watch)
        except BaseException:
            self.discard()
            raise

    def become(self, args: Sequence[str], cwd: str, env: Mapping[str, str]) -> Child:
        """Let it become a command.

        Raises:
            CannotEnter: it is gone.
            OSError: the command cannot be executed; has its name.
        """
        parts = [cwd, str(len(args)), *args, *(f"{name}={value}" for name, value in env.items())]
        try:
            if any("\0" in part for part in parts):
                raise ValueError("embedded null byte")
            pipe, self._pipe = self._pipe, -1
            with os.fdopen(pipe, "wb") as file:
                file.write(b"\0".join(map(os.fsencode, parts)))
            self._hear(os.close)
        except BrokenPipeError:
            self.discard()
            raise CannotEnter("it has ended") from None
        except BaseException:
            self.discard()
            raise
        self._link.close()
        return self._child

    def discard(self) -> None:
        """End it."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        self._link.close()
        if self._child.returncode is None:
            os.kill(self._pid, signal.SIGKILL)
            self._child.wait()
        self._child.stdout.close()
        self._child.stderr.close()

    def _hear(self, watch: Callable[[int], None]) -> None:
        while True:
            message, fds, _, _ = socket.recv_fds(self._link, _LONGEST, 1)
            kind, rest = message[:1], message[1:]
            if kind == _MAP:
                try:
                    map_users(self._pid)
                except OSError as error:
                    raise CannotEnter(f"{error.filename}: {error.strerror}") from None
                os.write(self._pipe, _DONE)
            elif kind == _WATCH:
                self.is_watched = True
                watch(fds[0])
            elif kind == _FAILED:
                raise CannotEnter(os.fsdecode(rest))
            elif kind == _NOT_EXECUTED:
                number, _, program = rest.partition(b" ")
                raise OSError(int(number), os.strerror(int(number)), os.fsdecode(program))
            elif kind == _READY or self._pipe < 0:
                return
            else:
                raise CannotEnter("it has ended")


def fork_child(entrance: Entrance) -> Waiting:
    """Fork a child that enters; it is to be attended."""
    out, err, pipe = os.pipe(), os.pipe(), os.pipe()
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with warnings.catch_warnings():
        # Other threads may hold what the child would wait for; it takes nothing that is shared.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            os.close(pipe[1])
            _become(entrance, there, pipe[0], (out[1], err[1]))
        finally:
            os._exit(0)
    for fd in (out[1], err[1], pipe[0]):
        os.close(fd)
    there.close()
    return Waiting(pid, here, pipe[1], Child(pid, out[0], err[0], entrance.ignore is not None))


def _become(entrance: Entrance, link: socket.socket, pipe: int, outputs: tuple[int, int]) -> None:
    """Enter, wait, and become the command, in the child; say why not."""
    try:
        # What comes from now on is for the command.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        _forget_handlers()
        os.dup2(outputs[0], 1)
        os.dup2(outputs[1], 2)
        # A directory that somebody left open would lead out.
        for fd in map(int, os.listdir("/proc/self/fd")):
            if fd > 2:
                try:
                    os.set_inheritable(fd, False)
                except OSError:
                    # That by which the directory was read.
                    pass

        def map_by_parent() -> None:
            link.send(_MAP)
            if not os.read(pipe, 1):
                os._exit(0)

        entrance.enter(map_by_parent)
        kernel.end_with_parent(signal.SIGKILL)
        if entrance.watched:
            _have_watched(link)
        link.send(_READY)
        command = _read_all(pipe)
    except BaseException as error:
        reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        link.send(_FAILED + os.fsencode(reason))
        return
    if not command:
        return
    cwd, count, *parts = map(os.fsdecode, command.split(b"\0"))
    args, variables = parts[: int(count)], parts[int(count) :]
    env = dict(variable.split("=", 1) for variable in variables)
    try:
        os.chdir(cwd)
        if entrance.ignore:
            entrance.ignore()
    except OSError as error:
        link.send(_NOT_EXECUTED + b"%d " % (error.errno or 0) + os.fsencode(cwd))
        return
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    number, program = _execute(args, env)
    link.send(_NOT_EXECUTED + b"%d " % number + os.fsencode(program))


def _forget_handlers() -> None:
    """Leave signals to the command that are handled by this program, or ignored by Python."""
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    for name in _RESTORED:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


def _read_all(pipe: int) -> bytes:
    data = b""
    while True:
        part = os.read(pipe, 1 << 16)
        if not part:
            return data
        data += part


def _have_watched(link: socket.socket) -> None:
    machine = kernel.find_machine()
    assert machine
    kernel.gain_nothing()
    try:
        listener = rules.install_watch(machine)
    except OSError:
        return
    socket.send_fds(link, [_WATCH], [listener])
    # As long as somebody has it who does not answer, a call waits.
    os.close(listener)


def _execute(args: list[str], env: dict[str, str]) -> tuple[int, str]:
    """Execute a command as a shell finds it; return why that is not possible."""
    first = errno.ENOENT
    paths = [args[0]]
    if os.sep not in args[0]:
        paths = [os.path.join(folder, args[0]) for folder in os.get_exec_path(env)]
    for path in paths:
        try:
            os.execve(path, args, env)
        except (OSError, ValueError) as error:
            number = error.errno if isinstance(error, OSError) else errno.EINVAL
            if number not in (errno.ENOENT, errno.ENOTDIR) and first == errno.ENOENT:
                first = number or errno.EINVAL
    return first, args[0]
