"""Calls of the Linux kernel that Python has no names for."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import NamedTuple

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_SLAVE = 2, 4, 0x1000, 0x4000, 0x80000
_MNT_DETACH = 2
_MOUNT_ATTR_RDONLY = 1
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 1, 4, 24
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_CAPABILITY_VERSION = 0x20080522
_LAST_CAPABILITY = 63
# Of what root may do, that which is about files it can reach anyway: CHOWN, DAC_OVERRIDE, FOWNER
# and FSETID.
_KEPT_CAPABILITIES = (0, 1, 3, 4)


class Machine(NamedTuple):
    """An architecture to the kernel: its number for filters, and those of its system calls."""

    audit: int
    open: int
    creat: int
    openat: int
    openat2: int
    execve: int
    execveat: int
    chdir: int
    socket: int
    seccomp: int
    pivot_root: int


# These have one number everywhere.
IO_URING_SETUP = 425
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_MOUNT_SETATTR = 442
# No system call has it.
_NONE = 0x3FFFFFFF
_MACHINES = {
    "x86_64": Machine(0xC000003E, 2, 85, 257, 437, 59, 322, 80, 41, 317, 155),
    "aarch64": Machine(0xC00000B7, _NONE, _NONE, 56, 437, 221, 281, 49, 198, 277, 41),
}


def find_machine() -> Machine | None:
    """Return what this machine is to the kernel; None where that is not known."""
    if not sys.platform.startswith("linux") or sys.maxsize < 1 << 32:
        return None
    return _MACHINES.get(os.uname().machine)


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.mount.argtypes = (
    *(ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p),
    *(ctypes.c_ulong, ctypes.c_char_p),
)
_libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def syscall(what: str, number: int, *args: int | ctypes.c_void_p) -> int:
    """Make a system call; `what` stands in the error for what was tried.

    Raises:
        OSError: the kernel refused.
    """
    words = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    return _checked(_libc.syscall(ctypes.c_long(number), *words), what)


def address_of(value: ctypes.Structure | ctypes.Array[ctypes.c_char]) -> ctypes.c_void_p:
    """Return where a value lies, for a system call."""
    return ctypes.cast(ctypes.byref(value), ctypes.c_void_p)


def unshare(flags: int) -> None:
    """Give this process namespaces of its own."""
    _checked(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount a file system."""
    words = [os.fsencode(word) for word in (source, target, kind)]
    _checked(_libc.mount(*words, flags, os.fsencode(options)), f"mount {target}")


def bind(source: str, target: str) -> None:
    """Let what lies at a path, and all that is mounted below, be at another path too."""
    mount(source, target, "", MS_BIND | MS_REC)


class _MountAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]


def make_mount_read_only(path: str, recursive: bool = True) -> None:
    """Let nothing be written through a mount, nor through those below it."""
    attributes = _MountAttributes(set=_MOUNT_ATTR_RDONLY)
    syscall(
        f"mount_setattr {path}",
        _MOUNT_SETATTR,
        _AT_FDCWD,
        ctypes.cast(ctypes.c_char_p(os.fsencode(path)), ctypes.c_void_p),
        _AT_RECURSIVE if recursive else 0,
        address_of(attributes),
        ctypes.sizeof(attributes),
    )


def change_root(machine: Machine, root: str) -> None:
    """Make a mount the root of all, and let go of the old one with all that is mounted in it."""
    os.chdir(root)
    here = ctypes.cast(ctypes.c_char_p(b"."), ctypes.c_void_p)
    # The old root then lies over the new one, and goes.
    syscall("pivot_root", machine.pivot_root, here, here)
    _checked(_libc.umount2(b".", _MNT_DETACH), "umount2")
    os.chdir("/")


def _prctl(what: str, *args: int) -> None:
    _checked(_libc.prctl(*args, *[0] * (5 - len(args))), what)


def end_with_parent(number: int) -> None:
    """Have this process sent a signal when the one that made it is gone."""
    _prctl("prctl", _PR_SET_PDEATHSIG, number)


def let_be_looked_at() -> None:
    """Let processes of the same user look at this one, as they may at others."""
    _prctl("prctl", _PR_SET_DUMPABLE, 1)


def gain_nothing() -> None:
    """Let no program that is executed from now on have more rights than this process."""
    _prctl("no_new_privs", _PR_SET_NO_NEW_PRIVS, 1)


class _CapabilityHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _CapabilitySets(ctypes.Structure):
    _fields_ = [
        (f"{name}{part}", ctypes.c_uint32)
        for part in (0, 1)
        for name in ("effective", "permitted", "inheritable")
    ]


def drop_capabilities() -> None:
    """Give up what root may do besides reading and writing files, for good."""
    for capability in range(_LAST_CAPABILITY + 1):
        if capability not in _KEPT_CAPABILITIES:
            # Who has none of them may not do this, nor need to.
            _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = _CapabilityHeader(_CAPABILITY_VERSION, 0)
    sets = _CapabilitySets()
    _checked(_libc.capget(ctypes.byref(header), ctypes.byref(sets)), "capget")
    kept = sum(1 << number for number in _KEPT_CAPABILITIES)
    kept &= sets.permitted0 if os.geteuid() == 0 else 0
    sets = _CapabilitySets(effective0=kept, permitted0=kept)
    _checked(_libc.capset(ctypes.byref(header), ctypes.byref(sets)), "capset")


class _RulesetAttributes(ctypes.Structure):
    _fields_ = [("handled_access_fs", ctypes.c_uint64)]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


def landlock_version() -> int:
    """Return the version of Landlock that the kernel has.

    Raises:
        OSError: it has none.
    """
    return syscall("landlock", _LANDLOCK_CREATE, 0, 0, 1)


def landlock_ruleset(handled: int) -> int:
    """Return a new set of rules, as a file descriptor, for kinds of access to files."""
    attributes = _RulesetAttributes(handled)
    return syscall(
        "landlock_create_ruleset",
        _LANDLOCK_CREATE,
        address_of(attributes),
        ctypes.sizeof(attributes),
        0,
    )


def landlock_allow(ruleset: int, path: str, access: int) -> None:
    """Allow kinds of access to a file, or to what lies in a directory."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = _PathBeneath(access, fd)
        what = f"landlock_add_rule {path}"
        syscall(what, _LANDLOCK_ADD, ruleset, 1, address_of(rule), 0)
    finally:
        os.close(fd)


def landlock_restrict(ruleset: int) -> None:
    """Hold this process to a set of rules from now on."""
    syscall("landlock_restrict_self", _LANDLOCK_RESTRICT, ruleset, 0)


class _Span(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


def read_memory(pid: int, address: int, size: int) -> bytes:
    """Return bytes of another process.

    Raises:
        OSError: it is gone, has nothing there, or may not be looked at.
    """
    buffer = ctypes.create_string_buffer(size)
    here = _Span(ctypes.addressof(buffer), size)
    there = _Span(address, size)
    read = _libc.process_vm_readv(
        pid, ctypes.byref(here), ctypes.c_ulong(1), ctypes.byref(there), ctypes.c_ulong(1),
        ctypes.c_ulong(0),
    )  # fmt: skip
    return buffer.raw[: _checked(read, "process_vm_readv")]
