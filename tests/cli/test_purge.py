def test_removes_deleted_runs_for_good(project):
    here = project({"a.py": ""})
    for _ in range(3):
        here.gage("stage", "a.py").succeeds()
    first, second, third = (run.name for run in here.runs())
    here.gage("comment", "1", "goes with it").succeeds()
    here.gage("delete", "-y", "1", "2").succeeds()
    here.gage("purge", "-y", third).succeeds()
    assert [record["id"] for record in here.gage("list", "--deleted", "--json").json] == [second]
    here.gage("purge", "--all", "--yes").succeeds()
    left = {path.name for path in here.runs_home.rglob("*") if first not in str(path)}
    assert left == {".trash"}
    assert [run.name for run in here.runs()] == [first]
    assert "nothing to purge" in here.gage("purge", "--all", "-y").succeeds().err


def test_never_removes_a_run_that_is_not_deleted(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py").succeeds()
    here.gage("purge", "-y", here.run().name).fails(1, "run-not-found")
    here.gage("purge", "-y", str(here.run())).fails(1, "run-not-found")
    assert len(here.runs()) == 1 and here.run().is_dir()


def test_asks_and_without_a_terminal_removes_nothing(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py").succeeds()
    here.gage("delete", "-y", "1").succeeds()
    assert "nothing is removed" in here.gage("purge", "1", stdin="y\n").exits(1).err
    here.gage("purge").fails(2, "usage")
    here.gage("purge", "1", "--all", "-y").fails(2, "usage")
    here.gage("restore", "1").succeeds()
    assert len(here.runs()) == 1
