"""Make a run: an id, and an empty run directory that nobody else has."""

from __future__ import annotations

import os

from gage._internal.store import lock
from gage._internal.types import Run


def make_run(home: str, marked: bool = False) -> Run:
    """Create a run directory in a runs home, and the home if need be.

    Where it is `marked`, a mark in the home tells that this process makes it, until it is staged
    or staging has failed.
    """
    run_id = _random_uuid()
    run_dir = os.path.join(os.path.abspath(home), run_id)
    os.makedirs(home, exist_ok=True)
    run = Run(run_id, run_dir)
    if marked:
        lock.announce(run)
    try:
        os.mkdir(run_dir)
    except BaseException:
        if marked:
            lock.withdraw(run)
        raise
    return run


def _random_uuid() -> str:
    """Return a UUID4; importing `uuid` for it would take longer than all that `make_run` does."""
    data = bytearray(os.urandom(16))
    data[6] = data[6] & 0x0F | 0x40
    data[8] = data[8] & 0x3F | 0x80
    digits = data.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
