"""One damaged run never stops a command on others, and is listed as damaged."""

import pytest

# Each of them is read by whoever lists runs.
READ_BY_LIST = ["__schema__", "id", "name", "opref", "opdef.json", "proc/cmd", "proc/env"]
MAY_BE_MISSING = ["config.json", "summary.json", "proc/exit", "started", "stopped"]
SCRIPT = """\
import json
x = 1
print('ran')
json.dump({'metric': x}, open('summary.json', 'w'))
"""


@pytest.fixture
def sound_and_damaged(project):
    """Return a project with two runs that have ended; the newer one is to be damaged."""
    here = project({"a.py": SCRIPT})
    here.python(
        "import gage\n"
        "gage.run('a.py', label='sound', echo=False)\n"
        "gage.run('a.py', {'x': 2}, label='broken', tags=['t'], echo=False)\n"
    ).succeeds()
    return here


def write(path, data):
    path.unlink()
    path.write_bytes(data)


def check_listed_as_damaged(here, told):
    damaged, sound = here.gage("list", "--json").succeeds().json
    assert (sound["status"], sound["damage"], sound["label"]) == ("completed", None, "sound")
    assert damaged["status"] == "unknown" and told in damaged["damage"], damaged["damage"]
    return damaged


def test_every_command_on_others_goes_on_and_the_damaged_one_can_be_told_and_removed(
    sound_and_damaged,
):
    here = sound_and_damaged
    sound, damaged = here.runs()
    write(here.meta(damaged) / "proc" / "cmd", b'["python3", "a.')
    listed = check_listed_as_damaged(here, "proc/cmd is not JSON")
    # What can be read is told all the same.
    assert (listed["label"], listed["tags"], listed["config"]) == ("broken", ["t"], {"x": 2})
    table = here.gage("list").succeeds().out.splitlines()
    assert len(table) == 3 and "unknown" in table[1] and "proc/cmd is not JSON" in table[1]
    assert "sound" in table[2]

    here.gage("run", "a.py", "-q").succeeds()
    here.gage("stage", "a.py").succeeds()
    here.gage("start", "1", "-q").succeeds()
    for words in (
        ["show", "4"],
        ["show", "--files", "4"],
        ["cat", "4", "a.py"],
        ["logs", "4"],
        ["open", "-p", "4"],
        ["label", "4", "new"],
        ["tag", "4", "new"],
        ["comment", "4", "new"],
        ["check", "4"],
        ["delete", "-y", "4"],
        ["restore", sound.name],
        ["delete", "-y", "4"],
        ["purge", "-y", sound.name],
    ):
        here.gage(*words).succeeds()

    shown = here.gage("show", damaged.name, "--json").succeeds().json
    assert "proc/cmd is not JSON" in shown["damage"]
    assert "damaged" in here.gage("show", damaged.name).succeeds().out
    assert "proc/cmd is not JSON" in here.gage("check", damaged.name).fails(1, "check-failed").out
    assert "proc/cmd is not JSON" in here.gage("check").fails(1, "check-failed").out
    here.gage("cat", damaged.name, "a.py").succeeds()
    assert here.gage("logs", damaged.name).succeeds().out == "ran\n"
    here.gage("start", damaged.name).fails(125, "run-already-started")
    here.gage("delete", "-y", damaged.name).succeeds()
    assert damaged not in here.runs()
    here.gage("restore", damaged.name).succeeds()
    here.gage("delete", "-y", damaged.name).succeeds()
    here.gage("purge", "-y", "--all").succeeds()
    assert not [path for path in here.runs_home.rglob("*") if damaged.name in path.name]


