"""A row of the table: what is measured, beside what, and how good it is to be."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.measure import Command, Sample


@dataclass(frozen=True)
class Bar:
    """At most `ratio` times what the peer takes, and `plus` seconds more."""

    ratio: float
    plus: float = 0.0

    def __str__(self) -> str:
        if self.ratio == 1:
            return f"+{self.plus * 1000:.0f} ms"
        return f"{self.ratio:g}x" + (f" +{self.plus * 1000:.0f} ms" if self.plus else "")

    def is_met(self, pairs: Sequence[tuple[Sample, Sample]]) -> bool:
        """Tell whether the median of the pairs keeps to it."""
        over = [ours.wall - self.ratio * peer.wall for ours, peer in pairs]
        return statistics.median(over) <= self.plus


@dataclass(frozen=True)
class Row:
    """One comparison.

    `prepare` makes what the commands need, once; `optional` rows may fail without harm.
    """

    name: str
    ours: Command
    peer: Command
    bar: Bar | None = None
    prepare: Callable[[], None] | None = None
    optional: bool = False
