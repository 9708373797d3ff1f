import os
import pty
import subprocess
import sys


def test_lists_runs_newest_first_as_a_table_and_as_json(project):
    here = project({"train.py": "lr = 0.1\nraise SystemExit(int(lr))\n"})
    here.gage("run", "train.py", "--label", "a label").succeeds()
    here.gage("run", "train.py", "lr=2").exits(2)
    here.gage("stage", "train.py", "lr=3").succeeds()
    earliest, middle, latest = (run.name for run in here.runs())

    listed = here.gage("list").succeeds()
    assert listed.err == "" and "\x1b" not in listed.out
    header, *rows = [line.split() for line in listed.out.splitlines()]
    assert header == ["#", "id", "name", "operation", "status", "age", "took", "config", "label"]
    assert [row[:2] for row in rows] == [["1", latest[:8]], ["2", middle[:8]], ["3", earliest[:8]]]
    assert [row[3:5] for row in rows] == [
        ["train.py", status] for status in ("staged", "failed", "completed")
    ]
    assert [row[7] for row in rows] == ["lr=3.0", "lr=2.0", "lr=0.1"]
    assert rows[2][8:] == ["a", "label"]

    records = here.gage("list", "--json").succeeds().json
    assert [(r["number"], r["id"]) for r in records] == [(1, latest), (2, middle), (3, earliest)]
    last = records[2]
    assert (last["config"], last["label"], last["exit"]) == ({"lr": 0.1}, "a label", "0")
    times = [last[name] for name in ("initialized", "staged", "started", "stopped")]
    assert times == sorted(times) and last["duration"] == times[3] - times[2]
    assert (records[0]["started"], records[0]["duration"]) == (None, None)


def test_filters_keep_the_numbers_by_which_runs_are_named(project):
    here = project({"a.py": "", "b.py": "raise SystemExit(1)\n"})
    here.gage("run", "a.py", "--label", "first", "--tag", "x").succeeds()
    here.gage("run", "b.py", "--tag", "x", "--tag", "y").exits(1)
    here.gage("stage", "a.py").succeeds()
    expected = {
        ("--status", "failed"): [2],
        ("-s", "staged"): [1],
        ("--operation", "a.py"): [1, 3],
        ("--tag", "x"): [2, 3],
        ("--tag", "x", "-o", "a.py"): [3],
        ("--label", "first"): [3],
        ("--label", "firs"): [],
        ("-n", "2"): [1, 2],
    }
    for words, numbers in expected.items():
        records = here.gage("list", "--json", *words).succeeds().json
        assert [record["number"] for record in records] == numbers, words


def test_more_than_twenty_runs_are_said_to_be_there(project):
    here = project(
        {"a.py": "import gage\nfor _ in range(21):\n    gage.stage('b.py')\n", "b.py": ""}
    )
    here.python((here.dir / "a.py").read_text()).succeeds()
    short = here.gage("list").succeeds()
    assert len(short.out.splitlines()) == 21 and "-a lists all" in short.err
    everything = here.gage("list", "-a").succeeds()
    assert len(everything.out.splitlines()) == 22 and everything.err == ""
    assert len(here.gage("list", "--json").json) == 21


def test_no_runs_are_no_error(project):
    here = project()
    listed = here.gage("list").succeeds()
    assert listed.out == "" and "no runs in" in listed.err
    assert here.gage("list", "--json").succeeds().json == []


def test_wrong_options(project):
    here = project()
    for words in (["-n", "0"], ["-n", "-1"], ["-n", "x"], ["-s", "done"], ["word"]):
        here.gage("list", *words).fails(2, "usage")


def test_is_fitted_to_the_terminal_and_coloured_there_only(project):
    here = project({"a.py": f"text = '{'x' * 200}'\n"})
    here.gage("run", "a.py").succeeds()
    plain = _list_on_terminal({**here.env, "NO_COLOR": "1"}, here.dir)
    coloured = _list_on_terminal(here.env, here.dir)
    assert "\x1b[32mcompleted" in coloured and "\x1b[32m" not in plain
    row = plain.splitlines()[1]
    assert len(row) <= 80 and "…" in row and "completed" in row
    assert "x" * 200 in here.gage("list").out


def _list_on_terminal(env, cwd):
    env = {**env, "COLUMNS": "80", "TERM": "xterm"}
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gage", "list"], stdout=end, stderr=end, stdin=end, env=env, cwd=cwd
    )
    os.close(end)
    printed = b""
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:
            # How a terminal ends whose other end is closed.
            data = b""
        if not data:
            break
        printed += data
    os.close(terminal)
    assert process.wait(timeout=60) == 0
    return printed.decode()


def test_no_run_that_matches_is_told_from_no_run(project):
    here = project({"a.py": ""})
    assert "gage: no runs in " in here.gage("list").err
    here.gage("run", "a.py").succeeds()
    assert "gage: no runs that match in " in here.gage("list", "--tag", "none").succeeds().err
