"""Config files: values are read by name, and patched without touching another byte."""

from __future__ import annotations

import configparser
import enum
import io
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timezone
from typing import Any

import pytest
import tomlkit
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gage._internal.errors import BadConfigValue, ConfigFileError, UnknownConfig
from gage._internal.project.config_formats import ConfigValue, patch_config, read_config


def values(path: str, text: str | bytes) -> dict[str, object]:
    data = text.encode() if isinstance(text, str) else text
    return {name: found.value for name, found in read_config(path, data).items()}


def patched(path: str, text: str, **changes: object) -> str:
    return patch_config(path, text.encode(), changes).decode()


# Reading


def test_python_constants_in_file_order() -> None:
    found = read_config(
        "train.py",
        b'''"""Train."""
import os
LR = 1e-3
epochs: int = 0x10
name = "a" 'b'
flag = not True
raw = r"\\d"
data = b"x" b"y"
nothing = None
betas = (0.9, -0.999)
sizes = [1, [2, {3, 4}]]
z = 1 - 2j
worst = float("-inf")
million = 1_000_000
''',
    )
    assert found == {
        "LR": ConfigValue(0.001, 3),
        "epochs": ConfigValue(16, 4),
        "name": ConfigValue("ab", 5),
        "raw": ConfigValue("\\d", 7),
        "data": ConfigValue(b"xy", 8),
        "nothing": ConfigValue(None, 9),
        "betas": ConfigValue((0.9, -0.999), 10),
        "sizes": ConfigValue([1, [2, {3, 4}]], 11),
        "z": ConfigValue(1 - 2j, 12),
        "worst": ConfigValue(-math.inf, 13),
        "million": ConfigValue(1_000_000, 14),
    }
    assert list(found)[:5] == ["LR", "epochs", "name", "raw", "data"]


@pytest.mark.parametrize(
    "statement",
    [
        "a = b = 1",
        "a, b = 1, 2",
        "a: int",
        "a += 1",
        "_a = 1",
        "__all__ = ['a']",
        "a = f'{1}'",
        "a = 'b' f'{1}'",
        "a = int('3')",
        "a = dict(b=1)",
        "a = {}",
        "a = ...",
        "a = 1 + 1",
        "a = -True",
        "a = -'b'",
        "a = {[1]}",
        "a = {**{}, 'b': 1}",
        "a[0] = 1",
        "a['b'] = 1",
        "a().b = 1",
        "if True: a = 1",
        "for a in (1, 2): pass",
        "def a(b=1): c = 1",
        "class a: b = 1",
        "print(a := 1)",
        "import a",
    ],
)
def test_python_statements_that_are_no_config(statement: str) -> None:
    assert values("x.py", f"{statement}\nlast = 1\n") == {"last": 1}


@pytest.mark.parametrize(
    "again",
    [
        "a = 2",
        "a += 2",
        "if b:\n    a = 2",
        "for a in b: pass",
        "with b as a: pass",
        "import c.a as a",
        "import a.c",
        "from c import a",
        "def a(): pass",
        "class a: pass",
        "try: pass\nexcept E as a: pass",
        "(b, [a, *c]) = d",
        "print(b and (a := 3))",
        "match b:\n    case [a, 2]: pass",
        "match b:\n    case {**a}: pass",
    ],
)
def test_python_variables_are_no_config(again: str) -> None:
    text = f"a = 1\nlast = 1\n{again}\n"
    assert values("x.py", text) == {"last": 1}
    message = r"x\.py: a is not config: a is a variable, assigned in lines 1 and [34]"
    with pytest.raises(UnknownConfig, match=message):
        patched("x.py", text, a=3)


@pytest.mark.parametrize(
    "other",
    [
        "def f(): a = 2",
        "def f(a): pass",
        "class A: a = 2",
        "print([a for a in b])",
        "f = lambda a: a",
        "b.a = 2",
        "a: int",
    ],
)
def test_python_names_of_other_scopes_do_not_count(other: str) -> None:
    assert values("x.py", f"a = 1\n{other}\n")["a"] == 1


def test_python_dicts_and_attributes() -> None:
    text = """
CFG = {"lr": 0.1, 'opt': {"name": "sgd", "f": f(), "empty": {}}, "a.b": 1, "_target_": 2}
OTHER = {1: "a", "b": 2}
args.seed = 3
a.b.c = 4
self._x = (5)
"""
    assert values("x.py", text) == {
        "CFG.lr": 0.1,
        "CFG.opt.name": "sgd",
        'CFG."a.b"': 1,
        "CFG._target_": 2,
        "OTHER": {1: "a", "b": 2},
        "args.seed": 3,
        "a.b.c": 4,
        "self._x": 5,
    }


@pytest.mark.parametrize(
    "again", ["CFG = load()", "CFG['lr'] = 2", "CFG.lr = 2", "CFG.lr += 2", "del a, b\nCFG = 1"]
)
def test_python_dict_entries_that_are_variables(again: str) -> None:
    text = f'CFG = {{"lr": 0.1}}\n{again}\n'
    assert "CFG.lr" not in values("x.py", text)
    with pytest.raises(UnknownConfig, match=r"CFG(\.lr)? is a variable, assigned in lines 1 and"):
        patch_config("x.py", text.encode(), {"CFG.lr": 3})


def test_python_dict_with_a_key_twice() -> None:
    assert values("x.py", 'C = {"a": 1, "b": 2, "a": 3}') == {"C.b": 2}


def test_python_is_not_executed() -> None:
    assert values("x.py", "import sys\nsys.exit(3)\na = 1\n") == {"a": 1}


def test_json_with_and_without_comments() -> None:
    text = """{ // head
  "a": 1, # one
  "b": {"c": [1, {"d": 2}], "e": {}, "f": null}, /* two
  */ "g.h": "x\\n",
  "i": -1.5e3, "j": true, "": 2,
}
"""
    assert read_config("c.json", text.encode()) == {
        "a": ConfigValue(1, 2),
        "b.c": ConfigValue([1, {"d": 2}], 3),
        "b.f": ConfigValue(None, 3),
        '"g.h"': ConfigValue("x\n", 4),
        "i": ConfigValue(-1500.0, 5),
        "j": ConfigValue(True, 5),
        '""': ConfigValue(2, 5),
    }


