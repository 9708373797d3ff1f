"""Two that send the same run: one waits for the other, and then has nothing left to do."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from conftest import Project
from real_servers import Machine

from .conftest import TRAIN, Bench, Far, tree
from .counting_proxy import CountingProxy


def waiting(bench: Bench, *words: str) -> subprocess.Popen[bytes]:
    """Begin a push that has to wait, and return it when it says so."""
    process = bench.begin("push", *words, bench.far.address)
    assert process.stderr
    assert b"waiting for another process" in process.stderr.readline()
    return process


def test_over_ssh(project: Callable[..., Project], machine: Machine, tmp_path: Path) -> None:
    proxy = CountingProxy(machine.port)
    env = machine.reached_by(tmp_path, proxy.port)
    home = machine.root / tmp_path.name
    bench = Bench(
        project({"train.py": TRAIN}), Far("ssh", f"ssh://far/root/{tmp_path.name}", env, home)
    )
    run_id = bench.run("size=4000")
    reached = threading.Event()
    proxy.limit = 2_000_000
    first = bench.begin("push", run_id, bench.far.address)

    def stop() -> None:
        first.send_signal(signal.SIGSTOP)
        reached.set()

    proxy.at_limit = stop
    assert reached.wait(60)
    second = waiting(bench, run_id)
    first.send_signal(signal.SIGCONT)
    _, said = second.communicate()
    first.communicate()
    assert (second.returncode, first.returncode) == (0, 0), said
    assert b"already" in said
    assert tree(home, run_id) == tree(bench.project.runs_home, run_id)
    # One that is killed while another one waits leaves what has arrived to it.
    other = bench.run("size=4001")
    proxy.count, proxy.limit = 0, 1_000_000
    reached.clear()
    first = bench.begin("push", other, bench.far.address)
    assert reached.wait(60)
    second = waiting(bench, other)
    first.kill()
    first.communicate()
    _, said = second.communicate()
    assert second.returncode == 0, said
    assert tree(home, other) == tree(bench.project.runs_home, other)
    assert sorted(os.listdir(home)) == sorted(
        name for each in (run_id, other) for name in (each, f"{each}.meta")
    )
    proxy.close()


def test_in_a_directory(project: Callable[..., Project], tmp_path: Path) -> None:
    home = tmp_path / "far"
    bench = Bench(project({"train.py": TRAIN}), Far("directory", str(home), home=home))
    run_id = bench.run()
    (home / ".incoming").mkdir(parents=True)
    fd = os.open(home / ".incoming" / f"{run_id}.lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    process = waiting(bench, run_id)
    os.close(fd)
    _, said = process.communicate()
    assert process.returncode == 0 and b"1 run pushed" in said
    assert tree(home, run_id) == tree(bench.project.runs_home, run_id)
    assert not (home / ".incoming").exists()
