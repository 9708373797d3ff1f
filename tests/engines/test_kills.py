"""Whatever is killed, a run executes once, or is marked with what happened; none is lost."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import Project

from .conftest import WORK, Bench, GivenSlurm, make_bench
from .slurm_cluster import NODES, Cluster, until

# Where the process that submits is killed: before which of its calls of this name. All come after
# the first run is noted; the last ones when Slurm has them all.
POINTS = (
    *(("link", n) for n in (1, 2, 5, 9)),
    *(("rename", n) for n in (1, 2, 3, 4, 7, 10)),
    *(("vfork", 1), ("wait4", 1), ("clone3", 1)),
)
MANY = 200
SLOW = WORK.replace("echo done", "sleep 0.4; echo done")
STEPS = """
echo "begun by $$ on $(hostname)" >> began
trap 'sleep 0.2; exit 9' TERM
while [ "$(wc -l < began)" = 1 ] || [ ! -e "$WAIT" ]; do sleep 0.05; done
"""


@pytest.fixture(autouse=True)
def whole_again(cluster: Cluster) -> Iterator[None]:
    yield
    cluster.mend()


def make_resumable(bench: Bench) -> None:
    gage_file = bench.project.dir / "gage.toml"
    gage_file.write_text(gage_file.read_text().replace("resumable = false", "resumable = true"))


def test_the_submitting_process_at_many_points(at_slurm: Bench) -> None:
    runs = at_slurm.stage_many("work", 8 * len(POINTS))
    killed = 0
    for number, (call, when) in enumerate(POINTS):
        some = runs[number * 8 : number * 8 + 8]
        code = submit_killed(at_slurm, some, call, when)
        killed += code == -signal.SIGKILL
    assert killed >= len(POINTS) - 2, "few of the points are there"
    at_slurm.until_over(*runs)
    left = [run for run in runs if at_slurm.status_of(run) == "staged"]
    assert 0 < len(left) < len(runs)
    assert not any(at_slurm.has_job(run) for run in left)
    at_slurm.gage("start", "--on", "there", "--wait", "-q", *left).succeeds()
    assert {at_slurm.status_of(run) for run in runs} == {"completed"}
    assert {at_slurm.began(run) for run in runs} == {1}


def submit_killed(bench: Bench, runs: list[str], call: str, when: int) -> int:
    inject = f"inject={call}:signal=KILL:when={when}"
    command = ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
    begun = bench.begin("start", "--on", "there", *runs, before=command)
    begun.communicate(timeout=60)
    return begun.returncode


def test_many_in_flight_and_all_there_is_killed(
    cluster: Cluster, project: Callable[..., Project]
) -> None:
    here = make_bench(project, GivenSlurm(cluster), script=SLOW)
    runs = here.stage_many("work", MANY)
    here.submit(*runs)

    def until_begun(count: int) -> None:
        until(lambda: cluster.put_back() or sum(map(here.began, runs)) >= count, 120)

    until_begun(20)
    cluster.kill("slurmctld")
    cluster.start_controller()
    until_begun(50)
    os.kill(executing_runner(cluster, "n2"), signal.SIGKILL)
    until_begun(80)
    cluster.kill_slurmd("n2")
    cluster.start_slurmd("n2")
    until_begun(110)
    cluster.kill("n1")
    cluster.start_node("n1")
    until(lambda: cluster.put_back() or not here.open_jobs(), 180)

    found = Counter(here.status_of(run) for run in runs)
    assert sum(found.values()) == MANY
    assert found.keys() <= {"completed", "terminated", "lost", "staged"}, found
    # On the node there was room for eight, beside the one runner that was killed.
    assert found["completed"] >= MANY - 30 and found["terminated"] + found["lost"] >= 1, found
    for run in runs:
        status = here.status_of(run)
        # One may have been killed when it was about to execute its first line.
        counts = {"completed": [1], "staged": [0]}.get(status, [0, 1])
        assert here.began(run) in counts, (run, status)
        assert status == "staged" or " Starting " in here.log(run), (run, status)
        assert status != "staged" or "Not started by slurm" in here.log(run)
        assert status != "staged" or not here.has_job(run)
        assert status != "completed" or (here.project.runs_home / run / "made.txt").exists()


def executing_runner(cluster: Cluster, node: str) -> int:
    """Return the pid of a runner that executes a run on a node."""
    found: list[int] = []

    def is_there() -> bool:
        for pid in cluster.processes_of(node):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if b"job" in words and words[2].endswith(b".pyz") and children:
                found.append(pid)
        return bool(found)

    until(is_there)
    return found[0]


def test_the_scheduler_just_after_it_has_started_a_run(at_slurm: Bench, tmp_path: Path) -> None:
    """It may not remember that it has, and start the run again."""
    cluster = at_slurm.given.cluster
    for number in range(3):
        go = tmp_path / f"go{number}"
        run = at_slurm.stage(WAIT=go)
        at_slurm.submit(run)
        at_slurm.until_begun(run)
        cluster.kill("slurmctld")
        cluster.start_controller()
        cluster.until_up()
        until(lambda run=run: at_slurm.job(run)["state"] in ("executing", "gone"))
        go.touch()
        at_slurm.until_over(run)
        assert at_slurm.began(run) == 1
        # Slurm kills the first, which may be before or after the second has begun to wait for it.
        assert at_slurm.status(run) in ("completed", "terminated", "lost")


def test_a_daemon_whose_run_goes_on(at_slurm: Bench, tmp_path: Path) -> None:
    """Slurm starts the run on the other node, while it still executes on the first."""
    cluster = at_slurm.given.cluster
    run = at_slurm.stage(WAIT=tmp_path / "go")
    at_slurm.submit(run)
    at_slurm.until_begun(run)
    node = at_slurm.job(run)["host"]
    cluster.kill_slurmd(node)
    (other,) = set(NODES) - {node}
    until(lambda: at_slurm.job(run)["host"] == other, 120)
    until(lambda: "waiting for its end" in printed(at_slurm))
    assert at_slurm.began(run) == 1 and at_slurm.status(run) == "running"
    (tmp_path / "go").touch()
    at_slurm.until_over(run)
    assert at_slurm.began(run) == 1 and at_slurm.status(run) == "completed"


def printed(bench: Bench) -> str:
    """Return what runners have printed besides what runs print."""
    return "".join(path.read_text() for path in bench.project.runs_home.glob(".jobs/*/*.log"))


def test_a_node_for_good(cluster: Cluster, project: Callable[..., Project], tmp_path: Path) -> None:
    """A run that is resumable goes on on the other node; one that is not is terminated."""
    here = make_bench(project, GivenSlurm(cluster), script=STEPS)
    other = here.stage(WAIT=tmp_path / "go")
    make_resumable(here)
    run = here.stage(WAIT=tmp_path / "go")
    here.submit(other, run)
    for each in (other, run):
        here.until_begun(each)
    (node,) = {here.job(each)["host"] for each in (other, run)}
    cluster.kill(node)
    until(lambda: here.began(run) == 2, 120)
    (tmp_path / "go").touch()
    here.until_over(run, other)
    assert (here.status(run), here.began(run)) == ("completed", 2)
    assert (here.status(other), here.began(other)) == ("terminated", 1)
    lines = (here.project.runs_home / run / "began").read_text().split()
    assert {lines[4], lines[-1]} == set(NODES)
    here.gage("verify", run, other).succeeds()


def test_a_runner(at_slurm: Bench, tmp_path: Path) -> None:
    run = at_slurm.stage(WAIT=tmp_path / "go")
    at_slurm.submit(run)
    at_slurm.until_begun(run)
    cluster = at_slurm.given.cluster
    os.kill(executing_runner(cluster, at_slurm.job(run)["host"]), signal.SIGKILL)
    until(lambda: at_slurm.job(run)["status"] == "lost")
    assert at_slurm.job(run)["state"] == "gone"
    assert at_slurm.gage("jobs", "--json").json == []
    shown = at_slurm.gage("show", run, "--json").json
    assert "the runner was interrupted" in shown["reason"]
    at_slurm.gage("delete", "-y", run).succeeds()