@pytest.mark.parametrize("text", ["[1, 2]", "1", '"a"', "{}", '{"a": {}}'])
def test_json_without_names(text: str) -> None:
    assert values("c.json", text) == {}


def test_yaml_core_schema() -> None:
    text = """\
%YAML 1.2
---
int: 12
octal: 0o14
hex: 0xC
zero: 012
float: 1e3
inf: -.inf
bool: True
no: no
date: 2020-01-01
none: ~
empty:
quoted: "1"
single: 'it''s'
tagged: !!str 5
number: !!float 5
own: !path x
text: |
  one
  two
folded: >-
  one
  two
list:
- 1
-
  - a
  -
"odd key": {x: 1, "y":2}
3: three
? [complex]
: 4
"""
    assert values("c.yaml", text) == {
        "int": 12,
        "octal": 12,
        "hex": 12,
        "zero": 12,
        "float": 1000.0,
        "inf": -math.inf,
        "bool": True,
        "no": "no",
        "date": "2020-01-01",
        "none": None,
        "empty": None,
        "quoted": "1",
        "single": "it's",
        "tagged": "5",
        "number": 5.0,
        "text": "one\ntwo\n",
        "folded": "one two",
        "list": [1, ["a", None]],
        '"odd key".x': 1,
        '"odd key".y': 2,
        "3": "three",
    }


def test_yaml_aliases_and_merge_keys_are_no_names() -> None:
    text = """\
base: &base
  lr: &lr 0.1
  deep: {x: 1}
more:
  <<: *base
  bs: 2
rate: *lr
rates: [*lr, 0.2]
tables:
- <<: [*base]
  lr: 3
"""
    assert values("c.yml", text) == {
        "base.lr": 0.1,
        "base.deep.x": 1,
        "more.bs": 2,
        "rates": [0.1, 0.2],
        "tables": [{"lr": 3, "deep": {"x": 1}}],
    }


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "- 1\n", "one\n", "{}"])
def test_yaml_without_names(text: str) -> None:
    assert values("c.yaml", text) == {}


def test_toml_tables() -> None:
    text = '''
title = "a # b" # c
"a.b" . c = 1
x.y = [1, [2, "]"], {z = 3}]
when = 1979-05-27 07:32:00Z
day = 1979-05-27
big = 1_000
[t . "u v"]
k = {l.m = 'n', o = {}, p = {q = inf}}
long = """
a""\\"""" # d
raw = \'\'\'
'a' \\\'\'\'
[[list]]
a = 1
[list.sub]
b = 2
[other]
c = -0.0
'''
    assert values("c.toml", text) == {
        "title": "a # b",
        '"a.b".c': 1,
        "x.y": [1, [2, "]"], {"z": 3}],
        "when": datetime(1979, 5, 27, 7, 32, tzinfo=timezone.utc),
        "day": date(1979, 5, 27),
        "big": 1000,
        't."u v".k.l.m': "n",
        't."u v".k.p.q': math.inf,
        't."u v".long': 'a"""',
        't."u v".raw': "'a' \\",
        "other.c": -0.0,
    }


def test_ini_as_configparser_reads_it() -> None:
    text = """\
# head
[DEFAULT]
a = 1
[my section]
Key: x = y
  ; not this
  more

  %(last)s
none =
later =
    z
[a.b]
k=v ; w
"""
    found = values("c.ini", text)
    assert found == {
        "DEFAULT.a": "1",
        '"my section".Key': "x = y\nmore\n\n%(last)s",
        '"my section".none': "",
        '"my section".later': "\nz",
        '"a.b".k': "v ; w",
    }
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_file(io.StringIO(text))
    assert parser["my section"]["key"] == found['"my section".Key']


def notebook(*cells: object, newline: str = "\n", language: str = "python") -> str:
    return json.dumps(
        {
            "cells": [
                {"cell_type": "code", "metadata": {}, "outputs": [], "source": cell}
                if not isinstance(cell, dict)
                else cell
                for cell in cells
            ],
            "metadata": {"language_info": {"name": language}},
            "nbformat": 4,
        },
        indent=1,
        ensure_ascii=False,
    ).replace("\n", newline)


def test_notebook_cells() -> None:
    text = notebook(
        {"cell_type": "markdown", "source": ["text = 1"]},
        ["%matplotlib inline\n", "!pip install x\n", "lr = 0.1\n", "files = !ls\n", "lr?"],
        "name = 'a'\nseen = 1",
        ["%%bash\n", "x = 1"],
        ["%%time\n", "y = 2"],
        ["seen = 2\n", "text = '''\n", "%d'''\n", "_ = 3"],
        [],
    )
    assert values("n.ipynb", text) == {"lr": 0.1, "name": "a", "y": 2, "text": "\n%d"}
    line = read_config("n.ipynb", text.encode())["lr"].line
    assert "lr = 0.1" in text.splitlines()[line - 1]
    with pytest.raises(UnknownConfig) as error:
        patched("n.ipynb", text, seen=3)
    for number in str(error.value).partition("lines ")[2].split(" and "):
        assert "seen = " in text.splitlines()[int(number) - 1]


def test_notebook_of_another_language() -> None:
    assert values("n.ipynb", notebook(["x = 1"], language="R")) == {}


# Patching

