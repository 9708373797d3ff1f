"""Many runs: each executed exactly once, whatever becomes of the process that starts them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gage._internal import proc
from gage._internal.catalog.startable import list_failed, list_staged
from gage._internal.lifecycle.budget import Budget, Machine, find_machine, said_resources
from gage._internal.store import lock, meta, status
from gage._internal.store.names import run_name
from gage._internal.store.resources import Resources
from gage._internal.types import Run
from runs_on_disk import meta_file

SCHEDULER = [sys.executable, "-m", "gage", "start", "--all", "--keep-going"]


@pytest.fixture
def many(make_staged: Callable[..., Run], project_dir: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that stages runs of a command and returns the runs home."""

    def stage(count: int, *command: str) -> Path:
        for _ in range(count):
            make_staged(*command)
        return tmp_path / "runs"

    return stage


def start(home: Path, *args: str, jobs: int = 4) -> subprocess.Popen[bytes]:
    command = [*SCHEDULER, "--jobs", str(jobs), "--runs", str(home), *args]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=home.parent, stderr=subprocess.PIPE, **streams)


def wait_until_none_runs(home: Path) -> None:
    while any(status.run_status(run) == status.RUNNING for run in runs_of(home)):
        time.sleep(0.02)


def runs_of(home: Path) -> list[Run]:
    return [Run(path.stem, str(path.with_suffix(""))) for path in home.glob("*.meta")]


def executed(path: Path) -> Counter[str]:
    return Counter(path.read_text().split() if path.exists() else [])


def test_a_scheduler_that_is_killed_at_any_point_loses_no_run_and_starts_none_twice(many, tmp_path):
    ids = tmp_path / "ids"
    home = many(200, "sh", "-c", f'echo "$RUN_ID" >> {ids}')
    chance = random.Random(6)
    kills = 0
    while list_staged(str(home)):
        with start(home, "-q", jobs=2) as scheduler:
            # To be killed while it starts runs, it has to be let start some.
            before, upto = len(executed(ids)), chance.randrange(1, 30)
            while len(executed(ids)) < before + upto and scheduler.poll() is None:
                time.sleep(0.005)
            scheduler.kill()
            kills += scheduler.wait() == -signal.SIGKILL
    wait_until_none_runs(home)
    assert kills > 5
    assert executed(ids) == Counter(run.id for run in runs_of(home))
    assert {status.run_status(run) for run in runs_of(home)} == {status.COMPLETED}


def test_two_schedulers_share_the_runs(many, tmp_path):
    ids = tmp_path / "ids"
    home = many(60, "sh", "-c", f'echo "$RUN_ID" >> {ids}')
    both = [start(home, jobs=2) for _ in range(2)]
    said = b"".join(scheduler.communicate()[1] for scheduler in both)
    assert [scheduler.returncode for scheduler in both] == [0, 0], said
    assert executed(ids) == Counter(run.id for run in runs_of(home))


def test_children_that_are_killed_leave_what_happened(many, tmp_path):
    home = many(20, "sleep", "60")
    with start(home, jobs=4) as scheduler:
        runners: list[str] = []
        while len(runners) < 4:
            runners = children(scheduler.pid)
        wait_until_execute(home, 4)
        for pid in runners:
            os.kill(int(pid), signal.SIGKILL)
        while sum(status.run_status(run) == status.LOST for run in runs_of(home)) < 4:
            time.sleep(0.005)
        scheduler.terminate()
        scheduler.communicate()
    counts = Counter(status.run_status(run) for run in runs_of(home))
    assert counts[status.LOST] == 4
    assert counts[status.LOST] + counts[status.TERMINATED] + counts[status.STAGED] == 20
    for run in runs_of(home):
        proc.send_signal(proc.run_processes(run.id), signal.SIGKILL)


def wait_until_execute(home: Path, count: int) -> None:
    """Wait until commands execute: a run that was only claimed is still staged if it is killed."""
    while sum(meta_file(run, "output/run").exists() for run in runs_of(home)) < count:
        time.sleep(0.005)


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_what_executes_and_leaves_the_rest_staged(many, number):
    home = many(6, "sleep", "60")
    with start(home, jobs=2) as scheduler:
        wait_until_execute(home, 2)
        scheduler.send_signal(number)
        _, said = scheduler.communicate()
    assert scheduler.returncode == 128 + number
    counts = Counter(status.run_status(run) for run in runs_of(home))
    assert counts == {status.TERMINATED: 2, status.STAGED: 4}
    assert b"4 runs still staged; to go on: gage start --all\n" in said
    assert len(list_staged(str(home))) == 4 and len(list_failed(str(home))) == 2


