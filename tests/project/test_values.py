"""Values from the text of a command line."""

from __future__ import annotations

import math
from datetime import date, datetime, time, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gage._internal.errors import BadConfigValue
from gage._internal.project.values import check_value, format_value, parse_value


@pytest.mark.parametrize(
    ("text", "default", "value"),
    [
        ("5", 1, 5),
        ("-5", 1, -5),
        ("1_000", 1, 1000),
        ("0x10", 1, 16),
        ("0b11", 1, 3),
        ("1e-3", 0.1, 0.001),
        ("2", 0.1, 2.0),
        ("1_0.5", 0.1, 10.5),
        ("0x10", 0.1, 16.0),
        ("-inf", 0.1, -math.inf),
        ("TRUE", False, True),
        ("yes", False, True),
        ("On", False, True),
        ("1", False, True),
        ("false", True, False),
        ("No", True, False),
        ("off", True, False),
        ("0", True, False),
        ("", "x", ""),
        (" 1\n\udc80", "x", " 1\n\udc80"),
        ("None", "x", "None"),
        ("'a'", "x", "'a'"),
        ("null", None, None),
        ("None", None, None),
        ("true", None, True),
        ("True", None, True),
        ("3", None, 3),
        ("1e3", None, 1000.0),
        ("[1, null]", None, [1, None]),
        ("(1,)", None, (1,)),
        ("'a'", None, "a"),
        ("adam", None, "adam"),
        ("007", None, "007"),
        ("nan", None, "nan"),
        ("NaN", None, "NaN"),
        ("...", None, "..."),
        ("\\d", None, "\\d"),
        ("'\\d'", None, "\\d"),
        ("(" * 5000, None, "(" * 5000),
        ("[1, 'a']", [0], [1, "a"]),
        ("[true]", [0], [True]),
        ("1,2", [0], [1, 2]),
        (" [1] ", [0], [1]),
        ("[1, 2]", (0,), (1, 2)),
        ("(1, 2)", (0,), (1, 2)),
        ("[1, 1]", {0}, {1}),
        ("{1, 2}", {0}, {1, 2}),
        ('{"a": null}', {"b": 1}, {"a": None}),
        ("{1: 2}", {"b": 1}, {1: 2}),
        ("b'a'", b"", b"a"),
        ("1+2j", 1j, 1 + 2j),
        ("2020-01-02", date(2019, 1, 1), date(2020, 1, 2)),
        ("10:30:00", time(1), time(10, 30)),
        (
            "2020-01-02T03:04:05Z",
            datetime(2019, 1, 1),
            datetime(2020, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
        ),
    ],
)
def test_parse(text: str, default: object, value: object) -> None:
    result = parse_value(text, default, "x")
    assert (result, repr(result), type(result)) == (value, repr(value), type(value))


def test_parse_nan() -> None:
    assert math.isnan(parse_value("nan", 0.1, "x"))


@pytest.mark.parametrize(
    ("text", "default", "message"),
    [
        ("1e3", 1, "n (train.py:3) takes a whole number, not '1e3'"),
        ("1.0", 1, "n (train.py:3) takes a whole number, not '1.0'"),
        ("true", 1, "n (train.py:3) takes a whole number, not 'true'"),
        ("", 1, "n (train.py:3) takes a whole number, not ''"),
        ("fast", 0.1, "n (train.py:3) takes a number, not 'fast'"),
        ("1" * 400 + "x", 0.1, "n (train.py:3) takes a number, not"),
        ("0x" + "f" * 400, 0.1, "n (train.py:3) takes a number, not"),
        ("maybe", True, "n (train.py:3) takes true or false, not 'maybe'"),
        ("2", True, "n (train.py:3) takes true or false, not '2'"),
        ("1", [0], "n (train.py:3) takes a list such as [1, 2], not '1'"),
        ("[1", [0], "n (train.py:3) takes a list such as [1, 2], not '[1'"),
        ("{}", (0,), "n (train.py:3) takes a tuple such as (1, 2), not '{}'"),
        ("[[1]]", {0}, "n (train.py:3) takes a set such as {1, 2}, not '[[1]]'"),
        ("[1]", {"a": 1}, "n (train.py:3) takes a mapping such as {\"a\": 1}, not '[1]'"),
        ("a", b"", "n (train.py:3) takes bytes such as b'abc', not 'a'"),
        ("[" * 100000, [0], "n (train.py:3) takes a list"),
        ("soon", date(2020, 1, 2), "n (train.py:3) takes a date such as 2020-01-02, not 'soon'"),
    ],
)
def test_refused(text: str, default: object, message: str) -> None:
    with pytest.raises(BadConfigValue) as error:
        parse_value(text, default, "n (train.py:3)")
    assert error.value.message.startswith(message)


@pytest.mark.parametrize(
    ("value", "default", "result"),
    [
        (1, 0.5, 1.0),
        (1, 2, 1),
        ([1], (0,), (1,)),
        ((1,), [0], [1]),
        ("a", None, "a"),
        (True, False, True),
        ("a", "b", "a"),
        ({"a": 1}, {}, {"a": 1}),
    ],
)
def test_check(value: object, default: object, result: object) -> None:
    checked = check_value(value, default, "x")
    assert (checked, type(checked)) == (result, type(result))


@pytest.mark.parametrize(
    ("value", "default"),
    [
        (1.0, 1),
        (True, 1),
        (True, 0.1),
        (1, True),
        (1, "a"),
        ("1", 1),
        (None, 1),
        ([1], {}),
        (1, [1]),
    ],
)
def test_check_refuses(value: object, default: object) -> None:
    with pytest.raises(BadConfigValue, match=r"^x \(c\.yaml:1\) takes .*, not "):
        check_value(value, default, "x (c.yaml:1)")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a b", "a b"),
        ("1", "1"),
        (1e-5, "1e-05"),
        (True, "True"),
        (None, "None"),
        ([1, "a"], "[1, 'a']"),
        ({"b", "a"}, "{'a', 'b'}"),
        (set(), "set()"),
        (date(2020, 1, 2), "2020-01-02"),
    ],
)
def test_format(value: object, text: str) -> None:
    assert format_value(value) == text


LITERALS = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
        st.binary(),
        st.complex_numbers(allow_nan=False, allow_infinity=False),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.sets(st.integers(), max_size=3),
    ),
    max_leaves=6,
)


@given(LITERALS)
def test_what_is_shown_can_be_given(value: object) -> None:
    assert parse_value(format_value(value), value, "x") == value


@given(st.text(st.characters()))
def test_text_is_never_altered(text: str) -> None:
    assert parse_value(text, "default", "x") == text
