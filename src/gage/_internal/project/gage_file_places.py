"""Where in a Gage file each key stands.

Parsers give values without lines, so the text is scanned once more when a fault is to be
reported, and only then. A text that comes here has been parsed before: the scanners need not
check it. They find places, or less than all of them, and never fail.
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass, field
from typing import Any

from gage._internal.project.gage_file_words import Key, KeyPath


@dataclass
class Place:
    """The line of a key or list item, and the places inside its value."""

    line: int
    inner: dict[Key, Place] = field(default_factory=dict)
    is_array_of_tables: bool = False


@dataclass(frozen=True)
class Repeat:
    """A key that its table has twice."""

    path: KeyPath
    first_line: int
    line: int


class Places:
    """The places of one file."""

    def __init__(self) -> None:
        self.top = Place(1)
        self.repeats: list[Repeat] = []

    def line(self, path: KeyPath) -> int:
        """Return the line of what `path` leads to, or of the nearest that holds it."""
        place = self.top
        for key in path:
            if key not in place.inner:
                break
            place = place.inner[key]
        return place.line


def find_places(kind: str, text: str) -> Places:
    """Return the places of a file's text; `kind` is toml, yaml or json."""
    places = Places()
    scan = {"toml": _scan_toml, "yaml": _scan_yaml, "json": _scan_json}[kind]
    try:
        scan(text, places)
    except Exception:
        # The fault itself matters more than its exact line: what was found so far must do.
        pass
    return places


