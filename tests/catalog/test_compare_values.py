"""Values compared: names of what differs, and numbers within a tolerance."""

import math

import pytest

from gage._internal.catalog.compare_values import (
    change_text,
    compare_tables,
    is_same,
    relative_difference,
)


def told(before, after, tolerance=0.0):
    return [change_text(change) for change in compare_tables(before, after, tolerance)]


def test_what_differs_is_named_by_its_place():
    before = {"a": 1, "b": {"c": [1, {"d": 2}]}, "e": {}, "gone": None}
    after = {"a": 1, "b": {"c": [1, {"d": 3}, 4]}, "e": [], "f.g": ""}
    assert told(before, after) == [
        "b.c[1].d: 2 -> 3 (relative difference 0.33)",
        "e: {} -> []",
        "gone: null -> nothing",
        "b.c[2]: nothing -> 4",
        'f.g: nothing -> ""',
    ]
    assert told({}, {}) == told(before, before) == []


@pytest.mark.parametrize(
    ("before", "after", "relative"),
    [
        (1, 1.0, 0.0),
        (1, 2, 0.5),
        (-1, 1, 2.0),
        (0, 0.5, 1.0),
        (math.nan, math.nan, 0.0),
        (math.inf, math.inf, 0.0),
        (math.nan, 1, math.inf),
        (math.inf, 1, math.inf),
        (10**400, 1, math.inf),
        (True, 1, None),
        ("1", 1, None),
    ],
)
def test_relative_differences(before, after, relative):
    assert relative_difference(before, after) == relative
    assert relative_difference(after, before) == relative


def test_large_integers_that_differ_are_not_the_same():
    assert not is_same(2**60, 2**60 + 1)
    assert is_same(2**60, 2**60 + 1, 1e-9)


def test_only_numbers_are_tolerated():
    assert is_same(1.0, 1.01, 0.01) and not is_same(1.0, 1.02, 0.01)
    assert not is_same(True, 1, 0.5) and not is_same("a", "b", 0.5)
    assert is_same(None, None) and not is_same(None, 0, 0.5)
    assert not is_same(math.inf, 1, 0.99) and is_same(math.nan, math.nan)


def test_long_values_are_shown_where_they_differ():
    assert told({"a": "x" * 100 + "y"}, {"a": "x" * 100 + "z"}) == [
        "a: …xxxxxxxxxxxxy -> …xxxxxxxxxxxxz"
    ]
