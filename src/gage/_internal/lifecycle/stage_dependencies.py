"""Stage dependencies: let each one's resolver find its files, and copy them into the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gage._internal.errors import DependencyError
from gage._internal.fs import printable
from gage._internal.lifecycle.staged_files import StagedFiles
from gage._internal.project.source_rules import matcher
from gage._internal.store.logs import counted, log_action
from gage._internal.store.manifest import DEPENDENCY
from gage._internal.types import OpDef, Run, as_patterns

if TYPE_CHECKING:
    from gage.plugins import Resolved

_SETTINGS = ("select", "target", "optional")


class Dependency(NamedTuple):
    """A dependency that was resolved: what it is called, its files, and the paths they get.

    `pairs` hold a path relative to the root of `resolved`, and one relative to the run.
    """

    name: str
    resolved: Resolved
    pairs: Sequence[tuple[str, str]]


def stage_dependencies(run: Run, opdef: OpDef, project_dir: str | None, files: StagedFiles) -> None:
    """Copy the files of each dependency to its target.

    Raises:
        DependencyError: a dependency has no files, or would replace a file that is staged.
    """
    home = os.path.dirname(run.run_dir)
    for found in resolve_dependencies(opdef, project_dir, home):
        if isinstance(found, DependencyError):
            log_action(run, f"Left out: {found}")
            continue
        check_is_free(found, lambda path: files.get(path) is not None)
        copied = files.copy(found.resolved.root, found.pairs, DEPENDENCY)
        log_action(run, f"Copied {counted(copied, 'file')} of {found.resolved.origin}")


def resolve_dependencies(
    opdef: OpDef, project_dir: str | None, home: str
) -> Iterator[Dependency | DependencyError]:
    """Yield each dependency as it resolves; the error of one that is optional and does not.

    Raises:
        DependencyError: a dependency has no files.
    """
    if "depends" not in opdef.data:
        return
    from gage._internal.catalog.find import find_newest
    from gage.plugins import ResolveContext, find_resolver

    spec = opdef.data["depends"]
    context = ResolveContext(project_dir or "", lambda operation: find_newest(home, operation))
    for dependency in spec if isinstance(spec, list) else [spec]:
        (kind,) = dependency.keys() - set(_SETTINGS)
        try:
            resolved = find_resolver(kind).resolve(dependency[kind], context)
        except DependencyError as error:
            if not dependency.get("optional"):
                raise
            yield error
        else:
            name = f"{kind} {printable(str(dependency[kind]))}"
            yield Dependency(name, resolved, _pairs(name, dependency, resolved))


def check_is_free(dependency: Dependency, is_taken: Callable[[str], bool]) -> None:
    """Refuse a dependency that would replace a file.

    Raises:
        DependencyError: a path that it gets is taken.
    """
    for source, path in dependency.pairs:
        if is_taken(path):
            raise DependencyError(
                f"{dependency.name.partition(' ')[0]} {printable(source)} would replace"
                f" {printable(path)}, which is staged already",
                "give the dependency a target, or exclude the other with sourcecode",
            )


def _pairs(
    name: str, dependency: Mapping[str, Any], resolved: Resolved
) -> Sequence[tuple[str, str]]:
    patterns = as_patterns(dependency.get("select"))
    is_selected = matcher(patterns) if patterns else lambda path: True
    target = os.path.normpath(dependency.get("target", "."))
    pairs = [
        (path, os.path.normpath(os.path.join(target, path)))
        for path in resolved.paths
        if is_selected(path)
    ]
    if not pairs:
        raise DependencyError(f"{name}: select matches none of {len(resolved.paths)} files")
    return pairs