PATCHES = [
    # path, text before, changes, text after
    ("x.py", "lr = 0.1  # rate\r\nb=2\n", {"lr": 0.2}, "lr = 0.2  # rate\r\nb=2\n"),
    ("x.py", "lr=0.1;bs=2", {"bs": 3, "lr": 1.0}, "lr=1.0;bs=3"),
    ("x.py", "lr = 0.1", {"lr": 1}, "lr = 1.0"),
    ("x.py", "lr = 0.1", {"lr": 1e-5}, "lr = 1e-05"),
    ("x.py", "lr = 0.1", {"lr": math.inf}, 'lr = float("inf")'),
    ("x.py", "lr = 0.1", {"lr": math.nan}, 'lr = float("nan")'),
    ("x.py", "n = 0x10", {"n": 16}, "n = 0x10"),
    ("x.py", "n = 1", {"n": True}, "n = True"),
    ("x.py", "n = 1", {"n": 1.0}, "n = 1.0"),
    ("x.py", "n =-1", {"n": 2}, "n =2"),
    ("x.py", "n: int = (\n  1  # one\n)\n", {"n": 2}, "n: int = (\n  2  # one\n)\n"),
    ("x.py", "n = \\\n 1", {"n": None}, "n = \\\n None"),
    ("x.py", "s = 'é' ; t = 'ü' ; u = 3", {"u": 4}, "s = 'é' ; t = 'ü' ; u = 4"),
    ("x.py", "s = '\u2028\x0c\x85'; u = 3\r\n", {"u": 4}, "s = '\u2028\x0c\x85'; u = 4\r\n"),
    ("x.py", "\x0cs = 1\rt = 2\r", {"t": 4}, "\x0cs = 1\rt = 4\r"),
    ("x.py", "s = 'a'", {"s": "it's"}, "s = 'it\\'s'"),
    ("x.py", 's = "a"', {"s": 'it\'s "x" \\'}, 's = "it\'s \\"x\\" \\\\"'),
    ("x.py", 's = """a\r\nb"""', {"s": "a\nc\r"}, 's = "a\\nc\\r"'),
    ("x.py", "s = ('a'\n     'b')  # c", {"s": "d"}, "s = ('d')  # c"),
    ("x.py", "s = r'\\d+'", {"s": "\\w"}, "s = r'\\w'"),
    ("x.py", "s = r'\\d+'", {"s": "a'\\"}, "s = 'a\\'\\\\'"),
    ("x.py", "s = r'\\d+'", {"s": "a'b"}, "s = 'a\\'b'"),
    ("x.py", "s = rf'a{{' # c", {"s": "{b}"}, "s = '{b}' # c"),
    ("x.py", "s = f'{1}'; n = 2", {"n": 3}, "s = f'{1}'; n = 3"),
    ("x.py", "s = 1", {"s": "a\udc80b"}, 's = "a\\udc80b"'),
    ("x.py", "s = u'a'", {"s": b"a"}, "s = b'a'"),
    ("x.py", "t = 1, 2", {"t": [3]}, "t = (3,)"),
    ("x.py", "t = [\n 'a',\n]", {"t": ("b", "c")}, "t = ['b', 'c']"),
    ("x.py", "t = {1}", {"t": {"b", "a"}}, 't = {"a", "b"}'),
    ("x.py", "t = {1}", {"t": []}, "t = set()"),
    ("x.py", "d = {1: 2}", {"d": {3: {"a": 4}}}, 'd = {3: {"a": 4}}'),
    ("x.py", "C = {'a': {'b': 1}, **x}", {}, "C = {'a': {'b': 1}, **x}"),
    ("x.py", "C = {'a': {'b': 1}}", {"C.a.b": 2}, "C = {'a': {'b': 2}}"),
    ("x.py", "C.a = 1", {"C.a": 2 - 1j}, "C.a = (2-1j)"),
    ("x.py", "p = '\\d'", {"p": "x"}, "p = 'x'"),
    ("c.json", '{"a":1.0,\r\n\t"b" : 2}', {"a": 2}, '{"a":2.0,\r\n\t"b" : 2}'),
    ("c.json", '{"a": [1, 2], // x\n}', {"a": (3, None)}, '{"a": [3, null], // x\n}'),
    ("c.json", '{"a": "é"}', {"a": "ü\n\U0001f600"}, '{"a": "ü\\n\U0001f600"}'),
    ("c.json", '{"a": "\\u00e9"}', {"a": "ü"}, '{"a": "\\u00fc"}'),
    ("c.json", '{"a": 1}', {"a": "\udc80"}, '{"a": "\\udc80"}'),
    ("c.json", '{"a": {"b": [{}]}}', {"a.b": [{"c": 1}]}, '{"a": {"b": [{"c": 1}]}}'),
    ("c.json", '{"a": NaN, "b": 1}', {"b": 2}, '{"a": NaN, "b": 2}'),
    ("c.json", '{"a": 1e-3}', {"a": 0.001}, '{"a": 1e-3}'),
    ("c.toml", "a = 1.5 # x\r\nb.c=2\n", {"a": 2, "b.c": 3}, "a = 2.0 # x\r\nb.c=3\n"),
    ("c.toml", "a = 1.5", {"a": 1e-5}, "a = 1e-05"),
    ("c.toml", "a = 1.5", {"a": -math.inf}, "a = -inf"),
    ("c.toml", "a = 'b'", {"a": "c\\d"}, "a = 'c\\d'"),
    ("c.toml", "a = 'b'", {"a": "it's\x7f\t"}, 'a = "it\'s\\u007f\\t"'),
    ("c.toml", 'a = """\nb"""\n', {"a": "c\nd"}, 'a = "c\\nd"\n'),
    ("c.toml", "a = [\n 1, # x\n]\n", {"a": [1, {"b c": 2}]}, 'a = [1, { "b c" = 2 }]\n'),
    ("c.toml", "a = { b = 1 }", {"a.b": "x"}, 'a = { b = "x" }'),
    ("c.toml", 'a = """b""""" # c\n', {"a": "d"}, 'a = "d" # c\n'),
    ("c.toml", "a = '''b''''\n", {"a": "d"}, 'a = "d"\n'),
    ("c.toml", "d = 2020-01-01", {"d": date(2021, 2, 3)}, "d = 2021-02-03"),
    (
        "c.toml",
        "d = 2020-01-01 10:00:00",
        {"d": datetime(2021, 2, 3, tzinfo=timezone.utc)},
        "d = 2021-02-03T00:00:00+00:00",
    ),
    ("c.yaml", "a: 1.0 # x\r\nb:  c\n", {"a": 1e-5}, "a: 1.0e-05 # x\r\nb:  c\n"),
    ("c.yaml", "a: 1.0", {"a": 1e16}, "a: 1.0e+16"),
    ("c.yaml", "a: 1.0", {"a": 3}, "a: 3.0"),
    ("c.yaml", "a: 1.0", {"a": -math.inf}, "a: -.inf"),
    ("c.yaml", "a: b\n", {"a": "c d/e.f"}, "a: c d/e.f\n"),
    ("c.yaml", "a: b\n", {"a": "no"}, 'a: "no"\n'),
    ("c.yaml", "a: b\n", {"a": "1e5"}, 'a: "1e5"\n'),
    ("c.yaml", "a: b\n", {"a": "2020-01-01"}, 'a: "2020-01-01"\n'),
    ("c.yaml", "a: 1\n", {"a": "12:30"}, 'a: "12:30"\n'),
    ("c.yaml", "a: 2020-01-01\n", {"a": "2021-01-01"}, "a: 2021-01-01\n"),
    ("c.yaml", "a: yes\n", {"a": "no"}, "a: no\n"),
    ("c.yaml", "a: b\n", {"a": "c: d # e\n\U0001f600\x07"}, 'a: "c: d # e\\n\U0001f600\\u0007"\n'),
    ("c.yaml", "a: 'b'\n", {"a": "it's"}, "a: 'it''s'\n"),
    ("c.yaml", 'a: "b"\n', {"a": "c"}, 'a: "c"\n'),
    ("c.yaml", "a: b\n  c\nd: 1\n", {"a": "e"}, "a: e\nd: 1\n"),
    ("c.yaml", "a: &x !!str 5 # y\nb: *x\n", {"a": "7"}, 'a: &x !!str "7" # y\nb: *x\n'),
    ("c.yaml", "a: &x 5\nb: [*x, 1]\n", {"a": 6}, "a: &x 6\nb: [*x, 1]\n"),
    ("c.yaml", "a: &x 5\nb: [*x, 1]\n", {"b": [5]}, "a: &x 5\nb: [5]\n"),
    ("c.yaml", "a:\nb: 1\n", {"a": 2}, "a: 2\nb: 1\n"),
    ("c.yaml", "a:   # none\nb:", {"a": 2, "b": 3}, "a: 2   # none\nb: 3"),
    ("c.yaml", "{a: , b: 1}", {"a": 2}, "{a: 2 , b: 1}"),
    ("c.yaml", "a: &x\nb: 1", {"a": 2}, "a: &x 2\nb: 1"),
    (
        "c.yaml",
        "a: |-  # text\n  one\n\n  two\n\n# next\nb: 1\n",
        {"a": "x\ny"},
        'a: "x\\ny"  # text\n\n# next\nb: 1\n',
    ),
    ("c.yaml", "a: >\r\n  one\r\n  two\r\nb: 1\r\n", {"a": 5}, "a: 5\r\nb: 1\r\n"),
    ("c.yaml", "a: |\n  one", {"a": "two"}, 'a: "two"'),
    ("c.yaml", "a:\n- 1\n- 2 # x\n# y\nb: 1\n", {"a": [3]}, "a:\n- 3 # x\n# y\nb: 1\n"),
    ("c.yaml", "a:\r\n  - 1\r\n", {"a": [3, [4]]}, "a:\r\n  - 3\r\n  - [4]\r\n"),
    ("c.yaml", "a:\n- 1\nb: 1\n", {"a": []}, "a:\n []\nb: 1\n"),
    ("c.yaml", "a:\n- 1\n-\nb: 1\n", {"a": [2, None]}, "a:\n- 2\n- null\nb: 1\n"),
    ("c.yaml", "a: [b, 'c']\n", {"a": ["d", {"e": 1}]}, "a: ['d', {'e': 1}]\n"),
    ("c.yaml", '{"a":1}', {"a": "b"}, '{"a":b}'),
    ("c.yaml", "# é\na: ü # \U0001f600\nb: 1\n", {"b": 2}, "# é\na: ü # \U0001f600\nb: 2\n"),
    ("c.ini", "[a]\nb = 1 \r\nc=2", {"a.b": 3, "a.c": "x"}, "[a]\nb = 3 \r\nc=x"),
    ("c.ini", "[a]\nb =\nc =  \nd:", {"a.b": 1, "a.c": 2, "a.d": 3}, "[a]\nb = 1\nc = 2 \nd:3"),
    ("c.ini", "[a]\nb = 1\n", {"a.b": "x\n\ny"}, "[a]\nb = x\n\n    y\n"),
    ("c.ini", "[a]\r\nb =\r\n\tx\r\n\ty\r\n", {"a.b": "\nz\nw"}, "[a]\r\nb =\r\n\tz\r\n\tw\r\n"),
    ("c.cfg", "[a]\nb = x\n  ; note\n  y\n\n[c]\n", {"a.b": True}, "[a]\nb = True\n\n[c]\n"),
    ("c.ini", "[a]\n  b = 1\n  c = 2\n", {"a.c": 3}, "[a]\n  b = 1\n  c = 3\n"),
    ("c.ini", "[a]\nb = 1\n", {"a.b": ""}, "[a]\nb = \n"),
]


