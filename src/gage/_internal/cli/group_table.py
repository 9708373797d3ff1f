"""The runs of a group as a table: what varies between them, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gage._internal.catalog.find import find_group
from gage._internal.catalog.rows import record_as_json
from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.times import duration_text
from gage._internal.cli.values import value_text
from gage._internal.fs import printable
from gage._internal.store import status
from gage._internal.store.logs import counted
from gage._internal.store.record import RunRecord, find_record

_ABSENT = object()


def show_group(group: str, context: Context) -> None:
    """Print the runs of a group.

    Raises:
        RunNotFound: there is no such group.
    """
    records = [find_record(run) for run in find_group(context.home(), group)]
    varied = varied_names(records)
    if context.json:
        runs = [record_as_json(record) for record in records]
        printer.print_json({"group": group, "varied": varied, "runs": runs})
        return
    metrics = list(dict.fromkeys(name for record in records for name in record.summary))
    columns = ["name", "status", "took", *map(printable, varied), *map(printable, metrics)]
    rows = [_cells(record, varied, metrics) for record in records]
    printer.print_table(_distinct(columns), rows, shrink=())
    printer.print_note(f"group {printable(group)}: {in_brief(records)}")


def varied_names(records: Sequence[RunRecord]) -> list[str]:
    """Return the names of config that not all runs have the same value for."""
    names = dict.fromkeys(name for record in records for name in record.config)
    return [name for name in names if len({_key(record.config, name) for record in records}) > 1]


def in_brief(records: Sequence[RunRecord]) -> str:
    """Return how many runs there are of each status: `6 runs, 4 completed, 2 staged`."""
    counts = dict.fromkeys(status.ALL, 0)
    for record in records:
        counts[record.status] += 1
    parts = [f"{count} {each}" for each, count in counts.items() if count]
    return ", ".join([counted(len(records), "run"), *parts])


def _key(values: Mapping[str, Any], name: str) -> object:
    return json.dumps(values[name], sort_keys=True) if name in values else _ABSENT


def _cells(record: RunRecord, varied: Sequence[str], metrics: Sequence[str]) -> list[str]:
    return [
        record.name,
        record.status,
        duration_text(record.duration),
        *(_cell(record.config, name) for name in varied),
        *(_cell(record.summary, name) for name in metrics),
    ]


def _cell(values: Mapping[str, Any], name: str) -> str:
    return value_text(values[name]) if name in values else ""


def _distinct(columns: Sequence[str]) -> list[str]:
    """Return names of columns of which no two are the same: a metric may be called as config is."""
    distinct: list[str] = []
    for name in columns:
        while name in distinct:
            name += "'"
        distinct.append(name)
    return distinct
