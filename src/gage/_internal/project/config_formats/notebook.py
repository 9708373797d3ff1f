"""Notebooks: the constants that their Python cells assign, patched within the JSON strings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from gage._internal.project.config_formats import json_file, python_file
from gage._internal.project.config_formats.document import Document, Place, dotted_name
from gage._internal.project.config_formats.json_file import Node
from gage._internal.project.config_formats.python_file import Assignment, Constant
from gage._internal.project.config_formats.source_text import SourceText, decode, line_starts

_ESCAPE_OR_CHARACTER = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|[^\\]"
)
_CELL_MAGIC = re.compile(r"\s*%%(?!time\b|timeit\b|capture\b|prun\b)")
_LINE_MAGIC = re.compile(r"(?m)^[ \t]*(?:[\w., \t]+=[ \t]*)?(?P<magic>[%!?][^\r\n]*)")
_HELP = re.compile(r"(?m)^[ \t]*(?P<magic>[%\w.]+\?{1,2})[ \t]*$")

plain = python_file.plain


class _Cell(NamedTuple):
    """A code cell: the JSON strings that its source consists of, and their joined text."""

    strings: tuple[Node, ...]
    text: str


def parse(path: str, data: bytes) -> Document:
    """Find the constants that the code cells of a notebook assign."""
    source = decode(path, data)
    assignments: list[Assignment] = []
    written: dict[tuple[int, int], str] = {}
    for cell in _code_cells(json_file.scan(source)):
        for assignment in _assignments(cell, source):
            constant = assignment.constant
            if constant is not None:
                text = cell.text[constant.start : constant.end]
                constant = _in_notebook(constant, cell, source.text)
                written[constant.start, constant.end] = text
            line = _line(cell, assignment.line, source)
            assignments.append(assignment._replace(line=line, constant=constant))
    places = {
        dotted_name(keys): Place(
            constant.value,
            source.line(constant.start),
            constant.start,
            constant.end,
            written[constant.start, constant.end],
        )
        for keys, constant in python_file.sole_constants(assignments).items()
        if not python_file.is_private(keys)
    }
    return Document(source, places, python_file.reassigned(assignments))


def render(value: Any, place: Place, source: SourceText) -> str:
    """Return the value as a Python literal, escaped as within a JSON string."""
    literal = python_file.render(value, place, SourceText(source.path, ""))
    return json.dumps(literal, ensure_ascii=False)[1:-1]


def _code_cells(root: Node) -> Iterator[_Cell]:
    if not isinstance(root.value, dict) or _language(root.value) not in ("python", None):
        return
    cells = (root.members or {}).get("cells")
    for cell in cells.items if cells else ():
        if cell.members is None or cell.value.get("cell_type") != "code":
            continue
        node = cell.members.get("source")
        if node is None:
            continue
        strings = tuple(node.items) if isinstance(node.value, list) else (node,)
        if all(isinstance(string.value, str) for string in strings):
            text = "".join(string.value for string in strings)
            if not _CELL_MAGIC.match(text):
                yield _Cell(strings, text)


def _language(notebook: dict[str, Any]) -> str | None:
    metadata = notebook.get("metadata")
    for table, key in (("language_info", "name"), ("kernelspec", "language")):
        found = metadata.get(table) if isinstance(metadata, dict) else None
        if isinstance(found, dict) and isinstance(found.get(key), str):
            return str(found[key]).lower()
    return None


def _assignments(cell: _Cell, source: SourceText) -> list[Assignment]:
    """Read the assignments of a cell, whose IPython magic is no Python."""
    text = cell.text
    try:
        module = python_file.parse_module(text)
    except SyntaxError:
        text = _without_magic(cell.text)
        try:
            module = python_file.parse_module(text)
        except SyntaxError as error:
            line = _line(cell, error.lineno or 1, source)
            raise source.fault(source.line_starts[line - 1], str(error.msg)) from None
    return [
        _if_written(assignment, text, cell.text)
        for assignment in python_file.read_assignments(module, text)
    ]


def _if_written(assignment: Assignment, text: str, original: str) -> Assignment:
    """Leave out a constant that stands for magic."""
    constant = assignment.constant
    if constant is None:
        return assignment
    span = slice(constant.start, constant.end)
    return assignment if text[span] == original[span] else assignment._replace(constant=None)


def _without_magic(text: str) -> str:
    """Replace magic by an expression and a comment of the same length."""
    for pattern in (_LINE_MAGIC, _HELP):
        text = pattern.sub(_blank, text)
    return text


def _blank(match: re.Match[str]) -> str:
    magic = match["magic"]
    return match[0][: match.start("magic") - match.start()] + ("0#" + magic[2:])[: len(magic)]


def _line(cell: _Cell, line: int, source: SourceText) -> int:
    """Return the line of the notebook that a line of a cell stands in."""
    starts = line_starts(cell.text)
    return source.line(_span(cell, starts[min(line, len(starts)) - 1], source.text)[0])


def _in_notebook(constant: Constant, cell: _Cell, text: str) -> Constant:
    start, _ = _span(cell, constant.start, text)
    _, end = _span(cell, constant.end - 1, text)
    return Constant(constant.value, start, end)


def _span(cell: _Cell, offset: int, text: str) -> tuple[int, int]:
    """Return where in the notebook the character of a cell stands, which may be an escape."""
    string = cell.strings[-1]
    for string in cell.strings:
        if offset < len(string.value):
            break
        offset -= len(string.value)
    end = string.start + 1
    start = end
    for _ in range(offset + 1):
        start = end
        match = _ESCAPE_OR_CHARACTER.match(text, start)
        if match is None or start >= string.end - 1:
            break
        end = match.end()
    return start, end
