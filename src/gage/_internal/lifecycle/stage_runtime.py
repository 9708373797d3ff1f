"""Stage the runtime that the operation names; by default what the system has is inherited."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gage._internal.lifecycle.staged_files import StagedFiles
from gage._internal.lifecycle.system.derive import NO_PROGRAMS, EnvironmentPrograms
from gage._internal.store import layout, meta
from gage._internal.store.logs import log_action
from gage._internal.store.manifest import RUNTIME, SOURCE
from gage._internal.store.requirements import ARCHITECTURE, PLATFORM, PYTHON, Requirement
from gage._internal.store.runtime_record import (
    ENV,
    ENVIRONMENT,
    IMAGE,
    LOCK,
    WHEELS,
    RuntimeRecord,
    find_runtime_record,
)
from gage._internal.types import NOTHING, OpDef, Run

if TYPE_CHECKING:
    from gage._internal.lifecycle.freeze import Frozen
    from gage.plugins import Provided

INHERIT = "inherit"
# Files that say which packages there are to be, or how one is built: a runtime reads them itself.
_OF_PACKAGES = ("pyproject.toml", "setup.py", "setup.cfg", "environment.yml", "environment.yaml")
# What channels of conda call platforms otherwise than the platforms themselves.
_SYSTEMS = {"osx": "darwin"}
_MACHINES = {"64": "x86_64"}


class StagedRuntime(NamedTuple):
    """What a runtime has staged, as far as others need to know.

    `programs` are those that it gives to commands, `requirements` what it needs of a system,
    `packages` what is installed. `packed` are files that the run has within another one: where each
    is now, by the path that it will have.
    """

    programs: EnvironmentPrograms = NO_PROGRAMS
    requirements: Sequence[Requirement] = ()
    packages: Mapping[str, str] = NOTHING
    packed: Mapping[str, str] = NOTHING


def runtime_settings(opdef: OpDef) -> Mapping[str, Any]:
    """Return the settings of the operation's runtime; its name is one of them."""
    settings = opdef.data.get("runtime", INHERIT)
    return settings if isinstance(settings, Mapping) else {"name": settings}


def stage_runtime(
    run: Run,
    opdef: OpDef,
    project_dir: str | None,
    files: StagedFiles,
    notice: Callable[[str], None],
    may_link: bool,
    frozen: Frozen | None = None,
) -> StagedRuntime:
    """Put what the operation's runtime consists of into the run directory.

    What the runtime keeps in the cache is linked to from there, where it may be. Of the runs of a
    batch the first gets it ready, for all those that have the same of what it goes by.

    Raises:
        UnknownPlugin: no such runtime is installed.
        RuntimeFailed: it cannot be made.
    """
    settings = runtime_settings(opdef)
    if settings["name"] == INHERIT:
        return StagedRuntime()
    from gage.plugins import RuntimeContext, find_runtime

    asked: dict[str, str] = {}
    digest = _digester(files)
    said: list[str] = []

    def ask(folder: str) -> str:
        asked[folder] = digest(folder)
        return asked[folder]

    def tell(sentence: str) -> None:
        said.append(sentence)
        log_action(run, f"Noticed: {sentence}")
        notice(sentence)

    context = RuntimeContext(run.run_dir, project_dir or "", ask, tell)
    before: list[_Made] = []
    if frozen:
        before = frozen.once("runtimes", lambda: before)
    key = _digest_of_packages(files, settings)
    made = next((made for made in before if made.is_of(key, digest)), None)
    if made:
        provided = made.provided
        for sentence in made.said:
            tell(sentence)
    else:
        provided = find_runtime(settings["name"]).provide(settings, context)
        # What lies in a run is not there for others.
        if not any(source.startswith(run.run_dir) for source, _ in provided.files):
            before.append(_Made(key, asked, said, provided))
    for tree, target in provided.trees:
        files.add_tree(tree, target, RUNTIME, may_link)
    for source, path in provided.files:
        files.copy(os.path.dirname(source), [(os.path.basename(source), path)], RUNTIME)
    for path, data in provided.made.items():
        files.create(path, data, RUNTIME)
    if provided.record:
        meta.write_json(run, layout.RUNTIME, dict(provided.record))
    if provided.said:
        log_action(run, f"Staged {provided.said}")
    packed = {
        f"{target}/{each.path}": f"{tree.root}/{each.path}"
        for tree, target in provided.packed
        for each in tree.contents
    }
    record = find_runtime_record(run)
    if record is None:
        return StagedRuntime(packed=packed)
    return StagedRuntime(*_needs(record, packed), record.packages, packed)


