import gage


def test_checks_installation_project_and_runs(project):
    here = project({"gage.toml": '[a]\nexec = "true"\n[b]\nexec = "true"\n'})
    here.gage("stage", "a").succeeds()
    checks = here.gage("check", "--json").succeeds().json
    assert {check["result"] for check in checks} == {"ok"}
    told = {check["check"]: check["text"] for check in checks}
    assert told["gage"].startswith(gage.__version__) and "defines a, b" in told["project"]
    assert told["runs"] == f"1 in {here.runs_home}"
    lines = here.gage("check").succeeds().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", check["check"]] for check in checks]


def test_finds_a_bad_project(project):
    here = project({"gage.toml": '[a]\nexec = "true"\nconfig = "missing.py"\n'})
    failed = here.gage("check").fails(1, "check-failed")
    assert "failed project     config file missing.py" in failed.out
    assert "1 of 4 checks failed" in failed.err
    here.write("gage.toml", "[a\n")
    assert "gage.toml:1" in here.gage("check").fails(1, "check-failed").out


def test_checks_a_run(project):
    here = project({"gage.toml": '[a]\nexec = "./a.sh"\n[b]\nexec = ["no-such-command"]\n'})
    script = here.write("a.sh", "#!/bin/sh\necho ran\n", mode=0o755)
    here.gage("stage", "a").succeeds()
    checks = here.gage("check", "1", "--json").succeeds().json
    assert [(check["check"], check["result"]) for check in checks] == [
        ("record", "ok"),
        ("files", "ok"),
        ("command", "ok"),
        ("requires", "ok"),
    ]
    here.gage("run", "a").succeeds()
    assert "completed" in here.gage("check", "1").succeeds().out
    here.gage("stage", "b").succeeds()
    table = here.gage("check", "1").fails(1, "check-failed").out
    assert "failed  no-such-command  not found  exec.run" in table
    changed = here.runs()[0] / "a.sh"
    changed.chmod(0o644)
    assert "changed: a.sh" in here.gage("check", "3").fails(1, "check-failed").out
    assert script.exists()
    here.gage("check", "4").fails(1, "run-not-found")
