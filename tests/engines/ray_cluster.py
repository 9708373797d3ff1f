"""A real Ray cluster in a network of its own, started for tests and gone with them.

Ray listens at every address there is, so it gets a network that has but loopback. Whoever is to
come to it enters this network.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from .nodes import Daemons, entered
from .slurm_cluster import until

_PORT = 6399
_ENV = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_STATE = """
import logging, sys, ray

ray.init(sys.argv[1], logging_level=logging.CRITICAL, log_to_driver=False)
print(sum(node["Alive"] for node in ray.nodes()))
"""
_HOLD = """
import logging, sys, time, ray

ray.init(sys.argv[1], logging_level=logging.CRITICAL, log_to_driver=False)

@ray.remote(num_cpus=1, max_retries=0)
def hold():
    import time
    time.sleep(3600)

held = [hold.remote() for _ in range(int(ray.cluster_resources()["CPU"]))]
while ray.available_resources().get("CPU", 0) >= 1:
    time.sleep(0.05)
print("held", flush=True)
sys.stdin.read()
"""


class RayCluster(Daemons):
    """A head, and nodes of their own, which share no files with it or each other."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        # The paths of its sockets must not be long.
        self._short = tempfile.mkdtemp(prefix="r", dir="/tmp")
        self._program = str(Path(sys.executable).with_name("ray"))
        self._count = 0

    address = f"127.0.0.1:{_PORT}"
    port = _PORT

    def start_head(self, cpus: int) -> None:
        words = self._words("127.0.0.1", cpus, "--head", f"--port={_PORT}")
        words += ["--include-dashboard=false", f"--temp-dir={self._short}"]
        script = 'ip link set lo up; exec "$@"'
        pid = self.start("head", "unshare", "-n", "bash", "-c", script, "ray", *words, env=_ENV)
        self.network = f"/proc/{pid}/ns/net"
        outer = Path("/proc/thread-self/ns/net").readlink()
        until(lambda: Path(self.network).readlink() != outer)
        self._count += 1
        self.until_up(self._count)

    def start_worker(self, name: str, cpus: int) -> None:
        """Start a node of its own."""
        self._count += 1
        words = self._words(f"127.0.0.{self._count}", cpus, f"--address={self.address}")
        with self.entered():
            self.start_node(name, *words, env=_ENV)

    def kill(self, name: str) -> None:
        super().kill(name)
        self._count -= 1

    def _words(self, ip: str, cpus: int, *words: str) -> list[str]:
        found = [self._program, "start", "--block", f"--node-ip-address={ip}", *words]
        return [*found, f"--num-cpus={cpus}", "--object-store-memory=200000000"]

    def entered(self) -> AbstractContextManager[None]:
        """Be in the network of the cluster."""
        return entered(self.network)

    def until_up(self, nodes: int) -> None:
        """Wait until there are so many nodes."""

        def is_up() -> bool:
            with self.entered():
                words = [sys.executable, "-c", _STATE, self.address]
                done = subprocess.run(words, capture_output=True, text=True, timeout=90)
            return done.returncode == 0 and done.stdout.strip() == str(nodes)

        until(is_up, 120)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep all CPUs, until the context ends."""
        words = [sys.executable, "-c", _HOLD, self.address]
        holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert holder.stdin and holder.stdout
        try:
            assert holder.stdout.readline() == b"held\n"
            yield
        finally:
            holder.stdin.close()
            holder.wait(60)
            holder.stdout.close()

    def pids(self, name: str = "") -> list[int]:
        """Return the processes in the network of the cluster, whose titles begin so."""
        network = Path(self.network).readlink()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                is_there = path.joinpath("ns/net").readlink() == network
                if is_there and path.joinpath("cmdline").read_bytes().startswith(name.encode()):
                    found.append(int(path.name))
            except OSError:
                # It has ended meanwhile.
                pass
        return found

    def stop(self, first: Sequence[str] = ()) -> None:
        # Some of them have left the session of the one that started them.
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        super().stop(first)
        shutil.rmtree(self._short, ignore_errors=True)


@contextmanager
def running_ray(folder: Path, cpus: int, nodes: int = 0) -> Iterator[RayCluster]:
    """Start a cluster whose head has so many CPUs, and nodes with one each."""
    cluster = RayCluster(folder)
    try:
        cluster.start_head(cpus)
        for number in range(1, nodes + 1):
            cluster.start_worker(f"n{number}", 1)
        cluster.until_up(1 + nodes)
        yield cluster
    finally:
        cluster.stop()
