"""Workers of Ray and Dask, which may share nothing with whoever submits, and may be killed.

Each run is executed once, or it is told what happened.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from conftest import Project

from .conftest import Bench, GivenDask, GivenRay, make_bench
from .dask_cluster import running_dask
from .ray_cluster import RayCluster, running_ray
from .slurm_cluster import until

# Submits, and takes longer to pack each run than a ledger waits for a word; then somebody asks.
SLOWLY = """
import os, sys, time
from gage._internal.cli.main import main
from gage._internal.engines import {kind} as engine
from gage._internal.portable import ledger, parcels
from gage.plugins import Ticket, find_engine

ledger._PATIENCE, parcels._WORD = 2, 0.2
packed = engine.iter_capsule

def slowly(job, folder):
    time.sleep(5)
    find_engine("{kind}").poll([Ticket(os.path.basename(folder), 0)], {options})
    yield from packed(job, folder)

engine.iter_capsule = slowly
sys.exit(main(["start", "--on", "there", *{runs}]))
"""
# Leaves where it was, and what is too large for one piece.
AWAY = """
echo "begun by $$" >> began
hostname > host
head -c 20000000 /dev/urandom > large
[ "$WAIT" ] && sleep "$WAIT"
exit "${CODE:-0}"
"""
ENDED = ("completed", "failed", "terminated", "lost")


class Apart:
    """An engine whose two nodes have no files of this machine's /tmp."""

    def __init__(self, kind: str, cluster: Any, address: str) -> None:
        self.kind = kind
        self.cluster = cluster
        self.options = {"address": address, "shared": False}
        self.env: dict[str, str] = {}


@pytest.fixture(scope="module")
def dask_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    with running_dask(tmp_path_factory.mktemp("apart"), workers=2, apart=True) as cluster:
        yield Apart("dask", cluster, cluster.address)


@pytest.fixture(scope="module")
def ray_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    with running_ray(tmp_path_factory.mktemp("apart"), cpus=0, nodes=2) as cluster:
        yield Apart("ray", cluster, cluster.address)


@pytest.fixture(params=["dask", "ray"])
def apart(request: pytest.FixtureRequest, project: Callable[..., Project]) -> Iterator[Bench]:
    given = request.getfixturevalue(f"{request.param}_apart")
    bench = make_bench(project, given, script=AWAY)
    if request.param == "dask":
        yield bench
    else:
        with given.cluster.entered():
            yield bench


def test_runs_go_to_workers_that_share_nothing_and_come_home(apart: Bench) -> None:
    runs = [apart.stage(WAIT=2), apart.stage(WAIT=2), apart.stage(CODE=3)]
    apart.gage("start", "--on", "there", "--wait", *runs).exits(3)
    assert [apart.status(run) for run in runs] == ["completed", "completed", "failed"]
    assert [apart.began(run) for run in runs] == [1, 1, 1]
    apart.gage("verify", *runs).succeeds()
    home = apart.project.runs_home
    hosts = {(home / run / "host").read_text().strip() for run in runs[:2]}
    assert len(hosts) == 2 and os.uname().nodename not in hosts
    assert all((home / run / "large").stat().st_size == 20_000_000 for run in runs)
    assert not apart.gage("jobs", "--json").json


def test_a_worker_has_no_more_runs_than_it_has_room_for(apart: Bench) -> None:
    runs = [apart.stage(WAIT=3) for _ in range(4)]
    apart.submit(*runs)
    apart.until_over(*runs)
    home = apart.project.runs_home
    times: dict[str, list[tuple[int, int]]] = {}
    for run in runs:
        started, stopped = (
            int((home / f"{run}.meta" / x).read_text()) for x in ("started", "stopped")
        )
        times.setdefault((home / run / "host").read_text(), []).append((started, stopped))
    assert len(times) == 2
    for spans in map(sorted, times.values()):
        assert all(one[1] <= other[0] for one, other in pairwise(spans))


def test_what_executes_elsewhere_is_stopped_and_comes_home(apart: Bench) -> None:
    run = apart.stage(WAIT=600)
    apart.submit(run)
    until(lambda: apart.job(run)["state"] == "executing")
    apart.gage("stop", run).succeeds()
    assert (apart.status(run), apart.began(run)) == ("terminated", 1)
    apart.gage("verify", run).succeeds()


def test_what_came_of_jobs_is_kept_until_it_is_at_home(apart: Bench) -> None:
    done = apart.stage()
    apart.submit(done)
    until(lambda: apart.ask("poll", done)[0][0] == "gone")
    # It comes too late, and is nobody's order to throw away what was made.
    apart.ask("cancel", done)
    executes, waits = apart.stage(WAIT=600), [apart.stage(WAIT=600) for _ in range(2)]
    apart.submit(executes, *waits)
    apart.ask("cancel", *waits, executes)
    until(lambda: all(state[0] == "gone" for state in apart.ask("poll", executes, *waits)))
    # Whoever asks next is told the same.
    told = apart.ask("poll", executes, *waits)
    assert apart.ask("poll", executes, *waits) == told
    never = [state[4] for state in told].count(False)
    apart.gage("jobs").succeeds()
    assert (apart.status(done), apart.began(done)) == ("completed", 1)
    statuses = [apart.status(run) for run in (executes, *waits)]
    assert statuses.count("staged") == never and never > 0
    assert statuses.count("terminated") == 3 - never


