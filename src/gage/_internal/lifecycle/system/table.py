"""Requirements and what was found of them, as a table of text."""

from __future__ import annotations

from collections.abc import Sequence

from gage._internal.fs import printable
from gage._internal.lifecycle.system.compare import Comparison

_GAP = 2
_TITLES = ("needed", "found", "needed by", "what would mend it")


def table_lines(comparisons: Sequence[Comparison], with_result: bool = False) -> list[str]:
    """Return a line of titles, and one for each comparison; `with_result` says which are met."""
    rows = [_TITLES, *map(_cells, comparisons)]
    if with_result:
        results = ["", *("ok" if each.is_met else "failed" for each in comparisons)]
        rows = [(result, *row) for result, row in zip(results, rows)]  # noqa: B905
    widths = [max(len(row[i]) for row in rows) + _GAP for i in range(len(rows[0]))]
    return [_line(row, widths) for row in rows]


def _cells(comparison: Comparison) -> tuple[str, ...]:
    needed = comparison.requirement
    texts = (needed.text, comparison.found, needed.by, comparison.remedy)
    return tuple(map(printable, texts))


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip()  # noqa: B905
