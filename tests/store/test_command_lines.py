"""Where the arguments of config go in a command, checked with the shell that reads it."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gage._internal.store.command_lines import args_problem, run_command

TWO = ["--x", "a b"]


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        ("python3 a.py", TWO, ["python3", "a.py", "--x", "a b"]),
        ("python3 a.py", [], ["python3", "a.py"]),
        ("python3 a.py {args} -v", TWO, ["python3", "a.py", "--x", "a b", "-v"]),
        ("python3 a.py {args} -v", [], ["python3", "a.py", "-v"]),
        ("python3 a.py {args} -v", ["*;$x"], ["python3", "a.py", "*;$x", "-v"]),
        ("python3 a.py\n", TWO, ["python3", "a.py", "--x", "a b"]),
        ("a 'b c' {args}", ["d"], ["a", "b c", "d"]),
        ("a >log", TWO, ["sh", "-c", "a >log --x 'a b'"]),
        ("a {args} | tee log", TWO, ["sh", "-c", "a --x 'a b' | tee log"]),
        ("a {args} | tee log", [], ["sh", "-c", "a  | tee log"]),
        ("a {args}; b {args}", ["x"], ["sh", "-c", "a x; b x"]),
        ("a '{args}' {args}", ["x"], ["sh", "-c", "a '{args}' x"]),
        (r"a \{args} {args}", ["x"], ["sh", "-c", r"a \{args} x"]),
        ("# it's {args}\na {args}", ["x"], ["sh", "-c", "# it's {args}\na x"]),
        (["a", "b"], TWO, ["a", "b", "--x", "a b"]),
        (["a", "{args}", "b"], TWO, ["a", "--x", "a b", "b"]),
        (["a", "{args}", "b"], [], ["a", "b"]),
        (["bash", "-c", "a {args}"], TWO, ["bash", "-c", "a --x 'a b'"]),
        (["sh", "-c", "a"], TWO, ["sh", "-c", "a --x 'a b'"]),
        (["sh", "-c", "a", "{args}"], TWO, ["sh", "-c", "a", "--x", "a b"]),
        ({"run": "a", "finalize": "b {args}"}, TWO, ["a", "--x", "a b"]),
        ({"finalize": "b"}, TWO, None),
        (None, TWO, None),
    ],
)
def test_arguments_are_placed_or_appended(
    command: Any, args: list[str], expected: list[str] | None
) -> None:
    assert run_command(command, args) == expected


QUOTED = 'must not have "{args}" in quotes: what comes in its place is quoted'
WORD = 'must have "{args}" as a word of its own'
SEVERAL = 'is more than one command: put "{args}" where the arguments of config go'


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("a {args}", None),
        ("a\t{args}\n", None),
        ("(a {args})|b&", None),
        ("a >log 2>&1 <in", None),
        ("a &>log", None),
        ("a ';' \"|\" \\&", None),
        ("A=1 a --b=c#d", None),
        (["a", "{args}"], None),
        (["a", "b | c"], None),
        (["bash", "-c", "a {args} | b"], None),
        ('a "{args}"', QUOTED),
        ("a 'x {args}'", QUOTED),
        (["bash", "-c", "a '{args}'"], QUOTED),
        ("a x{args}", WORD),
        ("a {args}x", WORD),
        ("a ${args}", WORD),
        (["a", "--b={args}"], WORD),
        ("{args}", 'must begin with a program, not with "{args}"'),
        (["{args}", "a"], 'must begin with a program, not with "{args}"'),
        ("a | b", SEVERAL),
        ("a && b", SEVERAL),
        ("a || b", SEVERAL),
        ("a; b", SEVERAL),
        ("a &", SEVERAL),
        ("a\nb", SEVERAL),
        ("a # b", SEVERAL),
        ("a <<END", SEVERAL),
        ("(a)", SEVERAL),
        ("if a; then b; fi", SEVERAL),
        (["sh", "-c", "a | b"], SEVERAL),
        (["sh", "-c", "a"], None),
    ],
)
def test_what_is_wrong_with_where_arguments_go(command: Any, problem: str | None) -> None:
    assert args_problem(command, has_args=True) == problem


@pytest.mark.parametrize("command", ["a {args}", ["a", "{args}"], ["sh", "-c", "a {args}"]])
def test_a_place_without_arguments_is_a_problem(command: Any) -> None:
    assert args_problem(command, has_args=False) == 'has "{args}", but config has no "args"'


@pytest.mark.parametrize(
    "command", ["a '{args}' | b", "awk '{args}'", ["python3", "-c", "f'{args}'"]]
)
def test_a_program_in_quotes_may_have_it_where_there_are_no_arguments(command: Any) -> None:
    assert args_problem(command, has_args=False) is None


ARGUMENTS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
    | st.sampled_from(["", "'", '"', "$HOME", "`x`", "\\", "a\nb", "*", "{args}", "~", "!", "-"]),
    max_size=4,
)


@settings(max_examples=50, deadline=None)
@example(["{args}", "'{args}'"])
@given(ARGUMENTS)
def test_a_shell_reads_the_arguments_that_are_meant(args: list[str]) -> None:
    expected = b"".join(arg.encode() + b"\0" for arg in args) or b"\0"
    for command in (
        r"printf %s\\0 {args}",
        r"printf %s\\0",
        r"printf %s\\0 {args} | cat",
        r"true && (printf %s\\0 {args})",
        ["printf", r"%s\0", "{args}"],
        ["sh", "-c", r"printf %s\\0"],
        ["bash", "-c", r"printf %s\\0 {args};"],
    ):
        assert args_problem(command, has_args=True) is None
        words = run_command(command, args)
        assert words is not None
        assert subprocess.run(words, capture_output=True, check=True).stdout == expected