@pytest.mark.parametrize(("path", "before", "changes", "after"), PATCHES)
def test_patch(path: str, before: str, changes: dict[str, object], after: str) -> None:
    assert patch_config(path, before.encode(), changes) == after.encode()


@pytest.mark.parametrize(("path", "before", "changes", "after"), PATCHES)
def test_patch_with_byte_order_mark(
    path: str, before: str, changes: dict[str, object], after: str
) -> None:
    mark = b"\xef\xbb\xbf"
    assert patch_config(path, mark + before.encode(), changes) == mark + after.encode()


def test_python_encoding_cookie() -> None:
    before = "# -*- coding: latin-1 -*-\ns = 'é'; n = 1\n".encode("latin-1")
    assert values("x.py", before) == {"s": "é", "n": 1}
    assert patch_config("x.py", before, {"n": 2}) == before.replace(b"1\n", b"2\n")
    after = patch_config("x.py", before, {"s": "ü\u20ac"})
    assert after == before.replace(b"\xe9", b"\\xfc\\u20ac")


def test_python_cookie_in_the_second_line() -> None:
    before = "#!/usr/bin/env python\r\n# vim: fileencoding=shift_jis\r\ns = '表'; n = 1".encode(
        "shift_jis"
    )
    assert patch_config("x.py", before, {"n": 2}) == before[:-1] + b"2"


