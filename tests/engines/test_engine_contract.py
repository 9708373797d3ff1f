"""What holds for every engine: runs that it is given execute once, and are never lost."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from gage._internal.proc import this_process
from gage.plugins import EXECUTING, GONE, QUEUED

from .conftest import Bench, gone_process
from .slurm_cluster import until


def test_runs_execute_once_and_tell_how_they_ended(bench: Bench) -> None:
    runs = [bench.stage(), bench.stage(CODE=3), bench.stage(WAIT="work.sh")]
    done = bench.gage("start", "--on", "there", "--wait", *runs).exits(3)
    assert [bench.status(run) for run in runs] == ["completed", "failed", "completed"]
    assert [bench.began(run) for run in runs] == [1, 1, 1]
    assert (bench.project.runs_home / runs[0] / "made.txt").read_text() == "done\n"
    assert bench.gage("logs", runs[0]).succeeds().out.startswith("on ")
    assert done.err.count(" completed after ") == 2 and " failed after " in done.err
    bench.gage("verify", *runs).succeeds()
    assert bench.gage("jobs").succeeds().err.startswith("gage: no jobs in ")
    over = {row["id"]: row for row in bench.gage("jobs", "--all", "--json").json}
    assert over.keys() == set(runs)
    assert all(row["state"] == GONE and row["job"] for row in over.values())


def test_a_run_is_staged_and_waited_for(bench: Bench) -> None:
    bench.gage("run", "work", "CODE=4", "--on", "there", "--wait").exits(4)
    assert bench.status(bench.project.run().name) == "failed"


def test_what_executes_is_seen_followed_and_stopped(bench: Bench, tmp_path: Path) -> None:
    run = bench.stage(WAIT=tmp_path / "go")
    (submitted,) = bench.submit(run)
    assert (submitted["id"], submitted["number"]) == (run, 0) and submitted["job"]
    until(lambda: bench.job(run)["state"] == EXECUTING)
    # Where the engine has not the runs home, this counts as running from the beginning.
    until(lambda: bench.job(run)["status"] == "running")
    told = bench.job(run)
    assert told["job"] == submitted["job"]
    assert told["engine"] == bench.given.kind and told["host"] and told["said"]
    shown = bench.gage("show", run).succeeds().out
    assert f"\njob          {bench.given.kind} {submitted['job']}: " in shown
    follower = bench.begin("logs", "-f", run)
    bench.gage("delete", "-y", run).fails(1, "run-has-job")
    bench.gage("stop", run).succeeds()
    out, _ = follower.communicate(timeout=60)
    assert out.startswith(b"on ") and out.endswith(b"told to stop\n") and follower.returncode == 0
    assert bench.status(run) == "terminated" and bench.began(run) == 1
    assert not bench.gage("jobs", "--json").json


def test_what_waits_is_queued_and_given_back(bench: Bench) -> None:
    run, other = bench.stage(), bench.stage()
    with bench.given.held():
        bench.submit(run, other)
        told = bench.job(run)
        assert (told["status"], told["state"], told["host"]) == ("staged", QUEUED, None)
        assert " queued " in bench.gage("list").out and " queued " not in bench.gage("show").out
        for words in (["start", run], ["start", "--on", "there", run], ["delete", "-y", run]):
            code = 1 if words[0] == "delete" else 125
            refused = bench.gage(*words).fails(code, "run-has-job")
            assert f"gage stop {told['name']} takes it back" in refused.err
        told_of = bench.gage("start", "--all").succeeds()
        said = "gage: there is no run that is staged; engines have 2 runs: gage jobs\n"
        assert told_of.err == said
        bench.gage("stop", run).succeeds()
        assert bench.status(run) == "staged" and not bench.has_job(run)
        assert f"Not started by {bench.given.kind}, which has no job" in bench.log(run)
        assert [row["id"] for row in bench.gage("jobs", "--json").json] == [other]
        bench.gage("start", run).succeeds()
    bench.until_over(other)
    assert [bench.status(each) for each in (run, other)] == ["completed"] * 2
    assert [bench.began(each) for each in (run, other)] == [1, 1]


def test_nothing_is_concluded_of_an_engine_that_is_away(bench: Bench, tmp_path: Path) -> None:
    waits, executes = bench.stage(), bench.stage(WAIT=tmp_path / "go")
    bench.submit(executes)
    bench.until_begun(executes)
    with bench.given.held():
        bench.submit(waits)
        with bench.given.away():
            told = bench.gage("jobs", "--json").exits(1)
            assert {row["id"]: row["state"] for row in told.json} == {waits: None, executes: None}
            assert "gage: " in told.err
            bench.gage("stop", waits).fails(1, "engine-unreachable")
            bench.gage("start", waits).fails(125, "run-has-job")
            assert bench.has_job(waits) and bench.has_job(executes)
            (tmp_path / "go").touch()
            fresh = bench.stage()
            bench.gage("start", "--on", "there", fresh).fails(125, "engine-unreachable")
            count = len(bench.project.runs())
            bench.gage("run", "work", "--on", "there").fails(125, "engine-unreachable")
            assert len(bench.project.runs()) == count and not bench.has_job(fresh)
    bench.until_over(waits, executes)
    assert [bench.status(run) for run in (waits, executes)] == ["completed"] * 2
    assert [bench.began(run) for run in (waits, executes)] == [1, 1]
    assert (bench.status(fresh), bench.began(fresh)) == ("staged", 0)


def test_what_the_engine_never_got_is_staged_again(bench: Bench) -> None:
    run = bench.stage()
    bench.write_note(run, this_process())
    assert bench.job(run)["said"] == "SUBMITTING"
    bench.gage("start", run).fails(125, "run-has-job")
    bench.write_note(run, gone_process())
    told = bench.gage("jobs").succeeds()
    assert "was not started, and is staged again" in told.err
    assert bench.status(run) == "staged" and not bench.has_job(run)
    assert "which has no job gage-0123456789ab any more" in bench.log(run)
    bench.gage("start", run).succeeds()
    assert bench.began(run) == 1


def test_jobs_are_found_by_the_name_of_their_submission(bench: Bench, tmp_path: Path) -> None:
    runs = [bench.stage(WAIT=tmp_path / "go") for _ in range(2)]
    words = [row["job"] for row in bench.submit(*runs)]
    bench.change_note(runs[1], job="", submitter=gone_process())
    bench.until_begun(runs[1])
    assert bench.job(runs[1])["job"] == bench.note(runs[1])["job"] == words[1]
    bench.change_note(runs[1], job="")
    bench.gage("stop", runs[1]).succeeds()
    (tmp_path / "go").touch()
    bench.until_over(*runs)
    assert [bench.status(run) for run in runs] == ["completed", "terminated"]


def test_what_cannot_start_there_stays_staged_and_says_why(bench: Bench) -> None:
    bench.project.write(
        "gage.toml",
        (bench.project.dir / "gage.toml")
        .read_text()
        .replace("resumable = false", 'requires = "memory>=100TiB"'),
    )
    run = bench.stage()
    waited = bench.gage("start", "--on", "there", "--wait", run).exits(125)
    assert "was not started" in waited.err
    assert bench.status(run) == "staged" and not bench.has_job(run)
    assert "memory" in bench.log(run)


def test_waiting_that_is_interrupted_harms_nothing(bench: Bench, tmp_path: Path) -> None:
    run = bench.stage(WAIT=tmp_path / "go")
    waiting = bench.begin("start", "--on", "there", "--wait", run)
    bench.until_begun(run)
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 130 and b"gage jobs tells how it is" in err
    (tmp_path / "go").touch()
    bench.until_over(run)
    assert (bench.status(run), bench.began(run)) == ("completed", 1)


@pytest.mark.parametrize("words", [["--on", "nothing"], ["--on", "there", "--force"], ["--wait"]])
def test_what_is_wrong_is_told_before_anything_is_submitted(bench: Bench, words: list[str]) -> None:
    run = bench.stage()
    refused = bench.gage("start", *words, run)
    assert refused.code == (125 if "nothing" in words else 2), refused
    if "nothing" in words:
        assert "[unknown-engine]" in refused.err and "there" in refused.err.splitlines()[1]
    assert bench.status(run) == "staged" and not bench.has_job(run)
