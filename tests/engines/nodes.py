"""Processes of clusters: daemons that end with the tests, and what passes for other machines."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
# With processes, a host name and a /tmp of its own: to kill the first process is to cut the power.
_NODE = ("unshare", "-m", "-u", "-p", "-f", "--kill-child", "--mount-proc", "bash", "-c")
_IN_NODE = """
hostname "$0" && mount --bind "$1" /mnt && mount -t tmpfs tmpfs /tmp || exit
[ -e "$1" ] || { mkdir -p "$1" && mount --bind /mnt "$1"; } || exit
shift
exec "$@"
"""


class Daemons:
    """Daemons by name, each of which can be killed; what they print is in the directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Whoever imports it there fails, as where no Gage is installed.
        self.without_gage = folder / "without"
        (self.without_gage / "gage").mkdir(parents=True)
        (self.without_gage / "gage" / "__init__.py").write_text("raise ModuleNotFoundError('gage')")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        # To be told to end is nothing to their first processes.
        self._nodes: set[str] = set()

    def start(self, name: str, *words: str, env: Mapping[str, str] | None = None) -> int:
        """Start a daemon without Gage; return its pid."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("GAGE_", "RAY_", "DASK_", "PYTEST_", "RUN_"))
        }
        path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
        own = {"PYTHONPATH": str(self.without_gage), "PATH": path}
        # What is not heard of for a while counts as gone after seconds.
        own |= {"GAGE_HEARTBEAT": "0.5", "GAGE_SYNC": "0", "HOME": str(self.folder)}
        with (self.folder / f"{name}.out").open("ab") as log:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**kept, **own, **(env or {})}, start_new_session=True,
                preexec_fn=_die_with_parent,
            )  # fmt: skip
        self._processes[name] = process
        return process.pid

    def start_node(self, name: str, *words: str, env: Mapping[str, str] | None = None) -> int:
        """Start a daemon on a node of its own, which has nothing of this machine's /tmp.

        But for the Python that executes it, where the checkout lies there.
        """
        self._nodes.add(name)
        return self.start(name, *_NODE, _IN_NODE, name, sys.prefix, *words, env=env)

    def kill(self, name: str) -> None:
        """Kill a daemon; on a node of its own, with all that executes there."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def end(self, name: str) -> None:
        """Let a daemon end by itself."""
        process = self._processes.pop(name)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop(self, first: Sequence[str] = ()) -> None:
        """End all, some of them first."""
        for name in [*first, *self._processes]:
            if name in self._processes:
                (self.kill if name in self._nodes else self.end)(name)


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listens at."""
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def entered(network: str) -> Iterator[None]:
    """Have this thread, and what it starts, use a network."""
    with open("/proc/thread-self/ns/net") as own, open(network) as other:
        if _LIBC.setns(other.fileno(), 0) != 0:
            raise OSError(ctypes.get_errno(), f"setns {network}")
        try:
            yield
        finally:
            _LIBC.setns(own.fileno(), 0)


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
