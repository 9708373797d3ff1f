"""Runs that do the same: of the same source, config, runtime, dependencies and command.

What decides that is what a seal says of a run's inputs, whatever words it was staged with.
"""

from __future__ import annotations

from gage._internal.catalog.find import list_runs
from gage._internal.errors import RunDamaged
from gage._internal.store import layout, meta, status
from gage._internal.store.seal import find_inputs
from gage._internal.types import Run


class Completed:
    """The runs of a runs home by their inputs: of these, those that have completed."""

    def __init__(self, home: str) -> None:
        self._by_inputs: dict[str, list[Run]] = {}
        for run in list_runs(home):
            try:
                data = meta.find_meta(run, layout.SEAL)
            except RunDamaged:
                continue
            inputs = find_inputs(data or b"")
            if inputs:
                self._by_inputs.setdefault(inputs, []).append(run)

    def find_same(self, run: Run) -> Run | None:
        """Return the newest that has completed with the inputs of a run that is sealed."""
        for found in self._by_inputs.get(find_inputs(meta.read_meta(run, layout.SEAL)), ()):
            try:
                if found != run and _has_completed(found):
                    return found
            except RunDamaged:
                continue
        return None


def _has_completed(run: Run) -> bool:
    # Whose runner was killed before it had recorded the end may lack results.
    return meta.has_meta(run, layout.STOPPED) and status.run_status(run) == status.COMPLETED