def test_encodings_that_cannot_be_kept() -> None:
    # The same text in another form: what is rewritten would not be what was there.
    data = b"# coding: utf-7\nn = 1 # +AGE-\n"
    assert values("x.py", data) == {"n": 1}
    with pytest.raises(ConfigFileError, match=r"^x\.py:1: cannot be changed"):
        patch_config("x.py", data, {"n": 2})


def test_json_in_utf_16() -> None:
    before = '{"a": "é", "b": 1}'
    for encoding, mark in (("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")):
        after = patch_config("c.json", mark + before.encode(encoding), {"b": 2})
        assert after == mark + before.replace("1", "2").encode(encoding)


def test_notebook_keeps_every_other_byte() -> None:
    source = ['# 😀 "q"\n', "s = ('a'\n", '     "b") # c\n', "lr = 0.1"]
    for newline in ("\n", "\r\n"):
        before = notebook(source, "x = 1\ny = 'é\\\\'", newline=newline)
        changes = {"s": 'it\'s "new"\n', "lr": 1e-5, "y": "ü"}
        after = patch_config("n.ipynb", before.encode(), changes).decode()
        joined = json.dumps(source[1])[:-1].replace("'a'\\n", "")
        assert joined in before
        assert values("n.ipynb", after) == {"x": 1, **changes}
        expected = before.replace("lr = 0.1", "lr = 1e-05").replace("y = 'é\\\\\\\\'", "y = 'ü'")
        start = expected.index("'a'")
        end = expected.index('b\\")') + len('b\\"')
        written = json.dumps(r"""'it\'s "new"\n'""")[1:-1]
        assert after == expected[:start] + written + expected[end:]


def test_notebook_with_escapes_in_its_json() -> None:
    source = r"e = \"\ud83d\ude00\u00e9\"; n\u0020= 1\t"
    before = f'{{"cells": [{{"cell_type": "code", "source": "{source}"}}]}}'
    assert values("n.ipynb", before) == {"e": "😀é", "n": 1}
    assert patched("n.ipynb", before, n=2) == before.replace("= 1", "= 2")
    assert patched("n.ipynb", before, e="x") == before.replace(r"\ud83d\ude00\u00e9", "x")


def test_unchanged_values_keep_their_notation() -> None:
    text = "a = 0x10\nb = 1_0.0\nc = 'x' 'y'\nd = (1,  2)\ne = -0.0\n"
    assert patch_config("x.py", text.encode(), values("x.py", text)) == text.encode()
    assert patched("x.py", text, e=0.0) == text.replace("-0.0", "0.0")


class Size(enum.IntEnum):
    SMALL = 3


class Name(str, enum.Enum):
    SGD = "sgd"


@pytest.mark.parametrize("path", ["c.json", "c.toml", "c.yaml", "c.py"])
def test_subclasses_are_written_as_what_they_hold(path: str) -> None:
    numpy = pytest.importorskip("numpy")
    text = {"c.json": '{"a": 1}', "c.toml": "a = 1", "c.yaml": "a: 1", "c.py": "a = 1"}[path]
    for value, held in (
        (Size.SMALL, 3),
        (Name.SGD, "sgd"),
        (numpy.float64(0.5), 0.5),
        ([Size.SMALL], [3]),
    ):
        result = values(path, patched(path, text, a=value))["a"]
        assert (result, repr(result)) == (held, repr(held))
    with pytest.raises(BadConfigValue):
        patched(path, text, a=numpy.int64(3))


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("a: 1.5\n", {"a": 1e-7}),
        ("a: 1.5\n", {"a": math.inf}),
        ("a: b\n", {"a": "on"}),
        ("a: b\n", {"a": "1_000"}),
        ("a: b\n", {"a": "0b1"}),
        ("a: b\n", {"a": "1:30"}),
        ("a: b\n", {"a": "="}),
        ("a: b\n", {"a": "2001-12-14t21:59:43.10-05:00"}),
        ("a: b\n", {"a": ".5_0"}),
        ("a: b\n", {"a": "\x85\u2028\ufeff\xa0"}),
        ("a: 'b'\n", {"a": "tab\there"}),
    ],
)
def test_yaml_1_1_loaders_read_the_same(text: str, changes: dict[str, object]) -> None:
    assert yaml.safe_load(patch_config("c.yaml", text.encode(), changes)) == changes


# Refusing


