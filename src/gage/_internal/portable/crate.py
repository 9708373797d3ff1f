"""What repositories read of a capsule: RO-Crate 1.1, profile Process Run Crate 0.5.

Sources: https://w3id.org/ro/crate/1.1, https://w3id.org/ro/wfrun/process/0.5.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import gage
from gage._internal.store import status
from gage._internal.store.manifest import DEPENDENCY, FILE, GENERATED, Entry
from gage._internal.store.record import RunRecord

_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_CONTEXT = "https://w3id.org/ro/crate/1.1/context"
_SCHEMA = "http://schema.org/"
_STATUS = {
    status.STAGED: "PotentialActionStatus",
    status.COMPLETED: "CompletedActionStatus",
}
# A description of more files is of use to nobody; the manifests have them all.
_MOST_FILES = 1000
_UNKNOWN_LICENSE = "https://spdx.org/licenses/NOASSERTION"


class PackedRun(NamedTuple):
    """A run in a capsule: what is known of it, and its files with their names there."""

    record: RunRecord
    files: Sequence[tuple[Entry, str]]


def crate_metadata(runs: Sequence[PackedRun]) -> bytes:
    """Return the metadata of a crate whose root is the directory that the runs lie in."""
    entities = [entity for run in runs for entity in _run_entities(run)]
    times = [t for run in runs for t in (run.record.stopped, run.record.staged) if t]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": "Runs of Gage: " + ", ".join(run.record.name for run in runs),
        "description": "Runs of experiments, with all that they need to run elsewhere.",
        "datePublished": _date(max(times, default=0)),
        "license": {"@id": _UNKNOWN_LICENSE},
        "conformsTo": {"@id": _PROFILE},
        "hasPart": [
            {"@id": f"{run.record.run.id}{end}"} for run in runs for end in ("/", ".meta/")
        ],
        "mentions": [{"@id": f"#run-{run.record.run.id}"} for run in runs],
    }
    descriptor = {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        "about": {"@id": "./"},
    }
    profile = {
        "@id": _PROFILE,
        "@type": "CreativeWork",
        "name": "Process Run Crate",
        "version": "0.5",
    }
    known = {
        "@id": _UNKNOWN_LICENSE,
        "@type": "CreativeWork",
        "name": "No assertion",
        "description": "What license the files have is for whoever publishes them to say.",
    }
    graph = [descriptor, root, profile, known, *entities]
    value = {"@context": _CONTEXT, "@graph": graph}
    return json.dumps(value, indent=2, ensure_ascii=True).encode() + b"\n"


def _run_entities(run: PackedRun) -> Iterator[Mapping[str, Any]]:
    record, run_id = run.record, run.record.run.id
    files = [(e, name) for e, name in run.files if e.kind == FILE][:_MOST_FILES]
    inputs = [name for entry, name in files if entry.type == DEPENDENCY]
    results = [name for entry, name in files if entry.type == GENERATED]
    yield {
        "@id": f"{run_id}/",
        "@type": "Dataset",
        "name": f"Files of the run {record.name}",
        "hasPart": [{"@id": _address(name)} for name in (*inputs, *results)],
    }
    yield {
        "@id": f"{run_id}.meta/",
        "@type": "Dataset",
        "name": f"What is known of the run {record.name}",
    }
    for entry, name in files:
        if entry.type in (DEPENDENCY, GENERATED):
            yield {
                "@id": _address(name),
                "@type": "File",
                "name": name.rpartition("/")[2],
                "contentSize": str(entry.size),
                "sha256": entry.sha256,
            }
    instrument = f"#operation-{run_id}"
    yield {
        "@id": instrument,
        "@type": "SoftwareApplication",
        "name": _text(record.opref.name) or "operation",
        "description": "Started as: " + " ".join(map(_text, record.cmd.args)),
        "softwareVersion": gage.__version__,
    }
    action: dict[str, Any] = {
        "@id": f"#run-{run_id}",
        "@type": "CreateAction",
        "name": f"Run {record.name}",
        "instrument": {"@id": instrument},
        "object": [{"@id": f"{run_id}/"}, *({"@id": _address(name)} for name in inputs)],
        "result": [{"@id": _address(name)} for name in results],
        "actionStatus": {
            "@id": _SCHEMA + _STATUS.get(record.status, "FailedActionStatus"),
        },
    }
    if record.started is not None:
        action["startTime"] = _date(record.started)
    if record.stopped is not None:
        action["endTime"] = _date(record.stopped)
    if record.reason and record.status != status.STAGED:
        action["error"] = _text(record.reason)
    yield action


def _date(time_us: int) -> str:
    moment = datetime.datetime.fromtimestamp(time_us // 1_000_000, datetime.timezone.utc)
    return moment.isoformat()


def _address(name: str) -> str:
    import urllib.parse

    return urllib.parse.quote(name)


def _text(text: str) -> str:
    return text.encode(errors="replace").decode()
