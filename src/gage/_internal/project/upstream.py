"""Operations that another one has to wait for, since it takes files of their runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gage._internal.errors import DependencyError
from gage._internal.fs import printable
from gage._internal.project.chosen_runs import named_operations
from gage._internal.project.operations import Operation, find_operation
from gage._internal.project.projects import Project


class Step(NamedTuple):
    """An operation, and by the names of its dependencies the operations that they are on."""

    operation: Operation
    needs: Mapping[str, str]


def upstream_steps(project: Project, operation: Operation) -> Sequence[Step]:
    """Return an operation behind all that it needs, each once and behind what it needs itself.

    A dependency on runs of the operation itself, on a run that is chosen, or on what the project
    has no operation for, is on runs that are there.

    Raises:
        DependencyError: operations need each other.
    """
    steps: dict[str, Step] = {}
    _add(project, operation, [], steps)
    return list(steps.values())


def _add(
    project: Project, operation: Operation, path: Sequence[str], steps: dict[str, Step]
) -> None:
    name = operation.opdef.name
    path = [*path, name]
    needs = {
        dependency: needed
        for dependency, needed in named_operations(operation).items()
        if needed != name and _has(project, needed)
    }
    for needed in needs.values():
        if needed in path:
            cycle = " -> ".join(map(printable, [*path[path.index(needed) :], needed]))
            raise DependencyError(
                f"operations need each other: {cycle}",
                f"choose the run that one is to have: gage run {printable(path[0])} NAME=RUN",
            )
        if needed not in steps:
            _add(project, find_operation(project, needed, project.dir), path, steps)
    steps[name] = Step(operation, needs)


def _has(project: Project, name: str) -> bool:
    return name in project.operations or os.path.isfile(os.path.join(project.dir, name))
