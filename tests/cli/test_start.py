import os
import signal

import pytest

from gage._internal.proc import run_processes, send_signal


def test_starts_runs_in_order_and_returns_the_first_status_that_is_not_0(project):
    here = project({"exit.py": "code = 0\nprint('exits with', code)\nraise SystemExit(code)\n"})
    for code in (0, 3, 4):
        here.gage("stage", "exit.py", f"code={code}").succeeds()
    started = here.gage("start", "3", "2", "1", "-q").exits(3)
    assert started.out == "exits with 0\nexits with 3\nexits with 4\n"


def test_passes_on_output_stdin_and_signal_status(project):
    here = project(
        {
            "echo.py": (
                "import os, sys\n"
                "os.write(1, b'\\xff' + sys.stdin.buffer.read())\n"
                "os.write(2, b'\\xfe')\n"
                "os.kill(os.getpid(), 15)\n"
            )
        }
    )
    here.gage("stage", "echo.py").succeeds()
    started = here.gage("start", "1", "-q", stdin=b"in \x80").exits(143)
    assert (started.out_bytes, started.err_bytes) == (b"\xffin \x80", b"\xfe")
    assert here.gage("logs").out_bytes == b"\xffin \x80"


def test_a_run_is_named_in_five_ways(project):
    here = project({"a.py": "print('ran')\n"})
    for name_of in (
        lambda run, name: run.name,
        lambda run, name: run.name[:8],
        lambda run, name: name,
        lambda run, name: "1",
        lambda run, name: str(run),
    ):
        staged = here.gage("stage", "a.py", "--json").json
        run = here.runs()[-1]
        assert run.name == staged["id"]
        name = (here.meta(run) / "name").read_text().strip()
        assert here.gage("start", name_of(run, name), "-q").succeeds().out == "ran\n"


def test_a_run_dir_is_started_from_within_and_from_elsewhere(project):
    here = project({"a.py": "print('ran')\n"})
    there = project(name="another")
    here.gage("stage", "a.py").succeeds()
    moved = there.dir / here.run().name
    here.meta().rename(here.meta(moved))
    (here.runs_home / moved.name).rename(moved)
    assert there.gage("start", f"./{moved.name}", "-q").succeeds().out == "ran\n"
    assert there.gage("show", ".", "--json", cwd=moved).json["status"] == "completed"
    assert there.gage("-C", str(moved), "show", ".", "--json").json["status"] == "completed"


def test_a_run_is_started_once(project):
    here = project({"a.py": "print('ran')\n"})
    here.gage("stage", "a.py").succeeds()
    here.gage("start", "1").succeeds()
    again = here.gage("start", "1").fails(125, "run-already-started")
    assert again.out == "" and "is completed" in again.err


def test_a_file_that_is_not_as_staged_stops_the_start_with_its_name(project):
    here = project({"a.py": "print('ran')\n", "b.txt": "b", "c.txt": "c"})
    here.gage("stage", "a.py").succeeds()
    run = here.run()
    (run / "a.py").chmod(0o644)
    (run / "a.py").write_text("print('changed')\n")
    (run / "b.txt").unlink()
    (run / "d.txt").write_text("added")
    stopped = here.gage("start", "1").fails(125, "run-changed")
    assert stopped.out == ""
    for told in ("changed: a.py", "missing: b.txt", "added: d.txt"):
        assert told in stopped.err
    assert "c.txt" not in stopped.err
    assert here.gage("show", "--json").json["status"] == "staged"


def test_nothing_is_started_where_a_name_is_wrong(project):
    here = project({"a.py": "print('ran')\n"})
    here.gage("stage", "a.py").succeeds()
    assert here.gage("start", "1", "zzzz").fails(125, "run-not-found").out == ""
    here.gage("start").fails(2, "usage")
    here.gage("start", "1", "--bogus").fails(2, "usage")
    assert here.gage("show", "--json").json["status"] == "staged"


