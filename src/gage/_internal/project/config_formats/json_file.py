"""JSON files, also with the comments and trailing commas that editors' settings have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from gage._internal.project.config_formats.document import Document, Place, dotted_name
from gage._internal.project.config_formats.plain_values import plain_data
from gage._internal.project.config_formats.source_text import SourceText, decode

_SPACE = re.compile(r"(?:[ \t\r\n]+|//[^\r\n]*|#[^\r\n]*|/\*[\s\S]*?\*/)*")
_DECODER = json.JSONDecoder()

plain = plain_data


class Node(NamedTuple):
    """A value and its span; an object also has its members, an array its items."""

    start: int
    end: int
    value: Any
    members: Mapping[str, Node] | None = None
    items: Sequence[Node] = ()


def parse(path: str, data: bytes) -> Document:
    """Find the values of a JSON file."""
    source = decode(path, data)
    places = {
        dotted_name(keys): Place(
            node.value,
            source.line(node.start),
            node.start,
            node.end,
            source.text[node.start : node.end],
        )
        for keys, node in _leaves(scan(source), ())
    }
    return Document(source, places)


def render(value: Any, place: Place, source: SourceText) -> str:
    """Return the value as JSON, its characters escaped where those before were."""
    _require_json(value)
    text = json.dumps(value, ensure_ascii="\\u" in place.written, allow_nan=False)
    try:
        text.encode(source.encoding)
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False)
    return text


def scan(source: SourceText) -> Node:
    """Parse a JSON text into nodes that know where they stand."""
    try:
        return _Scanner(source).document()
    except RecursionError:
        raise source.fault(0, "nested too deeply") from None


def _leaves(node: Node, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Node]]:
    if node.members is not None:
        for key, member in node.members.items():
            yield from _leaves(member, (*keys, key))
    elif keys:
        yield keys, node


def _require_json(value: Any) -> None:
    # json.dumps would turn a key that is no string into one.
    if isinstance(value, list):
        for item in value:
            _require_json(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"JSON has no key {key!r}")
            _require_json(item)
    elif isinstance(value, float) and (value != value or abs(value) == float("inf")):
        raise ValueError("JSON has no nan and no infinity")
    elif value is not None and not isinstance(value, (bool, int, float, str)):
        raise ValueError(f"JSON has no {type(value).__name__}")


class _Scanner:
    def __init__(self, source: SourceText) -> None:
        self.source = source
        self.text = source.text

    def document(self) -> Node:
        node = self.value(self.skip(0))
        end = self.skip(node.end)
        if end != len(self.text):
            raise self.source.fault(end, "more text after the end of the JSON value")
        return node

    def skip(self, offset: int) -> int:
        space = _SPACE.match(self.text, offset)
        return space.end() if space else offset

    def value(self, start: int) -> Node:
        opening = self.text[start : start + 1]
        if opening == "{":
            return self.object(start)
        if opening == "[":
            return self.array(start)
        if opening == '"':
            value, end = self.string(start)
            return Node(start, end, value)
        try:
            value, end = _DECODER.raw_decode(self.text, start)
        except ValueError:
            raise self.source.fault(start, "a JSON value is expected here") from None
        return Node(start, end, value)

    def string(self, start: int) -> tuple[str, int]:
        try:
            value, end = scanstring(self.text, start + 1)
        except ValueError as error:
            offset = getattr(error, "pos", start)
            raise self.source.fault(offset, getattr(error, "msg", str(error))) from None
        return value, end

    def array(self, start: int) -> Node:
        items: list[Node] = []
        offset = self.skip(start + 1)
        while not self.text.startswith("]", offset):
            items.append(self.value(offset))
            offset = self.separator(items[-1].end, "]", start)
        return Node(start, offset + 1, [item.value for item in items], items=items)

    def object(self, start: int) -> Node:
        members: dict[str, Node] = {}
        lines: dict[str, int] = {}
        offset = self.skip(start + 1)
        while not self.text.startswith("}", offset):
            if not self.text.startswith('"', offset):
                raise self.source.fault(offset, "a key in double quotes is expected here")
            key, key_end = self.string(offset)
            line = self.source.line(offset)
            if key in members:
                first = lines[key]
                raise self.source.fault(offset, f"{key} is here again, it is also in line {first}")
            lines[key] = line
            offset = self.skip(key_end)
            if not self.text.startswith(":", offset):
                raise self.source.fault(offset, "a colon is expected here")
            members[key] = self.value(self.skip(offset + 1))
            offset = self.separator(members[key].end, "}", start)
        value = {key: member.value for key, member in members.items()}
        return Node(start, offset + 1, value, members)

    def separator(self, offset: int, closing: str, start: int) -> int:
        offset = self.skip(offset)
        if self.text.startswith(",", offset):
            return self.skip(offset + 1)
        if self.text.startswith(closing, offset):
            return offset
        opened = self.source.line(start)
        raise self.source.fault(
            offset, f"a comma or {closing} is expected here (opened in line {opened})"
        )
