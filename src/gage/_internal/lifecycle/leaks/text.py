"""Paths to places in text: in source code, scripts and settings.

What only people read is passed over: comments and bare strings (docstrings) of Python, the
output in notebooks, lines that are comments, prose, and the settings of editors.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from gage._internal.lifecycle.leaks.mentions import Mention, iter_mentions
from gage._internal.lifecycle.leaks.places import Places

_PROSE = (".md", ".markdown", ".rst", ".adoc", ".log")
_OF_EDITORS = (".vscode", ".idea")
_SLASH_COMMENTS = (".c", ".cc", ".cpp", ".cu", ".go", ".h", ".hpp", ".java", ".js", ".rs", ".ts")
_BINARY_PROBE = 8192
# The syntax tree of a longer file takes longer to make than people wait.
_LONGEST_PARSED = 256 * 1024

# Line and column where a string starts, and where it ends.
_Span = tuple[tuple[int, int], tuple[int, int]]


class Found(NamedTuple):
    """A mention of a place in a text, and its line, counted from 1."""

    line: int
    mention: Mention


def is_binary(data: bytes) -> bool:
    """Tell whether content is no text: a NUL byte is near its beginning."""
    return b"\0" in data[:_BINARY_PROBE]


def find_in_text(path: str, data: bytes, places: Places) -> list[Found]:
    """Return the mentions of places in a text file that matter when it is used."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix in _PROSE or any(part in _OF_EDITORS for part in path.split("/")):
        return []
    found = _numbered(data, places)
    if not found:
        return []
    if suffix == ".ipynb":
        return _in_code_cells(data, found, places)
    if suffix in (".py", ".pyw") or (b"python" in data[:100] and data.startswith(b"#!")):
        spans = _string_spans(data)
        if spans is not None:
            return [each for each in found if _is_within(data, each, spans)]
    mark = b"//" if suffix in _SLASH_COMMENTS else b"#"
    return [each for each in found if not _is_comment(data, each.mention.at, mark)]


def _numbered(data: bytes, places: Places) -> list[Found]:
    found = []
    line, counted = 1, 0
    for mention in iter_mentions(places, data):
        line += data.count(b"\n", counted, mention.at)
        counted = mention.at
        found.append(Found(line, mention))
    return found


def _is_comment(data: bytes, at: int, mark: bytes) -> bool:
    start = data.rfind(b"\n", 0, at) + 1
    before = data[start:at].lstrip()
    return before.startswith(mark)


def _is_within(data: bytes, found: Found, spans: list[_Span]) -> bool:
    column = found.mention.at - (data.rfind(b"\n", 0, found.mention.at) + 1)
    return any(start <= (found.line, column) < end for start, end in spans)


def _string_spans(data: bytes) -> list[_Span] | None:
    """Return where the strings of a Python file start and end; None where it cannot be parsed."""
    import ast
    import warnings

    if len(data) > _LONGEST_PARSED:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    spans: list[_Span] = []
    for node in _strings(tree):
        if id(node) not in bare:
            end = node.end_lineno, node.end_col_offset
            spans.append(((node.lineno, node.col_offset), end))
    return spans


def _strings(tree: Any) -> Iterator[Any]:
    """Yield the strings of a syntax tree, an f-string as a whole."""
    import ast

    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))
        ):
            yield node
        else:
            waiting.extend(ast.iter_child_nodes(node))


def _in_code_cells(data: bytes, found: list[Found], places: Places) -> list[Found]:
    """Return the mentions in the code of a notebook, each at the line of the file it stands on."""
    import json

    try:
        cells = json.loads(data)["cells"]
        lines = [
            line
            for cell in cells
            if cell["cell_type"] == "code"
            for line in _source_lines(cell["source"])
            if not line.lstrip().startswith("#")
        ]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return found
    targets = {
        mention.target
        for line in lines
        for mention in iter_mentions(places, line.encode(errors="surrogateescape"))
    }
    texts = {
        json.dumps(line, ensure_ascii=ascii_)[1:-1] for line in lines for ascii_ in (False, True)
    }
    wanted = {os.fsencode(text) for text in texts}
    chosen = []
    for each in found:
        start = data.rfind(b"\n", 0, each.mention.at) + 1
        end = data.find(b"\n", each.mention.at)
        content = data[start : end if end >= 0 else len(data)].strip().rstrip(b",")
        is_whole = content.startswith(b'"') and content.endswith(b'"')
        if each.mention.target in targets and (not is_whole or content[1:-1] in wanted):
            chosen.append(each)
    return chosen


def _source_lines(source: str | list[str]) -> list[str]:
    return source.splitlines(keepends=True) if isinstance(source, str) else source
