"""The Gage file: found, read, and every fault told at its line."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gage._internal.errors import GageFileError
from gage._internal.project.gage_file import (
    GAGE_FILE_NAMES,
    GageFile,
    find_gage_file,
    read_gage_file,
    schema_path,
)
from gage._internal.project.gage_file_checker import Fault, check_gage_table
from gage._internal.project.gage_file_places import find_places
from gage._internal.types import OpDef


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, text: str | bytes) -> str:
    if isinstance(text, str):
        text = (textwrap.dedent(text[1:]) if text.startswith("\n  ") else text).encode()
    Path(name).write_bytes(text)
    return name


def message(name: str, text: str | bytes) -> str:
    write(name, text)
    with pytest.raises(GageFileError) as caught:
        read_gage_file(name)
    return caught.value.message


def _takes_lines_in_braces() -> bool:
    write("toml11.toml", "a = {exec = 'b',\n}")
    try:
        return bool(read_gage_file("toml11.toml"))
    except GageFileError:
        return False


VALID_KEYS = (
    "description, default, version, exec, sourcecode, config, depends, runtime, requires,"
    " resources, resumable, env,"
    " secrets, writable, summary and output-summary"
)


# --- Finding


@pytest.mark.parametrize("name", GAGE_FILE_NAMES)
def test_find(project: Path, name: str) -> None:
    assert find_gage_file(str(project)) is None
    write(name, "[tool.gage]\n")
    assert find_gage_file(str(project)) == str(project / name)


def test_find_looks_in_the_directory_only(project: Path) -> None:
    write("gage.toml", "")
    os.mkdir("inner")
    os.mkdir("inner/gage.yaml")
    os.symlink("nowhere", "inner/gage.json")
    assert find_gage_file("inner") is None


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("[tool.gage.train]\nexec = 'x'\n", True),
        ("[tool]\n[tool.gage]\n", True),
        ("[project]\nname = 'gage'\n", False),
        ("# has no [tool.gage]\n[tool.ruff]\n", False),
        ("[tool.gagex]\n", False),
        # It would count, but for the sake of speed only what is written as usual is looked for.
        ("[tool]\ngage = {}\n", False),
        ("[tool.gage]\nbroken", True),
        (b"# \xff\n[tool.gage]\n", True),
    ],
)
def test_find_pyproject_only_with_a_table_of_gage(
    project: Path, text: str | bytes, counts: bool
) -> None:
    write("pyproject.toml", text)
    assert (find_gage_file(".") is not None) == counts


def test_find_with_a_pyproject_of_others(project: Path) -> None:
    write("pyproject.toml", "[project]\ndependencies = ['gage']\n")
    write("gage.yml", "")
    assert find_gage_file(".") == os.path.join(".", "gage.yml")


def test_find_refuses_two(project: Path) -> None:
    write("gage.toml", "")
    write("gage.json", "{}")
    write("pyproject.toml", "[tool.gage]\n")
    with pytest.raises(GageFileError) as caught:
        find_gage_file(str(project))
    assert caught.value.message == (
        "more than one Gage file in .: gage.toml, gage.json and pyproject.toml"
    )
    assert caught.value.hint == "Keep one of them."
    os.remove("pyproject.toml")
    with pytest.raises(GageFileError, match=r"in \.: gage\.toml and gage\.json$"):
        find_gage_file(str(project))


# --- Reading what is valid

TOML = """
    runs = "../runs"
    "$schema" = "https://example.org/schema"

    [train]
    description = '''
    [not.a.header]
    '''
    default = true
    exec = "python train.py"
    env = { SEED = 1, "B" = "x", C = true }

    ["b c"]
    exec = ["python", "eval.py"]
"""

YAML = """
    runs: ../runs
    $schema: https://example.org/schema
    train:
      description: |
        [not.a.header]
      default: true
      exec: python train.py
      env: {SEED: 1, "B": x, C: true}
    "b c":
      exec: [python, eval.py]
"""

JSON = """
    {
      "runs": "../runs",
      "$schema": "https://example.org/schema",
      "train": {
        "description": "[not.a.header]\\n",
        "default": true,
        "exec": "python train.py",
        "env": {"SEED": 1, "B": "x", "C": true}
      },
      "b c": {"exec": ["python", "eval.py"]}
    }
"""

PYPROJECT = """
    [project]
    name = "x"
    [tool.gage]
    runs = "../runs"
    [tool.gage.train]
    description = "[not.a.header]\\n"
    default = true
    exec = "python train.py"
    env = { SEED = 1, "B" = "x", C = true }
    [tool.gage."b c"]
    exec = ["python", "eval.py"]
    [tool.other]
    exec = 1
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gage.toml", TOML),
        ("gage.yaml", YAML),
        ("gage.yml", YAML),
        ("gage.json", JSON),
        ("pyproject.toml", PYPROJECT),
    ],
)
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
def test_read(project: Path, name: str, text: str, start: bytes) -> None:
    write(name, start + textwrap.dedent(text).lstrip().encode())
    train = {
        "description": "[not.a.header]\n",
        "default": True,
        "exec": "python train.py",
        "env": {"SEED": 1, "B": "x", "C": True},
    }
    assert read_gage_file(name) == GageFile(
        path=str(project / name),
        runs="../runs",
        operations={
            "train": OpDef("train", train),
            "b c": OpDef("b c", {"exec": ["python", "eval.py"]}),
        },
    )
    assert list(read_gage_file(name).operations) == ["train", "b c"]


@pytest.mark.parametrize(
    ("name", "text"),
    [("gage.toml", ""), ("gage.yaml", "# nothing\n"), ("gage.json", "{}")],
)
def test_read_empty(project: Path, name: str, text: str) -> None:
    gage_file = read_gage_file(write(name, text))
    assert (gage_file.runs, gage_file.operations) == (None, {})


