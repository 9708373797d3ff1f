"""What a run prints, for as long as it does."""

from __future__ import annotations

import time
from collections.abc import Iterator

from gage._internal.store import output, status
from gage._internal.store.output import Piece
from gage._internal.types import Run

_POLL = 0.1


def iter_output(run: Run, phase: str, start: int = 0, follow: bool = False) -> Iterator[Piece]:
    """Yield what a phase has printed from byte `start` on; `follow` goes on until the run ends."""
    while True:
        waiting = (*status.ACTIVE, status.STAGED, status.INITIALIZED)
        is_active = follow and status.run_status(run) in waiting
        try:
            for piece in output.iter_pieces(run, phase, start, is_over=not is_active):
                start += len(piece.data)
                yield piece
        except FileNotFoundError:
            pass
        if not is_active:
            return
        time.sleep(_POLL)
