"""Many runs started, as users see it."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gage._internal import clock
from gage._internal.proc import this_process
from gage._internal.store import layout
from gage._internal.store.jobs import JobNote, write_job

EXIT = "code = 0\nprint('exits with', code)\nraise SystemExit(code)\n"


def stage_each(here, *codes: int) -> None:
    for code in codes:
        here.gage("stage", "exit.py", f"code={code}").succeeds()


def statuses(here) -> list[str]:
    """Return the statuses of all runs, the earliest first."""
    return [row["status"] for row in reversed(here.gage("list", "--json").succeeds().json)]


def test_all_staged_runs_are_started_oldest_first(project):
    here = project({"exit.py": "code = 0\nprint('this is', code)\n"})
    stage_each(here, 1, 2, 3)
    started = here.gage("start", "--all", "-q").succeeds()
    assert started.out == "this is 1\nthis is 2\nthis is 3\n" and started.err == ""
    again = here.gage("start", "--all").succeeds()
    assert again.err == "gage: there is no run that is staged\n"
    for options in ([], ["--on", "local"]):
        assert here.gage("start", "--all", "--json", *options).succeeds().json == []


def test_after_a_failure_the_rest_stays_staged_and_goes_on_later(project):
    here = project({"exit.py": EXIT})
    stage_each(here, 0, 3, 0)
    started = here.gage("start", "--all").exits(3)
    assert started.out == "exits with 0\nexits with 3\n"
    assert "gage: 1 completed, 1 failed, 1 not started\n" in started.err
    assert "gage: 1 run still staged; to go on: gage start --all\n" in started.err
    assert statuses(here) == ["completed", "failed", "staged"]
    here.gage("start", "--all").succeeds()
    assert statuses(here) == ["completed", "failed", "completed"]


def test_others_go_on_after_a_failure_where_that_is_asked_for(project):
    here = project({"exit.py": EXIT})
    stage_each(here, 0, 4, 3, 0)
    started = here.gage("start", "--all", "--keep-going", "--jobs", "2").exits(4)
    assert started.out == ""
    assert statuses(here) == ["completed", "failed", "failed", "completed"]
    assert "the command exited with 3" in started.err


def test_runs_execute_at_once(project):
    """Each of two waits for the other: one after the other they would not end."""
    here = project(
        {"meet.sh": "touch $MEET/$RUN_ID\nuntil [ $(ls $MEET | wc -l) = 2 ]; do :; done\n"}
    )
    meet = here.dir.parent / "meet"
    meet.mkdir()
    for _ in range(2):
        here.gage("stage", "meet.sh").succeeds()
    ended = here.gage("start", "--all", "--jobs", "2", "--json", env={"MEET": str(meet)})
    assert [row["status"] for row in ended.succeeds().json] == ["completed", "completed"]


def test_a_batch_is_run_some_at_once(project):
    here = project({"exit.py": EXIT})
    started = here.gage("run", "exit.py", "code=[0,1,2]", "--jobs", "2", "--keep-going").exits(1)
    assert statuses(here) == ["completed", "failed", "failed"]
    assert "started: exit.py code=2" in started.err


def test_failed_runs_are_run_again_as_new_runs(project):
    here = project({"flag.sh": "test -e $FLAG\n"})
    flag = here.dir.parent / "flag"
    for _ in range(2):
        here.gage("run", "flag.sh", "--label", "mine", env={"FLAG": str(flag)}).exits(1)
    flag.touch()
    here.gage("start", "--failed", "--jobs", "2", env={"FLAG": str(flag)}).succeeds()
    assert statuses(here) == ["failed", "failed", "completed", "completed"]
    old, new = here.runs()[:2], here.runs()[2:]
    assert [(here.meta(run) / "rerun").read_text().strip() for run in new] == [r.name for r in old]
    assert here.gage("show", "1", "--json").json["label"] == "mine"
    again = here.gage("start", "--failed").succeeds()
    assert again.err == "gage: there is no run that is to be run again\n"


def test_what_an_engine_may_go_on_with_is_not_run_again(project):
    """As a run that it has preempted."""
    here = project({"gage.toml": "[long]\nexec = 'sleep 60'\nresumable = true\n"})
    process = here.begin("run", "long")
    while statuses(here) != ["running"] or not (here.meta() / "output" / "run").exists():
        time.sleep(0.02)
    note = JobNote("local", {}, "gage-1", 0, "gage-1.0@here", this_process(), clock.now())
    write_job(layout.run_of_dir(str(here.run())), note)
    process.terminate()
    process.communicate()
    here.gage("start", "1").fails(125, "run-has-job")
    again = here.gage("start", "--failed").succeeds()
    said = f"gage: run {here.run().name} is job gage-1.0@here of local; it is not run again\n"
    assert again.err == said + "gage: there is no run that is to be run again\n"
    assert statuses(here) == ["terminated"]


def test_a_run_that_fails_is_retried_as_a_new_run(project):
    here = project({"flag.sh": "echo x >> $TRIES; test $(wc -l < $TRIES) = 3\n"})
    env = {"TRIES": str(here.dir.parent / "tries")}
    ran = here.gage("run", "flag.sh", "--retries", "2", "--tag", "t", "--group", "g", env=env)
    assert ran.succeeds().err.count("is run again, as a new run") == 2
    assert statuses(here) == ["failed", "failed", "completed"]
    newest = here.gage("show", "1", "--json").json
    assert (newest["tags"], newest["group"]) == (["t"], "g")


def test_retries_come_to_an_end(project):
    here = project({"exit.py": EXIT})
    here.gage("run", "exit.py", "code=5", "--retries", "1").exits(5)
    assert statuses(here) == ["failed", "failed"]


def test_a_run_that_takes_too_long_is_stopped_and_has_failed(project):
    here = project({"long.sh": "echo begun; exec sleep 60\n"})
    ran = here.gage("run", "long.sh", "--timeout", "0.5s").exits(143)
    assert ran.out == "begun\n"
    shown = here.gage("show", "1", "--json").json
    assert shown["status"] == "failed"
    assert shown["reason"] == "the run was stopped: it took longer than 0.5 seconds"


@pytest.mark.parametrize("time", ["5", "m", "-1s", "0s", "infs", "nans", "1 week"])
def test_what_is_no_time_is_told(project, time):
    here = project({"exit.py": EXIT})
    here.gage("run", "exit.py", f"--timeout={time}").fails(2, "usage")
    assert here.runs() == []


def test_runs_are_named_or_all_or_those_that_failed(project):
    here = project({"exit.py": EXIT})
    stage_each(here, 0)
    here.gage("start").fails(2, "usage")
    here.gage("start", "1", "--all").fails(2, "usage")
    here.gage("start", "--failed", "--all").fails(2, "usage")
    here.gage("start", "1", "--jobs", "0").fails(2, "usage")
    assert statuses(here) == ["staged"]


GPUS = """
[trains]
exec = "sh -c 'echo gpus=$CUDA_VISIBLE_DEVICES; echo $CUDA_VISIBLE_DEVICES >> $SEEN; sleep 0.3'"
resources = {gpus = 1}
[needs-none]
exec = "sh -c 'echo gpus=$CUDA_VISIBLE_DEVICES'"
[wants-all]
exec = "sh -c 'echo gpus=$CUDA_VISIBLE_DEVICES'"
resources = {gpus = 3}
"""


def test_gpus_are_assigned_and_what_asks_for_too_many_is_refused(project):
    here = project({"gage.toml": GPUS})
    env = {"CUDA_VISIBLE_DEVICES": "4,7", "SEEN": str(here.dir.parent / "seen")}
    for operation in ("wants-all", "trains", "needs-none", "trains", "trains"):
        here.gage("stage", operation).succeeds()
    started = here.gage("start", "--all", "--jobs", "4", "--keep-going", env=env).exits(125)
    assert "stays staged: it is to have 3 GPUs, and there are 2" in started.err
    assert statuses(here) == ["staged", *["completed"] * 4]
    printed = [here.gage("logs", str(number)).out for number in (1, 2, 3, 4)]
    assert printed[2] == "gpus=\n"
    assert sorted(printed[:2] + printed[3:])[0] in ("gpus=4\n", "gpus=7\n")
    assert set(Path(env["SEEN"]).read_text().split()) == {"4", "7"}


def test_without_runs_that_ask_for_gpus_the_variable_is_left_alone(project):
    here = project({"gage.toml": GPUS})
    here.gage("stage", "needs-none").succeeds()
    started = here.gage("start", "--all", env={"CUDA_VISIBLE_DEVICES": "4,7"}).succeeds()
    assert started.out == "gpus=4,7\n"


def test_a_run_that_is_to_have_all_cpus_is_not_starved(project):
    """Others that would fit do not overtake it for ever."""
    cpus = len(os.sched_getaffinity(0))
    big = f"[big]\nexec = 'sh -c \"echo big >> $ORDER\"'\nresources = {{cpus = {cpus}}}\n"
    small = "[small]\nexec = 'sh -c \"echo small >> $ORDER; sleep 0.05\"'\nresources = {cpus = 1}\n"
    here = project({"gage.toml": big + small})
    if cpus == 1:
        return
    order = here.dir.parent / "order"
    here.gage("stage", "small").succeeds()
    here.gage("stage", "big").succeeds()
    here.gage("run", "small", env={"ORDER": str(order)}).succeeds()
    for _ in range(20):
        here.gage("rerun", "1", "--stage").succeeds()
    order.unlink()
    here.gage("start", "--all", "--jobs", "8", env={"ORDER": str(order)}).succeeds()
    lines = order.read_text().split()
    assert len(lines) == 22 and lines.index("big") <= cpus + 10


def test_a_run_that_cannot_start_here_stays_staged_and_others_go_on(project):
    here = project({"exit.py": EXIT, "b.txt": "b"})
    stage_each(here, 0, 0)
    changed = here.runs()[0] / "b.txt"
    changed.chmod(0o644)
    changed.write_text("changed")
    started = here.gage("start", "--all", "--keep-going").exits(125)
    assert "[run-changed]" in started.err and "b.txt" in started.err
    assert statuses(here) == ["staged", "completed"]


PIPELINE = """
[prepare]
exec = "sh -c 'echo data > data.txt; exit ${FAIL:-0}'"
[split]
exec = "sh -c 'echo splits > splits.txt'"
[train]
exec = "sh -c 'cat data.txt splits.txt > model.txt'"
depends = [{run-files = "prepare"}, {run-files = {operation = "split"}, name = "parts"}]
[evaluate]
exec = "sh -c 'cat model.txt data.txt'"
depends = [{run-files = "train"}, {run-files = "prepare"}]
"""


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_an_operation_is_run_after_those_it_needs(project, jobs):
    here = project({"gage.toml": PIPELINE})
    for name in ("prepare", "split", "train"):
        here.gage("run", name).succeeds()
    here.gage("run", "evaluate", "--with-upstream", "--jobs", jobs, "--label", "last").succeeds()
    rows = here.gage("list", "--json").json[:4]
    names = [row["operation"] for row in rows]
    assert (names[:2], sorted(names[2:])) == (["evaluate", "train"], ["prepare", "split"])
    assert [row["label"] for row in rows] == ["last", None, None, None]
    assert here.gage("logs", "1").out == "data\nsplits\ndata\n"
    ids = {row["operation"]: row["id"] for row in rows}
    depends = (here.meta(here.runs_home / ids["train"]) / "depends.json").read_text()
    assert ids["prepare"] in depends and ids["split"] in depends


def test_of_what_is_upstream_only_that_is_run_anew_which_is_needed(project):
    here = project({"gage.toml": PIPELINE})
    here.gage("run", "evaluate", "--with-upstream").succeeds()
    again = ("run", "evaluate", "--with-upstream", "--needed")
    done = here.gage(*again).succeeds()
    assert done.out == "" and len(here.runs()) == 4
    names = {row["operation"]: row["name"] for row in here.gage("list", "--json").json}
    for name in names.values():
        assert f"gage: not needed: run {name} has completed with the same\n" in done.err
    here.gage("delete", "-y", names["train"]).succeeds()
    # What comes of it is the same, so what takes files of it is not needed either.
    done = here.gage(*again, "--jobs", "2").succeeds()
    assert [row["operation"] for row in here.gage("list", "--json").json] == [
        *("train", "evaluate", "split", "prepare")
    ]
    assert done.err.count("not needed: ") == 3 and " completed after " in done.err
    done = here.gage(*again, "--json").succeeds()
    assert [row["status"] for row in done.json] == ["completed"] * 4
    here.gage("run", "train", "--with-upstream", "--proto", "1").fails(2, "usage")


def test_an_upstream_that_fails_stops_what_needs_it(project):
    here = project({"gage.toml": PIPELINE})
    args = ("run", "evaluate", "--with-upstream", "--keep-going")
    ran = here.gage(*args, env={"FAIL": "4"}).exits(4)
    assert "train is not run: prepare failed: the command exited with 4" in ran.err
    assert "evaluate is not run: prepare failed: the command exited with 4" in ran.err
    assert sorted(row["operation"] for row in here.gage("list", "--json").json) == [
        "prepare",
        "split",
    ]


def test_a_run_that_is_chosen_is_not_run_anew(project):
    here = project({"gage.toml": PIPELINE})
    here.gage("run", "prepare").succeeds()
    here.gage("run", "train", "prepare=1", "--with-upstream").succeeds()
    assert [row["operation"] for row in here.gage("list", "--json").json] == [
        *("train", "split", "prepare")
    ]


def test_operations_that_need_each_other_are_told(project):
    here = project(
        {"gage.toml": PIPELINE.replace("[split]", '[split]\ndepends = {run-files = "evaluate"}')}
    )
    told = here.gage("run", "evaluate", "--with-upstream").fails(125, "dependency-unresolved")
    assert "evaluate -> train -> split -> evaluate" in told.err
    assert here.runs() == []


def test_an_operation_that_goes_on_from_its_own_runs_is_no_cycle(project):
    here = project({"gage.toml": "[train]\nexec = \"sh -c 'echo m >> m.txt'\"\n"})
    here.gage("run", "train").succeeds()
    here.write(
        "gage.toml", '[train]\nexec = "sh -c \'cat m.txt\'"\ndepends = {run-files = "train"}\n'
    )
    assert here.gage("run", "train", "--with-upstream", "-q").succeeds().out == "m\n"
    assert len(here.runs()) == 2


def test_on_a_terminal_there_is_a_line_for_each_run(project):
    bar = "\\r 45%%|####5     | 45/100 [00:03<00:04, 12.3it/s]"
    script = f"printf 'loading\\n{bar}' >&2; until [ -e $GO ]; do sleep 0.05; done\n"
    here = project({"slow.sh": script})
    for _ in range(3):
        here.gage("stage", "slow.sh").succeeds()
    go = here.dir.parent / "go"
    master, slave = pty.openpty()
    env = {**here.env, "TERM": "xterm", "COLUMNS": "120", "LINES": "20", "GO": str(go)}
    command = here.begin("start", "--all", "--jobs", "2", stderr=slave, env=env)
    os.close(slave)
    seen = b""
    while seen.count(b"45% 00:04 left") < 2:
        assert select.select([master], [], [], 30)[0], seen
        seen += os.read(master, 4096)
    go.touch()
    try:
        while chunk := os.read(master, 4096):
            seen += chunk
    except OSError:
        pass
    command.communicate()
    assert command.returncode == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert "2 running  1 waiting" in text and "slow.sh" in text and "loading" in text
    assert text.count("completed after") == 3
    assert text.rstrip().endswith("gage: 3 completed")


COUNT = """
import signal, time
seen = []
signal.signal(signal.SIGINT, lambda *args: print("got it", flush=True) or seen.append(args))
print("ready", flush=True)
while not seen:
    time.sleep(0.02)
