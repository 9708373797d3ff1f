"""Changing values of a config file and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gage._internal import fs
from gage._internal.errors import BadConfigValue, ConfigFileError, UnknownConfig
from gage._internal.project.config_formats.document import Document, Place
from gage._internal.project.config_formats.formats import Format
from gage._internal.project.config_formats.plain_values import fit, same
from gage._internal.project.config_formats.source_text import SourceText
from gage._internal.project.near_names import near_hint


def patch(file_format: Format, path: str, data: bytes, changes: Mapping[str, Any]) -> bytes:
    """Return `data` with changed values, or `data` itself where all are what they were."""
    document = file_format.parse(path, data)
    wanted: dict[str, Any] = {}
    edits: list[tuple[Place, str]] = []
    for name, value in changes.items():
        place = _place(document, name)
        fitted = fit(file_format.plain(value), place.value)
        if same(fitted, place.value):
            continue
        wanted[name] = fitted
        edits.append((place, _rendered(file_format, name, fitted, place, document.source)))
    if not edits:
        return data
    patched = _replace(document.source, data, edits)
    _verify(file_format, document, patched, wanted)
    return patched


def _place(document: Document, name: str) -> Place:
    path = fs.printable(document.source.path)
    shown = fs.printable(name)
    if name in document.places:
        return document.places[name]
    if name in document.refused:
        raise UnknownConfig(f"{path}: {shown} is not config: {document.refused[name]}")
    raise UnknownConfig(f"{path} has no config {shown}", near_hint(name, list(document.places)))


def _rendered(file_format: Format, name: str, value: Any, place: Place, source: SourceText) -> str:
    try:
        text = file_format.render(value, place, source)
        text.encode(source.encoding)
    except UnicodeEncodeError:
        reason = f"the file is in {source.encoding}"
    except (ValueError, RecursionError) as error:
        reason = str(error)
    else:
        return text
    raise _refusal(source, place, name, value, reason)


def _refusal(
    source: SourceText, place: Place, name: str, value: Any, reason: str
) -> BadConfigValue:
    where = f"{source.place(place.start)}: {fs.printable(name)}"
    return BadConfigValue(f"{where} cannot be {_shown(value)}: {reason}")


def _shown(value: Any) -> str:
    try:
        shown = repr(value)
    except (ValueError, RecursionError):
        return f"this {type(value).__name__}"
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _replace(source: SourceText, data: bytes, edits: list[tuple[Place, str]]) -> bytes:
    if source.encode(source.text) != data:
        raise ConfigFileError(
            f"{source.place(0)}: cannot be changed: {source.encoding} can be written in other ways"
        )
    pieces = []
    end = 0
    for place, text in sorted(edits, key=lambda edit: edit[0].start):
        pieces += [source.text[end : place.start], text]
        end = place.end
    return source.encode("".join(pieces) + source.text[end:])


def _verify(
    file_format: Format, before: Document, patched: bytes, wanted: Mapping[str, Any]
) -> None:
    try:
        after = file_format.parse(before.source.path, patched).places
    except ConfigFileError as error:
        raise _unwritable(before, wanted, f"the file would no longer be read ({error})") from None
    for name, value in wanted.items():
        if name not in after or not same(after[name].value, value):
            raise _unwritable(before, {name: value}, "it would not be read back")
    for name, place in before.places.items():
        if name not in wanted and not (name in after and _unchanged(place, after[name])):
            raise _unwritable(before, wanted, f"it would change {name}")
    if len(after) != len(before.places):
        added = ", ".join(after.keys() - before.places.keys())
        raise _unwritable(before, wanted, f"it would add {added}")


def _unchanged(before: Place, after: Place) -> bool:
    if before.shared and after.shared:
        return before.written == after.written
    return same(before.value, after.value)


def _unwritable(document: Document, wanted: Mapping[str, Any], reason: str) -> BadConfigValue:
    name, value = next(iter(wanted.items()))
    return _refusal(document.source, document.places[name], name, value, reason)
