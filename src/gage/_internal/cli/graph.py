"""The runs upstream and downstream of one, as `gage show --graph` draws them.

What a run has files of stands above it, indented the more the farther away it is; what has files
of it stands below, the same way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from gage._internal.catalog.lineage import Lineage, Node
from gage._internal.fs import printable
from gage._internal.store.record import RunRecord, find_record
from gage._internal.types import Run

_GONE = "not in this runs home"


def as_text(run: Run) -> Iterator[str]:
    """Yield the lines of the drawing."""
    lineage = Lineage(os.path.dirname(run.run_dir))
    for node in reversed(list(lineage.above(run))):
        yield _line("  " * (node.distance - 1) + "┌ ", node.id, node.record)
    yield _line("● ", run.id, find_record(run))
    for node in lineage.below(run):
        yield _line("  " * (node.distance - 1) + "└ ", node.id, node.record)


def as_json(run: Run) -> dict[str, Any]:
    """Return the same as JSON values."""
    lineage = Lineage(os.path.dirname(run.run_dir))
    return {
        "id": run.id,
        "upstream": [_values(node) for node in lineage.above(run)],
        "downstream": [_values(node) for node in lineage.below(run)],
    }


def _line(start: str, run_id: str, record: RunRecord | None) -> str:
    if record is None:
        return f"{start}{run_id}  {_GONE}"
    return f"{start}{printable(record.opref.name)}  {record.name}  {record.status}"


def _values(node: Node) -> dict[str, Any]:
    record = node.record
    return {
        "id": node.id,
        "distance": node.distance,
        "name": record.name if record else None,
        "operation": record.opref.name if record else None,
        "status": record.status if record else None,
    }
