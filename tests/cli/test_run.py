import os
import signal
import subprocess
import sys

import pytest


def test_runs_a_script_without_a_gage_file(project):
    here = project({"train.py": "lr = 0.1\nname = 'a'\nprint(lr, name)\n"})
    ran = here.gage("run", "train.py", "lr=0.5", "name=b c").succeeds()
    assert ran.out == "0.5 b c\n"
    assert ran.err.startswith("gage: run ") and "completed" in ran.err
    assert (here.dir / "train.py").read_text().startswith("lr = 0.1")
    assert (here.run() / "train.py").read_text() == "lr = 0.5\nname = 'b c'\nprint(lr, name)\n"
    assert (here.meta() / "proc" / "exit").read_text() == "0\n"


def test_streams_are_told_apart_and_captured_byte_for_byte(project):
    here = project(
        {
            "noisy.py": (
                "import os\n"
                "os.write(1, b'out \\xff\\x00\\r\\n')\n"
                "os.write(2, b'err \\xfe\\n')\n"
                "os.write(1, b'no newline')\n"
            )
        }
    )
    ran = here.gage("run", "noisy.py", "-q").succeeds()
    assert ran.out_bytes == b"out \xff\x00\r\nno newline"
    assert ran.err_bytes == b"err \xfe\n"
    captured = (here.meta() / "output" / "run").read_bytes()
    assert sorted(captured) == sorted(ran.out_bytes + ran.err_bytes)
    index = (here.meta() / "output" / "run.index").read_text().split("\n")[:-1]
    assert {line.split()[1] for line in index} == {"o", "e"}
    assert sum(int(line.split()[2]) for line in index) == len(captured)


def test_the_exit_status_of_the_run_is_passed_on(project):
    here = project({"exit.py": "code = 0\nraise SystemExit(code)\n"})
    for code in (0, 1, 3, 125, 255):
        here.gage("run", "exit.py", f"code={code}").exits(code)
    failed, *_, completed = here.gage("list", "--json").json
    assert (failed["status"], failed["exit"], completed["status"]) == ("failed", "255", "completed")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGSEGV", "SIGINT"])
def test_a_signal_that_ends_the_run_gives_128_and_its_number(project, name):
    here = project({"die.sh": f"kill -{name[3:]} $$\n"})
    here.gage("run", "die.sh").exits(128 + signal.Signals[name])
    assert (here.meta() / "proc" / "exit").read_text() == f"{name}\n"


def test_a_command_that_cannot_be_started_gives_what_a_shell_gives(project):
    here = project(
        {
            "gage.toml": (
                '[missing]\nexec = ["no-such-command"]\n'
                '[plain]\nexec = ["./plain.txt"]\n'
                '[orphan]\nexec = ["./orphan.sh"]\n'
            ),
            "plain.txt": "not executable\n",
        }
    )
    here.write("orphan.sh", "#!/no/such/interpreter\n", mode=0o755)
    expected = {
        "missing": (127, "no-such-command: command not found"),
        "plain": (126, "./plain.txt: Permission denied"),
        "orphan": (127, "./orphan.sh: the interpreter it names is missing"),
    }
    for operation, (code, reason) in expected.items():
        here.gage("stage", operation).succeeds()
        assert reason in here.gage("start", "--force", "1").exits(code).err
        shown = here.gage("show", "--json").succeeds().json
        assert (shown["status"], shown["reason"]) == ("failed", reason)


def test_a_reader_that_has_enough_does_not_end_the_run(project):
    here = project(
        {"long.py": "for i in range(20000):\n    print('line', i)\nopen('end', 'w').close()\n"}
    )
    piped = 'set -o pipefail; "$0" -m gage run long.py -q | head -1'
    ended = subprocess.run(
        ["bash", "-c", piped, sys.executable], cwd=here.dir, env=here.env, capture_output=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"line 0\n", b"")
    assert (here.run() / "end").exists()
    assert (here.meta() / "output" / "run").read_text().endswith("line 19999\n")


def test_the_exit_status_survives_readers_of_both_streams(project):
    here = project({"three.py": "for i in range(9999):\n    print(i)\nraise SystemExit(3)\n"})
    piped = '{ "$0" -m gage run three.py; echo $? > status; } 2>&1 | head -1'
    subprocess.run(["bash", "-c", piped, sys.executable], cwd=here.dir, env=here.env, timeout=60)
    assert (here.dir / "status").read_text() == "3\n"


def test_stdin_is_the_runs_own(project):
    here = project({"upper.py": "import sys\nprint(sys.stdin.read().upper())\n"})
    assert here.gage("run", "upper.py", "-q", stdin="from a pipe").succeeds().out == "FROM A PIPE\n"


def test_quiet_leaves_out_the_closing_line_only(project):
    here = project({"a.py": "import sys\nprint('out')\nprint('err', file=sys.stderr)\n"})
    for option in ("-q", "--quiet"):
        ran = here.gage("run", option, "a.py").succeeds()
        assert (ran.out, ran.err) == ("out\n", "err\n")


