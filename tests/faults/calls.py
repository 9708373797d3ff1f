"""The system calls of a command: recorded, then one of them made to kill it or to fail."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from faults.world import Fault, World

# What changes something on disk, or asks for it to be there.
CHANGING = frozenset(
    [
        "write",
        "pwrite64",
        "writev",
        "rename",
        "renameat",
        "renameat2",
        "link",
        "linkat",
        "symlink",
        "symlinkat",
        "mkdir",
        "mkdirat",
        "rmdir",
        "unlink",
        "unlinkat",
        "chmod",
        "fchmod",
        "fchmodat",
        "utimensat",
        "ftruncate",
        "fallocate",
        "fsync",
        "fdatasync",
        "syncfs",
        "copy_file_range",
        "sendfile",
        "ioctl",
        "openat",
        "flock",
    ]
)
# Whose failure is no use of a disk that is full or broken.
_NEVER_FAILING = frozenset({"flock", "close"})

ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EMFILE")

_LINE = re.compile(r"(\w+)\(")


class Call(NamedTuple):
    """The `ordinal`-th call of a name that the main thread of a command makes."""

    name: str
    ordinal: int
    text: str

    def is_changing(self) -> bool:
        """Tell whether it changes something on disk."""
        return self.name in CHANGING and (self.name != "openat" or "O_CREAT" in self.text)

    def is_failing(self) -> bool:
        """Tell whether a full or broken disk, or too many open files, can make it fail."""
        return self.name in CHANGING and self.name not in _NEVER_FAILING


def record(world: World, args: Sequence[str], trace: Path) -> list[Call]:
    """Return the calls of a command that touch the runs home or what lies beside it."""
    strace = ["strace", "-y", "-s", "300", "-e", "trace=%file,%desc", "-o", str(trace)]
    ended = world.gage(*args, before=strace)
    if ended.code != 0:
        raise Fault(f"gage {' '.join(args)} fails by itself: {ended.err}")
    counts: Counter[str] = Counter()
    found = []
    below = str(world.home.parent)
    for line in trace.read_text(errors="replace").splitlines():
        match = _LINE.match(line)
        if match:
            counts[match[1]] += 1
            if below in line:
                found.append(Call(match[1], counts[match[1]], line))
    return found


def killing(call: Call) -> list[str]:
    """Return what kills the command that comes after it, right before a call."""
    return _injecting(call, "signal=KILL", "")


def failing(call: Call, error: str, ever_after: bool = False) -> list[str]:
    """Return what makes a call of the command fail that comes after it."""
    return _injecting(call, f"error={error}", "+" if ever_after else "")


def _injecting(call: Call, what: str, more: str) -> list[str]:
    inject = f"inject={call.name}:{what}:when={call.ordinal}{more}"
    return ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call.name}", "-e", inject]
