"""TOML files.

Values are read by the standard library's parser; this module only finds where they stand. It
does so itself since tomlkit writes a document anew from its tree, which is slow to import
and build, where cutting and pasting spans leaves every other byte as it is by construction.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any

from gage._internal.project.config_formats.document import Document, Place, dotted_name
from gage._internal.project.config_formats.plain_values import plain_data
from gage._internal.project.config_formats.quoting import double_quoted
from gage._internal.project.config_formats.source_text import SourceText, decode

# The same parser under two names; by name, since type checkers know but one of them.
_parser: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

_SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\r\n]*)*")
_KEY_PART = re.compile(r""""(?:\\.|[^"\\])*"|'[^']*'|[^\s.=\[\]'"]+""")
_STRING = re.compile(
    r'"""(?:\\[\s\S]|(?!""")[^\\])*"""(?:"{0,2})'
    r"|'''(?:(?!''')[\s\S])*'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
)
_SCALAR = re.compile(r"\d{4}-\d{2}-\d{2} \d[^\s,#\]}]*|[^\s,#\]}]+")
_FAULT_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_LARGEST = 2**63

plain = plain_data


def parse(path: str, data: bytes) -> Document:
    """Find the values of a TOML file."""
    source = decode(path, data)
    try:
        table = _parser.loads(source.text)
    except ValueError as error:
        raise _fault(source, str(error)) from None
    except RecursionError:
        raise source.fault(0, "nested too deeply") from None
    places = {}
    for keys, start, end in _Scanner(source.text).document():
        value: Any = table
        for key in keys:
            value = value[key]
        places[dotted_name(keys)] = Place(
            value, source.line(start), start, end, source.text[start:end]
        )
    return Document(source, places)


def render(value: Any, place: Place, source: SourceText) -> str:
    """Return the value as TOML, a string in the kind of quotes of the one before."""
    literal = re.match("'(?!'')", place.written) and isinstance(value, str)
    if literal and value.isprintable() and "'" not in value:
        return f"'{value}'"
    return _inline(value)


def _fault(source: SourceText, message: str) -> Exception:
    what = _FAULT_LINE.sub("", message)
    where = _FAULT_LINE.search(message)
    line = int(where[1]) if where and where[1] else len(source.line_starts)
    return source.fault(source.line_starts[min(line, len(source.line_starts)) - 1], what)


def _inline(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if not -_LARGEST <= value < _LARGEST:
            raise ValueError("TOML's integers have 64 bits")
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return double_quoted(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    if isinstance(value, dict):
        entries = ", ".join(f"{_inline_key(key)} = {_inline(value[key])}" for key in value)
        return f"{{ {entries} }}" if entries else "{}"
    raise ValueError("TOML has no null" if value is None else f"TOML has no {type(value).__name__}")


def _inline_key(key: Any) -> str:
    if not isinstance(key, str):
        raise ValueError(f"TOML has no key {key!r}")
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else double_quoted(key)


_Span = tuple[tuple[str, ...], int, int]


class _Scanner:
    """Finds keys and values in a text that is known to be TOML."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.offset = 0

    def document(self) -> Iterator[_Span]:
        """Yield the keys and the span of each value, those in arrays of tables left out."""
        table: tuple[str, ...] = ()
        arrays: set[tuple[str, ...]] = set()
        while self.skip() < len(self.text):
            if self.at("["):
                is_array = self.text.startswith("[[", self.offset)
                self.offset += 2 if is_array else 1
                table = self.key()
                self.offset += 2 if is_array else 1
                if is_array:
                    arrays.add(table)
                continue
            listed = any(table[: len(array)] == array for array in arrays)
            for span in self.entry(table):
                if not listed:
                    yield span

    def skip(self) -> int:
        space = _SPACE.match(self.text, self.offset)
        if space:
            self.offset = space.end()
        return self.offset

    def at(self, character: str) -> bool:
        return self.text.startswith(character, self.offset)

    def take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.offset)
        assert match is not None, "the text was parsed before"
        self.offset = match.end()
        return match[0]

    def key(self) -> tuple[str, ...]:
        """Read a dotted key and the space after it."""
        keys = []
        while True:
            self.skip()
            part = self.take(_KEY_PART)
            if part[0] in "'\"":
                part = _parser.loads(f"key = {part}")["key"]
            keys.append(part)
            self.skip()
            if not self.at("."):
                return tuple(keys)
            self.offset += 1

    def entry(self, table: tuple[str, ...]) -> Iterator[_Span]:
        """Read a key and its value; yields the values that an inline table holds one by one."""
        keys = table + self.key()
        self.offset += 1
        start = self.skip()
        if self.at("{"):
            yield from self.inline_table(keys)
        else:
            self.value()
            yield keys, start, self.offset

    def inline_table(self, keys: tuple[str, ...]) -> Iterator[_Span]:
        self.offset += 1
        self.skip()
        while not self.at("}"):
            yield from self.entry(keys)
            self.separator()
        self.offset += 1

    def value(self) -> None:
        """Go to the end of a value."""
        if self.at("["):
            self.offset += 1
            self.skip()
            while not self.at("]"):
                self.value()
                self.separator()
            self.offset += 1
        elif self.at("{"):
            for _ in self.inline_table(()):
                pass
        elif self.text[self.offset] in "'\"":
            self.take(_STRING)
        else:
            self.take(_SCALAR)

    def separator(self) -> None:
        self.skip()
        if self.at(","):
            self.offset += 1
        self.skip()