def test_settings_are_told_from_operations_by_their_type(project: Path) -> None:
    write("gage.toml", "[runs]\nexec = 'x'\n")
    gage_file = read_gage_file("gage.toml")
    assert gage_file.runs is None
    assert gage_file.operations == {"runs": OpDef("runs", {"exec": "x"})}


def test_yaml_anchors_and_merges(project: Path) -> None:
    write("gage.yaml", "a: &a\n  exec: x\nb:\n  <<: *a\n  version: '2'\nc: *a\n")
    operations = read_gage_file("gage.yaml").operations
    assert {name: op.data for name, op in operations.items()} == {
        "a": {"exec": "x"},
        "b": {"exec": "x", "version": "2"},
        "c": {"exec": "x"},
    }


def test_yaml_anchors_that_would_multiply(project: Path) -> None:
    lines = [f"      - &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    text = ["a:", "  exec: x", "  depends:", "    web:", "      - &a0 x", *lines]
    assert len(read_gage_file(write("gage.yaml", "\n".join(text))).operations) == 1
    assert message("gage.yaml", "\n".join([*text, "b: {}"])) == (
        'gage.yaml:65: operation b has no "exec"'
    )


def test_unreadable_passes_through(project: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_gage_file("gage.toml")
    os.mkdir("gage.toml")
    with pytest.raises(IsADirectoryError):
        read_gage_file("gage.toml")


def test_a_valid_toml_file_imports_only_its_parser(project: Path) -> None:
    write("gage.toml", TOML)
    write("pyproject.toml", "[project]\nname = 'tool.gage'\n")
    code = textwrap.dedent("""
        import sys
        import gage._internal.errors, gage._internal.types
        import dataclasses, os
        try:
            import tomllib
        except ImportError:
            import tomli
        before = set(sys.modules)
        from gage._internal.project.gage_file import find_gage_file, read_gage_file
        read_gage_file(find_gage_file("."))
        print(*sorted(set(sys.modules) - before))
    """)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=project
    )
    assert done.stdout.split() == [
        "gage._internal.project",
        "gage._internal.project.gage_file",
        "gage._internal.project.gage_file_checker",
        "gage._internal.project.gage_file_rules",
        "gage._internal.project.gage_file_words",
    ]


# --- Faults of content, in all formats


def test_faults_in_toml(project: Path) -> None:
    assert message(
        "gage.toml",
        """
        run = "x"       # line 1
        [train.env]
        A = []
        [train]
        exce = "python train.py"
        default = "yes"
        config = [
          "a.py",
          { file = "/etc/a", keys = 1 },   # line 9
        ]

        [[train.depends]]
        project-files = "data"
        [[train.depends]]
        target = "a/../b"    # line 15

        [eval]
        exec = []
        xyzzy = '''
        [eval]
        default = 1
        '''
        """,
    ) == "\n  ".join(
        [
            "10 faults in gage.toml:",
            'gage.toml:1: unknown setting "run": did you mean "runs"?',
            (
                "gage.toml:3: env.A of operation train must be a string, a number, true or false,"
                " not a list"
            ),
            'gage.toml:5: unknown key "exce" of operation train: did you mean "exec"?',
            "gage.toml:6: default of operation train must be true or false, not a string",
            'gage.toml:9: config[1].file of operation train must be a relative path, not "/etc/a"',
            (
                "gage.toml:9: config[1].keys of operation train must be a string or a list of"
                " strings, not a number"
            ),
            (
                'gage.toml:14: depends[1] of operation train must have "project-files",'
                ' "files", "run-files", "runs-summary", "url", "git" or "fsspec" (or'
                " the resolver of a plugin)"
            ),
            (
                'gage.toml:15: depends[1].target of operation train must not contain "..", as'
                ' "a/../b" does'
            ),
            "gage.toml:18: exec of operation eval must not be an empty list",
            (f'gage.toml:19: unknown key "xyzzy" of operation eval: valid are {VALID_KEYS}'),
        ]
    )


def test_faults_in_yaml(project: Path) -> None:
    assert message(
        "gage.yaml",
        """
        # a comment
        train: &train
          exec:
            rn: x
            finalize: ""
          default: yes
          version: 1.0
        eval:
          <<: *train
          exec: x
        3:
          exec: x
        copy:
          description: 2024-01-01
          exec:
        last: nothing
        """,
    ) == "\n  ".join(
        [
            "10 faults in gage.yaml:",
            'gage.yaml:4: unknown key "rn" in exec of operation train: did you mean "run"?',
            "gage.yaml:5: exec.finalize of operation train must not be empty",
            "gage.yaml:6: default of operation train must be true or false, not a string",
            "gage.yaml:6: default of operation eval must be true or false, not a string",
            "gage.yaml:7: version of operation train must be a string, not a number",
            "gage.yaml:7: version of operation eval must be a string, not a number",
            'gage.yaml:11: the key 3 must be a string: write "3"',
            "gage.yaml:14: description of operation copy must be a string, not a date or time",
            (
                "gage.yaml:15: exec of operation copy must be a string, a list of strings"
                " or a table, not null"
            ),
            (
                'gage.yaml:16: "last" must be a table, as an operation is, not a string'
                " (the only settings are runs, share, remotes, engines and $schema)"
            ),
        ]
    )


def test_faults_in_json(project: Path) -> None:
    assert message(
        "gage.json",
        """
        {
          "train": {"exec": "x", "default": true,
            "depends": {"run-files": "prepare",
                        "project-files": ["a", "b\\t/..\\/c"],
                        "optinal": true},
            "note": "}]\\"{"
          },
          "eval": {
            "default": true,
            "exec": [
              "x",
              2
            ]
          }
        }
        """,
    ) == "\n  ".join(
        [
            "6 faults in gage.json:",
            (
                'gage.json:3: depends of operation train must have only one of "run-files" and'
                ' "project-files"'
            ),
            (
                "gage.json:4: depends.project-files[1] of operation train must not contain"
                ' "..", as "b\\t/../c" does'
            ),
            (
                'gage.json:5: unknown key "optinal" in depends of operation train: did you mean'
                ' "optional"?'
            ),
            (f'gage.json:6: unknown key "note" of operation train: valid are {VALID_KEYS}'),
            (
                "gage.json:9: only one operation can be the default, not train and eval"
                " (lines 2 and 9)"
            ),
            "gage.json:12: exec[1] of operation eval must be a string, not a number",
        ]
    )


def test_faults_in_pyproject(project: Path) -> None:
    assert message(
        "pyproject.toml",
        """
        [tool.ruff]
        exec = 1
        [tool.gage.train]
        exec = "x"
        default = true
        [tool]
        gage.eval = { exec = "y", default = true }
        [tool.gage."a\\tb"]
        output-summary.loss = "loss"
        output-summary.two = "(a)(b)"
        output-summary.bad = "("
        exec = " "
        """,
    ) == "\n  ".join(
        [
            "5 faults in pyproject.toml:",
            (
                "pyproject.toml:7: only one operation can be the default, not train and eval"
                " (lines 5 and 7)"
            ),
            (
                'pyproject.toml:9: output-summary.loss of operation "a\\tb" must have exactly one'
                ' group, and "loss" has 0'
            ),
            (
                'pyproject.toml:10: output-summary.two of operation "a\\tb" must have exactly one'
                ' group, and "(a)(b)" has 2'
            ),
            (
                'pyproject.toml:11: output-summary.bad of operation "a\\tb" must be a regular'
                ' expression, and "(" is not: missing ), unterminated subpattern at position 0'
            ),
            'pyproject.toml:12: exec of operation "a\\tb" must not be empty',
        ]
    )


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "gage.toml",
            '[train]\nexec = "x"\ndefault = "yes"\n',
            "gage.toml:3: default of operation train must be true or false, not a string",
        ),
        (
            "gage.yaml",
            "train:\n  exec: x\n  defualt: true\n",
            'gage.yaml:3: unknown key "defualt" of operation train: did you mean "default"?',
        ),
        (
            "gage.json",
            '\n{"train": {}}',
            'gage.json:2: operation train has no "exec"',
        ),
        (
            "pyproject.toml",
            "[tool.gage]\nruns = true\n",
            "pyproject.toml:2: runs must be a string, not true",
        ),
        (
            "pyproject.toml",
            "[tool]\ngage = 1\n",
            "pyproject.toml:2: the operations must be in a table, not a number",
        ),
        ("pyproject.toml", "[tool]\n", "pyproject.toml:1: there is no [tool.gage] in this file"),
        ("gage.json", "[]", "gage.json:1: the operations must be in a table, not a list"),
        ("gage.json", "null", "gage.json:1: the operations must be in a table, not null"),
        (
            "gage.toml",
            '\n[""]\nexec = "x"\n',
            'gage.toml:2: the name of operation "" must not be empty',
        ),
        (
            "gage.toml",
            '["a\\nb"]\nexec = "x"\n',
            'gage.toml:1: the name of operation "a\\nb" must not contain a newline',
        ),
        (
            "gage.json",
            '{"a": {"exec": "\\u0000"}}',
            "gage.json:1: exec of operation a must not contain a NUL character",
        ),
        (
            "gage.json",
            '{"a": {"exec": "\\ud800"}}',
            "gage.json:1: exec of operation a must not contain half of a surrogate pair",
        ),
        (
            "gage.toml",
            '[a]\nexec = "x"\nsummary = "/\\u001b[31m\\"\\\\"\n',
            'gage.toml:3: summary of operation a must be a relative path, not "/\\x1b[31m\\"\\\\"',
        ),
        (
            "gage.toml",
            '[a]\nexec = "x"\n[[a.depends]]\nselect = "b"\nproject-file = "c"\n',
            (
                'gage.toml:5: unknown key "project-file" in depends[0] of operation a:'
                ' did you mean "project-files"?'
            ),
        ),
        (
            "gage.toml",
            '[a]\nexec = "x"\n[a.env]\n"A=B" = ""\n',
            'gage.toml:4: in env of operation a, the name "A=B" must not contain "="',
        ),
        (
            "gage.toml",
            '[a]\nexec = "x"\n[a.env]\nA = inf\n',
            "gage.toml:4: env.A of operation a must be a finite number, not inf",
        ),
        (
            "gage.json",
            '{"a": {"exec": "x", "depends": {\n"web": NaN}}}',
            "gage.json:2: depends.web of operation a must be a finite number, not nan",
        ),
        ("gage.json", '{"a":\n"b', "gage.json:2: not valid JSON: unterminated string"),
        (
            "gage.yaml",
            "a:\n  exec: x\n  depends:\n    web:\n    - at: 2024-01-01\n",
            (
                "gage.yaml:5: depends.web[0].at of operation a must be something that JSON can"
                " hold, not a date or time"
            ),
        ),
        (
            "gage.yaml",
            "a:\n  exec: x\n  depends:\n    web:\n      b:\n        1: c\n",
            'gage.yaml:6: in depends.web.b of operation a, the key 1 must be a string: write "1"',
        ),
        (
            "gage.yaml",
            "a:\n  exec: x\n  depends:\n    web: &web [*web, *web]\n",
            "gage.yaml:4: depends.web of operation a is nested too deeply",
        ),
    ],
    ids=range(21),
)
def test_one_fault_is_one_line(project: Path, name: str, text: str, expected: str) -> None:
    assert message(name, text) == expected