time.sleep(0.5)
"""


def test_ctrl_c_on_a_terminal_reaches_each_run_once(project):
    """The terminal sends it to all; nobody passes it on."""
    here = project({"count.py": COUNT})
    for _ in range(3):
        here.gage("stage", "count.py").succeeds()
    pid, master = pty.fork()
    if pid == 0:
        import sys

        os.chdir(here.dir)
        args = [sys.executable, "-m", "gage", "start", "--all", "--jobs", "2"]
        os.execve(sys.executable, args, {**here.env, "TERM": "dumb"})
    while sum(here.gage("logs", str(n)).out == "ready\n" for n in (1, 2, 3)) < 2:
        time.sleep(0.05)
    os.write(master, b"\x03")
    said = b""
    try:
        while chunk := os.read(master, 4096):
            said += chunk
    except OSError:
        pass
    _, ended = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(ended) == 128 + signal.SIGINT
    assert b"1 run still staged; to go on: gage start --all" in said
    printed = sorted(here.gage("logs", str(number)).out for number in (1, 2, 3))
    assert printed == ["", "ready\ngot it\n", "ready\ngot it\n"]


def begin(here, *args: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "gage", *args],
        cwd=here.dir,
        env={**here.env, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_until(true: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


SWEEP = """
[prepare]
exec = "sh -c 'cat version.txt > data.txt'"
[train]
exec = "sh train.sh"
config = { env = { X = 0 } }
depends = {run-files = "prepare"}
"""


def test_what_is_upstream_and_a_batch_have_the_source_of_one_moment(project, tmp_path):
    script = "cat data.txt version.txt; until [ -e $GO ] || [ $X != 1 ]; do sleep 0.05; done"
    here = project({"gage.toml": SWEEP, "train.sh": script, "version.txt": "1\n"})
    go = tmp_path / "go"
    command = ("run", "train", "X=[1,2,3]", "--with-upstream", "--group", "g")
    running = begin(here, *command, env={"GO": str(go)})
    wait_until(lambda: "running" in statuses(here))
    here.write("version.txt", "2\n")
    here.write("train.sh", "exit 9")
    go.touch()
    _, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    for run in here.gage("list", "--json", "--group", "g").json:
        assert here.gage("logs", run["id"]).out == "1\n1\n"
        here.gage("verify", run["id"]).succeeds()
    assert not [name for name in os.listdir(here.runs_home) if name.startswith(".frozen")]


def test_the_same_command_goes_on_with_a_batch_that_needs_what_is_upstream(project, tmp_path):
    script = "until [ -e $GO ] || [ $X != 2 ]; do sleep 0.05; done"
    here = project({"gage.toml": SWEEP, "train.sh": script, "version.txt": "1\n"})
    go = tmp_path / "go"
    command = ("run", "train", "X=range(1,5)", "--with-upstream", "--group", "g")
    running = begin(here, *command, env={"GO": str(go)})
    wait_until(lambda: len(here.runs()) == 3 and "running" in statuses(here))
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    told = "gage: 2 runs not made; to go on: the same command with --group g --needed\n"
    assert told in err.decode()
    go.touch()
    done = here.gage(*command, "--needed").succeeds()
    assert "2 runs of these were in the group before" in done.err
    assert "not needed: " in done.err
    rows = here.gage("list", "--json").json
    assert sorted(row["operation"] for row in rows) == ["prepare", *["train"] * 4]
    made = here.gage(*command).succeeds()
    assert len(here.runs()) == 5 and "4 runs of these were in the group before" in made.err


SIBLINGS = """
import os, sys
n = 0
stat = open(f"/proc/{os.getppid()}/stat").read()
scheduler = stat.rpartition(")")[2].split()[1]
siblings = open(f"/proc/{scheduler}/task/{scheduler}/children").read().split()
files = os.listdir(f"/proc/{scheduler}/fd")
with open(os.environ["SEEN"], "a") as seen:
    print(len(siblings), len(files), file=seen)
