"""How config is written as arguments and environment variables."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gage._internal.errors import ConfigFileError
from gage._internal.project.config_sources import config_sources, read_defaults
from gage._internal.project.passed_config import config_args, config_env, env_text
from gage._internal.types import OpDef


def passed(config: Any, root: Path | str = "/", **values: Any) -> tuple[list[str], dict[str, str]]:
    """Return the arguments and the variables of an operation with some values changed."""
    defaults = read_defaults(config_sources(OpDef("op", {"config": config}), str(root)))
    all_values = {name: values.get(name, default.value) for name, default in defaults.items()}
    assert values.keys() <= defaults.keys()
    return config_args(defaults, all_values), config_env(defaults, all_values)


# A value, and how each style has it: --name value, --name=value, name=value, the environment.
FORMS: list[tuple[Any, list[str], list[str], str, str]] = [
    ("a b", ["--x", "a b"], ["--x=a b"], "x=a b", "a b"),
    ("", ["--x", ""], ["--x="], "x=", ""),
    ("-1", ["--x", "-1"], ["--x=-1"], "x=-1", "-1"),
    (3, ["--x", "3"], ["--x=3"], "x=3", "3"),
    (-0.5, ["--x", "-0.5"], ["--x=-0.5"], "x=-0.5", "-0.5"),
    (2.0, ["--x", "2.0"], ["--x=2.0"], "x=2.0", "2.0"),
    (1e-5, ["--x", "1e-05"], ["--x=1e-05"], "x=1e-05", "1e-05"),
    (True, ["--x"], ["--x=true"], "x=true", "true"),
    (False, [], ["--x=false"], "x=false", "false"),
    ([1, "b c"], ["--x", "1", "b c"], ["--x=1", "--x=b c"], 'x=[1,"b c"]', "1 'b c'"),
    ([], [], [], "x=[]", ""),
    ([[1, 2], 0], ["--x", "[1,2]", "0"], ["--x=[1,2]", "--x=0"], "x=[[1,2],0]", "'1 2' 0"),
    ("é\n", ["--x", "é\n"], ["--x=é\n"], "x=é\n", "é\n"),
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=lambda form: repr(form[0]))
def test_each_style_has_its_forms(form: tuple[Any, list[str], list[str], str, str]) -> None:
    value, apart, joined, plain, variable = form
    table = {"args": {"x": value}}
    assert passed(table)[0] == apart
    assert passed({**table, "style": "--name value"})[0] == apart
    assert passed({**table, "style": "--name=value"})[0] == joined
    assert passed({**table, "style": "name=value"})[0] == [plain]
    assert passed({"env": {"x": value}})[1] == {"x": variable}


def test_none_is_not_passed() -> None:
    for style in ("--name value", "--name=value", "name=value"):
        assert passed({"args": {"x": None, "y": 1}, "style": style}, y=None)[0] == []
    assert passed({"env": {"x": 1}}, x=None)[1] == {}


def test_a_table_is_passed_whole_under_its_own_names() -> None:
    table = {"model": {"depth": 3, "opts": {"a": True}}, "x-y": "z", "none": {}}
    config = {"args": table, "rename": {"x-y": "xy"}, "strip-prefix": "model."}
    assert passed(config, xy="w", depth=4) == (
        ["--model.depth", "4", "--model.opts.a", "--x-y", "w"],
        {},
    )


def test_what_a_script_parses_comes_last_and_only_where_it_differs(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "import argparse\np = argparse.ArgumentParser()\n"
        "p.add_argument('--lr', default=0.1)\np.add_argument('--n', type=int, default=1)\n"
        "p.add_argument('files', nargs='*', default=[])\n"
    )
    config = [{"args": "a.py", "prefix": "p.", "rename": {"files": "in"}}, {"args": {"x": 1}}]
    values = {"p.lr": 0.2, "in": ["-a"]}
    assert passed(config, tmp_path, **values) == (
        ["--x", "1", "--lr", "0.2", "--", "-a"],
        {},
    )


def test_variables_have_the_names_of_the_table() -> None:
    config = {"env": {"T_A": 1, "T_B": 2, "C": 3}, "strip-prefix": "T_", "rename": {"C": "c"}}
    assert passed(config, A=5, c=6) == ([], {"T_A": "5", "T_B": "2", "C": "6"})


def test_a_variable_twice_is_ambiguous() -> None:
    config = [{"env": {"A": 1}}, {"env": {"A": 2}, "rename": {"A": "b"}}]
    with pytest.raises(ConfigFileError, match=r"^environment variable A is in .* and in "):
        passed(config)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)


@settings(max_examples=50, deadline=None)
@given(st.lists(TEXTS, max_size=4))
def test_a_list_in_the_environment_is_words_of_a_shell(items: list[str]) -> None:
    text = env_text(items)
    assert shlex.split(text) == items
    script = 'eval "set -- $X"; for x in "$@"; do printf "%s\\0" "$x"; done'
    done = subprocess.run(["sh", "-c", script], env={"X": text}, capture_output=True, check=True)
    assert done.stdout.decode() == "".join(f"{item}\0" for item in items)