def test_keys_given_twice(project: Path) -> None:
    assert message(
        "gage.json",
        '{"a": {"exec": "x",\n "exec": 1},\n "b": {"exec": "x"},\n "b": {"exec": "x", "c": []}}',
    ) == "\n  ".join(
        [
            "4 faults in gage.json:",
            "gage.json:2: exec of operation a is given twice (lines 1 and 2)",
            (
                "gage.json:2: exec of operation a must be a string, a list of strings"
                " or a table, not a number"
            ),
            "gage.json:4: operation b is given twice (lines 3 and 4)",
            (f'gage.json:4: unknown key "c" of operation b: valid are {VALID_KEYS}'),
        ]
    )
    assert message("gage.yaml", "runs: a\nb: {exec: x}\nruns: a\n'b': {exec: x}\n") == (
        "2 faults in gage.yaml:\n"
        "  gage.yaml:3: runs is given twice (lines 1 and 3)\n"
        "  gage.yaml:4: operation b is given twice (lines 2 and 4)"
    )
    # What follows the first key that is given twice may not be YAML's own at all.
    assert message("gage.yaml", "a: 1\na: 2\nb: !foo x\n") == (
        "gage.yaml:3: not valid YAML: could not determine a constructor for the tag '!foo'"
    )


def test_the_file_is_named_as_is_shorter(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(project / "gage.toml")
    write("gage.toml", "a = 1\n")
    deep = project / "d" / ("e" * 50) / "f" / "g"
    deep.mkdir(parents=True)
    monkeypatch.chdir(project / "d")
    with pytest.raises(GageFileError, match=r"^\.\./gage\.toml:1: "):
        read_gage_file(path)
    monkeypatch.chdir("/")
    with pytest.raises(GageFileError) as caught:
        read_gage_file(path)
    assert caught.value.message.startswith(f"{path[1:]}:1: ")
    monkeypatch.chdir("/usr/bin")
    with pytest.raises(GageFileError) as caught:
        read_gage_file(path)
    assert caught.value.message.startswith(f"{path}:1: ")


def test_a_file_name_with_control_characters(project: Path) -> None:
    os.mkdir("a\nb")
    write("a\nb/gage.toml", "c = 1\n")
    with pytest.raises(GageFileError, match=r"^a\\nb/gage\.toml:1: "):
        read_gage_file("a\nb/gage.toml")


def test_other_file_names_are_refused(project: Path) -> None:
    assert message("gage.ini", "") == (
        "gage.ini:1: the name of a Gage file ends in .toml, .yaml, .yml, .json"
    )


# --- Faults of syntax


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("gage.toml", "[a]\nexec\n", "2: not valid TOML: expected '=' after a key in a"),
        ("gage.toml", "a = 1\nb = [1\n", "2: not valid TOML: unclosed array"),
        ("gage.toml", "a = 1\n\na = 2\n", "3: not valid TOML: a key is given twice"),
        ("gage.toml", "[a]\n[b]\n[a]\n", "3: not valid TOML: the table 'a' is given twice"),
        ("gage.toml", "a = {b = 1}\na.c = 2\n", "2: not valid TOML: the table 'a' is"),
        ("gage.toml", "a = {b = 1 c = 1}", "1: not valid TOML: unclosed inline table"),
        ("gage.toml", "[\na = {}", "1: not valid TOML: invalid initial character"),
        ("gage.toml", "a=" + "[" * 50_000, "1: cannot be read as TOML: nested too deeply"),
        ("gage.toml", "a=" + "1" * 5_000, "1: cannot be read as TOML: Exceeds the limit"),
        ("pyproject.toml", "[tool.gage]\n]", "2: not valid TOML: "),
        ("gage.yaml", "a:\n  b: c: d\n", "2: not valid YAML: mapping values are not allowed"),
        ("gage.yaml", "a:\n  - b\n c: d\n", "3: not valid YAML: while parsing a block mapping,"),
        ("gage.yaml", "a: 1\n---\nb: 1\n", "2: not valid YAML: expected a single document in"),
        ("gage.yaml", "a:\n  b: *c\n", "2: not valid YAML: found undefined alias 'c'"),
        ("gage.yaml", "a:\n\tb: c\n", "2: not valid YAML: while scanning for the next token,"),
        ("gage.yml", "a:\n  b: \x01\n", '2: not valid YAML: character "\\x01" must be written'),
        ("gage.yaml", "a: !!python/object:os.system b\n", "1: not valid YAML: could not"),
        ("gage.yaml", "a: 2024-99-99\n", "1: cannot be read as YAML: month must be in 1..12"),
        ("gage.yaml", "[" * 800, "1: cannot be read as YAML: nested too deeply"),
        ("gage.json", "", "1: not valid JSON: expecting value"),
        ("gage.json", '{"a": 1,\n "b" 2}', "2: not valid JSON: expecting ':' delimiter"),
        ("gage.json", '\n{"a": "b\nc"}', "2: not valid JSON: invalid control character"),
        ("gage.json", '{"a": 1}\nb', "2: not valid JSON: extra data"),
        ("gage.json", '{"a":\n"b', "2: not valid JSON: unterminated string"),
        ("gage.json", "[" * 200_000, "1: cannot be read as JSON: nested too deeply"),
        ("gage.toml", b"\n# \xe9", "2: not UTF-8: byte 0xe9 (unexpected end of data)"),
        ("gage.yaml", b"\xff\xfea\0", "1: not UTF-8: byte 0xff (invalid start byte)"),
        ("gage.json", b'{"a":\n\n"\xe9t"', "3: not UTF-8: byte 0xe9 (invalid continuation byte)"),
    ],
    ids=range(28),
)
def test_syntax(project: Path, name: str, text: str | bytes, expected: str) -> None:
    told = message(name, text)
    assert told.startswith(f"{name}:{expected}")
    assert "\n" not in told