sys.exit(int(os.environ.get("FAIL", 0)))
"""


@pytest.mark.parametrize(
    "options",
    [["--with-upstream"], ["--retries", "2", "--keep-going"]],
    ids=["upstream", "retries"],
)
def test_children_that_make_runs_do_not_pile_up(project, options):
    """There are as many as execute at once, and those that are just ending."""
    here = project({"siblings.py": SIBLINGS})
    seen = here.dir.parent / "seen"
    env = {"SEEN": str(seen), "FAIL": "7" if "--retries" in options else "0"}
    values = ",".join(map(str, range(12)))
    ran = here.gage("run", "siblings.py", f"n=[{values}]", "--jobs", "2", *options, env=env)
    ran.exits(int(env["FAIL"]))
    counts = [tuple(map(int, line.split())) for line in seen.read_text().splitlines()]
    assert len(counts) == (36 if "--retries" in options else 12)
    # On a machine that is busy some more may be just ending.
    assert max(children for children, _ in counts) <= 8
    files = [files for _, files in counts]
    assert max(files) <= min(files) + 8


def test_what_cannot_be_told_ends_nothing(project):
    """As where what is told goes to a file, and the disk is full."""
    here = project({"exit.py": EXIT})
    stage_each(here, *range(3, 0, -1), 0, 0)
    with open("/dev/full", "wb") as full:
        command = here.begin("start", "--all", "--keep-going", "--jobs", "2", stderr=full)
        command.communicate()
    assert command.returncode == 3
    assert statuses(here) == ["failed"] * 3 + ["completed"] * 2


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_a_terminal_that_is_closed_ends_nothing(project, term):
    """Where that does not hang up either, as with nohup."""
    here = project({"wait.sh": "until [ -e $GO ]; do sleep 0.05; done\n"})
    for _ in range(4):
        here.gage("stage", "wait.sh").succeeds()
    go = here.dir.parent / "go"
    master, slave = pty.openpty()
    env = {**here.env, "TERM": term, "GO": str(go)}
    command = here.begin("start", "--all", "--jobs", "2", stderr=slave, env=env)
    os.close(slave)
    while not os.read(master, 4096):
        pass
    while statuses(here).count("running") < 2:
        time.sleep(0.05)
    os.close(master)
    go.touch()
    command.communicate()
    assert command.returncode == 0
    assert statuses(here) == ["completed"] * 4


def test_an_upstream_of_which_more_is_said_is_one_that_is_there(project):
    tagged = PIPELINE.replace('{run-files = "prepare"}', _TAGGED, 1)
    here = project({"gage.toml": tagged})
    here.gage("run", "prepare", "--tag", "good").succeeds()
    good = here.runs()[0].name
    here.gage("run", "train", "--with-upstream").succeeds()
    rows = here.gage("list", "--json").json
    assert [row["operation"] for row in rows] == ["train", "split", "prepare"]
    assert good in (here.meta(here.runs_home / rows[0]["id"]) / "depends.json").read_text()


_TAGGED = '{run-files = {operation = "prepare", tag = "good"}, name = "prepare"}'


def test_force_starts_what_is_to_have_more_than_there_is(project):
    gage_file = '[big]\nexec = "true"\nresources = { cpus = 4096, memory = "900TiB", gpus = 64 }\n'
    here = project({"gage.toml": gage_file})
    for _ in range(3):
        here.gage("stage", "big").succeeds()
    here.gage("start", "--all", "--jobs", "2", "--keep-going").exits(125)
    assert statuses(here) == ["staged"] * 3
    here.gage("start", "--all", "--jobs", "2", "--force").succeeds()
    assert statuses(here) == ["completed"] * 3


def test_what_was_stopped_and_is_resumable_is_named(project, tmp_path):
    script = "test $RUN_ATTEMPT != 1 || until [ -e $GO ]; do sleep 0.05; done"
    here = project({"gage.toml": '[res]\nexec = "sh res.sh"\nresumable = true\n', "res.sh": script})
    here.gage("stage", "res").succeeds()
    here.gage("stage", "res").succeeds()
    env = {"GO": str(tmp_path / "never")}
    running = begin(here, "start", "--all", "--jobs", "2", env=env)
    wait_until(lambda: statuses(here) == ["running"] * 2)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    told = err.decode().partition("gage: 2 runs not gone on with; to go on: gage start ")[2]
    names = told.splitlines()[0].split()
    time.sleep(1.5)
    here.gage("start", *names, "--jobs", "2").succeeds()
    rows = here.gage("list", "--json").json
    assert [row["status"] for row in rows] == ["completed"] * 2
    # The pause is not part of it.
    assert all(row["duration"] < row["stopped"] - row["started"] - 10**6 for row in rows)
