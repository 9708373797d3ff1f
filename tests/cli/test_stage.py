import shutil

GAGE_FILE = """
[train]
exec = "python3 train.py"
config = "train.py"
sourcecode = ["-notes.txt", "-data.csv"]
depends = { project-files = "data.csv" }
"""


def test_prints_the_id_of_a_run_that_can_be_started_without_its_project(project):
    here = project(
        {
            "gage.toml": GAGE_FILE,
            "train.py": "lr = 0.1\nprint(lr, open('data.csv').read())\n",
            "notes.txt": "",
            "data.csv": "1,2",
        }
    )
    home = str(here.dir.parent / "runs")
    staged = here.gage("stage", "lr=0.5", "--runs", home).succeeds()
    assert staged.err == ""
    run_id = staged.out.strip()
    shutil.rmtree(here.dir)
    here.dir.mkdir()
    started = here.gage("--runs", home, "start", run_id, "-q").succeeds()
    assert started.out == "0.5 1,2\n"


def test_only_stages(project):
    here = project({"train.py": "open('ran', 'w')\n"})
    told = here.gage("stage", "train.py", "--label", "l", "--tag", "t", "--json").succeeds().json
    assert told == {"id": here.run().name, "run_dir": str(here.run())}
    assert sorted(path.name for path in here.run().iterdir()) == ["train.py"]
    shown = here.gage("show", "--json").json
    assert (shown["status"], shown["label"], shown["tags"]) == ("staged", "l", ["t"])
    assert shown["started"] is None and not (here.meta() / "proc" / "lock").exists()


def test_later_edits_of_the_project_do_not_reach_a_staged_run(project):
    here = project({"train.py": "print('as it was')\n"})
    here.gage("stage", "train.py").succeeds()
    here.write("train.py", "print('edited')\n")
    assert here.gage("start", "1", "-q").succeeds().out == "as it was\n"


def test_says_which_files_are_left_out_and_why(project):
    here = project({"train.py": "", "weights.bin": b"\0" * 9, ".env": "TOKEN=1\n"})
    told = here.gage("stage", "train.py").succeeds()
    assert told.out.strip() == here.run().name
    assert "weights.bin is left out: it is not text" in told.err
    assert ".env is left out: it may hold secrets" in told.err
    assert "Left out weights.bin: it is not text" in (here.meta() / "log" / "runner").read_text()


def test_wrong_usage_and_failures_have_exit_codes_of_their_own(project):
    here = project({"train.py": "x = 1\n", "gage.toml": '[a]\nexec = "true"\n[b]\nexec = "true"\n'})
    here.gage("stage").fails(2, "usage")
    here.gage("stage", "trian").fails(1, "unknown-operation")
    here.gage("stage", "train.py", "y=1").fails(1, "unknown-config")
    here.gage("stage", "train.py", "-q").fails(2, "usage")
    assert here.runs() == []
    (here.dir / "away").symlink_to("/etc/hostname")
    failed = here.gage("stage", "a").fails(1, "source-refused")
    assert "away is a link that leaves the run: /etc/hostname" in failed.err
    assert here.gage("show", "--json").json["status"] == "failed"
    assert not (here.meta(here.run()) / "staged").exists()
    here.gage("start", "1").fails(125, "run-not-staged")
