"""Script arguments: read from the syntax tree, and given back as command lines."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gage._internal.errors import BadConfigValue, ConfigFileError, UnknownConfig
from gage._internal.project.argparse_options import (
    Option,
    option_args,
    parse_option,
    read_options,
)


def options(script: str) -> dict[str, Option]:
    return read_options("train.py", textwrap.dedent(script).encode())


def arguments(lines: str) -> dict[str, Option]:
    """Read a script with these `add_argument` calls."""
    return options(
        "import argparse\np = argparse.ArgumentParser()\n"
        + "\n".join(f"p.add_argument({line})" for line in textwrap.dedent(lines).splitlines())
    )


def test_everything_about_an_option() -> None:
    found = options(
        """
        import argparse
        parser = argparse.ArgumentParser()
        parser.add_argument("-l", "--learning-rate", "--lr", type=float, default=1e-3,
                            choices=[1e-3, 1e-2], required=True, help="The " "rate")
        parser.add_argument("files", nargs="+", type=pathlib.Path)
        """
    )
    assert found == {
        "learning_rate": Option(
            name="learning_rate",
            flags=("-l", "--learning-rate", "--lr"),
            default=0.001,
            type="float",
            action="store",
            choices=(0.001, 0.01),
            nargs=None,
            required=True,
            help="The rate",
            path="train.py",
            line=4,
        ),
        "files": Option(
            name="files",
            flags=(),
            default=None,
            type="pathlib.Path",
            action="store",
            choices=None,
            nargs="+",
            required=True,
            help=None,
            path="train.py",
            line=6,
        ),
    }


@pytest.mark.parametrize(
    ("call", "name", "default"),
    [
        ('"--a", default=1', "a", 1),
        ('"-a", default="x"', "a", "x"),
        ('"-abc"', "abc", None),
        ('"--a-b", dest="c"', "c", None),
        ('"--a-b", "-c"', "a_b", None),
        ('"a-b", nargs="?", default=2', "a-b", 2),
        ('dest="a"', "a", None),
        ('"--a", action="store_true"', "a", False),
        ('"--a", action="store_false"', "a", True),
        ('"--a", action="store_true", default=None', "a", None),
        ('"--a", action="store_true", default=True', "a", True),
        ('"--a", action=argparse.BooleanOptionalAction, default=True', "a", True),
        ('"--a", action="count", default=0', "a", 0),
        ('"--a", action="append"', "a", None),
        ('"--a", nargs=2, default=[1, 2]', "a", [1, 2]),
        ('"--a", default=-1', "a", -1),
        ('"--a", default=compute()', "a", None),
        ('"--a", default=argparse.SUPPRESS', "a", None),
        ('"--a", type=int, default="5"', "a", 5),
        ('"--a", type=float, default=1', "a", 1.0),
        ('"--a", type=float, default="x"', "a", None),
        ('"--a", type=str, default=1', "a", 1),
        ('"--a", default=A', "a", 7),
        ('"--a", default=_B["c"]', "a", "d"),
        ('"--a", default=TWICE', "a", None),
    ],
)
def test_names_and_defaults(call: str, name: str, default: object) -> None:
    found = options(
        f"""
        import argparse
        A = 7
        _B = {{"c": "d"}}
        TWICE = 1
        TWICE = 2
        p = argparse.ArgumentParser()
        p.add_argument({call})
        """
    )
    assert [(option.name, option.default) for option in found.values()] == [(name, default)]
    assert repr(found[name].default) == repr(default)


@pytest.mark.parametrize(
    "call",
    [
        '"--help", action="help"',
        '"--version", action="version", version="1"',
        "*flags",
        "name",
        "",
    ],
)
def test_arguments_that_are_no_options(call: str) -> None:
    assert arguments(f'{call}\n"--last"').keys() == {"last"}


@pytest.mark.parametrize(
    "script",
    [
        "from argparse import ArgumentParser\nADD(ArgumentParser())",
        "import argparse as ap\np: ap.ArgumentParser = ap.ArgumentParser()\nADD(p)",
        "from argparse import *\nif (p := ArgumentParser()):\n  ADD(p)",
        "from argparse import ArgumentParser as P\nclass Q(P): pass\np = Q()\nADD(p)",
        "p = argparse.ArgumentParser()\ng = p.add_argument_group('g')\nADD(g)",
        "p = argparse.ArgumentParser()\nADD(p.add_argument_group().add_mutually_exclusive_group())",
        "def main():\n  p = argparse.ArgumentParser()\n  ADD(p)\nmain()",
        "def add(parser):\n  ADD(parser)\nadd(argparse.ArgumentParser())",
        """
        def main():
            p = argparse.ArgumentParser()
            add(parser=p)
        def add(parser):
            more(parser)
        def more(p):
            ADD(p)
        """,
        """
        def make():
            p = argparse.ArgumentParser()
            return p
        if __name__ == '__main__':
            p = make()
            ADD(p)
        """,
        """
        class A:
            def __init__(self):
                self.parser = argparse.ArgumentParser()
            def add(self):
                ADD(self.parser)
        """,
        "p = argparse.ArgumentParser()\nq = p\nADD(q)",
        "def f(p):\n  f(p)\n  ADD(p)\nf(argparse.ArgumentParser())",
        "c = argparse.ArgumentParser()\nADD(c)\np = argparse.ArgumentParser(parents=[c])",
        "p = argparse.ArgumentParser()\nfor x in y:\n  try:\n    ADD(p)\n  except E: pass",
    ],
)
def test_ways_to_build_a_parser(script: str) -> None:
    script = re.sub(r"ADD\((.*)\)", r"\1.add_argument('--lr', default=0.1)", script)
    found = options("import argparse\n" + textwrap.dedent(script))
    assert {name: option.default for name, option in found.items()} == {"lr": 0.1}


@pytest.mark.parametrize(
    "script",
    [
        "",
        "lr = 0.1",
        "import argparse",
        "from other import ArgumentParser\nArgumentParser().add_argument('--lr')  # argparse",
        "import argparse\nx.add_argument('--lr')",
        "import argparse\ndef f(p):\n  p.add_argument('--lr')",
        "import argparse\np = argparse.ArgumentParser()\np = other()\np.add_argument('--lr')",
    ],
)
def test_scripts_without_a_parser(script: str) -> None:
    assert options(script) == {}


def test_subcommands_are_left_out() -> None:
    found = options(
        """
        import argparse
        p = argparse.ArgumentParser()
        p.add_argument("--seed", type=int, default=1)
        sub = p.add_subparsers(dest="command")
        train = sub.add_parser("train")
        train.add_argument("--lr")
        train.add_argument_group("g").add_argument("--momentum")
        sub.add_parser("eval").add_argument("--split")
        def add(parser):
            parser.add_argument("--added")
        add(train)
        """
    )
    assert found.keys() == {"seed"}


def test_set_defaults() -> None:
    found = options(
        """
        import argparse
        p = argparse.ArgumentParser()
        p.add_argument("--before", default=1)
        p.set_defaults(before=2, after=3, own=4)
        p.add_argument("--after")
        p.add_argument("--own", default=5)
        """
    )
    assert {name: found[name].default for name in found} == {"before": 2, "after": 3, "own": 5}


def test_nothing_is_executed() -> None:
    assert options("import argparse\nraise SystemExit(argparse.ArgumentParser())") == {}


def test_a_script_that_is_not_python() -> None:
    with pytest.raises(ConfigFileError, match=r"^train\.py:2: "):
        options("import argparse\nx = (")


# Command lines

PARSER = """
"-l", "--lr", type=float, default=0.1
"-n", type=int, default=1
"--name"
"--betas", nargs=2, type=float
"--files", nargs="*", default=[]
"--more", nargs="+"
"--maybe", nargs="?", const="c"
"--fast", action="store_true"
"--slow", action="store_false"
"--both", action=argparse.BooleanOptionalAction, default=True
"--flag", type=bool, default=True
"-v", "--verbose", action="count", default=0
"--add", action="append", type=int, default=[1]
"--ext", action="extend", nargs="+", type=int
"--mode", action="store_const", const="x", default="y"
"--size", choices=["s", "l"], default="s"
"first", nargs="?"
"rest", nargs="*"
"""


@pytest.mark.parametrize(
    ("values", "args"),
    [
        ({}, []),
        ({"lr": 0.2}, ["--lr", "0.2"]),
        ({"lr": -1e-5}, ["--lr=-1e-05"]),
        ({"lr": -1}, ["--lr=-1"]),
        ({"n": 3}, ["-n", "3"]),
        ({"n": -3}, ["-n=-3"]),
        ({"name": "a b\n"}, ["--name", "a b\n"]),
        ({"name": "-x"}, ["--name=-x"]),
        ({"name": "--"}, ["--name=--"]),
        ({"name": ""}, ["--name="]),
        ({"name": None}, []),
        ({"betas": (0.9, -1e-5)}, ["--betas", "0.9", "-0.00001"]),
        ({"files": ["a", "b"]}, ["--files", "a", "b"]),
        ({"files": ["-a"]}, ["--files=-a"]),
        ({"files": []}, ["--files"]),
        ({"maybe": "x"}, ["--maybe=x"]),
        ({"fast": True}, ["--fast"]),
        ({"fast": False}, []),
        ({"slow": False}, ["--slow"]),
        ({"slow": True}, []),
        ({"both": True}, ["--both"]),
        ({"both": False}, ["--no-both"]),
        ({"flag": False}, ["--flag="]),
        ({"flag": True}, ["--flag", "True"]),
        ({"verbose": 2}, ["--verbose", "--verbose"]),
        ({"verbose": 0}, []),
        ({"add": [1, 2, 3]}, ["--add", "2", "--add", "3"]),
        ({"ext": [4, 5]}, ["--ext", "4", "5"]),
        ({"mode": "x"}, ["--mode"]),
        ({"mode": "y"}, []),
        ({"size": "l"}, ["--size", "l"]),
        ({"rest": ["b", "c"], "lr": 0.5, "first": "a"}, ["--lr", "0.5", "a", "b", "c"]),
        ({"first": "a", "files": ["b"]}, ["--files", "b", "--", "a"]),
        ({"first": "-a"}, ["--", "-a"]),
        ({"first": "a"}, ["a"]),
    ],
)
def test_args_set_the_values(values: Mapping[str, Any], args: list[str]) -> None:
    assert option_args(arguments(PARSER.strip()), values) == args
    if args == ["--name=--"]:
        return  # argparse itself loses this one in some versions of Python
    parsed = vars(parse(args))
    for name, value in values.items():
        assert parsed[name] == (list(value) if isinstance(value, tuple) else value), name
    unset = parse([])
    assert {n: v for n, v in parsed.items() if n not in values} == {
        name: value for name, value in vars(unset).items() if name not in values
    }


def parse(args: list[str]) -> argparse.Namespace:
    scope: dict[str, Any] = {}
    lines = [f"p.add_argument({line})" for line in PARSER.strip().splitlines()]
    exec("\n".join(["import argparse", "p = argparse.ArgumentParser()", *lines]), scope)
    return scope["p"].parse_args(args)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": "x", "n": 1.5}, r"^n \(train.py:4\) is of type int, it cannot be 1.5"),
        ({"n": True}, "is of type int, it cannot be True"),
        ({"lr": None}, "cannot be None"),
        ({"lr": [1]}, r"cannot be \[1\]"),
        ({"betas": [1]}, "takes 2 values, not 1"),
        ({"more": []}, "takes at least one value"),
        ({"files": ["a", "-b"]}, "cannot be given '-b': it looks like a flag"),
        ({"fast": 1}, "is true or false, not 1"),
        ({"verbose": -1}, "cannot be set to -1"),
        ({"add": [2]}, r"it begins with \[1\]"),
        ({"add": 2}, "takes a list, not 2"),
        ({"mode": "z"}, "cannot be set to 'z'"),
        ({"size": "m"}, "is one of s, l, not m"),
        ({"rest": ["a"]}, "can only be given together with first before it"),
    ],
)
def test_values_that_no_args_set(values: Mapping[str, Any], message: str) -> None:
    with pytest.raises(BadConfigValue, match=message):
        option_args(arguments(PARSER.strip()), values)


def test_a_switch_that_is_on_either_way() -> None:
    found = arguments('"--x", action="store_true", default=True')
    assert option_args(found, {"x": True}) == ["--x"]
    with pytest.raises(BadConfigValue, match=r"^x .* is True with and without --x"):
        option_args(found, {"x": False})


def test_unknown_option() -> None:
    with pytest.raises(UnknownConfig, match="the script has no argument nam") as error:
        option_args(arguments(PARSER.strip()), {"nam": 1})
    assert error.value.hint == "did you mean name?"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("name", "1e3", "1e3"),
        ("name", "007", "007"),
        ("lr", "1", 1.0),
        ("betas", "[1, 2]", [1, 2]),
        ("fast", "yes", True),
        ("verbose", "2", 2),
        ("first", "1.10", "1.10"),
    ],
)
def test_parse_option(name: str, text: str, value: object) -> None:
    result = parse_option(arguments(PARSER.strip())[name], text, name)
    assert (result, type(result)) == (value, type(value))


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "lr": st.floats(allow_nan=False),
            "n": st.integers(),
            "name": st.text().filter(lambda text: text != "--"),
            "betas": st.lists(
                st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2
            ),
            "files": st.lists(st.text(min_size=1).filter(lambda text: text[0] != "-")),
            "maybe": st.text().filter(lambda text: text != "--"),
            "verbose": st.integers(0, 3),
            "both": st.booleans(),
            "fast": st.booleans(),
            "flag": st.booleans(),
            "first": st.text(min_size=1).filter(lambda text: text != "--"),
        },
    )
)
def test_argparse_reads_back_what_is_given(values: dict[str, Any]) -> None:
    parsed = vars(parse(option_args(arguments(PARSER.strip()), values)))
    assert {name: parsed[name] for name in values} == values
