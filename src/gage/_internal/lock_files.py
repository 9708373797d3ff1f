"""Files that one process at a time has locked (flock), and that may be moved or removed meanwhile.

Who waited for such a file finds that what he locked does not have its name any more, and opens what
has it now.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable


def open_locked(path: str, wait: Callable[[], None]) -> int:
    """Open a file that has this name, made where it is not there, and lock it.

    `wait` is called where another process has it for longer than a second.

    Raises:
        OSError: it cannot be opened; FileNotFoundError where its directory is not there.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _lock_soon(fd):
                wait()
                fcntl.flock(fd, fcntl.LOCK_EX)
            if has_name(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def find_unlocked(path: str) -> int | None:
    """Open and lock a file that is there and that nobody has locked; return None otherwise."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if has_name(fd, path):
            return fd
    except BlockingIOError:
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def open_shared(path: str) -> int:
    """Open a file that is there and lock it for reading, as any number of processes may.

    Raises:
        FileNotFoundError: it is not there, or was removed meanwhile.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        if not has_name(fd, path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def has_name(fd: int, path: str) -> bool:
    """Tell whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _lock_soon(fd: int) -> bool:
    """Try to lock a file, for a second at most; tell whether it is."""
    over = time.monotonic() + 1
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > over:
                return False
            time.sleep(0.02)
