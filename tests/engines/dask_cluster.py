"""A real Dask cluster on loopback: a scheduler and workers, gone with the tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .nodes import Daemons, free_ports
from .slurm_cluster import until

_HOLD = """
import sys, time
from distributed import Client

def hold(path, number):
    import os, time
    while os.path.exists(path):
        time.sleep(0.05)

client = Client(sys.argv[1], timeout=20)
count = len(client.nthreads())
held = client.map(hold, [sys.argv[2]] * count, range(count), pure=False)
is_busy = lambda dask_worker: dask_worker.state.executing_count
while not all(client.run(is_busy).values()):
    time.sleep(0.05)
print("held", flush=True)
client.gather(held)
"""


class DaskCluster(Daemons):
    """A scheduler and workers of one thread; those on nodes of their own share no files."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (self.port,) = free_ports(1)
        self.program = str(Path(sys.executable).with_name("dask"))

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def start_scheduler(self) -> None:
        self.start(
            "scheduler", self.program, "scheduler", "--host", "127.0.0.1",
            "--port", str(self.port), "--dashboard-address", "127.0.0.1:0",
        )  # fmt: skip

    def start_worker(self, name: str, apart: bool = False, *words: str) -> None:
        start = self.start_node if apart else self.start
        folder = Path("/tmp" if apart else self.folder) / name
        start(
            name, self.program, "worker", self.address, "--host", "127.0.0.1",
            "--dashboard-address", "127.0.0.1:0", "--nthreads", "1", "--name", name,
            "--no-nanny", "--local-directory", str(folder), "--death-timeout", "30", *words,
        )  # fmt: skip

    def until_up(self, workers: int) -> None:
        """Wait until there are so many workers."""

        def is_up() -> bool:
            code = "import sys, distributed as d; c = d.Client(sys.argv[1], timeout=20)"
            code += "; print(len(c.nthreads()))"
            words = [sys.executable, "-c", code, self.address]
            done = subprocess.run(words, capture_output=True, text=True, timeout=60)
            return done.returncode == 0 and done.stdout.strip() == str(workers)

        until(is_up)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep all workers busy, until the context ends."""
        holding = self.folder / "holding"
        holding.touch()
        words = [sys.executable, "-c", _HOLD, self.address, str(holding)]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as holder:
            assert holder.stdout
            try:
                assert holder.stdout.readline() == b"held\n"
                yield
            finally:
                holding.unlink()
                holder.wait(60)


@contextmanager
def running_dask(folder: Path, workers: int, apart: bool = False) -> Iterator[DaskCluster]:
    """Start a cluster in a directory; it is gone when the context ends."""
    cluster = DaskCluster(folder)
    names = [f"w{number}" for number in range(1, workers + 1)]
    try:
        cluster.start_scheduler()
        for name in names:
            cluster.start_worker(name, apart)
        cluster.until_up(workers)
        yield cluster
    finally:
        # A worker whose scheduler has gone first waits for another one.
        cluster.stop(names)
