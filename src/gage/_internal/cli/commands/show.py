"""`gage show`: show all that is known of a run."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from gage._internal.catalog.rows import record_as_json
from gage._internal.cli import captured, printer
from gage._internal.cli.context import Context
from gage._internal.cli.groups import add_group_argument
from gage._internal.cli.times import date_text, duration_text
from gage._internal.cli.values import value_text
from gage._internal.errors import GageError, NotStaged, RunDamaged
from gage._internal.fs import printable
from gage._internal.store import layout, manifest, meta
from gage._internal.store.attempts import Attempt, list_attempts
from gage._internal.store.attributes import find_where, list_comments, read_attributes
from gage._internal.store.jobs import find_job
from gage._internal.store.logs import counted
from gage._internal.store.manifest import DEPENDENCY, GENERATED, RUNTIME, SOURCE, Entry
from gage._internal.store.record import RunRecord, find_record
from gage._internal.store.requirements import Requirement, read_requirements
from gage._internal.store.runtime_record import find_runtime_record, record_values
from gage._internal.types import Run

DESCRIPTION = "Show all that is known of a run: how it was defined, staged and run, and its files."

_JOB = ("engine", "submission", "number", "job", "state", "said", "host", "submitted")
_TYPES = {SOURCE: "source", RUNTIME: "runtime", DEPENDENCY: "dependency", GENERATED: "generated"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("run", nargs="?", default="1", metavar="RUN", help="a run; default: newest")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("-f", "--files", action="store_true", help="list its files instead")
    add_group_argument(instead, "show what varies in a group, and what came of it, instead")
    instead.add_argument(
        "--graph", action="store_true", help="draw the runs it has files of and that have its files"
    )


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    if args.group is not None:
        from gage._internal.cli.group_table import show_group

        show_group(args.group, context)
        return 0
    found = context.find_run(args.run)
    if args.files:
        _show_files(found, context)
        return 0
    if args.graph:
        _show_graph(found, context)
        return 0
    job = _job(found)
    record = find_record(found)
    if context.json:
        more = {**_more(found), "job": job}
        damage = record.damage or more.get("damage")
        printer.print_json({**record_as_json(record), **more, "damage": damage})
        return 0
    for line in _lines(record, job):
        printer.print_data(line)
    return 0


def _more(run: Run) -> dict[str, Any]:
    """Return what `show` tells besides the record; only the damage where there is some."""
    try:
        runtime = find_runtime_record(run)
        return {
            "comments": [comment._asdict() for comment in list_comments(run)],
            "where": find_where(run),
            "user": dict(read_attributes(run, layout.USER)),
            "system": dict(read_attributes(run, layout.SYS)),
            "files": _count_files(run),
            "changed": manifest.find_changed(run),
            "rerun": meta.find_text(run, layout.RERUN),
            "attempts": [_attempt_json(attempt) for attempt in list_attempts(run)],
            "proto": meta.find_text(run, layout.PROTO),
            "runtime": record_values(runtime) if runtime else None,
            "depends": meta.read_depends(run),
            "requires": [each._asdict() for each in read_requirements(run)],
        }
    except RunDamaged as error:
        return {"damage": error.message}


def _attempt_json(attempt: Attempt) -> dict[str, Any]:
    values = {name: getattr(attempt, name) for name in ("exit", "signal", "error", "stopped")}
    return {**values, "resumed": attempt.resumed}


def _count_files(run: Run) -> dict[str, dict[str, int]]:
    if not meta.has_meta(run, layout.MANIFEST):
        return {}
    counts: dict[str, dict[str, int]] = {}
    for entry in manifest.read_manifest(run).present().values():
        count = counts.setdefault(_TYPES.get(entry.type, entry.type), {"count": 0, "bytes": 0})
        count["count"] += 1
        count["bytes"] += entry.size
    return counts


def _lines(record: RunRecord, job: Mapping[str, Any] | None) -> Iterator[str]:
    yield _line("id", record.run.id)
    yield _line("name", record.name)
    more = _more(record.run)
    damage = record.damage or more.get("damage")
    if damage is not None:
        yield _line("damaged", printable(damage))
    yield _line("operation", printable(record.opref.name))
    yield _line("project", printable(record.opref.namespace))
    if more.get("rerun"):
        yield _line("rerun of", printable(more["rerun"]))
    if more.get("proto"):
        yield _line("proto", printable(more["proto"]))
    if record.group:
        yield _line("group", printable(record.group))
    yield _line("status", record.status)
    where = find_where(record.run)
    if where is not None:
        yield _line("where", f"{printable(where)} ({_status_there(record.run)})")
    if job:
        yield _line("job", job["text"])
    if record.reason is not None:
        first, *rest = record.reason.split("\n")
        yield _line("reason", printable(first))
        yield from (_line("", printable(line)) for line in rest)
    if record.label:
        yield _line("label", printable(record.label))
    if record.tags:
        yield _line("tags", " ".join(map(printable, record.tags)))
    for name in ("initialized", "staged", "started", "stopped"):
        yield _line(name, date_text(getattr(record, name)))
    yield _line("duration", duration_text(record.duration))
    if record.exit is not None:
        yield _line("exit", record.exit)
    for number, attempt in enumerate(more.get("attempts", []), 1):
        how = f"ended by {attempt['exit']}" if attempt["exit"] else "its runner was gone"
        yield _line(f"attempt {number}", f"{how}; gone on with {date_text(attempt['resumed'])}")
    yield _line("command", printable(shlex.join(record.cmd.args)))
    yield _line("directory", printable(record.run.run_dir))
    yield from _table("environment", record.cmd.env)
    yield from _table("config", record.config)
    yield from _table("summary", record.summary)
    yield from (_line("changed", printable(path)) for path in more.get("changed", []))
    files = more.get("files", {})
    yield from _table("files", {t: f"{n['count']} ({n['bytes']} bytes)" for t, n in files.items()})
    if more.get("runtime"):
        yield _line("runtime", _runtime_text(more["runtime"]))
    depends = more.get("depends", [])
    yield from _table("depends", {str(each.get("name")): _origin(each) for each in depends})
    if more.get("requires"):
        texts = (Requirement(**each).text for each in more["requires"])
        yield _line("requires", printable(", ".join(texts)))
    yield from _table("system", captured.in_brief(more.get("system", {})))
    user = {name: value for name, value in more.get("user", {}).items() if name != layout.LABEL}
    yield from _table("user", user)
    for comment in more.get("comments", []):
        yield _line("comment", f"{date_text(comment['time'])} {printable(comment['text'])}")


def _job(run: Run) -> dict[str, Any] | None:
    """Return what is known of the job of a run; an engine that has it is asked."""
    try:
        if find_job(run) is None:
            return None
    except RunDamaged:
        return None
    from gage._internal.cli.submitting import job_as_json, job_text
    from gage._internal.lifecycle.jobs import settle

    for standing in settle([run]):
        told = job_as_json(standing, find_record(run))
        return {key: told[key] for key in _JOB} | {"text": job_text(standing)}
    return None


def _status_there(run: Run) -> str:
    from gage._internal.cli.there import status_there

    try:
        return status_there(run)
    except GageError as error:
        return printable(error.message)


def _runtime_text(runtime: Mapping[str, Any]) -> str:
    python = runtime.get("python") or {}
    version = f", Python {python['version']}" if python.get("version") else ""
    what = runtime.get("path") if not python else runtime.get("bundle")
    return printable(f"{runtime.get('name')}: {what}{version}")


def _origin(dependency: Mapping[str, Any]) -> str:
    number = dependency.get("files", 0)
    return f"{counted(number, 'file')} of {dependency.get('origin')}"


def _line(name: str, text: str) -> str:
    return f"{name:<13}{text}".rstrip()


def _table(title: str, values: Any) -> Iterator[str]:
    if values:
        yield f"{title}:"
        width = max(len(printable(name)) for name in values)
        for name, value in values.items():
            yield f"  {printable(name):<{width}}  {value_text(value)}"


def _show_files(run: Run, context: Context) -> None:
    if not meta.has_meta(run, layout.MANIFEST) and not meta.has_meta(run, layout.STAGED):
        raise NotStaged(f"run {run.id} has no list of its files: it was not staged")
    entries = sorted(manifest.read_manifest(run).present().values(), key=lambda e: e.path)
    if context.json:
        printer.print_json([_entry_json(entry) for entry in entries])
        return
    for entry in entries:
        printer.print_data(
            f"{entry.type} {entry.mode:04o} {entry.size:>10} {printable(entry.path)}"
        )


def _show_graph(run: Run, context: Context) -> None:
    from gage._internal.cli import graph

    if context.json:
        printer.print_json(graph.as_json(run))
        return
    for line in graph.as_text(run):
        printer.print_data(line)


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {
        "path": entry.path,
        "kind": entry.kind,
        "type": _TYPES.get(entry.type, entry.type),
        "mode": entry.mode,
        "size": entry.size,
        "sha256": entry.sha256 or None,
        "target": entry.target or None,
    }
