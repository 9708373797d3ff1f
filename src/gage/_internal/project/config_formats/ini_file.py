"""INI files: `section.key` as configparser reads them, without interpolation.

A name is spelt as in the file; programs mostly look keys up in lower case.
"""

from __future__ import annotations

import configparser
import io
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from gage._internal.errors import ConfigFileError
from gage._internal.project.config_formats.document import Document, Place, dotted_name
from gage._internal.project.config_formats.source_text import SourceText, decode, newline_of

_INDENT = re.compile(r"(?:\r\n|\r|\n)([ \t]+)\S")


class _Option(NamedTuple):
    section: str
    key: str
    start: int
    end: int


def parse(path: str, data: bytes) -> Document:
    """Find the options of an INI file."""
    source = decode(path, data)
    found: dict[tuple[str, str], _Option] = {}
    for option in _options(source):
        first = found.setdefault((option.section, option.key), option)
        if first is not option:
            line = source.line(first.start)
            raise source.fault(
                option.start, f"{option.key} is here again, it is also in line {line}"
            )
    parser = _parser(source)
    places = {}
    for option in found.values():
        values = parser.defaults() if option.section == parser.default_section else None
        value = values[option.key] if values else parser.get(option.section, option.key)
        places[dotted_name((option.section, option.key))] = Place(
            value,
            source.line(option.start),
            option.start,
            option.end,
            source.text[option.start : option.end],
        )
    return Document(source, places)


def plain(value: Any) -> str:
    """Return the value as text: INI files hold nothing else."""
    return str(value)


def render(value: Any, place: Place, source: SourceText) -> str:
    """Return the text with what its lines need to be taken for one value."""
    text = source.text
    newline = newline_of(text)
    lines: list[str] = value.split("\n")
    indent = _INDENT.search(place.written)
    key_line = text[source.line_starts[place.line - 1] : place.start]
    key_indent = key_line[: len(key_line) - len(key_line.lstrip())]
    margin = indent[1] if indent else f"{key_indent}    "
    spaced = text[place.start - 1] in "=:" and text[place.start - 2].isspace()
    lead = " " if lines[0] and spaced else ""
    return lead + newline.join([lines[0], *(line and margin + line for line in lines[1:])])


def _parser(source: SourceText) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_file(io.StringIO(source.text, newline=None), source.path)
    except configparser.Error as error:
        raise _fault(source, error) from None
    return parser


def _fault(source: SourceText, error: configparser.Error) -> ConfigFileError:
    line = getattr(error, "lineno", None)
    if line is None:
        # A ParsingError lists the lines that it could not make sense of.
        line = (getattr(error, "errors", None) or [(1, "")])[0][0]
    if isinstance(error, configparser.MissingSectionHeaderError):
        what = "a [section] is expected before the first key"
    elif isinstance(error, configparser.DuplicateSectionError):
        what = f"[{error.section}] is here again"
    else:
        what = "neither a [section] nor a key with a value"
    return source.fault(source.line_starts[line - 1], what)


def _options(source: SourceText) -> Iterator[_Option]:
    """Yield where values stand, taking lines for what configparser takes them for."""
    text, starts = source.text, source.line_starts
    section: str | None = None
    option: _Option | None = None
    option_indent = 0
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        line = text[start:end]
        content = line.strip()
        if not content or content[0] in "#;":
            continue
        indent = len(line) - len(line.lstrip())
        start += indent
        end = start + len(content)
        if option is not None and indent > option_indent:
            option = _Option(option.section, option.key, option.start, end)
            continue
        if option is not None:
            yield option
            option = None
        option_indent = indent
        header = configparser.RawConfigParser.SECTCRE.match(content)
        pair = configparser.RawConfigParser.OPTCRE.match(content)
        if header:
            section = header["header"]
        elif pair and section is not None:
            value_start = start + pair.start("value")
            if not pair["value"] and text[value_start : value_start + 1] in (" ", "\t"):
                value_start += 1
            option = _Option(section, pair["option"].rstrip(), value_start, max(value_start, end))
    if option is not None:
        yield option