def test_a_run_whose_runner_is_killed_comes_home_with_what_it_made(apart: Bench) -> None:
    work = apart.project.dir / "work.sh"
    work.write_text('echo "begun by $$" >> began; echo made > made.txt; kill -9 $PPID; sleep 9')
    run = apart.stage()
    apart.submit(run)
    apart.until_over(run)
    assert (apart.status(run), apart.began(run)) == ("terminated", 1)
    assert (apart.project.runs_home / run / "made.txt").read_text() == "made\n"
    apart.gage("verify", run).succeeds()
    apart.gage("start", "--on", "there", run).fails(125, "run-already-started")


def test_what_time_it_is_at_a_worker_is_no_matter(apart: Bench) -> None:
    run = apart.stage(WAIT=1)
    apart.submit(run)
    # As if all that happens there were long before.
    apart.change_note(run, time=apart.note(run)["time"] + 3_600 * 10**6)
    apart.until_over(run)
    assert (apart.status(run), apart.began(run)) == ("completed", 1)
    apart.gage("verify", run).succeeds()


def test_whoever_packs_for_long_is_not_given_up(apart: Bench) -> None:
    runs = [apart.stage() for _ in range(2)]
    given = apart.given
    code = SLOWLY.format(kind=given.kind, options=given.options, runs=runs)
    done = apart.project.python(code)
    assert done.code == 0, done
    apart.until_over(*runs)
    assert [(apart.status(run), apart.began(run)) for run in runs] == [("completed", 1)] * 2


def test_a_run_is_lost_with_its_node_and_no_other(apart: Bench) -> None:
    given: Any = apart.given
    lost = apart.stage(WAIT=600)
    apart.submit(lost)
    until(lambda: apart.job(lost)["state"] == "executing")
    node = apart.job(lost)["host"]
    others = [apart.stage() for _ in range(2)]
    apart.submit(*others)
    given.cluster.kill(node)
    try:
        apart.until_over(lost, *others)
        assert apart.status(lost) == "lost"
        assert f"Lost at {given.kind}, where it executed on {node}: " in apart.log(lost)
        # What was on its way to that node, or had its capsule there, has not begun.
        states = [("completed", 1), ("staged", 0)]
        for run in others:
            assert (apart.status(run), apart.began(run)) in states, apart.log(run)
    finally:
        if given.kind == "dask":
            given.cluster.start_worker(node, apart=True)
            given.cluster.until_up(2)
        else:
            given.cluster.start_worker(node, 1)
            given.cluster.until_up(3)


@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_what_a_killed_submission_left_executes_once_or_is_staged(
    kind: str, request: pytest.FixtureRequest, project: Callable[..., Project]
) -> None:
    given = request.getfixturevalue(f"{kind}_apart")
    bench = make_bench(project, given)
    if kind == "ray":
        entered = given.cluster.entered()
        entered.__enter__()
        request.addfinalizer(lambda: entered.__exit__(None, None, None))
    runs = bench.stage_many("work", 12)
    started = time.monotonic()
    bench.gage("start", "--on", "there", *runs[:2]).succeeds()
    whole = time.monotonic() - started
    outcomes = set()
    # From before the engine is asked to after it has answered.
    for step, pair in enumerate(zip(runs[2::2], runs[3::2], strict=True)):
        submitting = bench.begin("start", "--on", "there", *pair)
        try:
            submitting.wait(whole * (step + 4) / 9)
        except Exception:
            submitting.kill()
        submitting.communicate()
        outcomes.add(submitting.returncode)
    assert -signal.SIGKILL in outcomes
    # What has waited for the rest of its submission is given up after two minutes; the runs of
    # those that are not open any more have ended, or are staged.
    until(lambda: all(row["state"] == "queued" for row in bench.gage("jobs", "--json").json), 90)
    waiting = {row["id"] for row in bench.gage("jobs", "--json").json}
    for run in runs:
        if run in waiting:
            assert bench.began(run) == 0
        else:
            assert (bench.status(run), bench.began(run)) in (("completed", 1), ("staged", 0))


def begun_and_over(bench: Bench, runs: list[str]) -> list[str]:
    return [run for run in runs if (bench.project.runs_home / f"{run}.meta" / "stopped").exists()]


def check_each(bench: Bench, runs: list[str]) -> dict[str, int]:
    """Make sure that each run was executed once, or not at all and is staged; count statuses."""
    rows = {row["id"]: row for row in bench.gage("list", "--json", "--all").json}
    counted: dict[str, int] = {}
    for run in runs:
        found = rows[run]["status"]
        counted[found] = counted.get(found, 0) + 1
        # One may have been killed when it was about to execute its first line.
        counts = {"completed": [1], "staged": [0]}.get(found, [0, 1])
        assert bench.began(run) in counts, (run, found)
    assert set(counted) <= {*ENDED, "staged"}
    return counted