@pytest.mark.parametrize(
    "text", ["a = {\nb = 1}", "a = {b = 1, # c\r\nc = 1}", "a = [{b = 1\nc = 1}]"]
)
def test_a_table_in_braces_over_several_lines(project: Path, text: str) -> None:
    if _takes_lines_in_braces():
        pytest.skip("the parser reads TOML 1.1")
    assert message("gage.toml", text) == (
        "gage.toml:1: not valid TOML: a table in braces must end in the line in which it begins"
    )


# --- Places


TOML_OF_ALL_SORTS = [
    "# [comment]",
    r"""a.'b'."c\u0064" = 1""",
    "text = '''",
    "[no] '''''",
    'more = """\\',
    r'  [no] \"""',
    '  x = """""  # ]',
    "list = [ # ]",
    '  [1, 2], "]",',
    """  { d = '}', e.f = "}" },""",
    "",
    "]",
    "date = 1979-05-27 07:32:00",
    "",
    "[ x . y ]",
    "k = true",
    "[[x.z]]",
    "k = 1",
    "[[ x.z ]]",
    "[x.z.inner]",
    "k = 2",
    "[x]",
    "k = 3",
    "[last]",
    'k = "end"',
]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_places_in_toml(project: Path, newline: str) -> None:
    text = newline.join(TOML_OF_ALL_SORTS)
    # It is TOML: what is wrong with it is only that it is not a Gage file.
    assert message("gage.toml", text).count(" must be a table, as an operation is,") == 4
    places = find_places("toml", text)
    expected = {
        ("a", "b", "cd"): 2,
        ("text",): 3,
        ("more",): 5,
        ("list",): 8,
        ("list", 0, 1): 9,
        ("list", 1): 9,
        ("list", 2): 10,
        ("list", 2, "d"): 10,
        ("list", 2, "e", "f"): 10,
        ("date",): 13,
        ("x", "y"): 15,
        ("x", "y", "k"): 16,
        ("x", "z"): 17,
        ("x", "z", 0, "k"): 18,
        ("x", "z", 1): 19,
        ("x", "z", 1, "inner", "k"): 21,
        ("x",): 22,
        ("x", "k"): 23,
        ("last", "k"): 25,
        ("last", "none", 3): 24,
        ("none",): 1,
    }
    assert {path: places.line(path) for path in expected} == expected


