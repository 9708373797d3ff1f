"""Values compared: which are there on one side only, which differ, and by how much."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Any, NamedTuple

from gage._internal.fs import printable

ADDED = "added"
REMOVED = "removed"
CHANGED = "changed"

# As much of a text is shown, and of that before where two differ.
_SHOWN = 60
_AHEAD = 12


class Change(NamedTuple):
    """A value that differs: `kind` tells whether it is only after, only before, or on both sides.

    `relative` is the difference of two numbers relative to the greater one, if they are numbers.
    """

    name: str
    kind: str
    before: Any = None
    after: Any = None
    relative: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values; a side that has no value has no key."""
        values: dict[str, Any] = {"name": self.name, "change": self.kind}
        if self.kind != ADDED:
            values["before"] = self.before
        if self.kind != REMOVED:
            values["after"] = self.after
        if self.relative is not None:
            values["relative"] = self.relative
        return values


def compare_tables(
    before: Mapping[str, Any], after: Mapping[str, Any], tolerance: float = 0
) -> list[Change]:
    """Return what differs of two tables of JSON values, in the order of the first.

    What lies within a value is compared by itself, under a name such as `loss.train[0]`. Numbers
    are the same if they differ by no more than `tolerance`, relative to the greater one.
    """
    old, new = dict(iter_leaves(before)), dict(iter_leaves(after))
    found = []
    for name, value in old.items():
        if name not in new:
            found.append(Change(name, REMOVED, before=value))
        elif not is_same(value, new[name], tolerance):
            relative = relative_difference(value, new[name])
            found.append(Change(name, CHANGED, value, new[name], relative))
    return found + [Change(n, ADDED, after=v) for n, v in new.items() if n not in old]


def is_same(before: Any, after: Any, tolerance: float = 0) -> bool:
    """Tell whether two values that hold no others are the same, numbers within a tolerance.

    `1` and `1.0` are; not so `1` and `true`.
    """
    if isinstance(before, bool) or isinstance(after, bool):
        return before is after
    relative = relative_difference(before, after)
    if relative is not None:
        return relative <= tolerance
    return bool(before == after)


def relative_difference(before: Any, after: Any) -> float | None:
    """Return by how much two numbers differ, relative to the greater; None where one is none.

    It is 0 for two that are not a number, and infinite where only one is finite.
    """
    if not _is_number(before) or not _is_number(after):
        return None
    if before == after or (before != before and after != after):
        return 0.0
    try:
        greatest = float(max(abs(before), abs(after)))
        difference = abs(float(before) - float(after)) / greatest
    except OverflowError:
        return math.inf
    # Integers may differ by less than a float can tell.
    return difference or 5e-324 if math.isfinite(difference) else math.inf


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def iter_leaves(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each value of a table that holds no others, with where it is."""
    waiting: list[tuple[str, Any]] = [("", table)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Mapping) and (value or not name):
            inner = [(_key(name, str(key)), each) for key, each in value.items()]
        elif isinstance(value, (list, tuple)) and value:
            inner = [(f"{name}[{number}]", each) for number, each in enumerate(value)]
        else:
            yield name, value
            continue
        waiting += reversed(inner)


def _key(name: str, key: str) -> str:
    """Return the name of a key below another; quoted where it could be taken for more."""
    if not name:
        return key
    plain = key and not any(char in key for char in '.[]"')
    return f"{name}.{key}" if plain else f"{name}[{json.dumps(key, ensure_ascii=False)}]"


def change_text(change: Change) -> str:
    """Return a change on one line: `loss: 0.5 -> 0.6 (relative difference 0.17)`."""
    before = "nothing" if change.kind == ADDED else _text(change.before)
    after = "nothing" if change.kind == REMOVED else _text(change.after)
    column = common_length(before, after)
    values = " -> ".join(shortened(text, column) for text in (before, after))
    text = f"{printable(change.name) or 'the top'}: {values}"
    if change.relative is None:
        return text
    return f"{text} (relative difference {change.relative:.2g})"


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return printable(text) or '""'


def common_length(first: str, second: str) -> int:
    """Return how many characters two texts have in common from the first on."""
    pairs = zip(first, second, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def shortened(text: str, column: int) -> str:
    """Return a text of no more characters than are shown, those before `column` left out first."""
    start = max(0, column - _AHEAD) if len(text) > _SHOWN else 0
    end = start + _SHOWN
    return ("…" if start else "") + text[start:end] + ("…" if len(text) > end else "")