@pytest.mark.parametrize(
    ("path", "text", "changes", "message"),
    [
        ("c.toml", "\na = 1", {"a": None}, "c.toml:2: a cannot be None: TOML has no null"),
        ("c.toml", "a = 1", {"a": 2**63}, "c.toml:1: a cannot be .*: TOML's integers have 64 bits"),
        ("c.toml", "a = 1", {"a": [b"x"]}, "TOML has no bytes"),
        ("c.toml", "a = 1", {"a": {1: 2}}, "TOML has no key 1"),
        ("c.toml", "a = 1", {"a": {"b": 2}}, "it would not be read back"),
        ("c.toml", "a = 1", {"a": "\udc80"}, "not UTF-8 text"),
        ("c.json", '{\n"a": 1}', {"a": math.nan}, "c.json:2: a cannot be nan: JSON has no nan"),
        ("c.json", '{"a": 1}', {"a": [math.inf]}, "JSON has no nan and no infinity"),
        ("c.json", '{"a": 1}', {"a": b"x"}, "JSON has no bytes"),
        ("c.json", '{"a": 1}', {"a": [{1: 2}]}, "JSON has no key 1"),
        ("c.json", '{"a": 1}', {"a": {}}, "it would not be read back"),
        ("c.yaml", "a: 1", {"a": b"x"}, "YAML has no bytes"),
        ("c.yaml", "a: 1", {"a": date(2020, 1, 1)}, "YAML has no date"),
        ("c.yaml", "a: 1", {"a": {"b": 2}}, "it would not be read back"),
        ("c.yaml", "a: !!int 1", {"a": "x"}, "c.yaml:1: a cannot be 'x': it would not be read"),
        ("c.yaml", "{a, b: 1}", {"a": 2}, "c.yaml:1: a cannot be 2"),
        ("c.py", "a = 1", {"a": object}, "Python has no constant of type type"),
        ("c.py", "a = 1", {"a": {"b": 1}}, "it would not be read back"),
        ("c.ini", "[s]\na = 1", {"s.a": " x"}, "c.ini:2: s.a cannot be ' x': it would not"),
        ("c.ini", "[s]\na = 1", {"s.a": "x\n# y"}, "it would not be read back"),
    ],
)
def test_values_that_a_file_cannot_hold(
    path: str, text: str, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(BadConfigValue, match=message):
        patch_config(path, text.encode(), changes)


@pytest.mark.parametrize(
    ("path", "data", "message"),
    [
        ("a/x.py", b"a = 1\nb = (\n", r"a/x.py:2: "),
        ("x.py", b"a = '\xff'\n", "x.py:1: not UTF-8 text"),
        ("x.py", b"a = 1\n\x00\n", r"x.py:\d: .*null byte"),
        ("x.py", b"\n# coding: klingon\n", "x.py:1: unknown encoding"),
        ("x.py", b"a = " + b"(" * 10000, r"x.py:1: "),
        ("c.json", b'{\n"a": 01}', "c.json:2: a comma or } is expected here"),
        ("c.json", b'{"a": 1,\n"a": 2}', "c.json:2: a is here again, it is also in line 1"),
        ("c.json", b'{"x": [{"a": 1,\n"a": 2}]}', "c.json:2: a is here again, .* line 1"),
        ("c.json", b"{a: 1}", "c.json:1: a key in double quotes"),
        ("c.json", b'{"a" 1}', "c.json:1: a colon"),
        ("c.json", b'{"a": 1}\n{}', "c.json:2: more text"),
        ("c.json", b"", "c.json:1: a JSON value"),
        ("c.json", b'{"a": [,]}', "c.json:1: a JSON value"),
        ("c.json", b'{"a": "\n"}', "c.json:1: Invalid control character"),
        ("c.json", b"[" * 100000, "c.json:1: nested too deeply"),
        ("c.yaml", b"a: 1\n---\na: 2\n", "c.yaml:2: a second document"),
        ("c.yaml", b"a: 1\nb: 2\na: 3\n", "c.yaml:3: a is here again, it is also in line 1"),
        ("c.yaml", b"a: 1\nb: *c\n", "c.yaml:2: no &c before this"),
        ("c.yaml", b"a: 1\nb: [1\n", "c.yaml:3: "),
        ("c.yaml", b"a: \x07\n", "c.yaml:1: "),
        ("c.yaml", b"a: &a [*a]\n", "c.yaml:1: no &a before"),
        ("c.toml", b"a = 1\nb = \n", "c.toml:2: Invalid value"),
        ("c.toml", b"a = 1\na = 2\n", "c.toml:2: Cannot overwrite a value"),
        ("c.toml", b"a = 1\nb = '''", "c.toml:2: Expected"),
        ("c.ini", b"a = 1\n", r"c.ini:1: a \[section\]"),
        ("c.ini", b"[a]\nb\n", r"c.ini:2: neither"),
        ("c.ini", b"[a]\nb=1\nb=2\n", "c.ini:3: b is here again, it is also in line 2"),
        ("c.ini", b"[a]\n[a]\n", r"c.ini:2: \[a\] is here again"),
        ("n.ipynb", b"{", "n.ipynb:1: "),
        ("notes.txt", b"", r"notes.txt: config is not read from .txt files, only .*.yml"),
        ("Makefile", b"", "Makefile: config is not read from files without an extension"),
        ("new\nline.py", b"(", r"^new\\nline.py:1: "),
    ],
)
def test_files_that_cannot_be_parsed(path: str, data: bytes, message: str) -> None:
    with pytest.raises(ConfigFileError, match=message):
        read_config(path, data)


def test_fault_in_a_notebook_cell_names_the_line_of_the_file() -> None:
    text = notebook(["x = 1\n", "y = (\n"])
    with pytest.raises(ConfigFileError) as error:
        values("n.ipynb", text)
    line = int(str(error.value).split(":")[1])
    assert "y = (" in text.splitlines()[line - 1]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("learning_rat", "did you mean opt.learning_rate?"),
        ("learning_rate", "did you mean opt.learning_rate?"),
        ("EPOCHS", "did you mean epochs?"),
        ("opt", "did you mean opt.learning_rate or opt.name?"),
        ("xyz", "it has epochs, opt.learning_rate, opt.name"),
    ],
)
def test_unknown_names_suggest_near_ones(name: str, hint: str) -> None:
    text = b"epochs: 3\nopt: {learning_rate: 0.1, name: sgd}\n"
    with pytest.raises(UnknownConfig, match=f"c.yaml has no config {name}") as error:
        patch_config("c.yaml", text, {name: 1})
    assert error.value.hint == hint


def test_a_change_that_reaches_another_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from gage._internal.project.config_formats import python_file, toml_file

    monkeypatch.setattr(toml_file, "render", lambda *_: "2\nb = 3")
    with pytest.raises(BadConfigValue, match="it would add b"):
        patched("c.toml", "a = 1\n", a=2)
    monkeypatch.setattr(python_file, "render", lambda *_: "2; b = 3")
    with pytest.raises(BadConfigValue, match="it would change b"):
        patched("x.py", "b = 1\na = 1\n", a=2)


def test_slow_parsers_are_not_imported_for_other_formats() -> None:
    code = """
import sys
from gage._internal.project.config_formats import patch_config, read_config
read_config("x.py", b"a = 1")
patch_config("c.json", b'{"a": 1}', {"a": 2})
slow = {"ruamel.yaml", "tomllib", "tomli", "tomlkit", "configparser"}
assert not slow & sys.modules.keys(), slow & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# Properties: one value of a generated file is changed, and nothing else is.

SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.sampled_from(["yes", "null", "1e3", "0x1", "- a", "a: b", "#", "'", '"', "\\", "'''", "{"]),
)
VALUES = st.one_of(SCALARS, st.lists(st.one_of(SCALARS, st.lists(SCALARS, max_size=2)), max_size=3))
FINITE = VALUES.filter(lambda value: "inf" not in repr(value) and "nan" not in repr(value))
KEYS = st.text("abcXYZ", min_size=3, max_size=5)
COMMENTS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]), max_size=8)


Draw = Callable[..., Any]


@dataclass(frozen=True)
class Written:
    """A generated file in pieces: what a name's value is written with, or None and the rest."""

    path: str
    pieces: list[tuple[str | None, str]]


