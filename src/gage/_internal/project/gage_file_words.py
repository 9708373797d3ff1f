"""How what stands in a Gage file is called in messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Key = str | int
# The keys that lead to a value from the top of the file.
KeyPath = tuple[Key, ...]

_NEAR = 0.6


def escaped(text: str) -> str:
    """Return text that prints in one line: what does not print is written as an escape."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def quoted(text: str) -> str:
    """Return text in double quotes, escaped and not too long for a message."""
    short = text if len(text) <= 80 else text[:77] + "..."
    return '"' + escaped(short.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def shown(name: str) -> str:
    """Return a name as it is, or quoted where it is not a plain word."""
    plain = name and all(char.isalnum() or char in "-_" for char in name)
    return name if plain and len(name) <= 80 else quoted(name)


def shown_key(key: object) -> str:
    """Return a key that need not be a string, as the file has it."""
    if key is None:
        return "null"
    return str(key).lower() if isinstance(key, bool) else str(key)


def found(value: object) -> str:
    """Return what a value is, by its type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, Mapping):
        return "a table"
    if hasattr(value, "isoformat"):
        return "a date or time"
    return f"a value of type {type(value).__name__}"


def listed(names: list[str], last: str) -> str:
    """Return names as a sentence lists them, `last` (and, or) before the last."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def nearest(key: str, keys: Iterable[str], cutoff: float = _NEAR) -> str | None:
    """Return the key that may have been meant, at least as alike as `cutoff`."""
    import difflib

    near = difflib.get_close_matches(key.lower(), list(keys), 1, cutoff)
    return near[0] if near else None
