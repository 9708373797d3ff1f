"""Runs as rows: nested for JSON, flat for tables."""

from __future__ import annotations

import datetime
from typing import Any

from gage._internal.store.record import RunRecord

_TIMES = ("initialized", "staged", "started", "stopped")


def record_as_json(record: RunRecord) -> dict[str, Any]:
    """Return what is known of a run as JSON values; times in microseconds since the epoch."""
    return {
        "id": record.run.id,
        "name": record.name,
        "operation": record.opref.name,
        "namespace": record.opref.namespace,
        "status": record.status,
        "reason": record.reason,
        "damage": record.damage,
        "group": record.group,
        "label": record.label,
        "tags": list(record.tags),
        **{name: getattr(record, name) for name in _TIMES},
        "duration": record.duration,
        "exit": record.exit,
        "command": list(record.cmd.args),
        "env": dict(record.cmd.env),
        "config": dict(record.config),
        "summary": dict(record.summary),
        "run_dir": record.run.run_dir,
    }


def record_as_row(record: RunRecord) -> dict[str, Any]:
    """Return what is known of a run as one flat row.

    Times are aware `datetime` values in UTC, the duration is in seconds; each config name and
    metric is a column of its own, `config.NAME` and `summary.NAME`.
    """
    row = record_as_json(record)
    del row["command"], row["env"], row["config"], row["summary"]
    for name in _TIMES:
        row[name] = _utc(row[name])
    row["duration"] = None if record.duration is None else record.duration / 1e6
    row["tags"] = tuple(record.tags)
    row.update((f"config.{name}", value) for name, value in record.config.items())
    row.update((f"summary.{name}", value) for name, value in record.summary.items())
    return row


def _utc(time_us: int | None) -> datetime.datetime | None:
    if time_us is None:
        return None
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return epoch + datetime.timedelta(microseconds=time_us)
