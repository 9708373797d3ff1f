"""The engine of this machine: what goes on when processes are killed, and what jobs share."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gage._internal.errors import EngineFailed
from gage._internal.portable.carried import runner_bytes
from gage._internal.proc import send_signal
from gage._internal.store import layout, status
from gage._internal.store.resources import Resources
from gage.plugins import EXECUTING, GONE, QUEUED, Job, JobState, Submission, Ticket, find_engine

# Every run tells that it has begun, and ends when it may.
SCRIPT = """
echo "$RUN_ID gpus=$CUDA_VISIBLE_DEVICES" >> "$SEEN"
until [ -e "$GO" ]; do sleep 0.05; done
"""


@dataclass
class Place:
    """Staged runs, and an engine with a directory of its own for what it knows."""

    home: Path
    folder: Path
    runs: Sequence[str]
    options: Mapping[str, Any]
    seen: Path
    go: Path

    def submit(self, *resources: Resources, name: str = "gage-1") -> None:
        folder = self.folder / name
        folder.mkdir()
        runs = self.runs[: len(resources)] if resources else self.runs
        dirs = [str(self.home / run) for run in runs]
        (folder / "runs.json").write_text(json.dumps(dirs))
        each = resources or [Resources()] * len(runs)
        jobs = [Job(run, path, need) for run, path, need in zip(runs, dirs, each, strict=True)]
        submission = Submission(name, jobs, str(self.folder / "runner.pyz"), str(folder))
        words = find_engine("local").submit(submission, self.options)
        assert words == [f"{name}.{n}@{os.uname().nodename}" for n in range(len(jobs))]

    def poll(self, name: str = "gage-1") -> Sequence[JobState]:
        tickets = [Ticket(name, number) for number in range(len(self.runs))]
        return find_engine("local").poll(tickets, self.options)

    def states(self) -> list[str]:
        return [each.state for each in self.poll()]

    def begun(self) -> Counter[str]:
        lines = self.seen.read_text().splitlines() if self.seen.exists() else []
        return Counter(line.split()[0] for line in lines)

    def status(self) -> list[str]:
        return [status.run_status(layout.run_of_dir(str(self.home / run))) for run in self.runs]

    def supervisors(self) -> list[int]:
        """Return the processes that supervise a submission of this place."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if (
                len(words) > 6
                and b"supervise" in words[3]
                and str(self.folder).encode() in words[5]
            ):
                found.append(int(path.parent.name))
        return found


def until(is_so: Callable[[], object]) -> None:
    over = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < over, "it does not come about"
        time.sleep(0.02)


@pytest.fixture
def place(project, tmp_path, monkeypatch) -> Callable[..., Place]:
    """Return what stages runs to be submitted."""
    for name, value in {
        "XDG_STATE_HOME": str(tmp_path / "states"),
        "SEEN": str(tmp_path / "seen"),
        "GO": str(tmp_path / "go"),
    }.items():
        monkeypatch.setenv(name, value)
    made = []

    def stage(count: int, **options: Any) -> Place:
        here = project({"work.sh": SCRIPT})
        code = f"import gage\nfor n in range({count}): print(gage.stage('work.sh').run.id)"
        runs = here.python(code).succeeds().out.split()
        folder = tmp_path / "jobs"
        folder.mkdir()
        (folder / "runner.pyz").write_bytes(runner_bytes())
        made.append(
            Place(here.runs_home, folder, runs, options, tmp_path / "seen", tmp_path / "go")
        )
        return made[0]

    yield stage
    for each in made:
        each.go.touch()
        until(lambda each=each: not each.supervisors())


def test_so_many_execute_at_once_whoever_submitted_them(place):
    here = place(4, jobs=2)
    here.submit(*[Resources()] * 2)
    until(lambda: len(here.begun()) == 2)
    first, here.runs = here.runs[:2], here.runs[2:]
    here.submit(name="gage-2")
    assert [each.state for each in here.poll("gage-2")] == [QUEUED] * 2
    assert [each.said for each in here.poll()] == ["EXECUTING"] * 2
    here.go.touch()
    until(lambda: [each.state for each in here.poll("gage-2")] == [GONE] * 2)
    assert here.begun() == Counter([*first, *here.runs])


