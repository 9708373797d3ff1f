"""Stage the runtime that the operation names; by default what the system has is inherited."""

from __future__ import annotations

from gage._internal.lifecycle.staged_files import StagedFiles
from gage._internal.store.manifest import RUNTIME
from gage._internal.types import OpDef, Run

INHERIT = "inherit"


def stage_runtime(run: Run, opdef: OpDef, project_dir: str | None, files: StagedFiles) -> None:
    """Let the operation's runtime put what it consists of into the run directory.

    Raises:
        UnknownPlugin: no such runtime is installed.
    """
    name = opdef.data.get("runtime", INHERIT)
    if name == INHERIT:
        return
    from gage.plugins import find_runtime

    files.thaw()
    find_runtime(name).stage(run, project_dir)
    files.find_changes(RUNTIME)
