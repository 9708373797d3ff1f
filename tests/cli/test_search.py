"""`gage run --optimize`, with Optuna itself."""

import json
import signal

TRAIN = """\
import json, os, sys
lr = 0.1
kind = "a"
json.dump({"loss": abs(lr - 0.03) + (kind == "b")}, open("summary.json", "w"))
"""
SPACE = ("lr=loguniform(1e-4, 1e-1)", "kind=[a,b]")
SEARCH = ("run", "train.py", *SPACE, "--optimize", "loss")


def records(here, group):
    return here.gage("show", "--group", group, "--json").succeeds().json["runs"]


def tried(here, group):
    return [(row["config"]["lr"], row["config"]["kind"]) for row in records(here, group)]


def test_a_search_tells_the_best_run_there_is(project):
    here = project({"train.py": TRAIN})
    ended = here.gage(*SEARCH, "--trials", "12", "--seed", "1", "--group", "g").succeeds()
    found = records(here, "g")
    assert len(found) == 12 and {row["status"] for row in found} == {"completed"}
    best = min(found, key=lambda row: row["summary"]["loss"])
    assert best["config"]["kind"] == "a" and best["summary"]["loss"] < 0.05
    assert f"best of 12 trials in group g: run {best['name']}, loss " in ended.err
    told = here.gage(*SEARCH, "--trials", "12", "--group", "g", "--maximize", "--json").succeeds()
    worst = max(found, key=lambda row: row["summary"]["loss"])
    assert json.loads(told.out)["best"] == worst["id"]
    assert "group g has 12 trials of 12 already" in told.err


def test_a_search_goes_on_as_if_it_had_not_been_interrupted(project):
    here = project({"train.py": TRAIN})
    whole = ("--trials", "14", "--seed", "3")
    here.gage(*SEARCH, *whole, "--group", "whole").succeeds()
    here.gage(*SEARCH, "--trials", "12", "--seed", "3", "--group", "part").succeeds()
    here.gage(*SEARCH, *whole, "--group", "part").succeeds()
    assert tried(here, "part") == tried(here, "whole") and len(tried(here, "whole")) == 14


def test_trials_execute_at_once(project, tmp_path):
    # Each waits until another one runs, too.
    wait = """
import time
open(os.path.join(os.environ["MEET"], os.environ["RUN_ID"]), "w").close()
until = time.monotonic() + 30
while len(os.listdir(os.environ["MEET"])) < 2:
    assert time.monotonic() < until
    time.sleep(0.01)
"""
    here = project({"train.py": TRAIN + wait})
    meet = tmp_path / "meet"
    meet.mkdir()
    options = ("--trials", "4", "--jobs", "2", "--group", "g")
    here.gage(*SEARCH, *options, env={"MEET": str(meet)}).succeeds()
    assert [row["status"] for row in records(here, "g")] == ["completed"] * 4
    assert len(list(meet.iterdir())) == 4


def test_an_interruption_stops_the_trials_and_a_search_goes_on(project, tmp_path):
    stop = """
import signal
if not os.path.exists(os.environ["GO"]):
    print("here", flush=True)
    signal.pause()
"""
    here = project({"train.py": TRAIN + stop})
    go = tmp_path / "go"
    env = {**here.env, "GO": str(go)}
    command = (*SEARCH, "--trials", "3", "--group", "g", "--seed", "1")
    process = here.begin(*command, env=env, start_new_session=True)
    assert process.stdout.readline() == b"here\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"the same command with --group g goes on" in err
    assert [row["status"] for row in records(here, "g")] == ["terminated"]
    go.touch()
    here.gage(*command, env={"GO": str(go)}).succeeds()
    assert [row["status"] for row in records(here, "g")] == ["terminated", *["completed"] * 3]


def test_a_run_that_waits_is_started_first(project):
    here = project({"train.py": TRAIN})
    here.gage("stage", "train.py", "lr=0.01", "kind=b", "--group", "g").succeeds()
    here.gage(*SEARCH, "--trials", "2", "--group", "g").succeeds()
    assert [row["status"] for row in records(here, "g")] == ["completed"] * 2
    assert tried(here, "g")[0] == (0.01, "b")


def test_failed_runs_count_and_are_not_the_best(project):
    here = project({"train.py": TRAIN + "sys.exit(kind == 'a')\n"})
    ended = here.gage(*SEARCH, "--trials", "8", "--seed", "1", "--group", "g").succeeds()
    found = records(here, "g")
    assert {row["status"] for row in found} == {"completed", "failed"} and len(found) == 8
    best = next(row for row in found if f"run {row['name']}, loss" in ended.err.splitlines()[-1])
    assert best["config"]["kind"] == "b"


def test_a_search_without_its_metric_has_found_nothing(project):
    here = project({"train.py": TRAIN})
    command = ("run", "train.py", *SPACE, "--trials", "2", "--optimize", "accuracy")
    assert "with a number accuracy" in here.gage(*command).fails(125, "search-failed").err


def test_a_run_can_be_the_prototype_of_a_search(project):
    here = project({"train.py": TRAIN})
    here.gage("run", "train.py", "kind=b").succeeds()
    (here.dir / "train.py").unlink()
    space = ("lr=uniform(0, 1)", "--optimize", "loss", "--trials", "2", "--group", "g")
    here.gage("run", "--proto", "1", *space).succeeds()
    assert [kind for _, kind in tried(here, "g")] == ["b", "b"]


def test_what_is_no_search(project, tmp_path):
    here = project({"train.py": TRAIN})
    for words in (
        (*SEARCH,),
        ("run", "train.py", "lr=1", "--optimize", "loss", "--trials", "2"),
        ("run", "train.py", "lr=1", "--maximize"),
        (*SEARCH, "--trials", "2", "--needed"),
        (*SEARCH, "--trials", "2", "--retries", "1"),
    ):
        here.gage(*words).fails(2, "usage")
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "optuna.py").write_text("raise ImportError\n")
    path = f"{tmp_path / 'without'}:{here.env.get('PYTHONPATH', '')}"
    told = here.gage(*SEARCH, "--trials", "2", env={"PYTHONPATH": path})
    assert "pip install 'gage[optuna]'" in told.fails(125, "search-failed").err
    assert not here.runs_home.exists() or not here.runs()
