"""Lineage: which runs a run has files of, and which have files of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gage._internal.catalog.find import list_runs
from gage._internal.errors import RunDamaged
from gage._internal.store import meta
from gage._internal.store.record import RunRecord, find_record
from gage._internal.types import Run


class Node(NamedTuple):
    """A run of a lineage: how many runs it is away from the one that is asked for.

    `record` is None for a run that is not in the runs home any more.
    """

    id: str
    distance: int
    record: RunRecord | None


def upstream_ids(run: Run) -> list[str]:
    """Return the ids of the runs that a run has files of; none where that cannot be read."""
    try:
        lineages = [each.get("lineage") for each in meta.read_depends(run)]
    except RunDamaged:
        return []
    found: list[str] = []
    for lineage in lineages:
        if isinstance(lineage, dict):
            found += [lineage["run"]] if "run" in lineage else lineage.get("runs", [])
    return list(dict.fromkeys(map(str, found)))


class Lineage:
    """The lineage of the runs of a runs home."""

    def __init__(self, home: str) -> None:
        self._runs = {run.id: run for run in list_runs(home)}
        self._upstream = {run_id: upstream_ids(run) for run_id, run in self._runs.items()}
        self._downstream: dict[str, list[str]] = {}
        for run_id in reversed(self._runs):
            for above in self._upstream[run_id]:
                self._downstream.setdefault(above, []).append(run_id)

    def above(self, run: Run) -> Iterator[Node]:
        """Yield the runs upstream, a run before what it has files of; each once."""
        return self._walk(run.id, self._upstream)

    def below(self, run: Run) -> Iterator[Node]:
        """Yield the runs downstream, a run before what has files of it; each once."""
        return self._walk(run.id, self._downstream)

    def _walk(self, start: str, edges: dict[str, list[str]]) -> Iterator[Node]:
        seen = {start}
        waiting = [(run_id, 1) for run_id in reversed(edges.get(start, []))]
        while waiting:
            run_id, distance = waiting.pop()
            if run_id in seen:
                continue
            seen.add(run_id)
            run = self._runs.get(run_id)
            yield Node(run_id, distance, find_record(run) if run else None)
            waiting += [(each, distance + 1) for each in reversed(edges.get(run_id, []))]
