"""Filters of system calls, as the kernel executes them (BPF).

A filter sees the number of a call and its arguments, not what they point to.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct

from gage._internal.lifecycle.isolation.kernel import (
    IO_URING_SETUP,
    Machine,
    address_of,
    syscall,
)

_SET_MODE_FILTER = 1
# The kernel that lets a call go on after it was told of; an older one would let it wait for ever.
_SINCE = [5, 5]
_NEW_LISTENER, _WAIT_KILLABLE = 1 << 3, 1 << 5
_ALLOW, _NOTIFY, _ERRNO = 0x7FFF0000, 0x7FC00000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
# Numbers from here on are those of x32, programs with short pointers.
_X32 = 0x40000000
_AF_UNIX, _AF_NETLINK = 1, 16


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def install_watch(machine: Machine) -> int:
    """Have the kernel tell of each file that is about to be opened; return where it does.

    What would open files without such calls is not there (io_uring): programs do without.

    Raises:
        OSError: the kernel does not, or somebody is told already.
    """
    if _kernel_version() < _SINCE:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), "seccomp")
    watched = (
        *(machine.open, machine.creat, machine.openat, machine.openat2),
        *(machine.execve, machine.execveat, machine.chdir),
    )
    steps = [
        *_unless_native(machine, _ALLOW),
        *_answer(IO_URING_SETUP, _ERRNO | errno.ENOSYS),
        *(step for number in watched for step in _answer(number, _NOTIFY)),
        _step(_RETURN, _ALLOW),
    ]
    try:
        # A signal that somebody sends to a process does not wait for an answer, nor make it ask
        # a second time, with a kernel that knows how.
        return _install(machine, steps, _NEW_LISTENER | _WAIT_KILLABLE)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return _install(machine, steps, _NEW_LISTENER)


def _kernel_version() -> list[int]:
    return [int(part) for part in re.findall(r"\d+", os.uname().release)[:2]]


def install_no_network(machine: Machine) -> None:
    """Let no socket be made that leads out of this machine."""
    unreachable = _ERRNO | errno.ENETUNREACH
    steps = [
        *_unless_native(machine, _ERRNO | errno.ENOSYS),
        _step(_AT_LEAST, _X32, 0, 1),
        _step(_RETURN, _ERRNO | errno.ENOSYS),
        *_answer(IO_URING_SETUP, _ERRNO | errno.ENOSYS),
        _step(_EQUAL, machine.socket, 1, 0),
        _step(_RETURN, _ALLOW),
        _step(_LOAD, _FIRST_ARGUMENT),
        *_answer(_AF_UNIX, _ALLOW),
        *_answer(_AF_NETLINK, _ALLOW),
        _step(_RETURN, unreachable),
    ]
    _install(machine, steps, 0)


def _unless_native(machine: Machine, answer: int) -> list[bytes]:
    """Answer calls of programs for another architecture; load the number of others."""
    return [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, machine.audit, 1, 0),
        _step(_RETURN, answer),
        _step(_LOAD, _NUMBER),
    ]


def _answer(value: int, answer: int) -> list[bytes]:
    return [_step(_EQUAL, value, 0, 1), _step(_RETURN, answer)]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _install(machine: Machine, steps: list[bytes], flags: int) -> int:
    code = ctypes.create_string_buffer(b"".join(steps), 8 * len(steps))
    program = _Program(len(steps), ctypes.addressof(code))
    return syscall("seccomp", machine.seccomp, _SET_MODE_FILTER, flags, address_of(program))
