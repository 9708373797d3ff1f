"""Stage dependencies: let each one's resolver find its files, and copy them into the run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from gage._internal.errors import DependencyError
from gage._internal.fs import printable
from gage._internal.lifecycle.staged_files import StagedFiles
from gage._internal.project.source_rules import matcher
from gage._internal.store.logs import counted, log_action
from gage._internal.store.manifest import DEPENDENCY
from gage._internal.types import OpDef, Run, as_patterns

_SETTINGS = ("select", "target", "optional")


def stage_dependencies(run: Run, opdef: OpDef, project_dir: str | None, files: StagedFiles) -> None:
    """Copy the files of each dependency to its target.

    Raises:
        DependencyError: a dependency has no files, or would replace a file that is staged.
    """
    spec = opdef.data.get("depends")
    if spec is None:
        return
    for dependency in spec if isinstance(spec, list) else [spec]:
        _stage(run, dependency, project_dir, files)


def _stage(
    run: Run, dependency: Mapping[str, Any], project_dir: str | None, files: StagedFiles
) -> None:
    from gage._internal.catalog.find import find_newest
    from gage.plugins import ResolveContext, find_resolver

    (kind,) = dependency.keys() - set(_SETTINGS)
    home = os.path.dirname(run.run_dir)
    context = ResolveContext(project_dir or "", lambda operation: find_newest(home, operation))
    try:
        resolved = find_resolver(kind).resolve(dependency[kind], context)
    except DependencyError as error:
        if not dependency.get("optional"):
            raise
        log_action(run, f"Left out: {error}")
        return
    patterns = as_patterns(dependency.get("select"))
    is_selected = matcher(patterns) if patterns else lambda path: True
    target = os.path.normpath(dependency.get("target", "."))
    pairs = [
        (path, os.path.normpath(os.path.join(target, path)))
        for path in resolved.paths
        if is_selected(path)
    ]
    if not pairs:
        raise DependencyError(
            f"{kind} {printable(str(dependency[kind]))}: select matches none of"
            f" {len(resolved.paths)} files"
        )
    for source, path in pairs:
        if files.get(path) is not None:
            raise DependencyError(
                f"{kind} {printable(source)} would replace {printable(path)}, which is staged"
                " already",
                "give the dependency a target, or exclude the other with sourcecode",
            )
    copied = files.copy(resolved.root, pairs, DEPENDENCY)
    log_action(run, f"Copied {counted(copied, 'file')} of {resolved.origin}")
