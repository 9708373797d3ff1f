"""Fork a child that enters a rung, has itself watched, and becomes the command.

Between fork and exec it says over a socket what becomes of it: that it needs its users mapped;
where the kernel tells what it opens; or what failed. That the socket is closed means that the
command runs.
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

_MAP, _DONE, _WATCH, _UNWATCHED, _FAILED, _NOT_EXECUTED = b"m", b"d", b"w", b"u", b"f", b"x"
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
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if self._is_in_front and 128 < code <= 128 + signal.NSIG:
            code = 128 - code
        self.returncode = code
        return code


def start_child(
    entrance: Entrance,
    args: Sequence[str],
    cwd: str,
    env: Mapping[str, str],
    watch: Callable[[int], None],
) -> Child:
    """Fork a child that becomes the command; `watch` is given where the kernel tells what it opens.

    Raises:
        CannotEnter: what it was to enter cannot be entered.
        OSError: the command cannot be executed; has the path of a file that was tried.
    """
    out, err = os.pipe(), os.pipe()
    try:
        pid, link = _fork(entrance, (list(args), cwd, dict(env)), (out[1], err[1]))
    finally:
        os.close(out[1])
        os.close(err[1])
    child = Child(pid, out[0], err[0], entrance.ignore is not None)
    try:
        with link:
            _attend(link, pid, watch)
    except BaseException:
        # It has ended, or is to: nothing of the command has run.
        os.kill(pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        child.stderr.close()
        raise
    return child


def try_entrance(entrance: Entrance) -> bool:
    """Enter and execute nothing; return whether the kernel would tell what is opened.

    Raises:
        CannotEnter: it cannot be entered.
    """
    listeners: list[int] = []
    pid, link = _fork(entrance, None, None)
    try:
        with link:
            _attend(link, pid, listeners.append)
    finally:
        for listener in listeners:
            os.close(listener)
        os.waitpid(pid, 0)
    return bool(listeners)


def _fork(
    entrance: Entrance,
    command: tuple[list[str], str, dict[str, str]] | None,
    outputs: tuple[int, int] | None,
) -> tuple[int, socket.socket]:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with warnings.catch_warnings():
        # Other threads may hold what the child would wait for; it takes nothing that is shared.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        there.close()
        return pid, here
    try:
        _become(there, entrance, command, outputs)
    finally:
        os._exit(0)
    raise AssertionError


def _attend(link: socket.socket, pid: int, watch: Callable[[int], None]) -> None:
    while True:
        message, fds, _, _ = socket.recv_fds(link, _LONGEST, 1)
        kind, rest = message[:1], message[1:]
        if kind == _MAP:
            try:
                map_users(pid)
            except OSError as error:
                raise CannotEnter(f"{error.filename}: {error.strerror}") from None
            link.send(_DONE)
        elif kind == _WATCH:
            watch(fds[0])
        elif kind == _FAILED:
            raise CannotEnter(os.fsdecode(rest))
        elif kind == _NOT_EXECUTED:
            number, _, path = rest.partition(b" ")
            raise OSError(int(number), os.strerror(int(number)), os.fsdecode(path))
        elif not kind:
            return


def _become(
    link: socket.socket,
    entrance: Entrance,
    command: tuple[list[str], str, dict[str, str]] | None,
    outputs: tuple[int, int] | None,
) -> None:
    """Become the command, in the child; say why not."""
    try:
        for name in _RESTORED:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_DFL)
        if outputs:
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
            if not link.recv(1):
                os._exit(1)

        if command:
            os.chdir(command[1])
        entrance.enter(map_by_parent)
        kernel.end_with_parent(signal.SIGKILL)
        if entrance.watched:
            _have_watched(link)
    except BaseException as error:
        reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        link.send(_FAILED + os.fsencode(reason))
        return
    if command:
        if entrance.ignore:
            entrance.ignore()
        number, path = _execute(command[0], command[2])
        link.send(_NOT_EXECUTED + b"%d " % number + os.fsencode(path))


def _have_watched(link: socket.socket) -> None:
    machine = kernel.find_machine()
    assert machine
    kernel.gain_nothing()
    try:
        listener = rules.install_watch(machine)
    except OSError:
        link.send(_UNWATCHED)
        return
    socket.send_fds(link, [_WATCH], [listener])


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