TEXTS = st.text(
    st.characters(
        codec="utf-8", exclude_categories=["C", "Zl", "Zp"], exclude_characters="'\"\\{}"
    ),
    max_size=6,
)
NUMBERS = st.sampled_from(
    [
        *("0x1F", "0O17", "0b1_0", "1_000", "-5", "+ 3", "00", "1_0.5e-3", ".5", "5.", "-1E+10"),
        *("1e5_0", "2j", "1.5-2J", "-0.0", "1e999", "float('-inf')", "None", "True", "False"),
    ]
)


def draw_python_literal(draw: Draw, value: object) -> str:
    """Return a constant as someone may have written it, in any of Python's notations."""
    kind = draw(st.sampled_from(["repr", "number", "string", "bytes", "several"]))
    literal = repr(value)
    if kind == "repr" and "inf" not in literal and "nan" not in literal:
        return literal
    if kind == "number":
        return str(draw(NUMBERS))
    if kind == "several":
        a, b = (draw_python_literal(draw, value) for _ in range(2))
        forms = [f"({a}, {b})", f"[ # é\n  {a},\n\t{b}, # x\n]", f"{{2: ({a}), 1: {b}}}"]
        return str(draw(st.sampled_from(forms)))
    quote = draw(st.sampled_from(["'", '"', "'''", '"""']))
    prefixes = ["b", "Rb", "bR"] if kind == "bytes" else ["", "r", "R", "u", "f", "rF"]
    pieces = []
    for _ in range(draw(st.integers(1, 2))):
        body = draw(TEXTS)
        if kind == "bytes":
            body = ascii(body)[1:-1].replace("\\", "/")
        if len(quote) == 3:
            body = f"\\\n{body}\n'"[: draw(st.sampled_from([0, -1, 99]))] + " \n"
        else:
            body += draw(st.sampled_from(["", "\\\n", "\\t", "\\\\"]))
        pieces.append(draw(st.sampled_from(prefixes)) + quote + body + quote)
    return str(draw(st.sampled_from([" ", " \\\n "])).join(pieces))


def draw_python(draw: Draw, pairs: list[tuple[str, object]]) -> Written:
    pieces: list[tuple[str | None, str]] = []
    for key, value in pairs:
        literal = draw_python_literal(draw, value)
        is_bare = draw(st.booleans())
        if is_bare:
            # A tuple without parentheses, which goes to the end of the statement.
            literal += draw(st.sampled_from([",", ", 2"]))
        equals = draw(st.sampled_from(["=", " = ", ": int=", " = \\\n  ", "\t=\t"]))
        around = [("", ""), ("", ";"), ("(", ")"), ("(  # é\n", "\n)")]
        start, end = draw(st.sampled_from(around[: 2 if is_bare else 4]))
        name = key
        if not start and not is_bare:
            form = draw(st.sampled_from(["name", "attribute", "dict"]))
            if form == "attribute":
                key = name = f"args . {key}"
                name = name.replace(" ", "")
            elif form == "dict":
                before, behind = draw(
                    st.sampled_from([("{", "}"), ('{\n "x": [],  # é\n', ",\n}")])
                )
                start, end = f"{before}'k': ", behind + end
                name = f"{key}.k"
        pieces += [(None, key + equals + start), (name, literal)]
        neighbours = ["", "print('é')\n", "def f():\n x = 1\n", "\f\n", "_f = f'{1}é{2!r:>{3}}'\n"]
        pieces += [(None, f"{end}  #{draw(COMMENTS)}\n{draw(st.sampled_from(neighbours))}")]
    return Written("x.py", pieces)


def draw_notebook(draw: Draw, pairs: list[tuple[str, object]]) -> Written:
    separator = draw(st.sampled_from(["", '", "', '",\n    "']))
    is_ascii = draw(st.booleans())

    def quoted(text: str) -> str:
        lines = (json.dumps(line, ensure_ascii=is_ascii)[1:-1] for line in text.split("\n"))
        return f"\\n{separator}".join(lines)

    start, end = ("[", "]") if separator else ("", "")
    pieces = [(name, quoted(text)) for name, text in draw_python(draw, pairs).pieces]
    head = f'{{"cells": [{{"cell_type": "code", "source": {start}"'
    return Written("n.ipynb", [(None, head), *pieces, (None, f'"{end}}}]}}')])


def draw_json(draw: Draw, pairs: list[tuple[str, object]]) -> Written:
    is_ascii = draw(st.booleans())
    pieces: list[tuple[str | None, str]] = [(None, "{")]
    for key, value in pairs:
        comment = draw(st.sampled_from(["", "// x {}\n", "/* {} */", "# {}\n", "\n"]))
        comment = comment.format(draw(COMMENTS).replace("*", ""))
        pieces += [(None, f'"{key}" :{comment} '), (key, json.dumps(value, ensure_ascii=is_ascii))]
        pieces += [(None, f"{comment}, ")]
    return Written("c.json", [*pieces, (None, f'"last": 1{draw(st.sampled_from(["", ","]))}}}')])


def draw_yaml(draw: Draw, pairs: list[tuple[str, object]]) -> Written:
    pieces: list[tuple[str | None, str]] = [(None, "---\ntop:\n")]
    for key, value in pairs:
        flow = yaml.safe_dump([value], default_flow_style=True, width=10**6, allow_unicode=True)
        flow = flow.strip("\n")[1:-1]
        comment = f"  # {draw(COMMENTS)}\n"
        if isinstance(value, list) and value and draw(st.booleans()):
            items = f"-  'a'{comment}  - [1, b]{comment}\n  -"
            pieces += [(None, f"  {key}:{comment}  "), (f"top.{key}", items), (None, comment)]
        elif isinstance(value, str) and draw(st.booleans()):
            header = draw(st.sampled_from(["|", ">-", "|+", "|2"]))
            pieces += [(None, f"  {key}: "), (f"top.{key}", f"{header}\n    a\n\n    b # c")]
            pieces += [(None, "\n\n# d\n")]
        else:
            flow = flow if "\n" not in flow else '"a\\\n   b"'
            anchor = draw(st.sampled_from(["", "&x ", f"&{key}\n    "]))
            pieces += [(None, f"  {key}: {anchor}"), (f"top.{key}", flow), (None, comment)]
    return Written("c.yaml", [*pieces, (None, "last: {a: 1}\n")])