def test_places_never_fail() -> None:
    for kind in ("toml", "yaml", "json"):
        for text in (
            "",
            "{",
            "[",
            '"',
            "a = [",
            "{a",
            "a: [",
            "\\",
            "a.",
            "[[",
            "'" * 3,
            "{" * 500,
        ):
            assert find_places(kind, text).line(("a", 0, "b")) == 1


_plain_values = st.one_of(
    st.integers(-5, 5),
    st.booleans(),
    st.text(
        alphabet=st.characters(codec="utf-8", exclude_characters="k\x7f\x85\u2028\u2029")
    ).filter(lambda text: text.isprintable()),
)
_shapes = st.recursive(
    _plain_values,
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple),
    max_leaves=12,
)


def _with_unique_keys(shape: Any, odd: str, count: list[int]) -> Any:
    """Turn tuples into tables whose keys occur once in the whole text."""
    if isinstance(shape, list):
        return [_with_unique_keys(item, odd, count) for item in shape]
    if not isinstance(shape, tuple):
        return shape
    table = {}
    for item in shape:
        count[0] += 1
        key = f"k{count[0]}k{odd}"
        table[key] = _with_unique_keys(item, odd, count)
    return table


def _key_paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, inner in pairs:
        found.append((*path, key))
        if isinstance(inner, (dict, list)):
            found += _key_paths(inner, (*path, key))
    return found


@pytest.mark.parametrize("kind", ["toml", "yaml", "json"])
@settings(max_examples=100, deadline=None)
@given(
    shapes=st.lists(_shapes, max_size=4).map(tuple),
    odd=st.sampled_from(["", ".", '"', "'", " ]", "# =", "\\", "\u00e9"]),
    indent=st.sampled_from([None, 0, 2]),
)
def test_places_of_any_document(
    kind: str, shapes: tuple[Any, ...], odd: str, indent: int | None
) -> None:
    document = _with_unique_keys(shapes, odd, [0])
    text = _dumped(kind, document, indent)
    places = find_places(kind, text)
    lines = text.split("\n")
    for path in _key_paths(document):
        if isinstance(path[-1], str):
            mark = path[-1][: path[-1].rindex("k") + 1]
            assert mark in lines[places.line(path) - 1]
        else:
            assert places.line(path) >= places.line(path[:-1])


def _dumped(kind: str, document: Any, indent: int | None) -> str:
    if kind == "json":
        return json.dumps(document, indent=indent)
    if kind == "toml":
        import tomlkit

        return tomlkit.dumps(document)
    import io

    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = indent is None
    yaml.allow_unicode = True
    text = io.StringIO()
    yaml.dump(document, text)
    # Of a string that starts with a colon, ruamel.yaml may write what it cannot read.
    try:
        assume(yaml.load(text.getvalue()) == document)
    except YAMLError:
        reject()
    return text.getvalue()


# --- The schema for editors says what the checker says

SCHEMA = json.loads(Path(schema_path()).read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)

