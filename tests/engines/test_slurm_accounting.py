"""Slurm with accounting, whose controller forgets jobs: what it says of them after that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import Project
from gage.plugins import GONE

from .conftest import GivenSlurm, gone_process, make_bench
from .slurm_cluster import Cluster, running_cluster, until

# Ends when it is told to, the first time; goes on where it was.
STEPS = """
echo "begun by $$" >> began
trap 'echo told to stop; exit 9' TERM
while [ "$(wc -l < began)" = 1 ]; do sleep 0.05; done
"""
# Slurm's shortest limit is a minute; it looks for what is over it twice a minute, and forgets once.
LONG = 200


@pytest.fixture(scope="module")
def accounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("accounted"), accounting=True) as found:
        yield found


def is_forgotten(cluster: Cluster, job: str) -> bool:
    listed = cluster.ask("squeue", "-h", "-t", "all", "-j", job, "-o", "%i")
    return listed.stdout.strip() == ""


def test_runs_go_to_the_cluster_that_the_options_name(
    accounted: Cluster, project: Callable[..., Project], tmp_path: Path
) -> None:
    until(lambda: accounted.ask("squeue", "--clusters=tests").returncode == 0)
    options = 'options.sbatch = ["--clusters=tests"]\n'
    here = make_bench(project, GivenSlurm(accounted), options)
    runs = [here.stage(WAIT=tmp_path / "go") for _ in range(2)]
    rows = here.submit(*runs)
    assert all(row["job"].endswith(f"_{n}@tests") for n, row in enumerate(rows))
    for run in runs:
        here.until_begun(run)
    # Whoever has submitted them was killed before it could note what they are called.
    here.change_note(runs[0], job="", submitter=gone_process())
    assert here.job(runs[0])["job"] == rows[0]["job"]
    here.gage("stop", runs[0]).succeeds()
    (tmp_path / "go").touch()
    here.until_over(*runs)
    assert [here.status(run) for run in runs] == ["terminated", "completed"]


def test_time_limits_and_what_the_controller_has_forgotten(
    accounted: Cluster, project: Callable[..., Project]
) -> None:
    here = make_bench(project, GivenSlurm(accounted))
    files = [here.project.dir / name for name in ("gage.toml", "work.sh")]
    before = [file.read_text() for file in files]
    limit = "options.time = 1\n"
    files[0].write_text(before[0].replace("resumable = false", "resumable = true") + limit)
    files[1].write_text(STEPS)
    limited = here.stage()
    (job,) = here.submit(limited)
    for file, text in zip(files, before, strict=True):
        file.write_text(text)
    # Others meanwhile, of which nobody asks before the controller has forgotten them.
    done, cancelled = here.stage(), here.stage()
    jobs = {done: here.submit(done)[0]["job"]}
    here.until_begun(limited)
    with here.given.held():
        jobs[cancelled] = here.submit(cancelled)[0]["job"]
        accounted.tell("scancel", jobs[cancelled])

    # The limit: it was told to stop, and goes on where it is given to Slurm again.
    until(lambda: here.status(limited) == "terminated", LONG)
    until(lambda: here.job(limited)["state"] == GONE, LONG)
    assert (here.status(limited), here.began(limited)) == ("terminated", 1)
    shown = here.gage("show", limited, "--json").json
    assert shown["reason"] == "stopped by SIGTERM"
    assert here.gage("logs", limited).out == "told to stop\n"
    said = accounted.tell("sacct", "-n", "-X", "-P", "-o", "State", "-j", job["job"])
    assert said == "TIMEOUT\n"
    here.gage("start", "--on", "there", "--wait", limited).succeeds()
    assert (here.status(limited), here.began(limited)) == ("completed", 2)
    here.gage("verify", limited).succeeds()

    until(lambda: all(is_forgotten(accounted, each) for each in jobs.values()), LONG)
    told = here.gage("jobs").succeeds()
    assert "was not started, and is staged again: CANCELLED by " in told.err
    assert f"no job {jobs[cancelled]} any more: CANCELLED by " in here.log(cancelled)
    assert [here.status(run) for run in (done, cancelled)] == ["completed", "staged"]
    assert [here.began(run) for run in (done, cancelled)] == [1, 0]
