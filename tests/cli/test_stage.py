import json
import os
import shutil
import subprocess
from pathlib import Path

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


def everything(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(root.rglob("*"))
    }


def explained_project(project):
    here = project(
        {
            "gage.toml": """
[train]
exec = "python3 train.py"
config = "train.py"
sourcecode = [
  "-docs",
  "data/*.csv max-matches=1",
]
depends = { project-files = "weights.bin" }

[bare]
exec = "true"
""",
            "train.py": "lr = 0.1\nprint(lr)\n",
            ".gitignore": "data/\n*.log\n*.bin\n",
            ".env": "TOKEN=1\n",
            "docs/index.md": "",
            "data/a.csv": "1\n",
            "data/b.csv": "2\n",
            "run.log": "",
            "weights.bin": b"\0" * 2000,
        }
    )
    subprocess.run(["git", "init", "-q"], cwd=here.dir, check=True)
    return here


def test_explain_tells_of_each_path_and_the_rule_that_decides(project):
    here = explained_project(project)
    told = here.gage("stage", "train", "--explain").succeeds()
    lines = [" ".join(line.split()) for line in told.out.splitlines()]
    for line in (
        "out .env it may hold secrets",
        "out .git/ it is never source unless a rule names it",
        "in .gitignore git would commit it",
        "out docs/ -docs (gage.toml:6)",
        "out run.log git ignores it by *.log (.gitignore:2)",
        "in train.py git would commit it",
        "in data/a.csv data/*.csv max-matches=1 (gage.toml:7)",
        "out data/b.csv beyond the limit of data/*.csv max-matches=1 (gage.toml:7)",
        "1 file, 2.0 kB of project-files weights.bin, from the project",
        "2.0 kB weights.bin",
    ):
        assert line in lines, line


def test_explain_tells_of_one_path(project):
    here = explained_project(project)
    told = here.gage("stage", "train", "--explain", "docs/index.md").succeeds().out
    assert " ".join(told.split()) == "out docs/ -docs (gage.toml:6)"
    told = here.gage("stage", "train", "--explain", "data").succeeds().out
    assert [line.split()[1] for line in told.splitlines()] == ["data/a.csv", "data/b.csv"]
    here.gage("stage", "train", "--explain", "nothing.py").fails(2, "usage")
    here.gage("stage", "train", "--explain", "..").fails(2, "usage")


def test_explain_takes_its_word_for_the_operation_where_none_is_given(project):
    here = explained_project(project)
    told = here.gage("stage", "--explain", "bare").succeeds().out
    assert "docs/index.md" in told


def test_explain_tells_the_difference_to_the_last_staged_run(project):
    here = explained_project(project)
    assert here.gage("stage", "train", "--explain", "--json").succeeds().json["since"] is None
    run_id = here.gage("stage", "train", "lr=0.5").succeeds().out.strip()
    same = here.gage("stage", "train", "lr=0.5", "--explain", "--json").succeeds().json
    assert same["since"] == {"run": run_id, "added": [], "changed": [], "removed": []}
    assert "nothing changed" in here.gage("stage", "train", "lr=0.5", "--explain").out
    here.write("new.py", "")
    here.write("weights.bin", b"\1" * 2000)
    here.write(".gitignore", "*.log\n*.bin\n")
    (here.dir / "data" / "a.csv").unlink()
    found = here.gage("stage", "train", "lr=0.6", "--explain", "--json").succeeds().json
    assert set(found["since"]["added"]) >= {"new.py", "data/b.csv"}
    assert set(found["since"]["changed"]) == {
        ".gitignore", "train.py", "weights.bin",
    }  # fmt: skip
    assert set(found["since"]["removed"]) == {"data/a.csv"}


def test_preview_tells_the_whole_plan(project):
    here = explained_project(project)
    told = here.gage("stage", "train", "lr=0.5", "--preview", "--json").succeeds().json
    assert told["command"] == ["python3", "train.py"]
    assert told["config"] == {"lr": 0.5}
    assert {file["path"]: file["type"] for file in told["files"]} == {
        ".gitignore": "s", "gage.toml": "s", "train.py": "s", "data/a.csv": "s",
        "weights.bin": "d",
    }  # fmt: skip
    assert told["patches"]["train.py"].splitlines()[-3:] == ["-lr = 0.1", "+lr = 0.5", " print(lr)"]
    assert told["dependencies"] == [
        {
            "name": "project-files weights.bin", "origin": "the project", "files": 1,
            "awaited": [],
        }
    ]  # fmt: skip
    (python,) = told["requirements"]
    assert (python["kind"], python["name"], python["by"]) == ("python", "python3", "exec.run")
    assert [missed["path"] for missed in told["left_out"]] == [".env", "data/b.csv"]
    text = here.gage("stage", "train", "lr=0.5", "--preview").succeeds().out
    assert "+lr = 0.5\n" in text and "left out     .env: it may hold secrets\n" in text


