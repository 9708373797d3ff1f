"""What is known of a run that is compared with another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from gage._internal.catalog.patches import Hunk, parse_patches
from gage._internal.errors import RunDamaged
from gage._internal.store import layout, manifest, meta, status
from gage._internal.store.attributes import read_attributes
from gage._internal.store.manifest import Manifest
from gage._internal.store.record import RunRecord, find_record
from gage._internal.store.requirements import read_requirements
from gage._internal.store.runtime_record import find_runtime_record, record_values
from gage._internal.types import NOTHING, Run

_FINISHED = (status.COMPLETED, status.FAILED, status.TERMINATED)

T = TypeVar("T")


class Side(NamedTuple):
    """What is known of a run; `lacks` says what is not, in words."""

    record: RunRecord
    definition: Mapping[str, Any]
    manifest: Manifest | None
    patched: Mapping[str, Sequence[Hunk]]
    runtime: Mapping[str, Any]
    depends: Mapping[str, Mapping[str, Any]]
    requires: Mapping[str, str]
    system: Mapping[str, Any]
    rerun: str | None
    lacks: Sequence[str]

    @property
    def run(self) -> Run:
        """The run itself."""
        return self.record.run

    @property
    def is_finished(self) -> bool:
        """Whether the run has come to an end, so that its results are known."""
        has_ended = self.manifest is not None and self.manifest.ended is not None
        return has_ended and self.record.status in _FINISHED


def read_side(run: Run) -> Side:
    """Return what is to be compared of a run, as far as it can be read."""
    record = find_record(run)
    lacks: list[str] = [] if record.damage is None else [record.damage]

    def read_or(default: T, read: Callable[[], T]) -> T:
        try:
            return read()
        except (RunDamaged, ValueError, OSError) as error:
            if str(error) not in lacks:
                lacks.append(str(error))
            return default

    def read_manifest() -> Manifest | None:
        return manifest.read_manifest(run) if record.staged is not None else None

    def read_patches() -> Mapping[str, Sequence[Hunk]]:
        return parse_patches(meta.find_meta(run, layout.PATCHED_LOG) or b"")

    def read_runtime() -> Mapping[str, Any]:
        found = find_runtime_record(run)
        return record_values(found) if found else {}

    def read_depends() -> Mapping[str, Mapping[str, Any]]:
        return {str(each.get("name")): each for each in meta.read_depends(run)}

    def read_needed() -> Mapping[str, str]:
        return {f"{each.kind} {each.name}": each.text for each in read_requirements(run)}

    if record.damage is None and record.staged is None:
        lacks.append(f"it was not staged: it is {record.status}")
    return Side(
        record=record,
        definition=read_or(NOTHING, lambda: meta.read_opdef(run).data),
        manifest=read_or(None, read_manifest),
        patched=read_or(NOTHING, read_patches),
        runtime=read_or(NOTHING, read_runtime),
        depends=read_or(NOTHING, read_depends),
        requires=read_or(NOTHING, read_needed),
        system=read_or(NOTHING, lambda: read_attributes(run, layout.SYS)),
        rerun=read_or(None, lambda: meta.find_text(run, layout.RERUN)),
        lacks=lacks,
    )
