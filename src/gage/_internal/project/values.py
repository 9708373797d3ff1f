"""Values from text, as users give them on the command line, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gage._internal.errors import BadConfigValue

_BOOLS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
_SEQUENCES = (list, tuple, set)


def parse_value(text: str, default: Any, where: object) -> Any:
    """Return what a text stands for, given the value that it takes the place of.

    The result has the type of the default; without one (None) it is what the text looks
    like. `where` names the value in messages, as in `lr (train.py:3)`, and is asked for its
    text only then.
    """
    if default is None:
        return _guess(text)
    if isinstance(default, str):
        return text
    parse, what = _PARSERS.get(type(default), (None, ""))
    try:
        if parse is None:
            parse, what = _parser_for_date(default)
        return parse(text)
    except (ValueError, OverflowError):
        raise BadConfigValue(f"{where} takes {what}, not {text!r}") from None


def check_value(value: Any, default: Any, where: object) -> Any:
    """Return a Python value as one of the type of the default, as `parse_value` does a text.

    A whole number does for a float and one sequence for another; any value does where there
    is no default.
    """
    if default is None or type(value) is type(default):
        return value
    kind = type(default)
    _, what = _PARSERS.get(kind, (None, f"a {kind.__name__}"))
    if isinstance(value, kind) and not isinstance(value, bool):
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in _SEQUENCES and isinstance(value, _SEQUENCES):
        return kind(value)
    raise BadConfigValue(f"{where} takes {what}, not {value!r}")


def format_value(value: Any) -> str:
    """Return the text that `parse_value` takes for this value, for people to read."""
    if isinstance(value, str):
        return value
    if isinstance(value, set) and value:
        return f"{{{', '.join(sorted(map(repr, value)))}}}"
    return value.isoformat() if hasattr(value, "isoformat") else repr(value)


def _int(text: str) -> int:
    return int(text, 0)


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float(int(text, 0))


def _bool(text: str) -> bool:
    if text.lower() not in _BOOLS:
        raise ValueError(text)
    return _BOOLS[text.lower()]


def _literal(text: str) -> Any:
    """Read a Python literal or a JSON value; ValueError where the text is neither."""
    import ast
    import json
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = ast.literal_eval(text.strip())
        if value is not ...:
            return value
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        pass
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _guess(text: str) -> Any:
    try:
        return _literal(text)
    except ValueError:
        return text


def _literal_of(kind: type) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        value = _literal(text)
        # JSON has but one kind of sequence, and on a command line `1,2` is as good as `[1, 2]`.
        if type(value) in _SEQUENCES and kind in _SEQUENCES:
            try:
                return value if type(value) is kind else kind(value)
            except TypeError:
                raise ValueError(text) from None
        if type(value) is not kind:
            raise ValueError(text)
        return value

    return parse


_PARSERS: dict[type, tuple[Callable[[str], Any], str]] = {
    bool: (_bool, "true or false"),
    int: (_int, "a whole number"),
    float: (_float, "a number"),
    complex: (complex, "a complex number"),
    list: (_literal_of(list), "a list such as [1, 2]"),
    tuple: (_literal_of(tuple), "a tuple such as (1, 2)"),
    set: (_literal_of(set), "a set such as {1, 2}"),
    dict: (_literal_of(dict), 'a mapping such as {"a": 1}'),
    str: (str, "text"),
    bytes: (_literal_of(bytes), "bytes such as b'abc'"),
}


def _parser_for_date(default: Any) -> tuple[Callable[[str], Any], str]:
    """Return how the dates and times that TOML has are read."""
    if not hasattr(type(default), "fromisoformat"):
        return _literal_of(type(default)), f"a {type(default).__name__}"
    example = default.isoformat()

    def parse(text: str) -> Any:
        # Python 3.10 does not know Z.
        return type(default).fromisoformat(text[:-1] + "+00:00" if text[-1:] in "zZ" else text)

    return parse, f"a {type(default).__name__} such as {example}"
