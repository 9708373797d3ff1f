def test_adds_comments_and_prints_them_oldest_first(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py").succeeds()
    assert here.gage("comment", "1").succeeds().out == ""
    assert here.gage("comment", "1", "first thought").succeeds().out == ""
    here.gage("comment", "1", "second\nthought").succeeds()
    lines = here.gage("comment", "1").succeeds().out.splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["first thought", "second\\nthought"]
    comments = here.gage("comment", "1", "--json").succeeds().json
    assert [comment["text"] for comment in comments] == ["first thought", "second\nthought"]
    assert comments[0]["time"] < comments[1]["time"]
    assert here.gage("show", "--json").json["comments"] == comments


def test_wrong_usage(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py").succeeds()
    here.gage("comment").fails(2, "usage")
    here.gage("comment", "1", "two", "words").fails(2, "usage")
    here.gage("comment", "zzzz", "text").fails(1, "run-not-found")