VALID: list[dict[str, Any]] = [
    {},
    {"runs": "a", "$schema": ""},
    {"remotes": {}},
    {"remotes": {"box": "ssh://box/runs", "a b": {"address": "s3://b", "options": {"x": [1]}}}},
    {"engines": {"big": "slurm", "c d": {"kind": "slurm", "options": {"partition": "x"}}}},
    {"runs": {"exec": "a"}},
    {"a": {"exec": "a"}, "b c/\u00e9": {"exec": ["a", ""]}},
    {"a": {"exec": {"run": "a"}}},
    {
        "a": {
            "exec": {
                "run": ["a"],
                "stage-sourcecode": "b",
                "stage-runtime": ["c", "d"],
                "stage-dependencies": "e",
                "finalize": "f",
            }
        }
    },
    {"a": {"exec": "a", "description": "", "default": True, "version": "1", "runtime": "uv"}},
    {"a": {"exec": "a", "runtime": {"name": "uv", "from": "a/uv.lock", "python": "3.12"}}},
    {
        "a": {
            "exec": "a",
            "runtime": {"name": "uv", "bundle": "lock", "extras": ["a"], "groups": []},
        }
    },
    {"a": {"exec": "a", "runtime": {"name": "of-a-plugin", "volumes": ["x", 1]}}},
    {"a": {"exec": "a", "default": True}, "b": {"exec": "a", "default": False}},
    {"a": {"exec": "a", "sourcecode": False}},
    {"a": {"exec": "a", "sourcecode": "*.py"}},
    {"a": {"exec": "a", "sourcecode": ["-*", "*.py text size<10"]}},
    {"a": {"exec": "a", "config": "a.py"}},
    {"a": {"exec": "a", "config": {"file": "a..b/.../c", "keys": "lr"}}},
    {"a": {"exec": "a", "config": ["a.py", {"args": "b.py", "keys": ["x", "y"]}]}},
    {"a": {"exec": "a", "config": []}},
    {
        "a": {
            "exec": "a {args}",
            "config": [
                {"args": {"x": 1, "y": [None, {}], "z": {"k": "v"}}, "style": "name=value"},
                {"env": {"A": "", "B": 1, "C": False, "D": [1.5, "a", True]}, "strip-prefix": "A_"},
                {"file": "a.py", "keys": ["-*", "x"], "prefix": "a.", "rename": {"x.y": "z"}},
                {"args": "b.py", "keys": "-x", "rename": {}},
            ],
        }
    },
    {"a": {"exec": ["bash", "-c", "cd b && a {args}"], "config": {"args": {}}}},
    {"a": {"exec": {"run": "a >b 2>&1"}, "config": {"args": "b.py"}}},
    {"a": {"exec": "a '{args}'"}},
    {"a": {"exec": "a", "depends": {"project-files": "data"}}},
    {"a": {"exec": "a", "depends": []}},
    {
        "a": {
            "exec": "a",
            "depends": [
                {"project-files": ["a", "b/*"], "select": "c", "target": "d", "optional": True},
                {"run-files": "prepare", "select": ["*.npz"], "target": "."},
                {"http-files": {"url": ["x\0", 1, None, 1.5, {}]}, "optional": False},
                {"files": ["/data/a", "~/b/*"], "rename": {"a/b": "c"}, "link": "symlink"},
                {"run-files": {"operation": "a", "tag": "b"}, "name": "n", "writable": True},
                {"runs-summary": {"status": "failed", "format": "csv"}, "sha256": "0aF9" * 16},
                {"runs-summary": "a", "description": "d", "select": "-* size<1"},
                {"url": "HTTPS://[::1]:65535?a@b", "sha256": "0" * 64},
                {"url": ["http://b\u00fc.example/a/%20", "https://a:1/#"], "rename": {"a": "b"}},
                {"git": "git@host:a/b.git"},
                {"git": {"repository": "../a b", "revision": "v1.0", "path": "a/b"}},
                {"git": {"repository": "https://[::1]:8/a.git", "revision": "refs/pull/1/head"}},
                {"fsspec": "s3://a/*.csv"},
                {"fsspec": ["zip://x::s3://a/b.zip", "abfs://a@b/c"]},
                {
                    "fsspec": {
                        "address": ["sftp://me@host/a"],
                        "options": {"port": 22, "kwargs": {"a": [1, {}]}},
                        "secrets": {"password": "PASSWORD"},
                    }
                },
            ],
        }
    },
    {"a": {"exec": "a", "resources": {}, "resumable": True}},
    {"a": {"exec": "a", "resources": {"cpus": 2, "memory": "1.5 GiB", "gpus": 0}}},
    {"a": {"exec": "a", "env": {}}},
    {"a": {"exec": "a", "secrets": "A"}, "b": {"exec": "a", "secrets": ["A", "B_C"]}},
    {"a": {"exec": "a", "env": {"A": "", "B": 1, "C": 1.5, "D": False}}},
    {"a": {"exec": "a", "writable": "out/**", "summary": "a/summary.json"}},
    {"a": {"exec": "a", "writable": ["out", "a b"]}},
    {"a": {"exec": "a", "output-summary": {"loss": "loss: (.*)", "b c": "(?:a)(b)"}}},
]


def _op(**attributes: Any) -> dict[str, Any]:
    return {"a": {"exec": "a", **{key.replace("_", "-"): attributes[key] for key in attributes}}}


