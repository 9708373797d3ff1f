GAGE_FILE = """
[train]
description = "Train it"
default = true
exec = "python3 train.py"
config = "train.py"

[other]
exec = "true"
"""


def test_lists_operations_with_config_and_where_its_defaults_stand(project):
    here = project({"gage.toml": GAGE_FILE, "train.py": "lr = 0.1\nname = 'a'\n"})
    assert here.gage("operations").succeeds().out.splitlines() == [
        "train (default)  Train it",
        "  lr=0.1  train.py:1",
        "  name=a  train.py:2",
        "other",
    ]
    assert here.gage("operations", "train", "--json").succeeds().json == [
        {
            "name": "train",
            "description": "Train it",
            "default": True,
            "config": {
                "lr": {"default": 0.1, "place": "train.py:1"},
                "name": {"default": "a", "place": "train.py:2"},
            },
        }
    ]


def test_without_a_gage_file_lists_scripts(project):
    here = project({"b.py": "x = 1\n", "a.sh": "", "notes.txt": ""})
    assert here.gage("operations").succeeds().out == "a.sh\nb.py\n  x=1  b.py:1\n"


def test_an_operation_that_cannot_be_run_hides_no_other(project):
    here = project({"bad.py": "x = (\n", "good.py": "x = 1\n"})
    bad, good = here.gage("operations", "--json").succeeds().json
    assert "bad.py:1" in bad["error"] and good["config"]["x"]["default"] == 1
    assert "bad.py  cannot be run: bad.py:1" in here.gage("operations").succeeds().out
    here.gage("operations", "bad.py").fails(1, "config-file-invalid")


def test_an_unknown_operation_is_an_error_that_suggests_the_near_one(project):
    here = project({"gage.toml": GAGE_FILE, "train.py": ""})
    assert (
        "did you mean train?" in here.gage("operations", "trian").fails(1, "unknown-operation").err
    )


def test_says_so_when_there_is_nothing_to_run(project):
    here = project()
    told = here.gage("operations").succeeds()
    assert told.out == "" and "gage init" in told.err
    assert here.gage("operations", "--json").succeeds().json == []


def test_in_a_subdirectory_the_scripts_are_those_of_it(project):
    here = project({"top.py": "", "exp/a.py": "lr = 1\n", ".gage/runs/x": ""})
    told = here.gage("-C", str(here.dir / "exp"), "operations").succeeds().out
    assert told == "a.py\n  lr=1  exp/a.py:1\n"
