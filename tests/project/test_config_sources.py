"""Which names are config, and what they are called, whatever the source is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gage._internal.errors import ConfigFileError, UnknownConfig
from gage._internal.project.config_sources import (
    ConfigDefault,
    config_sources,
    find_refusal,
    is_chosen,
    read_defaults,
)
from gage._internal.types import OpDef

CELLS = ["lr = 0.1\n", "opt = {'name': 'sgd', 'betas': (0.9, 0.99)}"]
NOTEBOOK = {"cells": [{"cell_type": "code", "source": CELLS}], "metadata": {}}

# The same names and values as each kind of source has them.
SOURCES: dict[str, str] = {
    "a.py": "lr = 0.1\nopt = {'name': 'sgd', 'betas': (0.9, 0.99)}\n",
    "a.ipynb": json.dumps(NOTEBOOK, indent=1),
    "a.json": '{"lr": 0.1, "opt": {"name": "sgd", "betas": [0.9, 0.99]}}',
    "a.yaml": "lr: 0.1\nopt:\n  name: sgd\n  betas: [0.9, 0.99]\n",
    "a.toml": "lr = 0.1\n[opt]\nname = 'sgd'\nbetas = [0.9, 0.99]\n",
    "args.py": "import argparse\np = argparse.ArgumentParser()\n"
    "p.add_argument('--lr', default=0.1)\np.add_argument('--opt.name', default='sgd')\n"
    "p.add_argument('--opt.betas', nargs=2, default=[0.9, 0.99])\n",
}
TABLE = {"lr": 0.1, "opt": {"name": "sgd", "betas": [0.9, 0.99]}}
FLAT = {"lr": 0.1, "opt.name": "sgd", "opt.betas": [0.9, 0.99]}
KINDS = [*({"file": name} for name in list(SOURCES)[:5]), {"args": "args.py"}]
KINDS += [{"args": TABLE}, {"env": FLAT}]


def defaults(root: Path, config: Any) -> dict[str, ConfigDefault]:
    for name, text in SOURCES.items():
        (root / name).write_text(text)
    return read_defaults(config_sources(OpDef("op", {"config": config}), str(root)))


def values(root: Path, config: Any) -> dict[str, Any]:
    return {name: default.value for name, default in defaults(root, config).items()}


@pytest.mark.parametrize("source", KINDS, ids=repr)
@pytest.mark.parametrize(
    ("naming", "names"),
    [
        ({}, {"lr": "lr", "opt.name": "opt.name", "opt.betas": "opt.betas"}),
        ({"keys": "lr"}, {"lr": "lr"}),
        ({"keys": ["opt.*", "-*.betas"]}, {"opt.name": "opt.name"}),
        ({"keys": ["-opt.*"]}, {"lr": "lr"}),
        ({"keys": ["-opt.*", "opt.name"]}, {"opt.name": "opt.name"}),
        ({"keys": ["-lr"]}, {"opt.name": "opt.name", "opt.betas": "opt.betas"}),
        ({"strip-prefix": "opt."}, {"lr": "lr", "opt.name": "name", "opt.betas": "betas"}),
        ({"strip-prefix": "lr"}, {"lr": "lr", "opt.name": "opt.name", "opt.betas": "opt.betas"}),
        ({"prefix": "a."}, {"lr": "a.lr", "opt.name": "a.opt.name", "opt.betas": "a.opt.betas"}),
        (
            {"strip-prefix": "opt.", "prefix": "a-", "rename": {"opt.name": "name"}},
            {"lr": "a-lr", "opt.name": "name", "opt.betas": "a-betas"},
        ),
        ({"keys": "*.name", "rename": {"opt.name": "lr", "lr": "x"}}, {"opt.name": "lr"}),
    ],
)
def test_names(
    tmp_path: Path, source: dict[str, Any], naming: dict[str, Any], names: dict[str, str]
) -> None:
    found = defaults(tmp_path, {**source, **naming})
    assert {default.name: name for name, default in found.items()} == names
    assert {default.name: default.value for default in found.values()} == {
        name: FLAT[name] for name in names
    }


@pytest.mark.parametrize(
    ("name", "keys", "chosen"),
    [
        ("a", [], True),
        ("a", ["b"], False),
        ("a", ["-b"], True),
        ("a", ["-a"], False),
        ("a.b", ["a*", "-a.*", "a.b"], True),
        ("a", ["-*", "?"], True),
        ("A", ["a"], False),
    ],
)
def test_the_last_pattern_that_matches_decides(name: str, keys: list[str], chosen: bool) -> None:
    assert is_chosen(name, keys) is chosen


def test_places(tmp_path: Path) -> None:
    (tmp_path / "gage.toml").write_text(
        '[op]\nexec = "a {args}"\n[[op.config]]\nfile = "a.toml"\nprefix = "f."\n'
        "[[op.config]]\nargs.x = 1\nargs.y.z = 2\n[[op.config]]\n[op.config.env]\nA = 3\n"
    )
    config = [
        {"file": "a.toml", "prefix": "f."},
        {"args": {"x": 1, "y": {"z": 2}}},
        {"env": {"A": 3}},
    ]
    found = defaults(tmp_path, config)
    assert {name: default.place for name, default in found.items()} == {
        "f.lr": "a.toml:1",
        "f.opt.name": "a.toml:3",
        "f.opt.betas": "a.toml:4",
        "x": "gage.toml:7",
        "y.z": "gage.toml:8",
        "A": "gage.toml:11",
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (["a.py", "a.json"], "config lr is in a.py:1 and in a.json:1"),
        (["a.py", {"args": "args.py", "keys": "lr"}], "config lr is in a.py:1 and in args.py:3"),
        (["a.py", {"args": {"lr": 1}}], "config lr is in a.py:1 and in gage.toml:1"),
        ({"file": "a.yaml", "rename": {"lr": "opt.name"}}, "is in a.yaml:1 and in a.yaml:3"),
        (["a.py", {"file": "a.json", "prefix": "x."}], None),
        (["a.py", {"file": "a.json", "keys": "lr", "rename": {"lr": "rate"}}], None),
    ],
)
def test_a_name_in_two_places_is_ambiguous(
    tmp_path: Path, config: Any, message: str | None
) -> None:
    (tmp_path / "gage.toml").write_text('[op]\nexec = "a"\n')
    if message is None:
        assert len(values(tmp_path, config)) == (6 if config[1].get("prefix") else 4)
        return
    with pytest.raises(ConfigFileError) as error:
        defaults(tmp_path, config)
    assert message in error.value.message
    assert error.value.hint is not None and "prefix or rename" in error.value.hint


@pytest.mark.parametrize("source", KINDS, ids=repr)
@pytest.mark.parametrize(
    ("naming", "message"),
    [
        ({"keys": ["lr", "opt.nam"]}, "gage.toml:2: keys: .* has no config opt.nam"),
        ({"keys": "-opt.nam"}, "gage.toml:1: keys: .* has no config opt.nam"),
        ({"rename": {"opt.nam": "x"}}, "gage.toml:3: rename: .* has no config opt.nam"),
    ],
)
def test_a_name_that_a_source_has_not_is_an_error(
    tmp_path: Path, source: dict[str, Any], naming: dict[str, Any], message: str
) -> None:
    # The places are those of a file of this form.
    (tmp_path / "gage.toml").write_text(
        'op.exec = "a"\nop.config.keys = ["lr", "opt.nam"]\nop.config.rename."opt.nam" = "x"\n'
        if isinstance(naming.get("keys"), list)
        else 'op.config.keys = "-opt.nam"\nop.exec = "a"\nop.config.rename."opt.nam" = "x"\n'
    )
    with pytest.raises(UnknownConfig, match=f"^{message}") as error:
        defaults(tmp_path, {**source, **naming})
    assert error.value.hint == "did you mean opt.name?"


def test_patterns_may_match_nothing(tmp_path: Path) -> None:
    assert values(tmp_path, {"file": "a.py", "keys": ["nothing.*", "-*_dir"]}) == {}


def test_why_something_is_not_config(tmp_path: Path) -> None:
    (tmp_path / "b.py").write_text("x = 1\nx = 2\ny = b'z'\nz = 3\n")
    (tmp_path / "b.toml").write_text("when = 2020-01-01\n")
    config = [{"file": "b.py", "prefix": "p."}, {"file": "b.toml", "keys": "-z*"}]
    sources = config_sources(OpDef("op", {"config": config}), str(tmp_path))
    assert list(read_defaults(sources)) == ["p.z"]
    variable = "b.py: x is not config: x is a variable, assigned in lines 1 and 2"
    assert find_refusal(sources, "p.x") == find_refusal(sources, "x") == variable
    assert find_refusal(sources, "p.y") == (
        "b.py: y is not config: its type, bytes, cannot be recorded"
    )
    assert find_refusal(sources, "when") == (
        "b.toml: when is not config: its type, date, cannot be recorded"
    )
    assert find_refusal(sources, "z") is None


def test_a_script_without_a_parser_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigFileError, match=r"^a\.py adds no arguments to an argparse parser"):
        defaults(tmp_path, {"args": "a.py"})
