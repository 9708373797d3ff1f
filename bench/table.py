"""The table, line by line."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from bench.measure import Sample
from bench.rows import Row

_WIDTHS = (48, 10, 10, 10, 8, 11, 5, 10, 8)
_TITLES = ("row", "ours", "peer", "more", "ratio", "bar", "met", "more cpu", "memory")


def format_titles() -> str:
    """Return the first line."""
    return _format(_TITLES)


def format_line(row: Row, pairs: Sequence[tuple[Sample, Sample]]) -> str:
    """Return the line of a row: medians; `more` and `ratio` are medians over the pairs.

    `more cpu` is processor time, which other load on the machine changes less than it does the
    wall clock. `memory` is the most that any of our processes had in any round.
    """

    def median(value: Callable[[Sample, Sample], float]) -> float:
        return statistics.median(value(ours, peer) for ours, peer in pairs)

    return _format(
        (
            row.name,
            _time(median(lambda ours, peer: ours.wall)),
            _time(median(lambda ours, peer: peer.wall)),
            _time(median(lambda ours, peer: ours.wall - peer.wall)),
            f"{median(lambda ours, peer: ours.wall / peer.wall):.2f}x",
            str(row.bar or "-"),
            "-" if row.bar is None else "yes" if row.bar.is_met(pairs) else "NO",
            _time(median(lambda ours, peer: ours.cpu - peer.cpu)),
            f"{max(ours.peak for ours, _ in pairs) / 1e6:.0f} MB",
        )
    )


def _format(cells: Sequence[str]) -> str:
    first, *rest = zip(cells, _WIDTHS, strict=True)
    return f"{first[0]:<{first[1]}}" + "".join(f"{cell:>{width}}" for cell, width in rest)


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if abs(seconds) < 1 else f"{seconds:.2f} s"
