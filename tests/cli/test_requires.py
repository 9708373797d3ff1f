"""What a run needs of this system, through the command line."""

from __future__ import annotations

import json
import os
import shutil
import sys

import pytest

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


def with_requires(*requires: str, command: str = "echo ran") -> dict[str, str]:
    return {"gage.toml": f"[a]\nexec = {json.dumps(command)}\nrequires = {json.dumps(requires)}\n"}


def test_all_that_is_missing_is_told_before_anything_runs(project):
    here = project(
        with_requires("memory>=100TiB", "cmd:no-such-thing", "lib:libnone.so", "disk>0B")
    )
    told = here.gage("run").fails(125, "incompatible-system")
    assert told.out == ""
    first, *table, hint = told.err.splitlines()
    assert first == (
        f"gage: run {here.run().name} needs what this system does not have:"
        " 3 of 5 requirements are not met [incompatible-system]"
    )
    assert [" ".join(line.split()[:2]) for line in table] == [
        "needed found", "no-such-thing not", "library libnone.so", "memory >=100TiB",
    ]  # fmt: skip
    assert "requires   start it where there is more memory" in told.err
    assert hint == "hint: it stays staged; --force starts it all the same"
    assert not (here.meta() / "started").exists() and not (here.meta() / "output").exists()
    assert here.gage("show", "--json").json["status"] == "staged"

    unmet = json.loads(here.gage("start", "1", "--json").exits(125).err)["error"]["unmet"]
    assert [each["name"] for each in unmet] == ["no-such-thing", "libnone.so", "memory"]
    assert unmet[0] == {
        "kind": "command",
        "name": "no-such-thing",
        "needed": "",
        "by": "requires",
        "found": "not found",
        "remedy": "install no-such-thing, or put it on PATH",
    }


def test_it_starts_where_that_is_mended(project, tmp_path):
    here = project(with_requires("cmd:my-tool>=2.1"))
    here.gage("run").fails(125, "incompatible-system")
    folder = tmp_path / "tools"
    folder.mkdir()
    tool = folder / "my-tool"
    tool.write_text("#!/bin/sh\necho my-tool 2.0.9\n")
    tool.chmod(0o755)
    path = {"PATH": f"{folder}{os.pathsep}{here.env['PATH']}"}
    old = here.gage("start", "1", env=path).fails(125, "incompatible-system")
    assert "my-tool >=2.1  2.0.9  requires   install my-tool >=2.1" in old.err
    tool.write_text("#!/bin/sh\necho my-tool 2.1\n")
    assert here.gage("start", "1", "-q", env=path).succeeds().out == "ran\n"


def test_force_starts_all_the_same_and_says_so_in_the_log(project):
    here = project(with_requires("cmd:no-such-thing", "gpu>=1000"))
    here.gage("stage").succeeds()
    here.gage("start", "1").fails(125, "incompatible-system")
    assert here.gage("start", "1", "--force", "-q").succeeds().out == "ran\n"
    log = (here.meta() / "log" / "runner").read_text()
    assert "needs no-such-thing (by requires), here is: not found" in log
    assert "needs GPU >=1000 (by requires), here is: " in log
    forced = project(with_requires("disk>0B"), name="another")
    forced.gage("stage").succeeds()
    forced.gage("start", "1", "--force", "-q").succeeds()
    assert "Told to start" not in (forced.meta() / "log" / "runner").read_text()


def test_from_python(project):
    here = project(with_requires("cmd:no-such-thing"))
    ran = here.python(
        "import gage\n"
        "staged = gage.stage('a')\n"
        "try:\n    gage.start(staged)\n"
        "except gage.GageError as error:\n    print(error.reference, error.unmet[0]['name'])\n"
        "print(gage.start(staged, force=True, echo=False).status)\n"
    ).succeeds()
    assert ran.out == "incompatible-system no-such-thing\ncompleted\n"


