import os
import pty


def test_moves_runs_to_the_trash(project):
    here = project({"a.py": ""})
    for _ in range(3):
        here.gage("stage", "a.py").succeeds()
    first, second, third = (run.name for run in here.runs())
    here.gage("label", "1", "kept with it").succeeds()
    assert here.gage("delete", "1", second[:8], "1", "-y").succeeds().out == ""
    assert [record["id"] for record in here.gage("list", "--json").json] == [first]
    deleted = here.gage("list", "--deleted", "--json").json
    assert [(record["id"], record["label"]) for record in deleted] == [
        (third, "kept with it"),
        (second, None),
    ]
    assert not (here.runs_home / third).exists()


def test_asks_and_without_a_terminal_deletes_nothing(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py").succeeds()
    refused = here.gage("delete", "1", stdin="y\n").exits(1)
    assert "nothing is deleted" in refused.err and len(here.runs()) == 1
    for answer, left in ((b"n\n", 1), (b"\n", 1), (b"yes\n", 0)):
        terminal, end = pty.openpty()
        process = here.begin("delete", "1", stdin=end)
        os.write(terminal, answer)
        _, err = process.communicate(timeout=60)
        os.close(terminal)
        os.close(end)
        assert b"[y/N]" in err and len(here.runs()) == left
        assert process.returncode == (1 if left else 0)


def test_deletes_none_where_one_is_not_there(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py").succeeds()
    here.gage("delete", "-y", "1", "2").fails(1, "run-not-found")
    here.gage("delete", "-y").fails(2, "usage")
    assert len(here.runs()) == 1