def test_json_puts_the_run_on_stdout_and_its_output_on_stderr(project):
    here = project({"a.py": "x = 1\nprint('out')\nraise SystemExit(4)\n"})
    ran = here.gage("run", "a.py", "x=2", "--json").exits(4)
    assert ran.err == "out\n"
    told = ran.json
    assert (told["status"], told["exit"], told["config"]) == ("failed", "4", {"x": 2})
    assert told["run_dir"] == str(here.run()) and told["reason"] == "the command exited with 4"


def test_label_and_tags_are_given_at_the_start(project):
    here = project({"a.py": "x = 1\n"})
    here.gage("run", "a.py", "--label", "the first", "--tag", "b", "--tag", "a", "x=2").succeeds()
    shown = here.gage("show", "--json").json
    assert (shown["label"], shown["tags"], shown["config"]) == ("the first", ["a", "b"], {"x": 2})


def test_options_stand_anywhere_among_the_arguments(project):
    here = project({"a.py": "x = 1\ny = 1\nprint(x, y)\n"})
    for words in (["-q", "a.py", "x=2", "y=3"], ["a.py", "-q", "x=2", "y=3"]):
        assert here.gage("run", *words).succeeds().out == "2 3\n"
    assert here.gage("run", "a.py", "x=2", "--label", "l", "y=3", "-q").succeeds().out == "2 3\n"


def test_the_default_operation_needs_no_name(project):
    here = project(
        {
            "gage.toml": (
                '[a]\nexec = "echo a"\n[b]\nexec = "python3 b.py"\ndefault = true\nconfig="b.py"\n'
            ),
            "b.py": "x = 1\nprint('b', x)\n",
        }
    )
    assert here.gage("run", "-q").succeeds().out == "b 1\n"
    assert here.gage("run", "-q", "x=2").succeeds().out == "b 2\n"
    assert here.gage("run", "-q", "a").succeeds().out == "a\n"


def test_without_a_default_it_asks_which(project):
    here = project({"gage.toml": '[a]\nexec = "true"\n[b]\nexec = "true"\n'})
    assert "Here are a, b" in here.gage("run").fails(2, "usage").err
    assert project(name="empty").gage("run").fails(2, "usage")


def test_wrong_words_make_no_run(project):
    here = project({"train.py": "rate = 0.1\nsteps = 3\n", "notes.txt": ""})
    wrong = {
        ("tain.py",): (125, "unknown-operation", "did you mean train.py?"),
        ("notes.txt",): (125, "unknown-operation", "notes.txt"),
        ("train.py", "step=1"): (125, "unknown-config", "did you mean steps?"),
        ("train.py", "zzz=1"): (125, "unknown-config", "rate, steps"),
        ("train.py", "steps=many"): (125, "bad-config-value", "steps (train.py:2)"),
        ("train.py", "steps"): (2, "usage", "NAME=VALUE"),
        ("train.py", "--tag", ""): (2, "usage", "empty"),
        ("train.py", "--tag", "t" * 300): (2, "usage", "too long"),
        ("train.py", "--bogus"): (2, "usage", "--bogus"),
    }
    for words, (code, reference, told) in wrong.items():
        assert told in here.gage("run", *words).fails(code, reference).err, words
    assert here.runs() == []


def test_a_failing_hook_gives_125_and_leaves_a_failed_run(project):
    here = project(
        {
            "gage.toml": (
                '[a]\nexec.run = "echo never"\n'
                'exec.stage-sourcecode = "echo the last words; exit 7"\n'
            )
        }
    )
    failed = here.gage("run", "a").fails(125, "hook-failed")
    assert failed.out == ""
    assert "exec.stage-sourcecode exited with 7" in failed.err and "the last words" in failed.err
    shown = here.gage("show").succeeds().out
    assert "failed" in shown and "exec.stage-sourcecode exited with 7" in shown
    assert here.gage("logs", "--phase", "sourcecode").out == "the last words\n"


def test_a_run_that_fails_after_its_command_succeeded_gives_125(project):
    here = project({"bad.py": "open('summary.json', 'w').write('{')\n"})
    assert "summary.json is not JSON" in here.gage("run", "bad.py").fails(125, "run-failed").err
    assert here.gage("show", "--json").json["status"] == "failed"


def test_the_environment_is_inherited_and_extended_and_not_recorded(project):
    here = project(
        {
            "gage.toml": '[a]\nexec = "python3 a.py"\nenv = { GIVEN = "yes", N = 1, F = true }\n',
            "a.py": (
                "import os\n"
                "print(*(os.environ[n] for n in ('GIVEN', 'N', 'F', 'INHERITED', 'RUN_ID')))\n"
                "print(os.path.samefile(os.environ['RUN_DIR'], '.'))\n"
            ),
        }
    )
    ran = here.gage("run", "a", "-q", env={"INHERITED": "a-secret-value", "GIVEN": "no"})
    assert ran.succeeds().out == f"yes 1 true a-secret-value {here.run().name}\nTrue\n"
    recorded = [p for p in here.meta().rglob("*") if p.is_file() and p.parent.name != "output"]
    assert recorded and not any(b"a-secret-value" in path.read_bytes() for path in recorded)


