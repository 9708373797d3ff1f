def test_adds_prints_and_takes_away_tags(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py", "--tag", "one").succeeds()
    assert here.gage("tag", "1", "two", "one", "three").succeeds().out == ""
    assert here.gage("tag", "1").succeeds().out == "one\nthree\ntwo\n"
    here.gage("tag", "1", "-d", "two", "never had").succeeds()
    here.gage("tag", "--delete", "1", "one").succeeds()
    assert here.gage("tag", "1", "--json").succeeds().json == ["three"]
    assert here.gage("show", "--json").json["tags"] == ["three"]


def test_wrong_tags_are_not_added(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py").succeeds()
    for tags in ([""], ["fine", ""], ["t" * 300]):
        here.gage("tag", "1", *tags).fails(2, "usage")
    assert here.gage("tag", "1", "--json").json == []
    here.gage("tag").fails(2, "usage")
    here.gage("tag", "2", "x").fails(1, "run-not-found")
