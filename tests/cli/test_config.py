"""Config as users give it: by its public names, to files, arguments and the environment."""

import json

import pytest

SHOW = (
    "import json, os, sys\n"
    "print(json.dumps([sys.argv[1:], {k: v for k, v in os.environ.items() if k[:2] == 'T_'}]))\n"
)
CONF = "optimizer:\n  learning_rate: 0.1  # rate\n  steps: 3\nseed: 1\n"
TRAIN = "epochs = 5\nseen = 1\nseen = 2\nCFG = {'depth': 3}\n"
GAGE_FILE = """
[train]
exec = "python3 show.py {args} --last"
[[train.config]]
args = { name = "a b", fast = false, layers = [64, 32], n = 2 }
[[train.config]]
env = { T_DEVICE = "cpu", T_THREADS = 4 }
strip-prefix = "T_"
[[train.config]]
file = "conf.yaml"
keys = ["optimizer.*", "seed"]
strip-prefix = "optimizer."
rename = { seed = "data-seed" }
[[train.config]]
file = "train.py"
prefix = "t."
"""
FILES = {"gage.toml": GAGE_FILE, "show.py": SHOW, "conf.yaml": CONF, "train.py": TRAIN}


@pytest.fixture
def here(project):
    return project(FILES)


def ran(here, *words):
    """Run with these words; return the arguments and the variables that the run had."""
    return json.loads(here.gage("run", "-q", *words).succeeds().out)


def test_operations_have_public_names_with_places(here):
    assert here.gage("operations").succeeds().out.splitlines() == [
        "train",
        "  name=a b  gage.toml:5",
        "  fast=false  gage.toml:5",
        "  layers=[64, 32]  gage.toml:5",
        "  n=2  gage.toml:5",
        "  DEVICE=cpu  gage.toml:7",
        "  THREADS=4  gage.toml:7",
        "  learning_rate=0.1  conf.yaml:2",
        "  steps=3  conf.yaml:3",
        "  data-seed=1  conf.yaml:4",
        "  t.epochs=5  train.py:1",
        "  t.CFG.depth=3  train.py:4",
    ]


def test_defaults_of_the_gage_file_are_passed(here):
    args = ["--name", "a b", "--layers", "64", "32", "--n", "2", "--last"]
    assert ran(here) == [args, {"T_DEVICE": "cpu", "T_THREADS": "4"}]


def test_values_go_where_they_belong(here):
    words = ["name=it's", "fast=yes", "layers=[1]", "n=-1", "DEVICE=c=d", "THREADS=2"]
    args, variables = ran(
        here, *words, "learning_rate=2", "data-seed=7", "t.CFG.depth=4", "t.epochs=5"
    )
    assert args == ["--name", "it's", "--fast", "--layers", "1", "--n", "-1", "--last"]
    assert variables == {"T_DEVICE": "c=d", "T_THREADS": "2"}
    run = here.run()
    assert (run / "conf.yaml").read_text() == CONF.replace("0.1", "2.0").replace("d: 1", "d: 7")
    assert (run / "train.py").read_text() == TRAIN.replace("': 3", "': 4")
    meta = run.with_name(run.name + ".meta")
    assert json.loads((meta / "proc" / "env").read_text()) == variables
    assert json.loads((meta / "config.json").read_text()) == {
        "name": "it's", "fast": True, "layers": [1], "n": -1, "DEVICE": "c=d", "THREADS": 2,
        "learning_rate": 2.0, "steps": 3, "data-seed": 7, "t.epochs": 5, "t.CFG.depth": 4,
    }  # fmt: skip
    log = here.gage("logs", "1", "--runner").succeeds().out
    assert "Applied config to conf.yaml: learning_rate, data-seed\n" in log
    assert "Applied config to train.py: t.CFG.depth\n" in log


