"""Values as config files hold them: bringing them to plain types, and comparing them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def plain_value(value: Any) -> Any:
    """Replace subclasses by their base: an IntEnum or a NumPy float64 is written as a number."""
    if value is None or isinstance(value, (bool, bytes)):
        return value
    if isinstance(value, str):
        # str() of an enum member is its name, this is what it holds.
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    for sequence in (list, tuple, set):
        if isinstance(value, sequence):
            return sequence(map(plain_value, value))
    if isinstance(value, Mapping):
        return {plain_value(key): plain_value(item) for key, item in value.items()}
    return value


def plain_data(value: Any) -> Any:
    """Like `plain_value`, for formats whose only sequence is the list."""
    return _lists(plain_value(value))


def _lists(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return value


def fit(value: Any, old: Any) -> Any:
    """Bring a value to the type of the one it replaces where nothing is lost by it.

    A whole number that replaces a float stays a float, a list that replaces a tuple or set
    becomes one.
    """
    if type(old) is float and type(value) is int:
        try:
            return float(value) if int(float(value)) == value else value
        except OverflowError:
            return value
    if type(value) in (list, tuple) and type(old) in (list, tuple, set):
        try:
            return type(old)(value)
        except TypeError:
            return value
    return value


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal and of the same types throughout.

    Unlike `==`, 1, 1.0 and True differ, and so do 0.0 and -0.0; nan is the same as nan.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, (float, complex)):
        return repr(one) == repr(other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, set):
        return same(sorted(one, key=repr), sorted(other, key=repr))
    return bool(one == other)