@pytest.mark.parametrize("name", READ_BY_LIST)
def test_a_file_that_is_missing_cut_short_or_unreadable(sound_and_damaged, name):
    here = sound_and_damaged
    path = here.meta(here.runs()[-1]) / name
    whole = path.read_bytes()
    write(path, whole[: len(whole) // 2])
    check_listed_as_damaged(here, name)
    path.unlink()
    check_listed_as_damaged(here, name)
    path.mkdir()
    check_listed_as_damaged(here, name)
    here.gage("show").succeeds()
    here.gage("check", "2").succeeds()


@pytest.mark.parametrize("name", MAY_BE_MISSING)
def test_a_file_that_not_every_run_has(sound_and_damaged, name):
    here = sound_and_damaged
    path = here.meta(here.runs()[-1]) / name
    write(path, b"")
    check_listed_as_damaged(here, name)
    write(path, b"[9999999999999999999999999999999]")
    check_listed_as_damaged(here, name)
    path.unlink()
    path.mkdir()
    check_listed_as_damaged(here, name)
    path.rmdir()
    assert len(here.gage("list", "--json").succeeds().json) == 2
    here.gage("show").succeeds()


def test_a_time_that_is_none(sound_and_damaged):
    here = sound_and_damaged
    damaged = here.runs()[-1]
    path = here.meta(damaged) / "initialized"
    for text in (b"yesterday\n", b"9" * 40, b"-1"):
        write(path, text)
        check_listed_as_damaged(here, "initialized")
        here.gage("show", damaged.name).succeeds()
    assert here.python("import gage\nprint(len(gage.runs()))").succeeds().out == "2\n"


def test_files_that_only_show_reads(sound_and_damaged):
    here = sound_and_damaged
    meta = here.meta(here.runs()[-1])
    for name in ("manifest", "sys/platform", "user/label"):
        whole = (meta / name).read_bytes()
        write(meta / name, whole[:-9])
        assert name in here.gage("show", "--json").succeeds().json["damage"]
        assert name.partition("/")[2] in here.gage("show").succeeds().out
        assert len(here.gage("list", "--json").succeeds().json) == 2
        write(meta / name, whole)
    assert here.gage("show", "--json").json["damage"] is None
    (meta / "manifest").unlink()
    here.gage("show", "--files").fails(1, "run-damaged")
    check_listed_as_damaged(here, "manifest")


def test_a_newer_schema_is_left_alone(project):
    here = project({"a.py": "print('ran')\n"})
    here.gage("stage", "a.py", "--label", "sound").succeeds()
    here.gage("stage", "a.py").succeeds()
    write(here.meta(here.runs()[-1]) / "__schema__", b"2\n")
    newer, sound = here.gage("list", "--json").succeeds().json
    assert "has schema 2; this Gage reads up to 1" in newer["damage"]
    assert sound["status"] == "staged"
    refused = here.gage("start", "1").fails(125, "run-newer-schema")
    assert refused.out == "" and "use the Gage that wrote it" in refused.err
    assert here.gage("start", "2", "-q").succeeds().out == "ran\n"


@pytest.mark.parametrize("name", ["opdef.json", "proc/cmd", "proc/env", "manifest"])
def test_a_staged_run_that_is_damaged_is_not_started(project, name):
    here = project({"a.py": "print('ran')\n"})
    here.gage("stage", "a.py").succeeds()
    path = here.meta() / name
    whole = path.read_bytes()
    for data in (whole[:-3], b"[]"):
        write(path, data)
        assert name in here.gage("start", "1").fails(125, "run-damaged").err
    write(path, whole)
    assert here.gage("start", "1", "-q").succeeds().out == "ran\n"


def test_a_meta_dir_that_is_a_file(sound_and_damaged):
    here = sound_and_damaged
    meta = here.meta(here.runs()[-1])
    meta.rename(here.dir / "away")
    meta.write_text("not a directory")
    check_listed_as_damaged(here, "__schema__")
    here.gage("show", meta.stem).succeeds()
    here.gage("check", meta.stem).fails(1, "check-failed")
    here.gage("start", meta.stem).fails(125, "run-not-staged")
    here.gage("delete", "-y", meta.stem).succeeds()
    here.gage("purge", "-y", "--all").succeeds()
    assert [record["label"] for record in here.gage("list", "--json").json] == ["sound"]


def test_a_run_dir_that_is_missing(sound_and_damaged):
    here = sound_and_damaged
    run = here.runs()[-1]
    run.rename(here.dir / "away")
    check_listed_as_damaged(here, "its run directory is missing")
    here.gage("show", "1").succeeds()
    here.gage("check", "1").fails(1, "check-failed")
    here.gage("check", "2").succeeds()
    here.gage("cat", "1", "a.py").fails(1, "system-error")
    here.gage("delete", "-y", "1").succeeds()
    assert len(here.runs()) == 1


def test_notes_that_are_damaged(sound_and_damaged):
    here = sound_and_damaged
    here.gage("label", "1", "x").succeeds()
    here.gage("comment", "1", "x").succeeds()
    notes = here.runs_home / f"{here.runs()[-1].name}.notes"
    (comment,) = (notes / "comments").iterdir()
    comment.write_text('"x')
    assert "comments" in here.gage("show", "--json").succeeds().json["damage"]
    here.gage("comment", "1").fails(1, "run-damaged")
    (notes / "label").write_text('"x')
    check_listed_as_damaged(here, "label")
    here.gage("label", "1", "mended").succeeds()
    assert here.gage("list", "--json").json[0]["label"] == "mended"


def test_a_dependency_on_a_run_passes_over_the_damaged(project):
    here = project(
        {
            "gage.toml": (
                '[make]\nexec = "python3 make.py"\nconfig = "make.py"\n'
                '[use]\nexec = "cat made"\nsourcecode = false\n'
                'depends = { run-files = "make", select = "made" }\n'
            ),
            "make.py": "x = 1\nopen('made', 'w').write(str(x))\n",
        }
    )
    for x in (1, 2, 3):
        here.gage("run", "make", f"x={x}").succeeds()
    *_, second, third = here.runs()
    write(here.meta(third) / "opref", b"")
    (here.meta(second) / "proc" / "lock").mkdir()
    (here.meta(second) / "stopped").unlink()
    assert here.gage("run", "use", "-q").succeeds().out == "1"


def test_files_that_are_no_runs_are_passed_over(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py").succeeds()
    (here.runs_home / "notes.txt").write_text("mine")
    (here.runs_home / "not-a-run.meta").mkdir()
    (here.runs_home / ".hidden").write_text("")
    assert len(here.gage("list", "--json").succeeds().json) == 1
