def test_brings_a_run_back_as_it_was(project):
    here = project({"a.py": "print('ran')\n"})
    here.gage("stage", "a.py").succeeds()
    here.gage("label", "1", "mine").succeeds()
    here.gage("tag", "1", "t").succeeds()
    before = here.gage("show", "--json").json
    here.gage("delete", "-y", "1").succeeds()
    assert here.gage("restore", "1").succeeds().out == ""
    assert here.gage("show", "--json").json == before
    assert here.gage("list", "--deleted", "--json").json == []
    assert here.gage("start", "1", "-q").succeeds().out == "ran\n"


def test_a_run_that_is_not_deleted_cannot_be_restored(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py").succeeds()
    here.gage("restore", here.run().name).fails(1, "run-not-found")
    here.gage("restore", str(here.run())).fails(1, "run-not-found")
    here.gage("restore").fails(2, "usage")
    assert here.gage("list", "--json").json[0]["status"] == "staged"