def test_dask_loses_workers_and_its_scheduler_with_200_runs_in_flight(
    tmp_path: Path, project: Callable[..., Project]
) -> None:
    with running_dask(tmp_path / "dask", workers=3) as cluster:
        given = GivenDask(cluster, door=cluster)  # type: ignore[arg-type]
        bench = make_bench(project, given, script='echo "begun" >> began; sleep 0.3')
        runs = bench.stage_many("work", 200)
        bench.submit(*runs)
        until(lambda: len(begun_and_over(bench, runs)) > 5)
        for name in ("w1", "w2"):
            cluster.kill(name)
            over = len(begun_and_over(bench, runs))
            until(lambda: len(begun_and_over(bench, runs)) > over + 5)  # noqa: B023
        cluster.kill("scheduler")
        told = bench.gage("jobs").exits(1)
        assert "cannot be reached" in told.err
        cluster.kill("w3")
        cluster.start_scheduler()
        cluster.until_up(0)
        bench.until_over(*runs)
        counted = check_each(bench, runs)
        # One of each worker, which ended its run when it was killed.
        assert counted["completed"] > 15 and counted["staged"] > 100
        assert counted.get("terminated", 0) + counted.get("lost", 0) <= 3
        run = next(run for run in runs if bench.status(run) == "staged")
        bench.gage("start", run).succeeds()


def test_ray_loses_workers_and_its_depot_with_200_runs_in_flight(
    ray_cluster: RayCluster, project: Callable[..., Project]
) -> None:
    with ray_cluster.entered():
        given = GivenRay(ray_cluster, door=ray_cluster)  # type: ignore[arg-type]
        bench = make_bench(project, given, script='echo "begun" >> began; sleep 0.3')
        runs = bench.stage_many("work", 200)
        bench.submit(*runs)
        until(lambda: len(begun_and_over(bench, runs)) > 5)
        for pid in ray_cluster.pids("ray::_work"):
            os.kill(pid, signal.SIGKILL)
        over = len(begun_and_over(bench, runs))
        until(lambda: len(begun_and_over(bench, runs)) > over + 5)
        (depot,) = ray_cluster.pids("ray::Depot")
        os.kill(depot, signal.SIGKILL)
        bench.until_over(*runs)
        counted = check_each(bench, runs)
        assert counted["completed"] > 10 and counted["staged"] > 100
        assert counted.get("terminated", 0) + counted.get("lost", 0) <= 6


def test_a_library_that_is_not_installed_is_named(project: Callable[..., Project]) -> None:
    made = project({"ray.py": "raise ImportError('ray')", "dask.py": "raise ImportError('dask')"})
    code = """
import sys
from gage._internal.errors import EngineFailed
from gage.plugins import Ticket, find_engine

for kind in ("ray", "dask"):
    sys.modules.pop(kind, None)
    try:
        find_engine(kind).poll([Ticket("x", 0)], {"address": "127.0.0.1:1"})
    except EngineFailed as error:
        print(error, error.hint)
"""
    done = made.python(code)
    assert done.out.splitlines() == [
        "Ray is not installed pip install 'gage[ray]'",
        "Dask is not installed pip install 'gage[dask]'",
    ]


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("ray", {"adress": "x"}, "Ray has no option adress"),
        ("ray", {"shared": "false"}, "the option shared of Ray must be true or false"),
        ("dask", {"directory": ""}, "the option directory of Dask must be a text"),
        ("dask", {"resources": "CPU"}, "the option resources of Dask must be a table"),
    ],
)
def test_options_that_cannot_be_are_refused_before_a_run_is_noted(
    kind: str, options: dict[str, Any], told: str, project: Callable[..., Project]
) -> None:
    lines = "".join(f"options.{name} = {value!r}\n" for name, value in options.items())
    made = project(
        {
            "x.py": "",
            "gage.toml": f'[x]\nexec = "python x.py"\n[engines.e]\nkind = "{kind}"\n{lines}',
        }
    )
    run = made.gage("stage", "x").succeeds().out.strip()
    refused = made.gage("start", "--on", "e", run).fails(125, "engine-failed")
    assert told in refused.err
    assert not (made.runs_home / f"{run}.notes").exists()


def test_what_dask_does_not_know_of_is_not_passed_over(project: Callable[..., Project]) -> None:
    code = """
from gage._internal.errors import EngineFailed
from gage._internal.store.resources import Resources
from gage.plugins import Job, Submission, find_engine

submission = Submission("x", [Job("id", "/run", Resources(2))], "/runner", "/folder")
try:
    find_engine("dask").submit(submission, {"address": "127.0.0.1:1", "shared": False})
except EngineFailed as error:
    print(error)
"""
    done = project().python(code)
    assert done.out == "a run is to have cpus = 2, and Dask does not know of cpus\n"