def test_what_is_previewed_is_what_is_staged(project):
    here = explained_project(project)
    told = here.gage("stage", "train", "lr=0.5", "--preview", "--json").succeeds().json
    here.gage("stage", "train", "lr=0.5").succeeds()
    staged = here.gage("show", "--files", "--json").json
    assert {f["path"] for f in staged} == {f["path"] for f in told["files"]}
    assert (here.meta() / "log" / "patched").read_text() == "".join(told["patches"].values())


def test_explain_and_preview_write_nothing(project, monkeypatch):
    here = explained_project(project)
    before = everything(here.dir)
    for option in ("--explain", "--preview"):
        here.gage("stage", "train", "lr=0.5", option).succeeds()
        here.gage("stage", "train", "lr=0.5", option, "--json").succeeds()
    assert everything(here.dir) == before
    assert not os.path.exists(here.dir / ".gage")


def test_a_preview_fails_for_what_staging_fails_for(project):
    here = project({"gage.toml": '[a]\nexec = "true"\ndepends = { project-files = "none" }\n'})
    here.gage("stage", "a", "--preview").fails(1, "dependency-unresolved")
    here.write("gage.toml", '[a]\nexec = "true"\ndepends = { project-files = "gage.toml" }\n')
    told = here.gage("stage", "a", "--preview").fails(1, "dependency-unresolved")
    assert "would replace gage.toml" in told.err


def test_a_malformed_rule_is_an_error_with_its_place(project):
    here = project({"gage.toml": '[a]\nexec = "true"\nsourcecode = [\n"*",\n"x sise<3"]\n'})
    told = here.gage("stage", "a").fails(1, "gage-file-invalid")
    assert 'gage.toml:5: sourcecode[1] of operation a has "sise<3"' in told.err


def test_files_are_shared_where_that_is_asked_for(project):
    # Of files that the test itself writes none is old enough to be remembered.
    old = os.path.dirname(json.__file__)
    here = project({})
    inodes = []
    for words in ([], ["--share"], ["--share"], []):
        command = [
            "-C",
            old,
            "--runs",
            str(here.dir / "runs"),
            "stage",
            "tool.py",
            "--json",
            *words,
        ]
        staged = here.gage(*command).succeeds().json
        inodes.append(os.stat(os.path.join(staged["run_dir"], "decoder.py")).st_ino)
    assert inodes[0] == inodes[1] == inodes[2] != inodes[3]


def test_the_gage_file_can_ask_for_sharing(project):
    here = project({"train.py": "", "gage.toml": "share = 1\n[train]\nexec = 'true'\n"})
    told = here.gage("stage").fails(1, "gage-file-invalid")
    assert "gage.toml:1: share must be true or false" in told.err
    here.write("gage.toml", "share = true\n[train]\nexec = 'true'\n")
    here.gage("stage").succeeds()


def test_the_word_behind_explain_may_be_the_operation(project):
    operations = "[a]\nexec = 'true'\ndefault = true\n[b]\nexec = 'true'\nsourcecode = '-a.py'\n"
    here = project({"gage.toml": operations, "a.py": "", "b.txt": ""})
    assert "out  a.py" in here.gage("stage", "--explain", "b").succeeds().out
    (here.dir / "b").mkdir()
    here.write("b/c.txt", "")
    assert "a.py" not in here.gage("stage", "--explain", "b").succeeds().out


def test_a_preview_tells_of_an_archive_that_it_is_unpacked_later(project):
    table = "{ project-files = 'x.tar', unpack = true, target = 'in' }"
    here = project({"gage.toml": f"[a]\nexec = 'true'\ndepends = {table}\n", "d/y.txt": "y"})
    subprocess.run(["tar", "-cf", "x.tar", "-C", "d", "y.txt"], cwd=here.dir, check=True)
    told = here.gage("stage", "--preview").succeeds().out
    assert "project-files x.tar is unpacked when it is staged" in told
    here.gage("stage").succeeds()
    assert (here.run() / "in" / "y.txt").read_text() == "y"