def draw_toml(draw: Draw, pairs: list[tuple[str, object]]) -> Written:
    pieces: list[tuple[str | None, str]] = []
    table = ""
    for index, (key, value) in enumerate(pairs):
        dotted, inner = draw(st.sampled_from([("", ""), ("t.", "t."), ("u . '' .", 'u."".')]))
        text = tomlkit.item(value).as_string()
        if isinstance(value, list):
            text = text.replace("[", "[ # ]\n", 1) if '"' not in text else text
        start, end = draw(st.sampled_from([("", ""), ("{ a = [{b=1}], k = ", ", l = 1}")]))
        name = f"{table}{inner}{key}{'.k' if start else ''}"
        pieces += [(None, f"{dotted}{key}\t= {start}"), (name, text)]
        pieces += [(None, f"{end} # {draw(COMMENTS)}\n")]
        if draw(st.booleans()):
            pieces += [(None, f"[[l{index}]]\nx = 1\n[ e{index} . 'f g' ]\n")]
            table = f'e{index}."f g".'
    return Written("c.toml", pieces)


def draw_ini(draw: Draw, pairs: list[tuple[str, object]]) -> Written:
    pieces: list[tuple[str | None, str]] = [(None, f"# {draw(COMMENTS)}\n[section]\n")]
    section = "section"
    for key, value in pairs:
        text = repr(value)
        if draw(st.booleans()):
            text += f"\n   more {text}\n   ; note\n\n   end"
        delimiter = draw(st.sampled_from(["=", " = ", ": ", " :"]))
        pieces += [(None, key + delimiter), (f"{section}.{key}", text), (None, " \n; note\n")]
        if draw(st.booleans()):
            section = f'"in {key}"'
            pieces += [(None, f"[in {key}]\n")]
    return Written("c.ini", pieces)


# How a file may be encoded: the mark at its start and the codec, or what Python calls for.
MARKED = [("", "utf-8"), ("\ufeff", "utf-8"), ("\ufeff", "utf-16-le"), ("\ufeff", "utf-16-be")]
COOKIES = ["# -*- coding: latin-1 -*-\n", "#!python\n# vim:fileencoding=cp1252\n"]
PYTHON = [*MARKED[:2], (COOKIES[0], "latin-1"), (COOKIES[1], "cp1252")]


def test_encodings_and_line_endings_that_are_drawn_are_understood() -> None:
    for mark, codec in MARKED:
        for path, text in (("c.json", '{"a": 1}'), ("c.yaml", "a: 1"), ("c.toml", "a = 1")):
            assert values(path, (mark + text).encode(codec)) == {"a": 1}
    for mark, codec in PYTHON:
        for newline in ("\n", "\r\n", "\r"):
            text = f"{mark}a = 'é'\n".replace("\n", newline)
            assert values("x.py", text.encode(codec)) == {"a": "é"}


@pytest.mark.parametrize(
    ("draw_file", "wanted", "newlines", "encodings"),
    [
        (draw_python, VALUES, ["\n", "\r\n", "\r"], PYTHON),
        (draw_notebook, VALUES, ["\n", "\r\n", "\r"], MARKED),
        (draw_json, FINITE, ["\n", "\r\n", "\r"], MARKED),
        (draw_yaml, VALUES, ["\n", "\r\n", "\r"], MARKED),
        (draw_toml, VALUES, ["\n", "\r\n"], MARKED),
        (draw_ini, VALUES, ["\n", "\r\n", "\r"], MARKED),
    ],
)
@settings(max_examples=200, deadline=None)
@given(st.data())
def test_only_the_changed_value_differs(
    draw_file: Callable[[Draw, list[tuple[str, object]]], Written],
    wanted: st.SearchStrategy[object],
    newlines: list[str],
    encodings: list[tuple[str, str]],
    data: st.DataObject,
) -> None:
    keys = data.draw(st.lists(KEYS, min_size=1, max_size=4, unique_by=str.lower))
    written = draw_file(data.draw, [(key, data.draw(wanted)) for key in keys])
    mark, codec = data.draw(st.sampled_from(encodings))
    pieces: list[tuple[str | None, bytes]] = []
    for name, text in [(None, mark), *written.pieces]:
        # Each piece has line endings of its own: files with several are not rare.
        text = text.replace("\n", data.draw(st.sampled_from(newlines)))
        # What an encoding lacks is not written in it.
        pieces.append((name, text.encode(codec, "replace")))
    names = [name for name, _ in pieces if name is not None]
    before = b"".join(text for _, text in pieces)

    originals = values(written.path, before)
    assert set(names) <= set(originals)
    name = data.draw(st.sampled_from(names))
    value = data.draw(wanted)
    try:
        after = patch_config(written.path, before, {name: value})
    except BadConfigValue:
        # The one format that has texts it cannot hold.
        assert written.path == "c.ini"
        return

    index = [piece[0] for piece in pieces].index(name)
    head = b"".join(text for _, text in pieces[:index])
    tail = b"".join(text for _, text in pieces[index + 1 :])
    assert after.startswith(head)
    assert after.endswith(tail)
    assert len(after) >= len(head) + len(tail)

    results = values(written.path, after)
    old, new = originals.pop(name), results.pop(name)
    assert repr(results) == repr(originals)
    if written.path == "c.ini":
        assert new == str(value)
    elif isinstance(old, float) and type(value) is int:
        assert new == value
    elif isinstance(old, tuple) and isinstance(value, list):
        assert repr(new) == repr(tuple(value))
    else:
        assert repr(new) == repr(value)


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_yaml_is_read_alike_by_a_1_1_loader(value: object) -> None:
    text = patch_config("c.yaml", b"a: x\nb: 1\n", {"a": value})
    assert repr(yaml.safe_load(text)) == repr({"a": value, "b": 1})
