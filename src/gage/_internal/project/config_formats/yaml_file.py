"""YAML files, read by the core schema of YAML 1.2 and written so that 1.1 reads the same.

The events of ruamel.yaml's parser say where values stand; what a plain scalar means is
decided here, since the schema is small and the loaders differ in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from gage._internal.project.config_formats.document import Document, Place, dotted_name
from gage._internal.project.config_formats.plain_values import plain_data
from gage._internal.project.config_formats.quoting import double_quoted
from gage._internal.project.config_formats.source_text import SourceText, decode, newline_of

_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")

# What loaders of YAML 1.1 take for a bool, number or date though it is a string in 1.2.
_OLD_TYPES = re.compile(
    r"y|n|yes|no|on|off|=|<<|[-+]?[0-9][0-9_,.:xXoObBa-fA-F+-]*|[0-9]{4}-[0-9]{1,2}-.*",
    re.IGNORECASE,
)
_SAFE_PLAIN = re.compile(r"(?:[A-Za-z_/]|\.\.?/)[\w./+-]*(?: [\w./+-]+)*", re.ASCII)
_SAFE_DATE = re.compile(r"[0-9][0-9.:-]*", re.ASCII)

_PROPERTIES = re.compile(r"(?:[&!]\S*(?:\s|#[^\r\n]*)*)+")
_TAG = re.compile(r"(?:^|\s)(!\S*)")
_COLON = re.compile(r"(?:\s|#[^\r\n]*)*:")
_DASH = re.compile(r"(?:\s|#[^\r\n]*)*-")
_BLOCK_HEADER = re.compile(r"[|>][-+0-9]*([ \t]+#[^\r\n]*)?")
_BLOCK_SEQUENCE = re.compile(r"-(?=\s|$)")

plain = plain_data


class _Node(NamedTuple):
    """A value without its tag and anchor.

    `opaque` marks what only the program's own tags give a meaning, `shared` what an alias
    or merge key reaches, `alias` a value that stands elsewhere.
    """

    value: Any
    start: int
    end: int
    entries: tuple[tuple[_Node, _Node], ...] | None = None
    text: str | None = None
    is_merge: bool = False
    opaque: bool = False
    shared: bool = False
    alias: bool = False


def parse(path: str, data: bytes) -> Document:
    """Find the values of a YAML file."""
    source = decode(path, data)
    try:
        root = _Composer(source).document()
        leaves = list(_leaves(root, (), source)) if root else []
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        offset = mark.index if mark else 0
        raise source.fault(offset, error.problem or error.context or "not YAML") from None
    except YAMLError as error:
        offset = getattr(error, "position", 0)
        raise source.fault(offset, str(getattr(error, "reason", error))) from None
    except RecursionError:
        raise source.fault(0, "nested too deeply") from None
    places = {
        dotted_name(keys): Place(
            node.value,
            source.line(node.start),
            node.start,
            node.end,
            source.text[node.start : node.end],
            node.shared,
        )
        for keys, node in leaves
    }
    return Document(source, places)


def render(value: Any, place: Place, source: SourceText) -> str:
    """Return the value as YAML, in the style of the one before."""
    written = place.written
    if not written:
        return f" {_flow(value, _Style())}"
    header = _BLOCK_HEADER.match(written)
    if header:
        # The comment that may follow the indicator stays.
        return _flow(value, _Style('"')) + (header[1] or "")
    style = _style_of(place)
    if not _BLOCK_SEQUENCE.match(written):
        return _flow(value, style)
    if not isinstance(value, list) or not value:
        # The dashes may stand right below the key, where nothing else may.
        return f" {_flow(value, style)}"
    margin = " " * (place.start - source.line_starts[place.line - 1])
    return f"{newline_of(source.text)}{margin}".join(f"- {_flow(item, style)}" for item in value)


class _Style(NamedTuple):
    """How strings are written: in which quotes, and whether one may look like a date or bool."""

    quote: str = ""
    ambiguous: bool = False


def _style_of(place: Place) -> _Style:
    if isinstance(place.value, list):
        quote = re.search("['\"]", place.written)
        return _Style(quote[0] if quote else "")
    if place.written[0] in "'\"":
        return _Style(place.written[0])
    return _Style("", isinstance(place.value, str) and bool(_OLD_TYPES.fullmatch(place.written)))


def _flow(value: Any, style: _Style) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, str):
        return _string(value, style)
    if isinstance(value, list):
        return f"[{', '.join(_flow(item, style) for item in value)}]"
    if isinstance(value, dict):
        entries = (f"{_flow(key, style)}: {_flow(value[key], style)}" for key in value)
        return f"{{{', '.join(entries)}}}"
    raise ValueError(f"YAML has no {type(value).__name__}")


def _float(value: float) -> str:
    shown = repr(value)
    if shown.lstrip("-") in ("inf", "nan"):
        return shown.replace("inf", ".inf").replace("nan", ".nan")
    # YAML 1.1 takes 1e-05 for a string.
    return shown if "." in shown else shown.replace("e", ".0e")


def _string(value: str, style: _Style) -> str:
    if style.quote == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    if not style.quote and isinstance(_core(value, unquoted=True), str):
        if style.ambiguous and _SAFE_DATE.fullmatch(value):
            return value
        if _SAFE_PLAIN.fullmatch(value) and (style.ambiguous or not _OLD_TYPES.fullmatch(value)):
            return value
    return double_quoted(value)


def _core(text: str, unquoted: bool) -> Any:
    """Return what a scalar means in the core schema."""
    if not unquoted:
        return text
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text) or _INFINITE.fullmatch(text):
        # float() spells infinity and nan without the dot.
        return float(re.sub(r"\.(?=[inIN])", "", text))
    return text


def _tagged(text: str, tag: str) -> Any:
    """Return what a scalar with a tag means; ValueError for what is the program's to say."""
    if tag in ("!", "!!str"):
        return text
    value = _core(text, unquoted=True)
    if tag == "!!float" and type(value) is int:
        return float(value)
    kind = {"!!int": int, "!!float": float, "!!bool": bool, "!!null": type(None)}.get(tag)
    if kind is None or type(value) is not kind:
        raise ValueError(f"{tag} {text}")
    return value