def test_check_compares_all_of_it(project):
    here = project(with_requires("cmd:no-such-thing", "disk>0B", command="python3 -V"))
    here.gage("stage").succeeds()
    checked = here.gage("check", "1").fails(1, "check-failed")
    lines = [line.split() for line in checked.out.splitlines()]
    assert lines[2:4] == [
        [],
        ["needed", "found", "needed", "by", "what", "would", "mend", "it"],
    ]
    assert [(line[0], line[1]) for line in lines[4:]] == [
        ("ok", "python3"), ("failed", "no-such-thing"), ("ok", "free"),
    ]  # fmt: skip
    results = here.gage("check", "1", "--json").exits(1).json
    required = [each for each in results if each["check"] == "requires"]
    assert [each["result"] for each in required] == ["ok", "failed", "ok"]
    assert required[0]["found"].startswith(PYTHON) and required[1]["remedy"]
    here.gage("start", "1", "--force").succeeds()
    assert "needed" not in here.gage("check", "1").succeeds().out


def test_a_run_that_was_moved_to_where_its_program_is_missing(project, tmp_path):
    here = project({"gage.toml": "[a]\nexec.run = 'sh run.sh'\nexec.finalize = 'my-tool x'\n"})
    here.write("run.sh", "echo ran\n")
    here.gage("stage").succeeds()
    bare = tmp_path / "bare"
    bare.mkdir()
    told = here.gage("start", "1", env={"PATH": str(bare)}).fails(125, "incompatible-system")
    assert "sh       not found  exec.run" in told.err
    assert "my-tool  not found  exec.finalize" in told.err


def test_another_python(project):
    here = project({"a.py": "print('ran')\n", "gage.toml": '[a]\nexec = "python3 a.py"\n'})
    here.gage("stage", "a").succeeds()
    requires = here.meta() / "requires.json"
    needed = json.loads(requires.read_text())
    assert [each["needed"] for each in needed] == [f">={PYTHON},<{sys.version_info[0] + 1}"]
    needed[0]["needed"] = ">=3.99,<4"
    requires.chmod(0o644)
    requires.write_text(json.dumps(needed))
    told = here.gage("start", "1").fails(125, "incompatible-system")
    assert f"python3 >=3.99,<4  {PYTHON}." in told.err
    assert "put a Python >=3.99,<4 on PATH as python3" in told.err


def test_show_and_preview_tell_it_in_brief(project):
    here = project(with_requires("memory>=1MB", "cmd:x>=2", command="./tool"))
    here.write("tool", "#!/bin/sh\n", mode=0o755)
    line = "requires     sh, x >=2, memory >=1MB"
    assert line in here.gage("stage", "--preview").succeeds().out.splitlines()
    told = here.gage("stage", "--preview", "--json").succeeds().json["requirements"]
    assert [each["by"] for each in told] == ["tool", "requires", "requires"]
    here.gage("stage").succeeds()
    assert line in here.gage("show").succeeds().out.splitlines()
    assert here.gage("show", "--json").json["requires"] == told


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no compiler")
def test_a_program_that_a_compiler_made(project, tmp_path):
    here = project({"gage.toml": '[a]\nexec = "bin/hello"\nsourcecode = "bin/*"\n'})
    source = tmp_path / "hello.c"
    source.write_text('#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n')
    (here.dir / "bin").mkdir()
    os.system(f"cc -o {here.dir}/bin/hello {source}")
    told = here.gage("stage", "--preview", "--json").succeeds().json["requirements"]
    assert here.gage("run", "-q").succeeds().out == "hello\n"
    shown = here.gage("show", "--json").json["requires"]
    assert shown == told
    assert {each["by"] for each in shown} == {"bin/hello"}
    assert {"platform", "architecture"} <= {each["kind"] for each in shown}


def test_faults_are_told_with_file_and_line(project):
    here = project({"gage.toml": '[a]\nexec = "true"\nrequires = [\n  "gpu",\n  "pyton>=3",\n]\n'})
    told = here.gage("run").fails(125, "gage-file-invalid")
    assert (
        'gage.toml:5: requires[1] of operation a must be a requirement, not "pyton>=3":'
        ' did you mean "python"?'
    ) in told.err
    assert not here.runs_home.exists()


def test_a_damaged_requires_file_stops_the_start(project):
    here = project(with_requires("gpu"))
    here.gage("stage").succeeds()
    (here.meta() / "requires.json").chmod(0o644)
    (here.meta() / "requires.json").write_text("[{}]")
    here.gage("start", "1").fails(125, "run-damaged")
    assert "requires.json" in here.gage("show").succeeds().out
