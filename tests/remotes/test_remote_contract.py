"""What every kind of remote does, each against a real one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .conftest import Bench, sizes, tree


def test_a_run_comes_back_as_it_was(bench: Bench, tmp_path: Path) -> None:
    finished, staged = bench.run(), bench.stage("size=3")
    bench.gage("label", finished, "good one").succeeds()
    bench.gage("tag", finished, "x").succeeds()
    pushed = bench.push(finished, staged)
    assert [(each["id"], each["outcome"]) for each in pushed] == [
        (finished, "sent"),
        (staged, "sent"),
    ]
    other = tmp_path / "other"
    pulled = bench.pull(other, finished[:8], staged)
    assert [each["id"] for each in pulled] == [finished, staged]
    for run_id in (finished, staged):
        assert tree(other, run_id) == tree(bench.project.runs_home, run_id)
        bench.gage("--runs", str(other), "check", run_id).succeeds()
    row = bench.gage("--runs", str(other), "list", "--json").json[1]
    assert (row["label"], row["tags"]) == ("good one", ["x"])
    shutil.rmtree(bench.project.runs_home)
    bench.gage("--runs", str(other), "start", staged).succeeds()
    assert sorted(os.listdir(other)) == sorted(
        [finished, f"{finished}.meta", f"{finished}.notes", staged, f"{staged}.meta"]
    )


def test_what_is_there_does_not_travel(bench: Bench, tmp_path: Path) -> None:
    first = bench.run()
    assert sizes(bench.push(first)) > 100_000
    again = bench.push(first)
    assert [(each["outcome"], each["sent"]) for each in again] == [("already there", 0)]
    second = bench.run()
    assert 0 < sizes(bench.push(second)) < 20_000
    home = tmp_path / "other"
    bench.pull(home, first)
    assert 0 < sizes(bench.pull(home, second)) < 20_000
    assert [each["outcome"] for each in bench.pull(home, "--all")] == ["already there"] * 2
    assert tree(home, second) == tree(bench.project.runs_home, second)


def test_lists_as_at_home(bench: Bench) -> None:
    assert (
        bench.gage("push", bench.run("--label", "a b"), bench.stage(), bench.far.address).code == 0
    )
    here = bench.gage("list").succeeds().out
    there = bench.gage("list", "--remote", bench.far.address).succeeds().out
    assert _without_age(there) == _without_age(here)
    rows = bench.gage("list", "--remote", bench.far.address, "--json").succeeds().json
    own = bench.gage("list", "--json").succeeds().json
    for row, mine in zip(rows, own, strict=True):
        assert row == {**mine, "run_dir": None, "remote": bench.far.location or bench.far.address}
    only = bench.gage("list", "--remote", bench.far.address, "-s", "staged", "--json").json
    assert [row["status"] for row in only] == ["staged"]


def _without_age(table: str) -> list[list[str]]:
    return [[word for i, word in enumerate(row.split()) if i != 5] for row in table.splitlines()]


def test_a_run_that_has_gone_on_is_brought_up_to_date(bench: Bench, tmp_path: Path) -> None:
    run_id = bench.stage()
    home = tmp_path / "other"
    bench.push(run_id)
    bench.pull(home, run_id)
    bench.gage("--runs", str(home), "start", run_id).succeeds()
    pushed = bench.gage("--runs", str(home), "push", run_id, bench.far.address, "--json")
    assert [each["outcome"] for each in pushed.succeeds().json] == ["merged"]
    assert bench.far_status(run_id) == "completed"
    # Here it is staged still: it is older, and must not replace anything.
    assert [each["outcome"] for each in bench.push(run_id)] == ["newer there"]
    assert [each["outcome"] for each in bench.pull(bench.project.runs_home, run_id)] == ["merged"]
    assert tree(bench.project.runs_home, run_id) == tree(home, run_id)
    bench.gage("check", run_id).succeeds()


def test_another_run_of_that_id_is_refused(bench: Bench, tmp_path: Path) -> None:
    run_id = bench.stage()
    home = tmp_path / "other"
    bench.push(run_id)
    bench.pull(home, run_id)
    bench.gage("start", run_id).succeeds()
    bench.gage("--runs", str(home), "start", run_id).succeeds()
    bench.push(run_id)
    before = tree(bench.project.runs_home, run_id)
    refused = bench.gage("--runs", str(home), "push", run_id, bench.far.address)
    refused.fails(1, "run-conflict")
    assert run_id in refused.err and "started" in refused.err
    bench.gage("--runs", str(home), "pull", run_id, bench.far.address).fails(1, "run-conflict")
    bench.pull(tmp_path / "third", run_id)
    assert tree(tmp_path / "third", run_id) == before


def test_what_is_no_whole_run_does_not_leave(bench: Bench) -> None:
    bench.project.write("wait.py", "print('begun', flush=True)\ninput()\n")
    process = bench.begin("run", "wait.py", stdin=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"begun\n"
    bench.gage("push", "1", bench.far.address).fails(1, "run-active")
    process.communicate(b"\n")
    run_id = bench.run()
    changed = bench.project.runs_home / run_id / "train.py"
    changed.chmod(0o644)
    text = changed.read_text()
    changed.write_text(text + "\n")
    refused = bench.gage("push", run_id, bench.far.address)
    refused.fails(1, "run-changed")
    assert "train.py" in refused.err
    # Of the same size, it is found when it is read.
    changed.write_text(text.replace("done", "gone"))
    bench.gage("push", run_id, bench.far.address).fails(1, "run-changed")
    assert bench.far_status(run_id) is None
    changed.write_text(text)
    (bench.project.runs_home / run_id / "added").write_text("")
    bench.gage("push", run_id, bench.far.address).fails(1, "run-changed")
    bench.gage("push", "nothing", bench.far.address).fails(1, "run-not-found")
    bench.push("2")
    bench.gage("pull", "nothing", bench.far.address).fails(1, "run-not-found")


def test_runs_that_failed_or_were_lost_are_pushed(bench: Bench, tmp_path: Path) -> None:
    bench.project.write("fail.py", "open('left', 'w').write('x')\nraise SystemExit(3)\n")
    bench.gage("run", "fail.py").exits(3)
    bench.project.write(
        "kill.py", "import os\nopen('left', 'w').write('y')\nos.kill(os.getppid(), 9)\n"
    )
    bench.gage("run", "kill.py")
    failed, lost = (run.name for run in bench.project.runs())
    bench.push(failed, lost)
    assert bench.far_status(failed) == "failed" and bench.far_status(lost) == "lost"
    bench.pull(tmp_path / "other", "--all")
    assert (tmp_path / "other" / lost / "left").read_text() == "y"
    listed = bench.gage("--runs", str(tmp_path / "other"), "list", "--json").succeeds().json
    assert [row["status"] for row in listed] == ["lost", "failed"]


def test_two_at_once_do_not_disturb_each_other(bench: Bench, tmp_path: Path) -> None:
    run_id = bench.run("size=20000")
    both = [bench.begin("push", run_id, bench.far.address) for _ in range(2)]
    ended = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    bench.pull(tmp_path / "other", run_id)
    assert tree(tmp_path / "other", run_id) == tree(bench.project.runs_home, run_id)


def test_what_others_have_there_stays(bench: Bench) -> None:
    if bench.far.home is None:
        # Where nothing is ever replaced or removed, there is nothing to try.
        assert bench.far.location.startswith("s3://")
        return
    bench.far.home.mkdir()
    (bench.far.home / "mine").write_text("x")
    run_id = bench.run()
    # A directory that has the name of the run, and is none.
    (bench.far.home / run_id).mkdir()
    (bench.far.home / run_id / "mine").write_text("y")
    bench.gage("push", run_id, bench.far.address).fails(1, "run-conflict")
    assert (bench.far.home / run_id / "mine").read_text() == "y"
    shutil.rmtree(bench.far.home / run_id)
    bench.push(run_id)
    assert (bench.far.home / "mine").read_text() == "x"
    assert not (bench.far.home / ".incoming").exists()
