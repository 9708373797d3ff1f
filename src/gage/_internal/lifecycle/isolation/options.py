"""What is asked for of a sealed start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

NAMESPACES = "namespaces"
BUBBLEWRAP = "bubblewrap"
LANDLOCK = "landlock"
# The best first.
RUNGS = (NAMESPACES, BUBBLEWRAP, LANDLOCK)


class Isolated(NamedTuple):
    """How a run is to be sealed.

    `network` tells whether it may have one, `rung` which rung is wanted, the best that works where
    it is None. `hidden` are directories that are not to be there, the project above all: those that
    a run is known not to need are hidden anyway.
    """

    network: bool = True
    rung: str | None = None
    hidden: Sequence[str] = ()