def test_an_ambiguous_name_lists_the_candidates(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py").succeeds()
    first = here.run()
    twin = first.name[:8] + "-0000-4000-8000-000000000000"
    here.runs_home.joinpath(f"{twin}.meta").mkdir()
    ambiguous = here.gage("start", first.name[:8]).fails(125, "run-ambiguous")
    assert twin in ambiguous.err and first.name in ambiguous.err
    here.gage("start", first.name, "-q").succeeds()


def test_what_follows_an_interrupted_run_is_not_started(project):
    here = project(
        {"wait.py": "import time\nprint('ready', flush=True)\ntime.sleep(60)\n", "b.py": ""}
    )
    here.gage("stage", "b.py").succeeds()
    here.gage("stage", "wait.py").succeeds()
    process = here.begin("start", "1", "2")
    assert process.stdout.readline() == b"ready\n"
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    waited, other = here.gage("list", "--json").json
    assert (waited["status"], other["status"]) == ("terminated", "staged")


def test_several_runs_are_one_json_document(project):
    here = project({"a.py": "print('hi')\n", "b.py": "raise SystemExit(3)\n"})
    ids = [here.gage("stage", name).succeeds().out.strip() for name in ("a.py", "b.py")]
    told = here.gage("start", *ids, "--json").exits(3)
    assert [(run["id"], run["status"]) for run in told.json] == [
        (ids[0], "completed"),
        (ids[1], "failed"),
    ]


RESUMABLE = """
[train]
exec = "python train.py"
resumable = true
writable = "step.txt"
"""
TRAIN = """
import os, time
first = int(open("step.txt").read())
for step in range(first, 6):
    open("step.txt", "w").write(str(step))
    print("step", step, flush=True)
    if step == 3 and os.environ["RUN_ATTEMPT"] == "1":
        time.sleep(60)
"""


def test_a_resumable_run_that_was_stopped_goes_on(project):
    here = project({"gage.toml": RESUMABLE, "train.py": TRAIN, "step.txt": "0"})
    process = here.begin("run", "train")
    for step in range(4):
        assert process.stdout.readline() == b"step %d\n" % step
    here.gage("stop", "1").succeeds()
    process.communicate(timeout=60)
    assert here.gage("show", "--json").json["status"] == "terminated"
    gone_on = here.gage("start", "1").succeeds()
    assert gone_on.out == "step 3\nstep 4\nstep 5\n"
    assert "completed" in gone_on.err
    shown = here.gage("show").succeeds().out
    assert "attempt 1    ended by SIGTERM; gone on with 2" in shown
    (attempt,) = here.gage("show", "--json").json["attempts"]
    assert (attempt["exit"], attempt["signal"], attempt["error"]) == ("SIGTERM", "SIGTERM", None)
    assert here.gage("logs").out == "".join(f"step {n}\n" for n in (0, 1, 2, 3, 3, 4, 5))
    here.gage("verify", "1").succeeds()
    here.gage("start", "1").fails(125, "run-already-started")


def test_what_a_lost_attempt_left_ends_before_the_next_one_begins(project):
    train = "import os, time\nprint(os.getpid(), flush=True)\n"
    train += "if os.environ['RUN_ATTEMPT'] == '1':\n    time.sleep(60)\n"
    here = project({"gage.toml": RESUMABLE, "train.py": train, "step.txt": "0"})
    process = here.begin("run", "train")
    pid = int(process.stdout.readline())
    process.kill()
    process.wait(timeout=60)
    os.kill(pid, 0)
    assert here.gage("list", "--json").json[0]["status"] == "lost"
    here.gage("start", "1").succeeds()
    state = "gone"
    if os.path.exists(f"/proc/{pid}/stat"):
        with open(f"/proc/{pid}/stat") as file:
            state = file.read().rpartition(")")[2].split()[0]
    assert state in ("gone", "Z")
    assert f"Ended what an attempt before left: {pid}\n" in here.gage("logs", "--runner").out
    process.communicate(timeout=60)


RESOURCES = """
[small]
exec = "echo small"
[big]
exec = "echo big"
resources = { cpus = 4000 }
[drawn]
exec = "echo $CUDA_VISIBLE_DEVICES"
resources = { gpus = 1 }
"""


def test_what_asks_for_more_than_there_is_stays_staged_and_in_nobodys_way(project):
    here = project({"gage.toml": RESOURCES})
    told = here.gage("run", "big").fails(125, "incompatible-system")
    assert "it is to have 4000 CPUs, and there are" in told.err
    here.gage("stage", "small").succeeds()
    started = here.gage("start", "--all").exits(125)
    assert started.out == "small\n" and "stays staged" in started.err
    assert [row["status"] for row in here.gage("list", "--json").json] == ["completed", "staged"]
    assert here.gage("start", "--force", "2", "-q").succeeds().out == "big\n"


def test_a_run_has_the_gpus_that_it_asks_for(project):
    here = project({"gage.toml": RESOURCES})
    for visible, seen in (("5,7", "5\n"), ("7", "7\n")):
        env = {"CUDA_VISIBLE_DEVICES": visible}
        assert here.gage("run", "drawn", "-q", env=env).succeeds().out == seen
    told = here.gage("run", "drawn", env={"CUDA_VISIBLE_DEVICES": ""})
    assert "1 GPU, and there are 0" in told.fails(125, "incompatible-system").err


def test_the_gpus_of_one_run_are_there_for_the_next_one(project):
    two = RESOURCES + '[two]\nexec = "echo $CUDA_VISIBLE_DEVICES"\nresources = { gpus = 2 }\n'
    here = project({"gage.toml": two})
    here.gage("stage", "two").succeeds()
    here.gage("stage", "drawn").succeeds()
    started = here.gage("start", "1", "2", "-q", env={"CUDA_VISIBLE_DEVICES": "5,7"}).succeeds()
    assert started.out == "5\n5,7\n"


def test_a_run_that_is_over_is_not_passed_over_in_silence(project):
    here = project({"a.py": "print('ran')\n"})
    here.gage("run", "a.py").succeeds()
    for option in (["--jobs", "2"], ["--retries", "1"], ["--keep-going"]):
        here.gage("start", "1", *option).fails(125, "run-already-started")


@pytest.mark.parametrize("end", ["terminated", "lost", "running"])
def test_a_run_that_was_started_before_is_not_passed_over_either(project, end):
    """It is not gone on with, however many are to be started."""
    here = project({"long.sh": "echo ready; exec sleep 60\n"})
    process = here.begin("run", "long.sh")
    assert process.stdout.readline() == b"ready\n"
    if end == "terminated":
        process.terminate()
        process.wait()
    elif end == "lost":
        process.kill()
        process.wait()
    assert here.gage("list", "--json").json[0]["status"] == end
    for option in ([], ["--jobs", "2"], ["--keep-going"]):
        here.gage("start", "1", *option).fails(125, "run-already-started")
    pids = run_processes(here.run().name)
    send_signal([process.pid, *pids], signal.SIGKILL)
    process.communicate()