class _Made(NamedTuple):
    """What a runtime provided, by what it went: the digests that it asked for, and its own files.

    `said` is what was told then.
    """

    key: str
    asked: Mapping[str, str]
    said: Sequence[str]
    provided: Provided

    def is_of(self, key: str, digest: Callable[[str], str]) -> bool:
        """Tell whether a run for which this is the key would be given the same."""
        return key == self.key and all(digest(name) == had for name, had in self.asked.items())


def _digest_of_packages(files: StagedFiles, settings: Mapping[str, Any]) -> str:
    """Return a digest of the files that a runtime may read without asking for a digest."""
    names = {*_OF_PACKAGES, settings.get("from")}
    lines = []
    for entry in files.entries():
        name = os.path.basename(entry.path)
        if entry.type == SOURCE and (
            names & {name, entry.path} or "lock" in name or "require" in name
        ):
            lines.append(f"{entry.path}\0{entry.sha256 or entry.target}\n")
    return hashlib.sha256(os.fsencode("".join(lines))).hexdigest()


def planned_programs(name: str) -> EnvironmentPrograms:
    """Return what a runtime will give to commands, as far as that is known before it is staged."""
    if name == INHERIT:
        return NO_PROGRAMS
    return EnvironmentPrograms(names=("python", "python3"), is_open=True)


def _needs(
    record: RuntimeRecord, packed: Collection[str]
) -> tuple[EnvironmentPrograms, Sequence[Requirement]]:
    """Return the programs that an environment gives to commands, and what it needs of a system."""
    if record.bundle == IMAGE:
        return EnvironmentPrograms(is_closed=True), ()
    names = {os.path.basename(path) for path in packed if path.startswith(f"{ENVIRONMENT}/bin/")}
    folders = (f"{record.path}/bin",) if record.bundle == ENV else ()
    is_open = record.bundle in (LOCK, WHEELS)
    if record.python.get("is_staged"):
        required = _of_platform(record)
        return EnvironmentPrograms(folders, names, is_open=is_open), required
    from gage._internal.environments.interpreters import interpreter_of

    wanted = interpreter_of(record.python)
    major, minor = wanted.series.split(".")
    names |= {"python", f"python{major}", f"python{wanted.series}"}
    needed = f">={wanted.series},<{major}.{int(minor) + 1}"
    python = f"python{wanted.series}"
    required = [Requirement(PYTHON, python, needed, record.path)]
    return EnvironmentPrograms(folders, names, python, is_open), required


def _of_platform(record: RuntimeRecord) -> Sequence[Requirement]:
    """Return that a list of conda packages needs the platform that they are for.

    Where the packages themselves are there, they tell.
    """
    if not record.platform or record.bundle != LOCK:
        return ()
    system, _, machine = record.platform.partition("-")
    platform = Requirement(PLATFORM, _SYSTEMS.get(system, system), "", record.path)
    return [platform, Requirement(ARCHITECTURE, _MACHINES.get(machine, machine), "", record.path)]


def _digester(files: StagedFiles) -> Callable[[str], str]:
    def digest(folder: str) -> str:
        prefix = "" if folder == "." else f"{folder}/"
        hasher = hashlib.sha256()
        for entry in files.entries():
            if entry.type == SOURCE and entry.path.startswith(prefix):
                line = f"{entry.path}\0{entry.mode:o}\0{entry.sha256 or entry.target}\n"
                hasher.update(os.fsencode(line))
        return hasher.hexdigest()

    return digest
