"""Processes: who one is, whether it still lives, and which belong to a run.

A process is identified by host, boot, pid namespace, pid and start time together, so that a
pid that was used again, a restarted machine or another host's process is never mistaken for
it. Linux tells all of these in /proc; elsewhere `ps` and `sysctl` do.
"""

from __future__ import annotations

import binascii
import functools
import os
import signal
import sys
from collections.abc import Iterable
from typing import NamedTuple

_LINUX = sys.platform.startswith("linux")


class ProcessId(NamedTuple):
    """One process, for good.

    `start_time` is the kernel's own figure as text: on Linux clock ticks since boot.
    """

    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    start_time: str


class _Stat(NamedTuple):
    state: str
    parent: int
    start_time: str


def this_process() -> ProcessId:
    """Return the identity of the calling process."""
    stat = _stat(os.getpid())
    return ProcessId(
        os.uname().nodename,
        _boot_id(),
        _pid_namespace(),
        os.getpid(),
        stat.start_time if stat else "",
    )


def is_alive(process: ProcessId) -> bool | None:
    """Tell whether a process still runs; None where that cannot be known from here.

    A zombie does not run any more. Another host's process, or one of another container on this
    host, cannot be seen.
    """
    if process.boot_id != _boot_id():
        # A machine's name may change while it runs; this does not.
        return False if process.host == os.uname().nodename else None
    if process.pid_namespace != _pid_namespace():
        return None
    stat = _stat(process.pid)
    if stat is None and _is_hidden(process.pid):
        return None
    return stat is not None and stat.state not in "ZX" and stat.start_time == process.start_time


def _is_hidden(pid: int) -> bool:
    """Tell whether there is a process that the system does not show, as one of another user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # It has come just now.
    return False


@functools.cache
def pid_space() -> str:
    """Return eight hex digits for the host and pid namespace in which a pid means something."""
    return f"{binascii.crc32(os.fsencode(f'{os.uname().nodename} {_pid_namespace()}')):08x}"


def find_life(pid: int) -> str | None:
    """Return eight hex digits that tell apart the processes that have a pid one after the other.

    None where no process has it, or only a zombie.
    """
    stat = _stat(pid)
    if stat is None or stat.state in "ZX":
        return None
    return f"{binascii.crc32(f'{_boot_id()} {stat.start_time}'.encode()):08x}"


def run_processes(run_id: str, command_pid: int | None = None) -> list[int]:
    """Return the pids of a run: the command's descendants, and all that carry its `RUN_ID`.

    The second finds what a process tree loses: daemons, and children whose parent has died.
    Parents come before their children.
    """
    stats = _all_stats()
    found = [] if command_pid is None else _descendants(command_pid, stats)
    marker = b"RUN_ID=" + os.fsencode(run_id)
    known = {*found, os.getpid()}
    found += [pid for pid in sorted(stats) if pid not in known and marker in _environ(pid)]
    return [pid for pid in found if pid in stats and stats[pid].state not in "ZX"]


def send_signal(pids: Iterable[int], number: int) -> None:
    """Send a signal to processes in their order; those that are gone are passed over."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            pass


def signal_name(number: int) -> str:
    """Return a signal's name, such as `SIGTERM`; `SIG40` for one without."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def signal_number(name: str) -> int:
    """Return the number of the signal that `signal_name` gave `name`."""
    try:
        return int(signal.Signals[name])
    except KeyError:
        return int(name[3:])


def _descendants(pid: int, stats: dict[int, _Stat]) -> list[int]:
    children: dict[int, list[int]] = {}
    for child, stat in stats.items():
        children.setdefault(stat.parent, []).append(child)
    found = [pid]
    for parent in found:
        found.extend(child for child in children.get(parent, ()) if child not in found)
    return found


if _LINUX:

    def _stat(pid: int) -> _Stat | None:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                # The second field is the program's name in brackets and may hold any byte.
                fields = file.read().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return None
        return _Stat(fields[0].decode(), int(fields[1]), fields[19].decode())

    def _all_stats() -> dict[int, _Stat]:
        found = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                stat = _stat(int(name))
                if stat:
                    found[int(name)] = stat
        return found

    def _environ(pid: int) -> list[bytes]:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                return file.read().split(b"\0")
        except OSError:
            return []

    @functools.cache
    def _boot_id() -> str:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()

    def _pid_namespace() -> str:
        return os.readlink("/proc/self/ns/pid")

else:

    def _ps(*args: str) -> list[str]:
        import subprocess

        done = subprocess.run(
            ["ps", *args], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
        )
        return done.stdout.decode(errors="replace").splitlines()

    def _parse(line: str) -> _Stat:
        state, parent, start = line.split(None, 2)
        return _Stat(state[0], int(parent), start.strip())

    def _stat(pid: int) -> _Stat | None:
        lines = _ps("-o", "state=,ppid=,lstart=", "-p", str(pid))
        return _parse(lines[0]) if lines else None

    def _all_stats() -> dict[int, _Stat]:
        found = {}
        for line in _ps("-axo", "pid=,state=,ppid=,lstart="):
            pid, rest = line.split(None, 1)
            found[int(pid)] = _parse(rest)
        return found

    def _environ(pid: int) -> list[bytes]:
        return [
            word.encode()
            for line in _ps("-E", "-o", "command=", "-p", str(pid))
            for word in line.split()
        ]

    @functools.cache
    def _boot_id() -> str:
        import subprocess

        return (
            subprocess.run(
                ["sysctl", "-n", "kern.bootsessionuuid"], stdout=subprocess.PIPE, check=True
            )
            .stdout.decode()
            .strip()
        )

    def _pid_namespace() -> str:
        return ""
