"""Runs that somebody chooses for dependencies, `NAME=RUN`, in place of what the Gage file says.

A dependency on `run-files` goes by its `name`, or else by the name of its operation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from gage._internal.errors import UsageError
from gage._internal.fs import printable
from gage._internal.project.operations import Operation


def names_of_runs(operation: Operation) -> Collection[str]:
    """Return the names by which runs can be chosen for an operation.

    Raises:
        UsageError: one is the name of a config value too.
    """
    names = [name for name in map(_name, _dependencies(operation)) if name is not None]
    for name in names:
        if name in operation.defaults:
            raise UsageError(
                f"{printable(name)} is a config value and a dependency of"
                f" {printable(operation.opdef.name)}",
                "give the dependency another name",
            )
    return names


def with_runs(operation: Operation, chosen: Mapping[str, str]) -> Operation:
    """Return an operation whose dependencies of these names are on these runs: ids, or paths."""
    if not chosen:
        return operation
    depends = []
    for table in _dependencies(operation):
        run = chosen.get(_name(table) or "")
        depends.append({**table, "run-files": {"run": run}} if run else table)
    data = {**operation.opdef.data, "depends": depends}
    return operation._replace(opdef=operation.opdef._replace(data=data))


def named_operations(operation: Operation) -> Mapping[str, str]:
    """Return the operations whose runs an operation takes files of, by the dependencies' names.

    Where it says more of which run that is to be, it is one that is there.
    """
    named = {}
    for table in _dependencies(operation):
        choice = table.get("run-files", {})
        if isinstance(choice, str):
            choice = {"operation": choice}
        if choice.keys() == {"operation"}:
            named[str(_name(table))] = choice["operation"]
    return named


def _dependencies(operation: Operation) -> list[Mapping[str, Any]]:
    spec = operation.opdef.data.get("depends", [])
    return spec if isinstance(spec, list) else [spec]


def _name(table: Mapping[str, Any]) -> str | None:
    if "run-files" not in table:
        return None
    choice = table["run-files"]
    operation = choice if isinstance(choice, str) else choice.get("operation")
    name: str | None = table.get("name", operation)
    return name
