import json
import os
import pty
import subprocess
import sys

import pytest

import gage
from gage._internal.cli.main import COMMANDS


def test_version_and_help(project):
    here = project()
    for words in (["--version"], ["-V"], ["-C", ".", "--version"]):
        assert here.gage(*words).succeeds().out == f"gage {gage.__version__}\n"
    helped = here.gage("--help").succeeds()
    assert "Stage and run experiments" in helped.out and "completion" in helped.out
    assert "\x1b" not in helped.out and helped.err == ""


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help_and_refuses_unknown_options(project, command):
    here = project()
    helped = here.gage(command, "--help").succeeds().out
    assert f"usage: gage {command}" in helped and "-C DIR" in helped and "--runs DIR" in helped
    here.gage(command, "--no-such-option").fails(2, "usage")


def test_wrong_usage(project):
    here = project()
    for words, told in {
        (): "gage --help",
        ("lst",): "did you mean list?",
        ("frobnicate",): "there is no command frobnicate",
        ("--bogus",): "--bogus",
        ("-C",): "-C",
        ("-C", "nowhere", "list"): "nowhere",
        ("list", "--dele"): "gage list has no option --dele",
        ("run", "a.py", "--job", "2"): "did you mean --jobs?",
        ("stage", "a.py", "--jobs=2"): "hint: it is an option of gage run, gage start",
        ("run", "a.py", "--lr", "0.1"): "hint: config is written without dashes: lr=0.1",
        ("list", "a\nb"): "gage list does not take a\\nb",
    }.items():
        wrong = here.gage(*words).fails(2, "usage")
        assert told in wrong.err and wrong.out == "", words


def test_errors_are_objects_with_json(project):
    here = project({"train.py": "x = 1\n"})
    for words, code, reference, hint in (
        (["show", "--json", "zzzz"], 1, "run-not-found", "gage list"),
        (["--json", "run", "trian.py"], 125, "unknown-operation", "did you mean train.py?"),
        (["--json", "lst"], 2, "usage", "did you mean list?"),
    ):
        failed = here.gage(*words).exits(code)
        assert failed.out == ""
        error = json.loads(failed.err)["error"]
        assert (error["reference"], error["hint"]) == (reference, hint) and error["message"]


def test_global_options_stand_before_and_after_the_command(project):
    here = project({"inner/a.py": "print('ran')\n"})
    home = here.dir / "elsewhere"
    here.gage("-C", "inner", "--runs", str(home), "--json", "stage", "a.py").succeeds()
    here.gage("stage", "a.py", "--json", "--runs", str(home), "-C", "inner").succeeds()
    before = here.gage("--json", f"--runs={home}", "-Cinner", "list").succeeds().json
    after = here.gage("list", f"--runs={home}", "-Cinner", "--json").succeeds().json
    assert before == after and len(after) == 2
    assert here.runs() == [] and not (here.dir / "inner" / ".gage").exists()


def test_where_runs_are_kept(project):
    here = project({"a.py": "x = 1\n", "sub/deep/b.txt": ""})
    home = here.dir.parent / "home"

    def stage(*words, env=None):
        return here.gage("stage", "a.py", "--json", *words, env=env).succeeds().json["run_dir"]

    first = stage()
    assert first.startswith(f"{here.dir}/.gage/runs/")
    assert (here.dir / ".gage" / ".gitignore").read_text() == "*\n"
    here.write("gage.toml", 'runs = "kept"\n')
    assert stage().startswith(f"{here.dir}/kept/")
    assert stage(env={"GAGE_RUNS": "~/runs"}).startswith(f"{home}/runs/")
    assert stage("--runs", "given", env={"GAGE_RUNS": "unused"}).startswith(f"{here.dir}/given/")
    # Each is found again from below the project; outside of any, the home directory's are meant.
    below = here.gage("list", "--json", cwd=here.dir / "sub" / "deep").succeeds().json
    assert [record["run_dir"] for record in below] == [
        str(p) for p in (here.dir / "kept").glob("*-????????????")
    ]
    outside = here.gage("list", cwd=here.dir.parent).succeeds()
    assert f"no runs in {home}/.gage/runs" in outside.err


def test_a_run_is_shown_by_path_whatever_the_runs_home(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py").succeeds()
    run = here.run()
    for words in (
        ["show", str(run), "--runs", "empty"],
        ["show", f".gage/runs/{run.name}", "--runs", "empty"],
        ["-C", str(run.parent), "show", f"./{run.name}", "--runs", "empty"],
    ):
        assert here.gage(*words, "--json").succeeds().json["id"] == run.name
    here.gage("show", "./a.py").fails(1, "run-not-found")


def test_a_reader_that_has_gone_is_no_fault(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py").succeeds()
    for command in ("list", "list --json", "show", "operations", "--help", "completion bash"):
        ended = subprocess.run(
            ["bash", "-c", f'"$0" -m gage {command} | head -c 0', sys.executable],
            cwd=here.dir,
            env=here.env,
            capture_output=True,
        )
        assert (ended.stdout, ended.stderr) == (b"", b""), command


def test_a_script_that_has_the_name_of_a_module_is_not_imported(project):
    names = ["copy", "json", "random", "select", "argparse", "subprocess", "rich"]
    here = project({f"{name}.py": "open('executed', 'w')\n" for name in names})
    here.gage("stage", "copy.py").succeeds()
    here.gage("list").succeeds()
    assert not (here.dir / "executed").exists()


def test_a_system_fault_is_an_error_without_traceback(project):
    here = project({"a.py": "", "file": ""})
    fault = here.gage("stage", "a.py", "--runs", "file/inside").fails(1, "system-error")
    assert "Errno" not in fault.err and "file" in fault.err
    here.gage("run", "a.py", "--runs", "file/inside").fails(125, "system-error")


def test_colour_is_for_terminals_and_can_be_refused(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py").succeeds()
    assert "\x1b" not in here.gage("list", env={"TERM": "xterm-256color"}).out
    coloured = _help_on_terminal(here, {"TERM": "xterm-256color"})
    plain = _help_on_terminal(here, {"TERM": "xterm-256color", "NO_COLOR": "1"})
    assert b"\x1b[3" in coloured and b"\x1b[3" not in plain.replace(b"\x1b[3m", b"")
    assert b"--operation" in plain and b"--operation" in coloured


def _help_on_terminal(here, env):
    terminal, end = pty.openpty()
    process = here.begin("list", "--help", stdout=end, env={**here.env, **env})
    os.close(end)
    printed = b""
    while True:
        try:
            printed += os.read(terminal, 4096)
        except OSError:
            break
    os.close(terminal)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    return printed