def _mapping_value(entries: list[tuple[_Node, _Node]]) -> dict[Any, Any]:
    """Return a mapping with what its merge keys add, as it is seen within a list."""
    own = {}
    merged: dict[Any, Any] = {}
    for key, node in entries:
        if key.is_merge:
            tables = node.value if isinstance(node.value, list) else [node.value]
            for table in tables:
                merged = {**table, **merged} if isinstance(table, dict) else merged
        elif key.text is not None:
            own[key.value] = node.value
    return {**merged, **own}


def _holds_opaque(node: _Node) -> bool:
    if node.opaque or node.entries is None:
        return node.opaque
    return any(
        key.text is None or key.opaque or _holds_opaque(value) for key, value in node.entries
    )


def _leaves(
    node: _Node, keys: tuple[str, ...], source: SourceText
) -> Iterator[tuple[tuple[str, ...], _Node]]:
    if node.entries is None:
        if keys:
            yield keys, node
        return
    seen: dict[str, _Node] = {}
    for key, value in node.entries:
        if key.text is None or key.is_merge:
            continue
        if key.text in seen:
            first = source.line(seen[key.text].start)
            raise source.fault(key.start, f"{key.text} is here again, it is also in line {first}")
        seen[key.text] = key
        if not value.alias and not value.opaque:
            yield from _leaves(value, (*keys, key.text), source)


class _Composer:
    """Builds nodes from the events of the parser."""

    def __init__(self, source: SourceText) -> None:
        self.source = source
        self.events = YAML(typ="safe", pure=True).parse(source.text)
        self.anchors: dict[str, _Node] = {}

    def document(self) -> _Node | None:
        root = None
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                if root is not None:
                    offset = event.start_mark.index
                    raise self.source.fault(offset, "a second document begins here, one is read")
                root = self.node(next(self.events), 0)
        return root

    def node(self, event: Any, empty_at: int) -> _Node:
        """Compose the node that begins with an event; an empty one stands at `empty_at`."""
        if isinstance(event, AliasEvent):
            return self.aliased(event)
        start, tag = self.properties(event)
        if isinstance(event, ScalarEvent):
            node = self.scalar(event, tag, start, empty_at)
        elif isinstance(event, SequenceStartEvent):
            node = self.sequence(event, tag, start)
        else:
            node = self.mapping(event, tag, start)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def properties(self, event: Any) -> tuple[int, str | None]:
        """Return where the value begins after its tag and anchor, and the tag."""
        start: int = event.start_mark.index
        if event.anchor is None and event.tag is None:
            return start, None
        properties = _PROPERTIES.match(self.source.text, start)
        if properties is None:
            return start, None
        tag = _TAG.search(properties[0])
        return properties.end(), tag[1] if tag else None

    def aliased(self, event: Any) -> _Node:
        start, end = event.start_mark.index, event.end_mark.index
        target = self.anchors.get(event.anchor)
        if target is None:
            raise self.source.fault(start, f"no &{event.anchor} before this *{event.anchor}")
        return _Node(
            target.value, start, end, opaque=_holds_opaque(target), shared=True, alias=True
        )

    def scalar(self, event: Any, tag: str | None, start: int, empty_at: int) -> _Node:
        end = event.end_mark.index
        text = self.source.text
        unquoted = not event.style
        if unquoted and not event.value:
            bare = event.anchor is None and event.tag is None
            start = end = empty_at if bare else event.end_mark.index
        elif event.style in ("|", ">"):
            end = start + len(text[start:end].rstrip(" \t\r\n"))
        try:
            value = _tagged(event.value, tag) if tag else _core(event.value, unquoted)
        except ValueError:
            return _Node(None, start, end, text=event.value, opaque=True)
        is_merge = unquoted and event.value == "<<"
        return _Node(value, start, end, text=event.value, is_merge=is_merge)

    def sequence(self, event: Any, tag: str | None, start: int) -> _Node:
        items: list[_Node] = []
        end = start
        for inner in self.events:
            if isinstance(inner, SequenceEndEvent):
                if event.flow_style:
                    end = inner.end_mark.index
                break
            items.append(self.node(inner, self.after(_DASH, end)))
            end = items[-1].end
        return _Node(
            [item.value for item in items],
            start,
            end,
            opaque=tag not in (None, "!!seq") or any(map(_holds_opaque, items)),
            shared=any(item.shared for item in items),
        )

    def mapping(self, event: Any, tag: str | None, start: int) -> _Node:
        entries: list[tuple[_Node, _Node]] = []
        end = start
        for inner in self.events:
            if isinstance(inner, MappingEndEvent):
                if event.flow_style:
                    end = inner.end_mark.index
                break
            key = self.node(inner, inner.end_mark.index)
            value = self.node(next(self.events), self.after(_COLON, key.end))
            entries.append((key, value))
            end = value.end
        nodes = [node for entry in entries for node in entry]
        return _Node(
            _mapping_value(entries),
            start,
            end,
            entries=tuple(entries),
            opaque=tag not in (None, "!!map"),
            shared=any(node.shared for node in nodes),
        )

    def after(self, indicator: re.Pattern[str], offset: int) -> int:
        match = indicator.match(self.source.text, offset)
        return match.end() if match else offset