def test_show_and_preview_have_public_names(here):
    preview = here.gage("stage", "--preview", "DEVICE=gpu", "data-seed=2").succeeds().out
    assert "command      python3 show.py --name 'a b' --layers 64 32 --n 2 --last\n" in preview
    assert "environment  T_DEVICE=gpu\n             T_THREADS=4\n" in preview
    assert " DEVICE=gpu THREADS=4 learning_rate=0.1 steps=3 data-seed=2 " in preview
    assert "-seed: 1\n+seed: 2\n" in preview
    here.gage("stage", "DEVICE=gpu").succeeds()
    shown = here.gage("show", "--json").succeeds().json
    assert shown["config"]["data-seed"] == 1 and shown["config"]["DEVICE"] == "gpu"
    assert "optimizer.learning_rate" not in here.gage("show").succeeds().out
    assert "  data-seed      1\n" in here.gage("show").succeeds().out


@pytest.mark.parametrize(
    ("word", "reference", "told"),
    [
        ("seed=1", "unknown-config", "train has no config seed"),
        ("seed=1", "unknown-config", "hint: did you mean data-seed?"),
        ("optimizer.learning_rate=1", "unknown-config", "hint: did you mean learning_rate?"),
        ("learning_rat=1", "unknown-config", "hint: did you mean learning_rate?"),
        ("T_DEVICE=x", "unknown-config", "hint: did you mean DEVICE?"),
        ("depth=x", "unknown-config", "hint: did you mean t.CFG.depth?"),
        ("t.seen=3", "unknown-config", "train.py: seen is not config: seen is a variable, "),
        ("THREADS=1.5", "bad-config-value", "THREADS (gage.toml:7) takes a whole number, not "),
        ("n=1e3", "bad-config-value", "n (gage.toml:5) takes a whole number, not '1e3'"),
        ("steps=1.0", "bad-config-value", "steps (conf.yaml:3) takes a whole number, not '1.0'"),
        ("data-seed=x", "bad-config-value", "data-seed (conf.yaml:4) takes a whole number"),
        ("t.epochs=2.5", "bad-config-value", "t.epochs (train.py:1) takes a whole number"),
        ("=1", "usage", "=1 is not of the form NAME=VALUE"),
        ("fast=maybe", "bad-config-value", "fast (gage.toml:5) takes true or false, not 'maybe'"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_public_names(here, word, reference, told):
    failed = here.gage("stage", "train", word).fails(2 if reference == "usage" else 1, reference)
    assert told in failed.err
    assert not here.runs_home.exists()


def test_from_python_a_float_for_an_int_is_refused_with_the_place(here):
    here.write(
        "args.py",
        "import argparse\np = argparse.ArgumentParser()\n"
        "p.add_argument('--n', type=int)\np.add_argument('--m', type=int, nargs='+')\n",
    )
    code = """
import gage
for operation, config in [
    ("train", {"THREADS": 1.5}), ("train", {"steps": 2.0}), ("train", {"t.epochs": True}),
    ("args.py", {"n": 1.5}), ("args.py", {"m": [1, 2.5]}),
    ("train", {"layers": [b"x"]}), ("args.py", {"n": {1}}), ("train", {"CFG": {"depth": 4}}),
]:
    try:
        gage.stage(operation, config)
    except gage.GageError as error:
        print(error)
"""  # fmt: skip
    assert here.python(code).succeeds().out.splitlines() == [
        "THREADS (gage.toml:7) takes a whole number, not 1.5",
        "steps (conf.yaml:3) takes a whole number, not 2.0",
        "t.epochs (train.py:1) takes a whole number, not True",
        "n (args.py:3) is of type int, it cannot be 1.5",
        "m (args.py:4) is of type int, it cannot be 2.5",
        "layers (gage.toml:5): b'x' cannot be recorded",
        "n (args.py:3): {1} cannot be recorded",
        "train has no config CFG",
    ]


def test_arguments_of_a_script_and_a_notebook_can_be_renamed(project):
    cells = [{"cell_type": "code", "source": ["lr = 0.1\n", "opt = {'k': 1}"]}]
    here = project({
        "gage.toml": "[a]\nexec = 'python3 a.py'\n[[a.config]]\nargs = 'a.py'\nprefix = 'cli.'\n"
        "rename = { learning_rate = 'lr' }\n[[a.config]]\nfile = 'n.ipynb'\nprefix = 'nb.'\n",
        "a.py": "import argparse\np = argparse.ArgumentParser()\n"
        "p.add_argument('--learning-rate', type=float, default=0.5)\n"
        "p.add_argument('--mode', choices=['x', 'y'], default='x')\nprint(p.parse_args())\n",
        "n.ipynb": json.dumps({"cells": cells, "metadata": {}}, indent=1),
    })  # fmt: skip
    told = here.gage("run", "-q", "lr=1", "cli.mode=y", "nb.opt.k=2").succeeds()
    assert told.out == "Namespace(learning_rate=1.0, mode='y')\n"
    assert "opt = {'k': 2}" in (here.run() / "n.ipynb").read_text()
    failed = here.gage("stage", "learning_rate=1").fails(1, "unknown-config")
    assert "did you mean lr?" in failed.err
    failed = here.gage("stage", "cli.mode=z").fails(1, "bad-config-value")
    assert "cli.mode (a.py:4) is one of x, y, not z" in failed.err


def test_a_key_in_two_files_is_ambiguous(project):
    here = project({
        "gage.toml": "[a]\nexec = 'true'\nconfig = ['a.py', 'b.json']\n",
        "a.py": "\nlr = 1\n", "b.json": '{"lr": 2}',
    })  # fmt: skip
    failed = here.gage("run", "lr=3").fails(125, "config-file-invalid")
    assert "config lr is in a.py:2 and in b.json:1" in failed.err
    assert "prefix or rename" in failed.err
    assert not here.runs_home.exists()


@pytest.mark.parametrize(
    ("lines", "line", "told"),
    [
        (["exec = 'a | b'", "config.args = {x = 1}"], 2, 'is more than one command: put "{args}"'),
        (["exec = 'a {args}'", "config = 'a.py'"], 2, 'has "{args}", but config has no "args"'),
        (["exec = 'a'", "config.args = {x = 1}", "config.style = 'x'"], 4, '"--name value"'),
        (["exec = 'a'", "config = {args = 'a.py', style = 'name=value'}"], 3, "goes only with"),
        (["exec = 'a'", "config = {env = {A = 1}, prefix = 'T_'}"], 3, '"strip-prefix"'),
        (["exec = 'a'", "env.A = 1", "config.env.A = 1"], 4, "leave one out"),
        (["exec = 'a'", "config = {args = {x = 1}, stile = ''}"], 3, 'did you mean "style"?'),
        (["exec = 'a'", "config = {file = 'a.py', rename = {a.b = 'c'}}"], 3, "in quotes"),
    ],
)
def test_what_is_wrong_in_a_gage_file_is_told_with_its_line(project, lines, line, told):
    here = project({"gage.toml": "\n".join(["[train]", *lines]), "a.py": "a = 1\n"})
    failed = here.gage("run").fails(125, "gage-file-invalid")
    assert failed.err.startswith(f"gage: gage.toml:{line}: ") and told in failed.err


def test_an_operation_that_needs_no_parser_imports_none(project):
    here = project({"gage.toml": "[a]\nexec = 'true'\nconfig.args = {x = 1}\n"})
    code = (
        "import sys\nfrom gage._internal.cli.main import main\n"
        "try:\n    main(['stage', 'x=2'])\nexcept SystemExit:\n    pass\n"
        "print(*sorted({'ast', 'decimal', 'difflib', 'dataclasses'} & {*sys.modules}))"
    )
    assert here.python(code).succeeds().out.splitlines()[1:] == [""]