def test_a_signal_while_runs_come_and_go_leaves_none_half_done(many, tmp_path):
    """Stopped at any moment, also while one is prepared or finalized."""
    ids = tmp_path / "ids"
    home = many(60, "sh", "-c", f'echo "$RUN_ID" >> {ids}')
    chance = random.Random(7)
    while list_staged(str(home)):
        with start(home, "-q", jobs=3) as scheduler:
            upto = len(executed(ids)) + chance.randrange(1, 12)
            while len(executed(ids)) < upto and scheduler.poll() is None:
                time.sleep(0.005)
            scheduler.send_signal(signal.SIGTERM)
            _, said = scheduler.communicate()
            # The last is of a scheduler that had done all.
            codes = (0, 128 + signal.SIGTERM, -signal.SIGTERM)
            assert scheduler.returncode in codes, said
            assert b"Traceback" not in said
            left = len(list_staged(str(home)))
            assert not left or f"gage: {left} run".encode() in said
        for run in runs_of(home):
            is_sealed = meta_file(run, "stopped").exists()
            assert status.run_status(run) == status.STAGED or is_sealed
    counts = executed(ids)
    assert set(counts.values()) == {1}
    # Only what was told to stop before its command had written may be missing.
    missing = [run for run in runs_of(home) if run.id not in counts]
    assert all(status.run_status(run) == status.TERMINATED for run in missing)


@pytest.fixture
def watched(make_staged: Callable[..., Run], tmp_path: Path) -> Run:
    """A run whose runner is on a host that cannot be asked, and gave its last sign long ago."""
    told = tmp_path / "told"
    run = make_staged("sh", "-c", f"echo again >> {told}; sleep 60", opdef={"resumable": True})
    meta.write_time(run, "started", 1)
    lock.pass_on(run, proc.this_process()._replace(host="elsewhere", boot_id="another"), beats=0.5)
    os.utime(meta_file(run, "proc/lock"), (1, 1))
    assert status.run_status(run) == status.LOST
    return run


def start_watched(
    run: Run, meanwhile: Callable[[subprocess.Popen[bytes]], None]
) -> tuple[int, str]:
    """Start it, and do something while it is watched; return the exit code, and what was said."""
    home = Path(run.run_dir).parent
    command = [sys.executable, "-m", "gage", "start", run.id, "--jobs", "2", "--runs", str(home)]
    with subprocess.Popen(command, cwd=home.parent, stderr=subprocess.PIPE) as scheduler:
        assert scheduler.stderr
        said = b""
        while b"for a sign of it" not in said:
            said += scheduler.stderr.readline()
        meanwhile(scheduler)
        said += scheduler.stderr.read()
    assert not (home.parent / "told").exists()
    return scheduler.returncode, said.decode()


def test_a_signal_leaves_a_run_as_it_was_that_is_not_gone_on_with_yet(watched):
    """Also one that has executed before: it is not taken for one that has just ended."""
    code, said = start_watched(watched, lambda scheduler: scheduler.terminate())
    assert code == 128 + signal.SIGTERM and status.run_status(watched) == status.LOST
    assert f"to go on: gage start {run_name(watched.id)}\n" in said


def test_a_run_that_executes_where_it_did_is_not_said_to_have_been_started_meanwhile(watched):
    code, said = start_watched(watched, lambda scheduler: os.utime(meta_file(watched, "proc/lock")))
    assert code == 125 and "[run-already-started]" in said and "passed over" not in said


def test_a_machine_is_shared_out_and_given_back():
    budget = Budget(Machine(4, 8 << 30, ("2", "5", "7")))
    first = budget.take(Resources(3, 6 << 30, 2))
    assert first and first.gpus == ["2", "5"]
    assert budget.take(Resources(2)) is None
    assert budget.take(Resources(1, 3 << 30)) is None
    assert budget.take(Resources(1, None, 2)) is None
    second = budget.take(Resources(1, 2 << 30, 1))
    assert second and second.gpus == ["7"]
    budget.give_back(first)
    third = budget.take(Resources(0, None, 2))
    assert third and third.gpus == ["2", "5"]


def test_what_there_never_is_is_told():
    budget = Budget(Machine(2, 4 << 30, ()))
    assert budget.find_lack(Resources(3)) == "it is to have 3 CPUs, and there are 2"
    lack = budget.find_lack(Resources(1, 8 << 30))
    assert lack == "it is to have 8.0 GiB of memory, and there are 4.0 GiB"
    assert budget.find_lack(Resources(1, None, 1)) == "it is to have 1 GPU, and there are 0"
    assert budget.find_lack(Resources(2, 4 << 30)) is None


def test_cpus_that_an_operation_does_not_ask_for_are_not_counted():
    assert said_resources({}).cpus == 0
    assert said_resources({"resources": {"memory": "1GiB"}}) == Resources(0, 1 << 30, 0)
    assert said_resources({"resources": {"cpus": 2}}).cpus == 2


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [("0,1", ["0", "1"]), ("GPU-8a, 3", ["GPU-8a", "3"]), ("", []), ("1,-1,2", ["1"])],
)
def test_gpus_are_those_that_are_visible(monkeypatch, visible, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert find_machine(with_gpus=True).gpus == gpus


ATTENTIVE = """
from gage._internal.lifecycle.attention import Attention
with Attention() as attention:
    print("ready", flush=True)
    for _ in range(20):
        found = attention.wait(0.1)
        assert not found, found
"""


def test_to_be_stopped_for_a_while_is_no_signal_to_stop() -> None:
    command = [sys.executable, "-c", ATTENTIVE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        for _ in range(4):
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.2)
            process.send_signal(signal.SIGCONT)
            time.sleep(0.05)
        err = process.stderr.read().decode()
    assert process.returncode == 0, err