INVALID: list[Any] = [
    None,
    [],
    {"runs": ""},
    {"runs": 1},
    {"$schema": []},
    {"remotes": "x"},
    {"remotes": {"box": ""}},
    {"remotes": {"a/b": "x"}},
    {"remotes": {"a:b": "x"}},
    {"remotes": {" ": "x"}},
    {"remotes": {"box": {}}},
    {"remotes": {"box": {"address": "x", "other": 1}}},
    {"remotes": {"box": {"address": "x", "options": {"secret_key": "y"}}}},
    {"engines": {"big": {}}},
    {"engines": {"big": {"kind": "slurm", "other": 1}}},
    {"other": "a"},
    {"a": None},
    {"a": []},
    {"a": {}},
    {"": {"exec": "a"}},
    {"a\nb": {"exec": "a"}},
    {"a\0": {"exec": "a"}},
    {"a": {"exec": " "}},
    {"a": {"exec": []}},
    {"a": {"exec": ["a", 1]}},
    {"a": {"exec": ["a\0"]}},
    {"a": {"exec": {}}},
    {"a": {"exec": {"finalize": "a"}}},
    {"a": {"exec": {"run": {"run": "a"}}}},
    {"a": {"exec": {"run": "a", "stage": "b"}}},
    {"a": {"exec": True}},
    _op(unknown=1),
    _op(resumable="yes"),
    _op(resources={"cpus": 0}),
    _op(resources={"cpus": 1.5}),
    _op(resources={"gpus": -1}),
    _op(resources={"memory": "2 GIB"}),
    _op(resources={"memory": "2GiB\n"}),
    _op(resources={"disk": "2GiB"}),
    _op(description=None),
    _op(default=1),
    _op(default="true"),
    _op(version=1.0),
    _op(runtime=""),
    _op(runtime={}),
    _op(runtime={"from": "uv.lock"}),
    _op(runtime={"name": "uv", "from": "../uv.lock"}),
    _op(runtime={"name": "uv", "bundle": "wheel"}),
    _op(runtime={"name": "uv", "python": 3.12}),
    _op(runtime={"name": "uv", "extras": "a"}),
    _op(runtime=["uv"]),
    _op(runtime={"name": "container", "image": ["a"]}),
    _op(sourcecode=1),
    _op(sourcecode=["a", False]),
    _op(config="/a"),
    _op(config={}),
    _op(config={"file": "a", "args": "b"}),
    _op(config={"file": "a", "key": "b"}),
    _op(config={"keys": "b"}),
    _op(config=[["a"]]),
    _op(config=["a", {"args": "../a"}]),
    _op(config={"args": {"-x": 1}}),
    _op(config={"args": {"x=y": 1}}),
    _op(config={"args": {"": 1}}),
    _op(config={"args": ["x"]}),
    _op(config={"args": {}, "style": "name:value"}),
    _op(config={"args": {}, "style": 1}),
    _op(config={"args": "a.py", "style": "name=value"}),
    _op(config={"file": "a.py", "style": "name=value"}),
    _op(config={"env": "A"}),
    _op(config={"env": {"A=B": 1}}),
    _op(config={"env": {"A": None}}),
    _op(config={"env": {"A": {"B": 1}}}),
    _op(config={"env": {"A": [[1]]}}),
    _op(config={"env": {"A": 1}, "prefix": "B_"}),
    _op(config={"file": "a", "keys": ["-"]}),
    _op(config={"file": "a", "keys": ""}),
    _op(config={"file": "a", "prefix": "-"}),
    _op(config={"file": "a", "prefix": ""}),
    _op(config={"file": "a", "prefix": 1}),
    _op(config={"file": "a", "strip-prefix": ""}),
    _op(config={"file": "a", "rename": "b"}),
    _op(config={"file": "a", "rename": {"b": {"c": "d"}}}),
    _op(config={"file": "a", "rename": {"b": "c=d"}}),
    _op(config={"file": "a", "rename": {"": "c"}}),
    _op(depends="a"),
    _op(depends={}),
    _op(depends={"select": "a", "optional": True}),
    _op(depends={"project-files": "a", "run-files": "b"}),
    _op(depends={"project-files": "a", "http": "b"}),
    _op(depends={"run-files": "a", "http": "b"}),
    _op(depends={"project-files": ["a", "b/.."]}),
    _op(depends={"run-files": ["a"]}),
    _op(depends=[{"http": 1, "target": "/a"}]),
    _op(depends={"files": []}),
    _op(depends={"files": "a", "run-files": "c"}),
    _op(depends={"files": "a", "rename": {"/a": "b"}}),
    _op(depends={"files": "a", "rename": {"a": "../b"}}),
    _op(depends={"files": "a", "sha256": "0" * 63}),
    _op(depends={"files": "a", "link": "hard"}),
    _op(depends={"run-files": {"operation": ""}}),
    _op(depends={"run-files": {"status": "done"}}),
    _op(depends={"run-files": {"format": "csv"}}),
    _op(depends={"runs-summary": {"format": "xml"}}),
    _op(depends={"url": []}),
    _op(depends={"url": "ftp://a/b"}),
    _op(depends={"url": "a/b"}),
    _op(depends={"url": "http:///b"}),
    _op(depends={"url": "http://a/b\n"}),
    _op(depends={"url": "http://a/b c"}),
    _op(depends={"url": "http://a:65536/"}),
    _op(depends={"url": "http://a:b@c/"}),
    _op(depends={"url": ["http://a/", "https://a@b"]}),
    _op(depends={"url": "http://a/", "files": "b"}),
    _op(depends={"git": ""}),
    _op(depends={"git": ["a"]}),
    _op(depends={"git": "-a"}),
    _op(depends={"git": "ext::sh"}),
    _op(depends={"git": "ftp://a/b"}),
    _op(depends={"git": "https://me@a/b"}),
    _op(depends={"git": "https://a/b?token=c"}),
    _op(depends={"git": "ssh://me:b@a/b"}),
    _op(depends={"git": "a\nb"}),
    _op(depends={"git": {"revision": "main"}}),
    _op(depends={"git": {"repository": "a", "branch": "main"}}),
    _op(depends={"git": {"repository": "a", "path": "../b"}}),
    *(
        _op(depends={"git": {"repository": "a", "revision": revision}})
        for revision in ("", "-a", "a..b", "HEAD~1", "a b", "a:b", "/a", "a/", "a.", "@{u}", "a\n")
    ),
    _op(depends={"fsspec": []}),
    _op(depends={"fsspec": "a/b"}),
    _op(depends={"fsspec": "https://a/b"}),
    _op(depends={"fsspec": "sftp://me:cret@a/b"}),
    _op(depends={"fsspec": ["s3://a", "s3://a\n"]}),
    _op(depends={"fsspec": {"options": {}}}),
    _op(depends={"fsspec": {"address": []}}),
    _op(depends={"fsspec": {"address": "s3://a", "options": {"secret": "b"}}}),
    _op(depends={"fsspec": {"address": "s3://a", "options": {"a": {"Token": "b"}}}}),
    _op(depends={"fsspec": {"address": "s3://a", "options": {"": 1}}}),
    _op(depends={"fsspec": {"address": "s3://a", "secrets": {"token": "a=b"}}}),
    _op(depends={"fsspec": {"address": "s3://a", "secrets": {"token": 1}}}),
    _op(depends=[{"http": 1, "optional": 1}]),
    _op(depends={"": 1}),
    _op(depends=[["a"]]),
    _op(env={"": "a"}),
    _op(env={"A=B": "a"}),
    _op(env={"A": None}),
    _op(env={"A": ["b"]}),
    _op(env=["A=b"]),
    _op(secrets={"A": "b"}),
    _op(secrets=["A=b"]),
    _op(secrets=[""]),
    _op(writable=False),
    _op(summary=".."),
    _op(summary="a/..\0"),
    _op(summary=["a"]),
    _op(output_summary={"": "(a)"}),
    _op(output_summary={"a": 1}),
    _op(output_summary="(a)"),
]

