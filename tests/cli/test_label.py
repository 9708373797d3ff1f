def test_gives_changes_prints_and_clears_a_label(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py", "--label", "at the start").succeeds()
    assert here.gage("label", "1").succeeds().out == "at the start\n"
    assert here.gage("label", "1", "later").succeeds().out == ""
    assert here.gage("label", "1", "--json").succeeds().json == "later"
    assert here.gage("label", "1", "--", "--json").succeeds().out == ""
    assert here.gage("label", "1").out == "--json\n"
    here.gage("label", "1", "--clear").succeeds()
    assert here.gage("label", "1").succeeds().out == ""
    assert here.gage("label", "1", "--json").succeeds().json is None
    assert here.gage("show", "--json").json["label"] is None
    # What the run was staged with stays as it was.
    assert (here.meta() / "user" / "label").read_text() == '"at the start"\n'


def test_wrong_usage(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py").succeeds()
    here.gage("label", "1", "x", "--clear").fails(2, "usage")
    here.gage("label").fails(2, "usage")
    here.gage("label", "2", "x").fails(1, "run-not-found")
