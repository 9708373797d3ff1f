"""`--sealed` of `gage start` and `gage run`."""

import json

import pytest

READS = "import sys\ntry:\n    open('{}/data.txt')\nexcept OSError:\n    print('went on')\n"


@pytest.fixture
def here(project):
    found = project({"good.py": "print('good')\n", "data.txt": "data"})
    found.write("bad.py", READS.format(found.dir))
    return found


def test_a_run_that_is_independent_passes(here):
    ran = here.gage("run", "good.py", "--sealed").succeeds()
    assert ran.out == "good\n"
    assert json.loads((here.meta() / "proc" / "sealed").read_text())["network"] == "open"
    here.gage("stage", "good.py").succeeds()
    assert here.gage("start", "1", "--sealed", "-q").succeeds().out == "good\n"


def test_one_that_is_not_fails_and_the_file_is_named(here):
    ran = here.gage("run", "bad.py", "--sealed", "-q").fails(125, "run-failed")
    assert ran.out == "went on\n"
    assert f"reached {here.dir}/data.txt, which is outside of what it may rely on" in ran.err
    shown = here.gage("show", "--json").json
    assert (shown["status"], shown["exit"]) == ("failed", "0")
    assert f"{here.dir}/data.txt" in shown["reason"]
    here.gage("run", "bad.py", "-q").succeeds()


def test_the_status_of_a_command_that_failed_is_kept(here):
    here.write("exits.py", f"open('{here.dir}/data.txt')\n")
    ran = here.gage("run", "exits.py", "--sealed")
    assert ran.code == 1
    assert f"reached {here.dir}/data.txt" in ran.err


@pytest.mark.parametrize("rung", ["namespaces", "bubblewrap", "landlock"])
def test_rung_and_network_are_chosen(here, rung):
    ran = here.gage("run", "good.py", "--sealed", "--no-network", "--rung", rung)
    assert ran.succeeds().out == "good\n"
    sealed = json.loads((here.meta() / "proc" / "sealed").read_text())
    assert sealed == {"rung": rung, "network": "closed", "watched": True}


def test_where_it_cannot_be_sealed_it_stays_staged(here):
    here.gage("stage", "good.py").succeeds()
    env = {"PATH": "/nonexistent"}
    failed = here.gage("start", "1", "--sealed", "--rung", "bubblewrap", env=env, cwd=here.dir)
    failed.fails(125, "incompatible-system")
    args = ("start", "1", "--sealed", "--rung", "bubblewrap", "--force")
    failed = here.gage(*args, env=env).fails(125, "cannot-isolate")
    assert "bubblewrap: is not installed" in failed.err
    assert here.gage("show", "--json").json["status"] == "staged"
    assert here.gage("start", "1", "-q").succeeds().out == "good\n"


def test_what_goes_with_sealed_goes_with_nothing_else(here):
    here.gage("stage", "good.py").succeeds()
    here.gage("start", "1", "--no-network").fails(2, "usage")
    here.gage("start", "1", "--rung", "landlock").fails(2, "usage")
    here.gage("run", "good.py", "--no-network").fails(2, "usage")
    here.gage("start", "1", "--sealed", "--rung", "ladder").fails(2, "usage")
    here.gage("start", "1", "--sealed", "--on", "ssh://nowhere").fails(2, "usage")
    here.gage("start", "ssh://nowhere/x", "--sealed").fails(2, "usage")
    here.gage("run", "good.py", "--sealed", "--on", "ssh://nowhere").fails(2, "usage")
    assert len(here.runs()) == 1


def test_from_python(here):
    ran = here.python(
        "import gage\n"
        "record = gage.run('bad.py', sealed=True, network=False, echo=False)\n"
        "print(record.status, record.reason)\n"
        "staged = gage.stage('good.py')\n"
        "print(gage.start(staged, sealed=True).status)\n"
    ).succeeds()
    first, *rest = ran.out.splitlines()
    assert first.startswith(f"failed the run reached {here.dir}/data.txt")
    assert rest == ["good", "completed"]


def test_verify_starts_it_dry(here):
    here.write("reads.py", f"import json\nopen('{here.dir}/data.txt')\n")
    here.write("lib.py", f"open('{here.dir}/data.txt')\n")
    here.write("imports.py", "import lib\nopen('made.txt', 'w')\n")
    for name in ("good.py", "reads.py", "imports.py"):
        here.gage("stage", name).succeeds()
    good, reads, imports = (run_dir.name for run_dir in here.runs())
    tried = here.gage("verify", good, "--sealed").succeeds()
    assert "sealed by namespaces: imports of python3 good.py" in tried.out
    # What a script does after its imports is not tried, unless by a probe.
    here.gage("verify", reads, "--sealed").succeeds()
    failed = here.gage("verify", good, imports, "--sealed").fails(1, "run-changed")
    results = [line.split()[0] for line in failed.out.splitlines() if line[0] != " "]
    assert f"{here.dir}/data.txt" in failed.out and results == ["ok", "failed"]
    probe = ("--sealed", "--probe", "python3 reads.py")
    failed = here.gage("verify", reads, *probe, "--json").exits(1).json
    assert failed[0]["sealed"]["reached"] == [f"{here.dir}/data.txt"]
    assert {row["status"] for row in here.gage("list", "--json").json} == {"staged"}
    here.gage("verify", good, reads, imports).succeeds()
    here.gage("verify", good, "--probe", "true").fails(2, "usage")


def test_what_a_killed_runner_left_is_removed(here, tmp_path):
    env = {"TMPDIR": str(tmp_path)}
    code = "from gage._internal import fs; import os; os.mkdir(fs.path_beside('{}/gage-sealed'))"
    here.python(code.format(tmp_path)).succeeds()
    (left,) = (path for path in tmp_path.iterdir() if "gage-sealed" in path.name)
    here.gage("run", "good.py", "--sealed", env=env).succeeds()
    assert not left.exists()
    assert not [path for path in tmp_path.iterdir() if "gage-sealed" in path.name]