# What JSON Schema has no words for.
INVALID_TO_THE_CHECKER_ONLY: list[Any] = [
    {"a": {"exec": "a", "default": True}, "b": {"exec": "a", "default": True}},
    _op(output_summary={"a": "b"}),
    _op(output_summary={"a": "(b)(c)"}),
    _op(output_summary={"a": "("}),
    _op(depends={"project-file": "a"}),
    _op(depends={"http": 1, "ftp": 2}),
    _op(depends={"http": json.loads("[" * 150 + "]" * 150)}),
    _op(description="\ud800"),
    _op(writable=["a", ""]),
    _op(writable="a\n/../b"),
    _op(exec="a {args}"),
    _op(exec=["a", "{args}"], config={"file": "a"}),
    _op(exec={"run": "a | b"}, config={"args": {}}),
    _op(exec="a '{args}'", config={"args": {}}),
    _op(exec=["a", "b={args}"], config={"args": {}}),
    _op(exec="{args}", config=[{"args": "a.py"}]),
    _op(env={"A": 1}, config=["a.py", {"env": {"A": 1}}]),
    _op(secrets=["B", "A"], config={"env": {"A": 1}}),
    _op(secrets="A", config={"env": {"A": 1}}),
]


@pytest.mark.parametrize("document", VALID, ids=range(len(VALID)))
def test_valid_to_both(document: Any) -> None:
    assert check_gage_table(document) == []
    assert [error.message for error in VALIDATOR.iter_errors(document)] == []


@pytest.mark.parametrize("document", INVALID, ids=range(len(INVALID)))
def test_invalid_to_both(document: Any) -> None:
    assert len(check_gage_table(document)) == 1
    assert not VALIDATOR.is_valid(document)


@pytest.mark.parametrize(
    "document", INVALID_TO_THE_CHECKER_ONLY, ids=range(len(INVALID_TO_THE_CHECKER_ONLY))
)
def test_invalid_to_the_checker_only(document: Any) -> None:
    (fault,) = check_gage_table(document)
    assert _only_the_checker_finds(fault)
    assert VALIDATOR.is_valid(document)


def _only_the_checker_finds(fault: Fault) -> bool:
    in_dependency = not {"depends", "runtime"}.isdisjoint(fault.path)
    text = fault.text
    is_rule = not {"sourcecode", "select"}.isdisjoint(fault.path)
    return (
        "only one operation can be the default" in fault.text
        or "regular expression" in fault.text
        or "exactly one group" in fault.text
        or "surrogate" in fault.text
        or "nested too deeply" in fault.text
        or (is_rule and not re.search("must be (a string|true)|must not (be empty|contain)", text))
        or (in_dependency and "did you mean" in fault.text)
        or (in_dependency and "must have only one of" in fault.text)
        or not {"sourcecode", "select", "writable"}.isdisjoint(fault.path)
        or '"{args}"' in fault.text
        or "of the operation too: leave one out" in fault.text
    )


_json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a", "/a", "../a", "a/..", "a\0", "a\n", "\n..", "..\n", "(a)", " "])
    | st.sampled_from(["-", "- ", "-a", "--", "a=b", "=", "name=value", "a {args}"])
    | st.text(st.characters(codec="utf-8"), max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["run", "file", "args", "project-files", "x"]), inner)
    ),
    max_leaves=6,
)
_some_keys = st.sampled_from(
    [
        "",
        "exec",
        "run",
        "file",
        "keys",
        "style",
        "prefix",
        "strip-prefix",
        "rename",
        "-x",
        "depends",
        "project-files",
        "run-files",
        "target",
        "env",
        "a\n",
        "a\x00",
        "A=B",
        "default",
        "http",
        "finalize",
        "summary",
        "runs",
        "optional",
    ]
)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_schema_and_checker_agree_on_changed_documents(data: st.DataObject) -> None:
    document = copy.deepcopy(data.draw(st.sampled_from(VALID[1:]), label="valid"))
    for _ in range(data.draw(st.integers(1, 3), label="changes")):
        if paths := _key_paths(document):
            _change(document, data.draw(st.sampled_from(paths), label="path"), data)
    faults = check_gage_table(document)
    if not all(_only_the_checker_finds(fault) for fault in faults):
        assert not VALIDATOR.is_valid(document), faults
    elif not faults:
        assert [error.message for error in VALIDATOR.iter_errors(document)] == []


def _change(document: Any, path: tuple[str | int, ...], data: st.DataObject) -> None:
    *outer, key = path
    for step in outer:
        document = document[step]
    change = data.draw(st.sampled_from(["replace", "remove", "rename", "add"]), label="change")
    if change == "replace":
        document[key] = data.draw(_json_values, label="value")
    elif change == "remove":
        del document[key]
    elif isinstance(document, list):
        document.append(data.draw(_json_values, label="value"))
    elif change == "rename":
        document[data.draw(_some_keys, label="key")] = document.pop(key)
    else:
        document[data.draw(_some_keys, label="key")] = data.draw(_json_values, label="value")


def test_the_schema_is_valid_and_explains_every_attribute() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    explained = 0
    for part in (SCHEMA, *SCHEMA["$defs"].values()):
        for key, attribute in part.get("properties", {}).items():
            assert len(attribute["description"]) > 20, key
            explained += 1
    assert explained == 5 + 16 + 17 + 8 + 5 + 5 + 6 + 3 + 3 + 7
