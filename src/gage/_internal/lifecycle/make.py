"""Make a run: an id, and an empty run directory that nobody else has."""

from __future__ import annotations

import os
import uuid

from gage._internal.types import Run


def make_run(home: str) -> Run:
    """Create a run directory in a runs home, and the home if need be."""
    run_id = str(uuid.uuid4())
    run_dir = os.path.join(os.path.abspath(home), run_id)
    os.makedirs(home, exist_ok=True)
    os.mkdir(run_dir)
    return Run(run_id, run_dir)
