"""What a staging would do, found out without writing anything.

Hooks and runtimes are not run, so what they would make is not in a plan, nor what that would need.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal import fs
from gage._internal.catalog.find import find_newest_staged
from gage._internal.catalog.patches import unified_diff
from gage._internal.errors import DependencyError, RuntimeFailed
from gage._internal.lifecycle.leaks.find import find_natives
from gage._internal.lifecycle.stage_config import patched, patched_files
from gage._internal.lifecycle.stage_dependencies import check_is_free, resolve_dependencies
from gage._internal.lifecycle.stage_runtime import INHERIT, planned_programs, runtime_settings
from gage._internal.lifecycle.system.derive import Staged, derive_requirements, find_calls
from gage._internal.project.operations import Operation, operation_cmd
from gage._internal.project.selection import Verdict, select_source
from gage._internal.project.source_rules import parse_rules
from gage._internal.store import layout, manifest
from gage._internal.store.command_lines import FINALIZE, exec_part
from gage._internal.store.manifest import DEPENDENCY, FILE, SOURCE, Entry
from gage._internal.store.requirements import Requirement
from gage._internal.types import OpCmd, OpDef, Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gage.plugins import Outline

_HOOKS = ("stage-sourcecode", "stage-runtime", "stage-dependencies", FINALIZE)
SUMMARY_IS_WRITTEN = "the run writes it"


class PlannedFile(NamedTuple):
    """A file that would be staged: its path in the run, type, source and size in bytes."""

    path: str
    type: str
    source: str
    size: int


class PlannedDependency(NamedTuple):
    """A dependency that would be staged: what it is called, where it comes from, its files.

    `awaited` are the paths of files that are fetched only then, so that no size is known.
    """

    name: str
    origin: str
    files: Sequence[PlannedFile]
    awaited: Sequence[str]


class Difference(NamedTuple):
    """What would be staged otherwise than in an earlier run."""

    run: Run
    added: Sequence[str]
    changed: Sequence[str]
    removed: Sequence[str]


class Plan(NamedTuple):
    """What a staging would do.

    `verdicts` tell of each path of the project, `patches` of each file that config changes (the
    content it would have, and the difference), `dependencies` what each one is and gives.
    `outline` is what the runtime would provide, where it tells that.
    `requirements` are what the run needs of a system, as far as that is known without staging.
    """

    operation: str
    command: OpCmd
    config: Mapping[str, Any]
    verdicts: Sequence[Verdict]
    notes: Sequence[str]
    source: Sequence[PlannedFile]
    patches: Mapping[str, tuple[bytes, bytes]]
    runtime: str
    outline: Outline | None
    dependencies: Sequence[PlannedDependency]
    hooks: Mapping[str, Sequence[str]]
    requirements: Sequence[Requirement]

    @property
    def files(self) -> list[PlannedFile]:
        """All files that would be staged."""
        return [*self.source, *_all_files(self.dependencies)]


def plan_run(operation: Operation, config: Mapping[str, Any], project_dir: str, home: str) -> Plan:
    """Return what staging an operation of a project into a runs home would do.

    Raises:
        GageError: staging would fail for the same reason.
    """
    data = operation.opdef.data
    spec = data.get("sourcecode")
    selection = select_source(project_dir, None if spec is False else parse_rules(spec), [home])
    summary = layout.summary_file(data)
    verdicts = [
        v._replace(is_taken=False, reason=SUMMARY_IS_WRITTEN, rule=None) if v.path == summary else v
        for v in selection.verdicts
    ]
    files = [_planned(project_dir, v.path, v.path, SOURCE) for v in verdicts if v.is_taken]
    notes = list(selection.notes)
    dependencies: list[PlannedDependency] = []
    taken = {file.path for file in files}
    for found in resolve_dependencies(operation.opdef, project_dir, home):
        if isinstance(found, DependencyError):
            notes.append(f"left out, since it is optional: {found}")
            continue
        if found.is_packed:
            notes.append(
                f"{found.name} is unpacked when it is staged: its files are not in this plan"
            )
            continue
        check_is_free(found, taken.__contains__)
        planned = [_planned(found.resolved.root, *pair, DEPENDENCY) for pair in found.pairs]
        origin = found.resolved.origin
        dependencies.append(PlannedDependency(found.name, origin, planned, found.awaited))
        taken.update(found.paths)
    command = operation_cmd(operation, config)
    hooks = {name: exec_part(data["exec"], name) for name in _HOOKS}
    return Plan(
        operation=operation.opdef.name,
        command=command,
        config=config,
        verdicts=verdicts,
        notes=notes,
        source=files,
        patches=_patches(operation, config, project_dir),
        runtime=runtime_settings(operation.opdef)["name"],
        outline=_outline(operation.opdef, project_dir),
        dependencies=dependencies,
        hooks={name: hook for name, hook in hooks.items() if hook},
        requirements=_requirements(
            operation, command, [*files, *_all_files(dependencies)], project_dir
        ),
    )


def _outline(opdef: OpDef, project_dir: str) -> Outline | None:
    """Return what the runtime tells of what it would provide."""
    settings = runtime_settings(opdef)
    if settings["name"] == INHERIT:
        return None
    from gage.plugins import RuntimeContext, find_runtime

    tell = getattr(find_runtime(settings["name"]), "outline", None)
    try:
        outline: Outline | None = tell and tell(settings, RuntimeContext(project_dir, project_dir))
    except RuntimeFailed:
        # What is missing may be what a hook makes.
        if exec_part(opdef.data["exec"], "stage-sourcecode"):
            return None
        raise
    return outline


def _all_files(dependencies: Sequence[PlannedDependency]) -> list[PlannedFile]:
    return [file for found in dependencies for file in found.files]


def _requirements(
    operation: Operation, command: OpCmd, files: Sequence[PlannedFile], project_dir: str
) -> list[Requirement]:
    sources = {file.path: file.source for file in files}
    natives = find_natives(sources)
    programs = planned_programs(runtime_settings(operation.opdef)["name"])
    staged = Staged(sources, sources.__getitem__, natives, project_dir, programs)
    calls = find_calls(operation.opdef, command, staged)
    return derive_requirements(operation.opdef, calls, staged)


def difference(plan: Plan, home: str) -> Difference | None:
    """Compare what would be staged with what the last staged run of the operation was staged with.

    A file's digest is computed where its size is the same. None where there is no such run.
    """
    run = find_newest_staged(home, plan.operation)
    if run is None:
        return None
    entries = {
        entry.path: entry
        for entry in manifest.read_manifest(run).staged
        if entry.type in (SOURCE, DEPENDENCY)
    }
    for dependency in plan.dependencies:
        for path in dependency.awaited:
            entries.pop(path, None)
            if path.endswith("/"):
                folder = "" if path == "./" else path
                for below in [name for name in entries if name.startswith(folder)]:
                    if entries[below].type == DEPENDENCY:
                        del entries[below]
    added, changed = [], []
    for file in plan.files:
        entry = entries.pop(file.path, None)
        if entry is None:
            added.append(file.path)
        elif not _is_same(plan, file, entry):
            changed.append(file.path)
    return Difference(run, added, changed, sorted(entries))


def _planned(root: str, source: str, path: str, type_: str) -> PlannedFile:
    full = os.path.join(root, source)
    found = os.lstat(full)
    return PlannedFile(path, type_, full, 0 if stat.S_ISDIR(found.st_mode) else found.st_size)


def _patches(
    operation: Operation, config: Mapping[str, Any], project_dir: str
) -> dict[str, tuple[bytes, bytes]]:
    found = {}
    for path, sources in patched_files(operation.opdef, project_dir).items():
        before = fs.read_bytes(os.path.join(project_dir, path))
        after, names = patched(path, sources, before, config)
        if names:
            found[path] = after, unified_diff(path, before, after)
    return found


def _is_same(plan: Plan, file: PlannedFile, entry: Entry) -> bool:
    """Tell whether a file would be staged as it was; where sizes agree, its digest tells."""
    if file.path in plan.patches:
        return entry.sha256 == hashlib.sha256(plan.patches[file.path][0]).hexdigest()
    if entry.kind == FILE and file.size != entry.size:
        return False
    found = manifest.entry_of(*os.path.split(file.source), entry.type)
    return (found.kind, found.sha256, found.target) == (entry.kind, entry.sha256, entry.target)