def test_a_supervisor_that_is_killed_leaves_what_executes_and_nothing_waits(place):
    here = place(4, jobs=2)
    here.submit()
    until(lambda: len(here.begun()) == 2)
    (supervisor,) = here.supervisors()
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: here.states() == [EXECUTING, EXECUTING, GONE, GONE])
    find_engine("local").cancel([Ticket("gage-1", 0)], here.options)
    until(lambda: here.states() == [GONE, EXECUTING, GONE, GONE])
    here.go.touch()
    until(lambda: here.states() == [GONE] * 4)
    assert here.status() == ["terminated", "completed", "staged", "staged"]
    assert here.begun() == Counter(here.runs[:2])


def test_a_terminal_that_is_closed_is_no_matter(place):
    """What is submitted has a session of its own, and ignores that one hangs up."""
    here = place(2, jobs=1)
    here.submit()
    until(lambda: len(here.begun()) == 1)
    (supervisor,) = here.supervisors()
    assert os.getsid(supervisor) != os.getsid(0)
    os.kill(supervisor, signal.SIGHUP)
    here.go.touch()
    until(lambda: here.states() == [GONE] * 2)
    assert here.status() == ["completed"] * 2


def test_what_is_cancelled_does_not_begin_or_ends(place):
    here = place(3, jobs=1)
    here.submit()
    until(lambda: len(here.begun()) == 1)
    find_engine("local").cancel([Ticket("gage-1", 0), Ticket("gage-1", 1)], here.options)
    until(lambda: here.states()[:2] == [GONE, GONE])
    here.go.touch()
    until(lambda: here.states() == [GONE] * 3)
    assert here.status() == ["terminated", "staged", "completed"]


def test_killed_at_any_point_each_run_executes_once_or_stays_staged(place):
    here = place(40, jobs=3)
    here.go.touch()
    chance = random.Random(8)
    all_runs, turns = here.runs, 0
    while here.runs:
        turns += 1
        execute_some(here, f"gage-{turns}", chance.randrange(1, 10))
        statuses = zip(here.runs, here.status(), strict=True)
        here.runs = [run for run, found in statuses if found == "staged"]
    here.runs = all_runs
    assert set(here.status()) == {"completed"} and turns > 3
    assert here.begun() == Counter(all_runs)


def execute_some(here: Place, name: str, count: int) -> None:
    """Submit all runs, kill what supervises them when some have begun, wait until all are gone."""
    upto = sum(here.begun().values()) + count
    here.submit(name=name)
    until(lambda: sum(here.begun().values()) >= upto or not here.supervisors())
    send_signal(here.supervisors(), signal.SIGKILL)
    until(lambda: {each.state for each in here.poll(name)} == {GONE})


def test_gpus_are_shared_out_among_all_submissions(place, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,6")
    here = place(4, jobs=4)
    here.submit(Resources(0, None, 1), Resources(0, None, 1), Resources(0))
    until(lambda: len(here.begun()) == 3)
    here.runs = here.runs[3:]
    here.submit(Resources(0, None, 2), name="gage-2")
    assert here.poll("gage-2")[0].state == QUEUED
    here.go.touch()
    until(lambda: here.poll("gage-2")[0].state == GONE)
    seen = [line.split("gpus=")[1] for line in here.seen.read_text().splitlines()]
    assert sorted(seen[:3]) == ["", "2", "5"]
    # Whichever are free first.
    assert seen[3] in ("2,5", "2,6", "5,6")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jobs": 0}, "the option jobs of the engine local must be a number from 1 on"),
        ({"jobs": True}, "the option jobs of the engine local must be a number from 1 on"),
        ({"python": ""}, "the option python of the engine local must be a text"),
        ({"queue": "long"}, "the engine local has no option queue"),
    ],
)
def test_options_that_are_not_right_are_refused(place, options, message):
    here = place(1)
    here.options = options
    with pytest.raises(EngineFailed, match=f"^{message}$"):
        here.submit()
    assert here.supervisors() == [] and here.states() == [GONE]


def test_what_this_machine_does_not_have_is_refused(place):
    here = place(1)
    with pytest.raises(EngineFailed, match="10000 CPUs"):
        here.submit(Resources(10000))
    assert here.states() == [GONE]


def test_a_python_that_is_not_there_is_told_in_the_folder(place):
    here = place(1, python="/nowhere/python3")
    here.submit()
    until(lambda: here.states() == [GONE])
    assert "/nowhere/python3" in (here.folder / "gage-1" / "0.log").read_text()
    assert here.status() == ["staged"]