class _Scanner:
    """A position in a text, and what TOML and JSON have in common."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._newlines = [match.start() for match in re.finditer("\n", text)]

    def line(self) -> int:
        return bisect.bisect_left(self._newlines, self.at) + 1

    def skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            return ""
        self.at = match.end()
        return match.group()

    def next_is(self, mark: str) -> bool:
        return self.text.startswith(mark, self.at)

    def take(self, mark: str) -> bool:
        if not self.next_is(mark):
            return False
        self.at += len(mark)
        return True


_JSON_SPACE = re.compile(r"\s+")
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_JSON_OTHER = re.compile(r"[^\s,\]}]+")


def _scan_json(text: str, places: Places) -> None:
    scanner = _Scanner(text)
    scanner.skip(_JSON_SPACE)
    places.top.line = scanner.line()
    _scan_json_value(scanner, places, places.top, ())


def _scan_json_value(scanner: _Scanner, places: Places, place: Place, path: KeyPath) -> None:
    scanner.skip(_JSON_SPACE)
    if scanner.take("{"):
        _scan_json_object(scanner, places, place, path)
    elif scanner.take("["):
        scanner.skip(_JSON_SPACE)
        while not scanner.take("]"):
            index = len(place.inner)
            inner = place.inner[index] = Place(scanner.line())
            _scan_json_value(scanner, places, inner, (*path, index))
            scanner.skip(_JSON_SPACE)
            scanner.take(",")
            scanner.skip(_JSON_SPACE)
    elif scanner.next_is('"'):
        scanner.skip(_JSON_STRING)
    else:
        _must_advance(scanner, _JSON_OTHER)


def _scan_json_object(scanner: _Scanner, places: Places, place: Place, path: KeyPath) -> None:
    import json

    scanner.skip(_JSON_SPACE)
    while not scanner.take("}"):
        line = scanner.line()
        key = json.loads(_must_advance(scanner, _JSON_STRING), strict=False)
        if key in place.inner:
            places.repeats.append(Repeat((*path, key), place.inner[key].line, line))
        inner = place.inner[key] = Place(line)
        scanner.skip(_JSON_SPACE)
        scanner.take(":")
        _scan_json_value(scanner, places, inner, (*path, key))
        scanner.skip(_JSON_SPACE)
        scanner.take(",")
        scanner.skip(_JSON_SPACE)


def _must_advance(scanner: _Scanner, pattern: re.Pattern[str]) -> str:
    found = scanner.skip(pattern)
    if not found:
        raise ValueError(f"not what was expected at position {scanner.at}")
    return found


_TOML_BLANK = re.compile(r"[ \t]+")
_TOML_SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)+")
_TOML_BARE = re.compile(r"[A-Za-z0-9_-]+")
_TOML_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'",
    re.DOTALL,
)
_TOML_OTHER = re.compile(r"[^,\]}#\n]+")
_TOML_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u(.{4})|U(.{8})|(.))")
_TOML_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b"}


def _scan_toml(text: str, places: Places) -> None:
    scanner = _Scanner(text)
    table = places.top
    scanner.skip(_TOML_SPACE)
    while scanner.at < len(text):
        if scanner.next_is("["):
            table = _scan_toml_header(scanner, places.top)
        else:
            _scan_toml_pair(scanner, table)
        scanner.skip(_TOML_SPACE)


def _scan_toml_header(scanner: _Scanner, top: Place) -> Place:
    line = scanner.line()
    is_array = scanner.take("[[")
    if not is_array:
        scanner.take("[")
    *outer, last = _scan_toml_key(scanner)
    scanner.take("]]" if is_array else "]")
    table = _toml_table(top, outer, line)
    if is_array:
        array = table.inner.setdefault(last, Place(line, is_array_of_tables=True))
        return array.inner.setdefault(len(array.inner), Place(line))
    # A header such as [train.env] may stand before the [train] that it belongs to.
    place = table.inner.setdefault(last, Place(line))
    place.line = line
    return place


def _scan_toml_pair(scanner: _Scanner, table: Place) -> None:
    line = scanner.line()
    *outer, last = _scan_toml_key(scanner)
    place = _toml_table(table, outer, line).inner[last] = Place(line)
    scanner.take("=")
    _scan_toml_value(scanner, place)


def _toml_table(table: Place, keys: list[str], line: int) -> Place:
    for key in keys:
        table = table.inner.setdefault(key, Place(line))
        if table.is_array_of_tables:
            table = table.inner[len(table.inner) - 1]
    return table


def _scan_toml_key(scanner: _Scanner) -> list[str]:
    keys = []
    while True:
        scanner.skip(_TOML_BLANK)
        if scanner.next_is('"'):
            keys.append(_toml_unescaped(_must_advance(scanner, _TOML_STRING)[1:-1]))
        elif scanner.next_is("'"):
            keys.append(_must_advance(scanner, _TOML_STRING)[1:-1])
        else:
            keys.append(_must_advance(scanner, _TOML_BARE))
        scanner.skip(_TOML_BLANK)
        if not scanner.take("."):
            return keys


def _toml_unescaped(text: str) -> str:
    def char(match: re.Match[str]) -> str:
        code = match[1] or match[2] or match[3]
        return chr(int(code, 16)) if code else _TOML_ESCAPED.get(match[4], match[4])

    return _TOML_ESCAPE.sub(char, text)


def _scan_toml_value(scanner: _Scanner, place: Place) -> None:
    scanner.skip(_TOML_SPACE)
    if scanner.take("["):
        scanner.skip(_TOML_SPACE)
        while not scanner.take("]"):
            inner = place.inner[len(place.inner)] = Place(scanner.line())
            _scan_toml_value(scanner, inner)
            scanner.skip(_TOML_SPACE)
            scanner.take(",")
            scanner.skip(_TOML_SPACE)
    elif scanner.take("{"):
        scanner.skip(_TOML_SPACE)
        while not scanner.take("}"):
            _scan_toml_pair(scanner, place)
            scanner.skip(_TOML_SPACE)
            scanner.take(",")
            scanner.skip(_TOML_SPACE)
    elif scanner.next_is('"') or scanner.next_is("'"):
        _must_advance(scanner, _TOML_STRING)
    else:
        _must_advance(scanner, _TOML_OTHER)


def _scan_yaml(text: str, places: Places) -> None:
    import warnings

    from ruamel.yaml import YAML

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        node = YAML(typ="safe", pure=True).compose(text)
    if node is not None:
        places.top.line = node.start_mark.line + 1
        _YamlPlaces(places).scan(node, places.top, ())


class _YamlPlaces:
    """Follows the nodes of a YAML document; one that is named again is not followed again."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._inner: dict[int, dict[Key, Place]] = {}

    def scan(self, node: Any, place: Place, path: KeyPath) -> None:
        if id(node) in self._inner:
            place.inner = self._inner[id(node)]
            return
        self._inner[id(node)] = place.inner
        if node.id == "sequence":
            for index, item in enumerate(node.value):
                inner = place.inner[index] = Place(item.start_mark.line + 1)
                self.scan(item, inner, (*path, index))
        elif node.id == "mapping":
            self._scan_mapping(node, place, path)

    def _scan_mapping(self, node: Any, place: Place, path: KeyPath) -> None:
        merged: list[Any] = []
        seen: dict[tuple[str, str], int] = {}
        for key_node, value_node in node.value:
            tag, key, line = str(key_node.tag), key_node.value, key_node.start_mark.line + 1
            if not isinstance(key, str):
                continue
            if tag.endswith(":merge"):
                merged += value_node.value if value_node.id == "sequence" else [value_node]
                continue
            if (tag, key) in seen:
                self._places.repeats.append(Repeat((*path, key), seen[tag, key], line))
                continue
            seen[tag, key] = line
            inner = place.inner[key] = Place(line)
            self.scan(value_node, inner, (*path, key))
        for other in merged:
            outside = Place(0)
            self.scan(other, outside, path)
            for key, inner in outside.inner.items():
                place.inner.setdefault(key, inner)
