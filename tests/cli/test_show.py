import hashlib

GAGE_FILE = """
[train]
exec = "python3 train.py"
config = "train.py"
env = { MODE = "fast" }
output-summary = { loss = "loss: (.*)" }
depends = { project-files = "data", target = "inputs" }
sourcecode = "-data"
"""
TRAIN = """\
import json
lr = 0.1
print("loss: 0.5")
json.dump({"accuracy": 0.9}, open("summary.json", "w"))
"""


def test_shows_everything_that_is_known(project):
    here = project({"gage.toml": GAGE_FILE, "train.py": TRAIN, "data/a.csv": "1,2\n"})
    here.gage("run", "train", "lr=0.5", "--label", "the label", "--tag", "t1").succeeds()
    here.gage("comment", "1", "looks good").succeeds()
    run = here.run()

    shown = here.gage("show", "--json").succeeds().json
    expected = {
        "id": run.name,
        "name": (here.meta() / "name").read_text().strip(),
        "operation": "train",
        "namespace": "project",
        "status": "completed",
        "reason": None,
        "damage": None,
        "label": "the label",
        "tags": ["t1"],
        "exit": "0",
        "command": ["python3", "train.py"],
        "env": {"MODE": "fast"},
        "config": {"lr": 0.5},
        "summary": {"accuracy": 0.9, "loss": 0.5},
        "run_dir": str(run),
        "user": {"label": "the label"},
    }
    assert {name: shown[name] for name in expected} == expected
    assert [comment["text"] for comment in shown["comments"]] == ["looks good"]
    assert shown["files"]["dependency"] == {"count": 1, "bytes": 4}
    assert shown["files"]["generated"]["count"] == 1 and shown["files"]["source"]["count"] == 2

    out = here.gage("show", run.name[:8]).succeeds().out
    for told in (
        run.name,
        "operation    train",
        "status       completed",
        "label        the label",
        "tags         t1",
        "exit         0",
        "command      python3 train.py",
        "MODE  fast",
        "lr  0.5",
        "accuracy  0.9",
        "looks good",
    ):
        assert told in out, told


def test_lists_files_with_type_mode_size_and_digest(project):
    here = project({"make.py": "open('made', 'w').write('12345')\n"})
    here.gage("run", "make.py").succeeds()
    made, source = here.gage("show", "--files", "--json").succeeds().json
    assert made == {
        "path": "made",
        "kind": "f",
        "type": "generated",
        "mode": 0o644,
        "size": 5,
        "sha256": hashlib.sha256(b"12345").hexdigest(),
        "target": None,
    }
    assert (source["path"], source["type"], source["mode"]) == ("make.py", "source", 0o444)
    lines = here.gage("show", "-f", "1").succeeds().out.splitlines()
    assert [line.split() for line in lines] == [
        ["g", "0644", "5", "made"],
        ["s", "0444", str(source["size"]), "make.py"],
    ]


def test_tells_why_a_run_failed(project):
    here = project({"a.py": "raise SystemExit(3)\n"})
    here.gage("run", "a.py").exits(3)
    assert "reason       the command exited with 3\n" in here.gage("show").succeeds().out


def test_the_newest_run_is_the_default(project):
    here = project({"a.py": "x = 1\n"})
    assert "there is no run 1" in here.gage("show").fails(1, "run-not-found").err
    for value in ("2", "3"):
        here.gage("stage", "a.py", f"x={value}").succeeds()
    assert here.gage("show", "--json").json["config"] == {"x": 3}
    assert here.gage("show", "2", "--json").json["config"] == {"x": 2}
    here.gage("show", "3").fails(1, "run-not-found")
    here.gage("show", here.runs()[0].name[:3]).fails(1, "run-not-found")


PIPELINE = """
[prepare]
exec = "cp train.py out.txt"

[train]
exec = "cp out.txt model.txt"
sourcecode = false
depends = { run-files = "prepare", select = "out.txt" }

[report]
exec = "true"
sourcecode = false
depends = [{ run-files = "train", name = "model" }, { runs-summary = { tag = "good" } }]
"""


def test_tells_where_dependencies_came_from(project):
    here = project({"gage.toml": PIPELINE, "train.py": ""})
    for operation in ("prepare", "train"):
        here.gage("run", operation, "--tag", "good").succeeds()
    here.gage("run", "report").succeeds()
    prepare, train, report = (here.gage("show", n, "--json").json for n in "321")
    out = here.gage("show").succeeds().out
    assert f"  model                  1 file of run {train['id']} ({train['name']})" in out
    assert "  runs-summary tag=good  1 file of the summaries of 2 runs" in out
    assert [each["name"] for each in report["depends"]] == ["model", "runs-summary tag=good"]

    assert here.gage("show", train["id"], "--graph").succeeds().out.splitlines() == [
        f"┌ prepare  {prepare['name']}  completed",
        f"● train  {train['name']}  completed",
        f"└ report  {report['name']}  completed",
    ]
    assert here.gage("show", report["id"], "--graph").succeeds().out.splitlines() == [
        f"  ┌ prepare  {prepare['name']}  completed",
        f"┌ train  {train['name']}  completed",
        f"● report  {report['name']}  completed",
    ]
    here.gage("delete", "-y", prepare["id"]).succeeds()
    drawn = here.gage("show", train["id"], "--graph", "--json").succeeds().json
    assert [each["id"] for each in drawn["upstream"]] == [prepare["id"]]
    assert drawn["upstream"][0]["status"] is None
    out = here.gage("show", train["id"], "--graph").succeeds().out
    assert f"┌ {prepare['id']}  not in this runs home" in out


def test_files_of_a_run_that_was_not_staged(project):
    here = project({"gage.toml": '[a]\nexec = "true"\ndepends = { files = "none" }\n'})
    here.gage("run").exits(125)
    told = here.gage("show", "--files").fails(1, "run-not-staged").err
    assert "has no list of its files: it was not staged" in told
