"""GPUs that runs have for themselves, whoever starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gage._internal.lifecycle.host_locks import GpuLocks, find_free

# Each tells which GPUs it has, and ends when it may.
WAIT = "echo $1=$CUDA_VISIBLE_DEVICES >> $SEEN; until [ -e $GO ]; do sleep 0.02; done\n"
GAGE_FILE = """
[one]
exec = "sh wait.sh one"
resources = { gpus = 1 }
[two]
exec = "sh wait.sh two"
resources = { gpus = 2 }
[none]
exec = "sh wait.sh none"
[outer]
exec = "sh -c 'cd $PROJECT; gage run one & gage run one & wait'"
resources = { gpus = 2 }
"""


@dataclass
class Place:
    """A project on a host with two GPUs."""

    here: Any
    env: dict[str, str]
    seen: Path
    go: Path
    begun: ExitStack

    def stage(self, *operations: str) -> None:
        for operation in operations:
            self.here.gage("stage", operation).succeeds()

    def begin(self, *args: str, **env: str) -> subprocess.Popen[bytes]:
        process = self.here.begin(*args, env={**self.env, **env})
        self.begun.enter_context(process)
        self.begun.callback(process.terminate)
        return process

    def told(self) -> list[str]:
        return sorted(self.seen.read_text().split()) if self.seen.exists() else []

    def until_told(self, *lines: str) -> None:
        until(lambda: self.told() == sorted(lines))

    def statuses(self) -> list[str]:
        return [row["status"] for row in reversed(self.here.gage("list", "--json").json)]


def until(is_so: Callable[[], object]) -> None:
    over = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < over, "it does not come about"
        time.sleep(0.02)


def read_until(process: subprocess.Popen[bytes], text: bytes) -> bytes:
    """Return what a process has said, as soon as a text is in it."""
    assert process.stderr
    said = b""
    while text not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    return said


@pytest.fixture
def place(project, tmp_path) -> Iterator[Place]:
    here = project({"gage.toml": GAGE_FILE, "wait.sh": WAIT})
    go = tmp_path / "go"
    env = {
        **here.env,
        "CUDA_VISIBLE_DEVICES": "0,1",
        "SEEN": str(tmp_path / "seen"),
        "GO": str(go),
        "PROJECT": str(here.dir),
    }
    with ExitStack() as begun:
        yield Place(here, env, tmp_path / "seen", go, begun)
        go.touch()


def test_runs_that_are_started_apart_have_others(place):
    both = [place.begin("run", "one") for _ in range(2)]
    place.until_told("one=0", "one=1")
    place.go.touch()
    assert [process.wait() for process in both] == [0, 0]


def test_a_run_waits_for_gpus_that_others_have(place):
    first = place.begin("run", "one")
    place.until_told("one=0")
    second = place.begin("run", "two")
    said = read_until(second, b"waiting for 2 GPUs: others have them\n")
    # It is not said to run as long as it does not.
    assert place.statuses() == ["running", "staged"]
    place.go.touch()
    assert second.communicate()[1].count(b"waiting") == 0 and said.count(b"waiting") == 1
    assert (first.wait(), second.returncode) == (0, 0)
    assert place.told() == ["one=0", "two=0,1"]


def test_ctrl_c_ends_the_waiting_and_the_run_stays_staged(place):
    first = place.begin("run", "two")
    place.until_told("two=0,1")
    second = place.begin("run", "one")
    read_until(second, b"waiting for 1 GPU: others have them\n")
    second.send_signal(signal.SIGINT)
    assert b" stays staged\n" in second.communicate()[1] and second.returncode == 130
    assert place.statuses() == ["running", "staged"]
    place.go.touch()
    first.communicate()
    place.here.gage("start", "1", env=place.env).succeeds()


def test_a_run_that_somebody_else_starts_is_waited_for_no_more(place):
    first = place.begin("run", "two")
    place.until_told("two=0,1")
    second = place.begin("run", "one")
    read_until(second, b"waiting")
    place.go.touch()
    # On GPUs that are none of these.
    place.here.gage("start", "1", env={**place.env, "CUDA_VISIBLE_DEVICES": "7"}).succeeds()
    assert b"[run-already-started]" in second.communicate()[1] and second.returncode == 125
    first.communicate()


def test_a_queue_waits_for_gpus_and_does_meanwhile_what_needs_none(place):
    first = place.begin("run", "two")
    place.until_told("two=0,1")
    place.stage("one", "none", "one")
    queue = place.begin("start", "--all", "--jobs", "2")
    place.until_told("two=0,1", "none=")
    place.go.touch()
    assert b"3 completed" in queue.communicate()[1] and queue.returncode == 0
    assert sorted(place.told()[1:3]) in (["one=0", "one=1"], ["one=0", "one=0"])
    assert first.wait() == 0


def test_a_queue_says_once_that_it_waits_and_a_signal_ends_it(place):
    first = place.begin("run", "two")
    place.until_told("two=0,1")
    place.stage("one", "two")
    queue = place.begin("start", "--all", "--jobs", "2")
    read_until(queue, b"gage: waiting for 1 GPU: others have them\n")
    # It looks again each second.
    time.sleep(2.5)
    queue.terminate()
    said = queue.communicate()[1]
    assert queue.returncode == 128 + signal.SIGTERM
    assert b"no more runs are started\n" in said and b"waiting" not in said
    assert place.statuses() == ["running", "staged", "staged"]
    place.go.touch()
    first.communicate()


def test_two_queues_share_out_the_gpus(place):
    place.stage("one", "one", "one", "one")
    both = [place.begin("start", "--all", "--jobs", "2") for _ in range(2)]
    place.until_told("one=0", "one=1")
    # There are two more children that could, if they had any.
    time.sleep(1.5)
    place.until_told("one=0", "one=1")
    place.go.touch()
    for queue in both:
        said = queue.communicate()[1]
        assert queue.returncode == 0, said
    assert place.statuses() == ["completed"] * 4


def test_a_run_has_its_gpus_also_where_the_queue_is_killed(place):
    place.stage("one", "one")
    queue = place.begin("start", "--all", "--jobs", "2")
    place.until_told("one=0", "one=1")
    queue.kill()
    queue.wait()
    alone = place.begin("run", "one")
    read_until(alone, b"waiting")
    place.go.touch()
    assert alone.wait() == 0
    until(lambda: place.statuses() == ["completed"] * 3)


def test_the_local_engine_has_the_same_gpus(place):
    given = place.here.gage("run", "one", "--on", "local", env=place.env).succeeds()
    place.until_told("one=0")
    alone = place.begin("run", "one")
    place.until_told("one=0", "one=1")
    waits = place.begin("run", "one")
    read_until(waits, b"waiting")
    place.go.touch()
    assert (alone.wait(), waits.wait()) == (0, 0), given.err
    until(lambda: place.statuses() == ["completed"] * 3)


def test_what_a_run_starts_has_the_gpus_of_the_run(place):
    """It would wait for ever for those of others, and each has one for itself there, too."""
    outer = place.begin("run", "outer", PATH=path_with_gage(place))
    place.until_told("one=0", "one=1")
    third = place.begin("run", "one")
    read_until(third, b"waiting")
    place.go.touch()
    assert (outer.wait(), third.wait()) == (0, 0)


def path_with_gage(place: Place) -> str:
    """Return a search path on which `gage` is this one."""
    bin_dir = place.here.dir.parent / "bin"
    bin_dir.mkdir()
    script = bin_dir / "gage"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m gage "$@"\n')
    script.chmod(0o755)
    return f"{bin_dir}{os.pathsep}{place.env['PATH']}"


def test_where_no_locks_can_be_had_runs_have_gpus_all_the_same(place, tmp_path):
    file = tmp_path / "file"
    file.touch()
    place.go.touch()
    env = {**place.env, "XDG_STATE_HOME": str(file)}
    place.here.gage("run", "two", env=env).succeeds()
    assert place.told() == ["two=0,1"]


HOLD = """
import sys
from gage._internal.lifecycle.host_locks import GpuLocks, find_free
locks = GpuLocks()
print(list(find_free(["slot-0"], 1)), locks.take(["0"], 1), flush=True)
sys.stdin.read()
"""


def test_another_host_with_the_same_home_directory_is_no_matter(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert find_free(["slot-0"], 1) and GpuLocks().take(["0"], 1) == ["0"]
    words = ["unshare", "-u", "sh", "-c", 'hostname elsewhere; exec "$@"', "sh"]
    command = [*words, sys.executable, "-c", HOLD]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **streams) as there:
        assert there.stdout and there.stdout.readline() == b"['slot-0'] ['0']\n"
        assert GpuLocks().take(["0"], 1) is None and find_free(["slot-0"], 1) is None
        there.communicate()


def test_gpus_of_one_slurm_job_are_not_those_of_another(monkeypatch, tmp_path):
    """Each sees its own by ids that begin with 0."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_GPUS", "2")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert GpuLocks().take(["0"], 1) == ["0"] and GpuLocks().take(["0"], 1) is None
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert GpuLocks().take(["0"], 1) == ["0"]
