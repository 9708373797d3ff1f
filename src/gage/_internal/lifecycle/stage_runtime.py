"""Stage the runtime that the operation names; by default what the system has is inherited."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from typing import Any

from gage._internal.lifecycle.staged_files import StagedFiles
from gage._internal.store import layout, meta
from gage._internal.store.logs import log_action
from gage._internal.store.manifest import RUNTIME, SOURCE
from gage._internal.types import OpDef, Run

INHERIT = "inherit"


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
) -> None:
    """Put what the operation's runtime consists of into the run directory.

    What the runtime keeps in the cache is linked to from there, where it may be.

    Raises:
        UnknownPlugin: no such runtime is installed.
        RuntimeFailed: it cannot be made.
    """
    settings = runtime_settings(opdef)
    if settings["name"] == INHERIT:
        return
    from gage.plugins import RuntimeContext, find_runtime

    def tell(sentence: str) -> None:
        log_action(run, f"Noticed: {sentence}")
        notice(sentence)

    context = RuntimeContext(run.run_dir, project_dir or "", _digester(files), tell)
    provided = find_runtime(settings["name"]).provide(settings, context)
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
