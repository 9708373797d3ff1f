"""A choice among runs, as a dependency writes it: an operation, or a table of what they must be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gage._internal.catalog.find import find_run, list_runs
from gage._internal.errors import RunDamaged
from gage._internal.fs import printable
from gage._internal.store import meta, status
from gage._internal.store.attributes import find_label, list_tags
from gage._internal.types import Run


def choose_runs(home: str, choice: str | Mapping[str, Any]) -> Iterator[Run]:
    """Yield the runs of a runs home that are meant, newest first.

    `choice` is the name of an operation, or a table of `run` (what a command line calls one run),
    `operation`, `status`, `label` and `tag`, all of which must hold. Unless it says another status,
    or one run, runs must be completed. What is damaged is passed over.

    Raises:
        RunNotFound, RunAmbiguous: `run` names none, or several.
    """
    wanted = {"operation": choice} if isinstance(choice, str) else dict(choice)
    if "run" in wanted:
        runs = [find_run(home, wanted.pop("run"))]
    else:
        runs = list_runs(home)
        wanted.setdefault("status", status.COMPLETED)
    for run in runs:
        try:
            if all(_is(run, key, value) for key, value in wanted.items()):
                yield run
        except RunDamaged:
            pass


def choice_in_words(choice: str | Mapping[str, Any]) -> str:
    """Return a choice as people read it: `prepare`, or `tag=good operation=prepare`."""
    if isinstance(choice, str):
        return printable(choice)
    return " ".join(f"{key}={printable(str(value))}" for key, value in choice.items())


def _is(run: Run, key: str, value: str) -> bool:
    if key == "operation":
        return meta.read_opref(run).name == value
    if key == "status":
        return status.run_status(run) == value
    if key == "label":
        return find_label(run) == value
    return value in list_tags(run)
