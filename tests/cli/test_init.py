def test_writes_an_operation_for_each_script_that_can_be_run_at_once(project):
    here = project(
        {
            "train.py": "lr = 0.1\nprint(lr)\n",
            "args.py": (
                "import argparse\nparser = argparse.ArgumentParser()\n"
                "parser.add_argument('--n', type=int, default=3)\nprint(parser.parse_args().n)\n"
            ),
            "train.sh": "echo from a shell\n",
            ".hidden.py": "",
            "lib/inner.py": "",
        }
    )
    told = here.gage("init").succeeds()
    assert told.out == "" and "gage.toml" in told.err
    listed = here.gage("operations", "--json").succeeds().json
    assert [operation["name"] for operation in listed] == ["args", "train", "train.sh"]
    assert here.gage("run", "train", "lr=0.5", "-q").succeeds().out == "0.5\n"
    assert here.gage("run", "args", "n=4", "-q").succeeds().out == "4\n"
    assert here.gage("run", "train.sh", "-q").succeeds().out == "from a shell\n"


def test_comments_in_the_file_are_valid_when_they_are_uncommented(project):
    here = project({"train.py": "print('ran')\n", "data/x.csv": "1,2\n"})
    here.gage("init").succeeds()
    lines = (here.dir / "gage.toml").read_text().splitlines()
    attributes = [line[2:] if line.startswith("# ") and "=" in line else line for line in lines]
    assert attributes != lines
    here.write("gage.toml", "\n".join(attributes))
    (operation,) = here.gage("operations", "--json").succeeds().json
    assert operation["description"] == "Say what it does"


def test_replaces_no_gage_file(project):
    here = project({"gage.yaml": "train:\n  exec: python3 train.py\n", "train.py": ""})
    here.gage("init").fails(2, "usage")
    assert not (here.dir / "gage.toml").exists()


def test_without_scripts_writes_an_example_that_defines_nothing(project):
    here = project()
    here.gage("init").succeeds()
    assert "# [train]" in (here.dir / "gage.toml").read_text()
    assert here.gage("operations", "--json").succeeds().json == []


def test_writes_into_the_directory_of_the_global_option(project):
    here = project({"inner/a.py": "x = 1\n"})
    here.gage("-C", "inner", "init").succeeds()
    assert (here.dir / "inner" / "gage.toml").exists()
