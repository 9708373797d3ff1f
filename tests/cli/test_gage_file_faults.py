"""Every fault of a Gage file is told with file, line and what to do; no run is made."""

import json

import pytest

# The file, the line that is told, and words of the message.
FAULTS = {
    "toml syntax": ("gage.toml", '[a]\nexec = "true\n', 2, "not valid TOML"),
    "yaml syntax": ("gage.yaml", "a:\n  exec: [true\n", 3, "not valid YAML"),
    "json syntax": ("gage.json", '{"a": {\n"exec": "true",}}', 2, "not valid JSON"),
    "not UTF-8": ("gage.toml", b'[a]\nexec = "\xff"\n', 2, "not UTF-8"),
    "wrong type": ("gage.toml", "[a]\nexec = 3\n", 2, "exec of operation a must be"),
    "yaml wrong type": ("gage.yaml", "a:\n  exec: 3\n", 2, "exec of operation a must be"),
    "no exec": ("gage.toml", '[a]\ndescription = "d"\n', 1, 'operation a has no "exec"'),
    "unknown key": ("gage.toml", '[a]\nexec = "true"\nconfg = "a.py"\n', 3, '"config"'),
    "exec key": ("gage.json", '{"a": {"exec":\n{"run": "x",\n"finalise": ""}}}', 3, "finalize"),
    "two defaults": (
        "gage.toml",
        '[a]\nexec = "true"\ndefault = true\n[b]\nexec = "true"\ndefault = true\n',
        6,
        "only one operation can be the default, not a and b",
    ),
    "in pyproject": ("pyproject.toml", '[tool.gage.a]\nexec = "x"\nenvv = {}\n', 3, '"env"'),
    "a key twice": ("gage.toml", '[a]\nexec = "x"\nexec = "y"\n', 3, "given twice"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_with_its_place(project, fault):
    name, text, line, told = FAULTS[fault]
    here = project({name: text, "a.py": ""})
    failed = here.gage("run", "a").fails(125, "gage-file-invalid")
    assert f"{name}:{line}: " in failed.err and told in failed.err and failed.out == ""
    assert not here.runs_home.exists()


def test_every_command_that_reads_it_tells_it_and_no_other_fails(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py").succeeds()
    run = here.run()
    here.write("gage.toml", "[a]\nexec = 3\n")
    for words, code in {
        ("run", "a"): 125,
        ("run", "a.py"): 125,
        ("stage", "a"): 1,
        ("operations",): 1,
        ("list",): 1,
    }.items():
        assert "gage.toml:2: " in here.gage(*words).fails(code, "gage-file-invalid").err
    checked = here.gage("check").fails(1, "check-failed")
    assert "gage.toml:2: " in checked.out
    # Where the runs are is said on the command line: the file need not tell.
    home = str(run.parent)
    assert len(here.gage("list", "--json", "--runs", home).succeeds().json) == 1
    here.gage("start", str(run), "-q", "--runs", home).succeeds()
    assert here.runs() == [run]


def test_all_faults_are_told_at_once(project):
    here = project(
        {
            "gage.toml": (
                '[train]\nexec = "true"\ndefalt = true\nenv = "x"\n'
                '[other]\ndefault = "yes"\nexec.run = []\n'
            )
        }
    )
    told = here.gage("run").fails(125, "gage-file-invalid").err
    for line in (3, 4, 6, 7):
        assert f"gage.toml:{line}: " in told, told
    assert 'did you mean "default"?' in told and "4 faults in gage.toml" in told
    error = json.loads(here.gage("--json", "run").exits(125).err)["error"]
    assert error["reference"] == "gage-file-invalid"
    assert error["message"].count("\n  gage.toml:") == 4


def test_two_gage_files_in_one_directory(project):
    here = project({"gage.toml": "", "gage.yaml": "", "a.py": ""})
    failed = here.gage("run", "a.py").fails(125, "gage-file-invalid")
    assert "gage.toml and gage.yaml" in failed.err
    here.gage("operations").fails(1, "gage-file-invalid")


def test_the_place_is_told_from_where_the_command_is_run(project):
    here = project({"gage.toml": "[a]\nexec = 3\n", "sub/x.txt": ""})
    assert "../gage.toml:2: " in here.gage("run", cwd=here.dir / "sub").exits(125).err
    assert "project/gage.toml:2: " in here.gage("-C", "project", "run", cwd=here.dir.parent).err


def test_unknown_names_suggest_the_near_one(project):
    here = project(
        {
            "gage.toml": '[train]\nexec = "python3 train.py"\nconfig = "train.py"\n',
            "train.py": "learning_rate = 0.1\nsteps = 10\nfast = False\nsizes = [1, 2]\n",
        }
    )
    for words, reference, told in (
        (["trian"], "unknown-operation", "did you mean train?"),
        (["train.pi"], "unknown-operation", "did you mean train.py?"),
        (["train", "learningrate=1"], "unknown-config", "did you mean learning_rate?"),
        (["train", "zzz=1"], "unknown-config", "learning_rate, steps, fast, sizes"),
        (["train", "steps=1.5"], "bad-config-value", "steps (train.py:2) takes a whole number"),
        (["train", "fast=maybe"], "bad-config-value", "fast (train.py:3) takes true or false"),
        (["train", "learning_rate=x"], "bad-config-value", "(train.py:1) takes a number"),
        (["train", "sizes=1"], "bad-config-value", "sizes (train.py:4) takes a list"),
    ):
        assert told in here.gage("run", *words).fails(125, reference).err, words
        assert reference in here.gage("stage", *words).exits(1).err
    assert not here.runs_home.exists()


def test_a_config_file_that_cannot_be_read_is_told_with_its_line(project):
    here = project(
        {
            "gage.toml": (
                '[gone]\nexec = "true"\nconfig = "gone.json"\n'
                '[bad]\nexec = "true"\nconfig = "bad.json"\n'
                '[twice]\nexec = "true"\nconfig = ["one.json", "two.json"]\n'
            ),
            "bad.json": '{\n"x": nothing\n}',
            "one.json": '{"x": 1}',
            "two.json": '{"x": 2}',
        }
    )
    for operation, told in {
        "gone": "gone.json",
        "bad": "bad.json:2",
        "twice": "config x is in one.json:1 and in two.json:1",
    }.items():
        assert told in here.gage("run", operation).fails(125, "config-file-invalid").err
    assert not here.runs_home.exists()