def test_a_script_outside_of_the_project_is_its_own_project(project):
    here = project({"a.py": "print('here')\n"})
    there = project({"b.py": "import c\n", "c.py": "print('there')\n"}, name="elsewhere")
    assert here.gage("run", "../elsewhere/b.py", "-q").succeeds().out == "there\n"
    assert here.runs() == [] and len(there.runs()) == 1


def test_a_script_below_the_project_is_named_by_its_path(project):
    here = project(
        {"gage.toml": '[a]\nexec = "true"\n', "tools/t.py": "import os\nprint(__file__)"}
    )
    assert here.gage("run", "tools/t.py", "-q").succeeds().out.endswith("/tools/t.py\n")
    ran = here.gage("run", "t.py", "-q", cwd=here.dir / "tools").succeeds()
    assert ran.out.endswith("/tools/t.py\n") and len(here.runs()) == 2


def test_the_home_directory_is_no_project(project):
    here = project()
    home = here.dir.parent / "home"
    (home / "a.py").write_text("print(1)\n")
    assert here.gage("run", "a.py", cwd=home).fails(125, "project-too-wide")


def test_executable_and_shell_scripts_run(project):
    here = project({"a.sh": "echo from sh\n"})
    here.write("tool", "#!/bin/sh\necho a tool\n", mode=0o755)
    assert here.gage("run", "a.sh", "-q").succeeds().out == "from sh\n"
    assert here.gage("run", "tool", "-q").succeeds().out == "a tool\n"


def test_a_signal_reaches_the_run_which_ends_as_terminated(project):
    here = project(
        {
            "wait.py": (
                "import signal, sys, time\n"
                "signal.signal(signal.SIGTERM, lambda *_: (print('told'), sys.exit(9)))\n"
                "print('ready', flush=True)\n"
                "time.sleep(60)\n"
            )
        }
    )
    process = here.begin("run", "wait.py")
    assert process.stdout.readline() == b"ready\n"
    os.kill(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (9, b"told\n") and b"terminated" in err
    assert here.gage("show", "--json").json["reason"] == "stopped by SIGTERM"


def test_a_run_that_changes_what_it_was_staged_with_says_so(project):
    script = """
import os
for name in ("replaced.json", "state.txt"):
    with open(name + ".tmp", "w") as file:
        file.write("new")
    os.replace(name + ".tmp", name)
os.unlink("removed.txt")
"""
    here = project(
        {
            "gage.toml": '[a]\nexec = "python3 a.py"\nwritable = "state.txt"\n',
            "a.py": script,
            "replaced.json": "{}",
            "removed.txt": "x",
            "state.txt": "0",
        }
    )
    told = here.gage("run").succeeds().err
    named = "removed.txt, replaced.json"
    assert f"the run changed or removed what it was staged with: {named}" in told
    out = here.gage("show").out
    assert "changed      removed.txt\nchanged      replaced.json\n" in out
    assert here.gage("show", "--json").json["changed"] == ["removed.txt", "replaced.json"]
    assert f"the run itself changed {named}" in here.gage("check", "1").succeeds().out
    log = here.gage("logs", "--runner").out
    assert "Changed by the run, which was staged with it: replaced.json" in log
    assert "Removed by the run, which was staged with it: removed.txt" in log
    assert "state.txt" not in told + log


def test_config_that_is_written_as_an_option_gets_a_hint(project):
    here = project({"a.py": "lr = 1\n"})
    told = here.gage("run", "a.py", "--lr", "0.1").fails(2, "usage").err
    assert "hint: config is written without dashes: lr=0.1" in told


CHOICE = """
[prepare]
exec = "cp word.txt out.txt"

[use]
exec = "cat out.txt"
sourcecode = false
depends = { run-files = "prepare", select = "out.txt" }

[both]
exec = "cat out.txt"
config = "c.py"
depends = { run-files = "prepare", name = "lr", select = "out.txt" }
"""


def test_a_run_is_chosen_for_a_dependency(project):
    here = project({"gage.toml": CHOICE, "word.txt": "first\n", "c.py": "lr = 1\n"})
    here.gage("run", "prepare").succeeds()
    here.write("word.txt", "second\n")
    here.gage("run", "prepare").succeeds()
    runs = here.gage("list", "--json").json
    assert here.gage("run", "use", "-q").succeeds().out == "second\n"
    # The first of the list when the command is given, not once there is a run more.
    assert here.gage("run", "use", "prepare=3", "-q").succeeds().out == "first\n"
    assert here.gage("run", "use", f"prepare={runs[1]['name']}", "-q").out == "first\n"
    shown = here.gage("show", "--json").json["depends"]
    assert shown[0]["lineage"]["run"] == runs[1]["id"]
    here.gage("run", "use", "prepare=none").fails(125, "run-not-found")
    here.gage("run", "use", "prepare").fails(2, "usage")
    told = here.gage("run", "both").fails(2, "usage").err
    assert "lr is a config value and a dependency of both" in told
