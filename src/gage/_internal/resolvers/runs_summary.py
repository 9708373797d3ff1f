"""Dependency on the summaries of runs: `runs-summary = "train"`, or a table.

They are one file, `runs.json` or `runs.csv`, with a row for each run: its id, name, operation and
status, `config.NAME` and `summary.NAME`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from gage._internal.catalog.choice import choice_in_words, choose_runs
from gage._internal.errors import DependencyError, RunAmbiguous, RunNotFound
from gage._internal.store.logs import counted
from gage._internal.store.meta import json_bytes
from gage._internal.store.record import RunRecord, read_record
from gage.plugins import ResolveContext, Resolved

_FORMATS = {"json": "runs.json", "csv": "runs.csv"}


class RunsSummary:
    """Makes a table of runs: all that are meant, the oldest first."""

    def resolve(self, spec: Any, context: ResolveContext) -> Resolved:
        """Return the table of the runs that `choose_runs` finds; `format` is `json` or `csv`."""
        choice = {k: v for k, v in spec.items() if k != "format"} if _is_table(spec) else spec
        format_ = spec.get("format", "json") if _is_table(spec) else "json"
        wanted = choice_in_words(choice) or "of all runs"
        try:
            runs = list(choose_runs(context.runs_home, choice))
        except (RunNotFound, RunAmbiguous) as error:
            raise DependencyError(f"runs-summary {wanted}: {error.message}", error.hint) from None
        if not runs:
            raise DependencyError(f"runs-summary {wanted}: there is no such run", "gage list")
        rows = [_row(read_record(run)) for run in reversed(runs)]
        data = json_bytes(rows) if format_ == "json" else _csv_bytes(rows)
        return Resolved(
            "",
            (),
            f"the summaries of {counted(len(runs), 'run')}",
            made={_FORMATS[format_]: data},
            lineage={"runs": [run.id for run in reversed(runs)]},
        )


def _is_table(spec: Any) -> bool:
    return isinstance(spec, Mapping)


def _row(record: RunRecord) -> dict[str, Any]:
    return {
        "id": record.run.id,
        "name": record.name,
        "operation": record.opref.name,
        "status": record.status,
        **{f"config.{name}": value for name, value in record.config.items()},
        **{f"summary.{name}": value for name, value in record.summary.items()},
    }


def _csv_bytes(rows: list[dict[str, Any]]) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")
