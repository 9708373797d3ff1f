"""Look at each file that a sealed run is about to open, as the kernel tells of it.

One thread answers; whatever it sees or fails to see, the call goes on as if nobody had looked. What
counts is a path that is there, seen from outside, and is neither in the view nor something that
the run has made for itself: otherwise it would have been reached.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import struct
import threading
from collections.abc import Callable, Iterable

from gage._internal.lifecycle.isolation import kernel
from gage._internal.lifecycle.isolation.kernel import Machine
from gage._internal.lifecycle.isolation.view import KERNEL, TEMPORARY, View, is_below

_RECEIVE, _SEND, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082104
_NOTIFICATION, _ANSWER = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")
_CONTINUE = 1
# The answer wakes who waits for it at once: with a kernel that knows how, twice as fast.
_SYNCHRONOUS = 1
_PAGE = 4096
_FIRST_READ = 256
_AT_FDCWD = -100
_MOST_NAMED = 100
_MOST_REMEMBERED = 1 << 16
_SHEBANG_SIZE = 256


class Reached:
    """The files outside of a view that a run has reached; judges each by its path."""

    def __init__(self, view: View, is_same_tree: bool) -> None:
        self.view = view
        self.paths: dict[str, None] = {}
        self.is_blind = False
        # Where the run sees the same tree, there is no other /tmp.
        self._fresh = () if is_same_tree else TEMPORARY
        self._own = (os.path.join(view.own, "tmp"),) if is_same_tree else ()
        self._known: set[tuple[str, bool]] = set()

    def judge(self, path: str, makes: bool = False, pid: int | None = None) -> None:
        """Remember an absolute path if it leads to what is there outside and not for the run.

        `makes` tells that a file may be made there, by process `pid`.
        """
        if (path, makes) in self._known or is_below(os.path.normpath(path), KERNEL):
            return
        real = self._find_real(path, makes)
        if real is None:
            return
        if self._is_there(real, makes, pid) and self._has_links(path, pid):
            # What lies in the run or in /tmp may be another file the next time.
            if len(self._known) < _MOST_REMEMBERED and is_below(real, self.view.readable):
                self._known.add((path, makes))
            return
        named = real if self.view.has(os.path.normpath(path)) else os.path.normpath(path)
        if len(self.paths) < _MOST_NAMED:
            self.paths[named] = None

    def _find_real(self, path: str, makes: bool) -> str | None:
        """Return the real path of what is there outside; None where there is nothing."""
        try:
            return _real(path)
        except OSError:
            if not makes:
                return None
        folder, name = os.path.split(path)
        try:
            return os.path.join(_real(folder), name)
        except OSError:
            return None

    def _is_there(self, real: str, makes: bool, pid: int | None) -> bool:
        if self.view.has(real) or self.view.leads_to(real) or real == "/":
            return True
        if any(is_below(real, [own]) or is_below(own, [real]) for own in self._own):
            return True
        if pid is None or not is_below(real, self._fresh):
            return False
        # In its own /tmp a run may have made what is there outside too.
        inside = f"/proc/{pid}/root{real}"
        return os.path.isdir(os.path.dirname(inside)) if makes else os.path.lexists(inside)

    def _has_links(self, path: str, pid: int | None) -> bool:
        """Tell whether the links on the way to a path are there, or the run has made them."""
        if self.view.has(os.path.normpath(path)):
            return True
        return all(
            pid is not None
            and is_below(link, (*self._fresh, *self._own))
            and (bool(self._own) or os.path.lexists(f"/proc/{pid}/root{link}"))
            for link in self.view.hidden_links(path)
        )


def _real(path: str) -> str:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


class Watch:
    """A thread that answers the kernel for one command and all that it starts."""

    def __init__(self, machine: Machine, reached: Reached) -> None:
        self._machine = machine
        self._reached = reached
        self._threads: list[tuple[threading.Thread, int]] = []
        self.has_attended = False
        self._readers: dict[int, Callable[[int, tuple[int, ...]], None]] = {
            machine.open: lambda pid, args: self._see(pid, None, args[0], args[1]),
            machine.creat: lambda pid, args: self._see(pid, None, args[0], os.O_CREAT),
            machine.openat: lambda pid, args: self._see(pid, args[0], args[1], args[2]),
            machine.openat2: self._see_openat2,
            machine.execve: lambda pid, args: self._see(pid, None, args[0], executes=True),
            machine.execveat: lambda pid, args: self._see(pid, args[0], args[1], executes=True),
            machine.chdir: lambda pid, args: self._see(pid, None, args[0]),
        }

    def attend(self, listener: int) -> None:
        """Answer what comes from `listener` until `close`."""
        # What came by a socket is inherited unless it is said otherwise.
        os.set_inheritable(listener, False)
        try:
            fcntl.ioctl(listener, _SET_FLAGS, _SYNCHRONOUS)
        except OSError:
            pass
        wake, waker = os.pipe()
        # Signals are for the threads that wait for them; a new thread blocks what its maker does.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            thread = threading.Thread(target=self._answer, args=(listener, wake), daemon=True)
            thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._threads.append((thread, waker))
        self.has_attended = True

    def close(self) -> None:
        """Stop; what still runs cannot open files any more."""
        for thread, waker in self._threads:
            os.close(waker)
            thread.join()
        self._threads.clear()

    def _answer(self, listener: int, wake: int) -> None:
        poller = select.poll()
        poller.register(listener, select.POLLIN)
        poller.register(wake, select.POLLIN)
        try:
            while True:
                events = dict(poller.poll())
                if events.get(listener, 0) & select.POLLIN:
                    self._answer_one(listener)
                elif events:
                    # Told to stop, or nobody is left to ask.
                    return
        except OSError:
            # Rather no answer than one that never comes.
            self._reached.is_blind = True
        finally:
            os.close(wake)
            # Who asks from now on is answered by the kernel, that there is no such call.
            os.close(listener)

    def _answer_one(self, listener: int) -> None:
        buffer = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(listener, _RECEIVE, buffer, True)
        except OSError:
            # Who asked is gone.
            return
        number, pid, _, call, _, _, *args = _NOTIFICATION.unpack(buffer)
        try:
            self._readers[call](pid, tuple(args))
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES):
                self._reached.is_blind = True
        except Exception:
            # Whatever it is, the run does not wait for it.
            self._reached.is_blind = True
        try:
            fcntl.ioctl(listener, _SEND, _ANSWER.pack(number, 0, 0, _CONTINUE))
        except FileNotFoundError:
            # Who asked is gone.
            pass

    def _see(
        self, pid: int, folder: int | None, address: int, flags: int = 0, executes: bool = False
    ) -> None:
        path = os.fsdecode(_read_string(pid, address))
        if not path:
            return
        if not path.startswith("/"):
            path = os.path.join(_folder(pid, folder), path)
        self._reached.judge(path, bool(flags & os.O_CREAT), pid)
        if executes:
            for interpreter in _shebang(path):
                self._reached.judge(interpreter, pid=pid)

    def _see_openat2(self, pid: int, args: tuple[int, ...]) -> None:
        flags = struct.unpack("=Q", kernel.read_memory(pid, args[2], 8))[0]
        self._see(pid, args[0], args[1], flags)


def _folder(pid: int, folder: int | None) -> str:
    """Return the directory that a path is relative to."""
    number = _AT_FDCWD
    if folder is not None:
        (number,) = struct.unpack("=i", struct.pack("=I", folder & 0xFFFFFFFF))
    name = "cwd" if number == _AT_FDCWD else f"fd/{number}"
    return os.readlink(f"/proc/{pid}/{name}")


def _read_string(pid: int, address: int) -> bytes:
    """Return the text at an address of another process; a page at a time, as more may not be."""
    text = b""
    while len(text) <= _PAGE:
        size = _PAGE - address % _PAGE
        if not text:
            size = min(size, _FIRST_READ)
        part, end, _ = kernel.read_memory(pid, address, size).partition(b"\0")
        text += part
        if end:
            break
        address += size
    return text


def _shebang(path: str) -> Iterable[str]:
    """Return the interpreter that a script names, if it is a script that can be read."""
    try:
        # What is no file, such as a pipe, is not waited for.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            line = os.read(fd, _SHEBANG_SIZE).partition(b"\n")[0]
        finally:
            os.close(fd)
    except OSError:
        return ()
    words = os.fsdecode(line[2:]).split() if line.startswith(b"#!") else []
    return words[:1]
