"""Contracts of what extends Gage, and the registry that finds it by name.

Gage's own plugins are listed here; those of other packages are found by the entry point
groups `gage.resolvers` and `gage.runtimes`, each entry naming a class that is called without
arguments.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

from gage._internal.errors import UnknownPlugin
from gage._internal.types import Run

_RESOLVERS = {
    "project-files": "gage._internal.resolvers.project_files:ProjectFiles",
    "run-files": "gage._internal.resolvers.run_files:RunFiles",
}
_RUNTIMES = {"inherit": "gage._internal.runtimes.inherit:Inherit"}


class ResolveContext(NamedTuple):
    """What a resolver may use: the project, and a look-up of other runs.

    `find_run` returns the newest completed run of an operation, or None.
    """

    project_dir: str
    find_run: Callable[[str], Run | None]


class Resolved(NamedTuple):
    """Files that a dependency resolved to: paths relative to `root`, and what they are.

    `origin` says where they come from in a few words, for the runner log.
    """

    root: str
    paths: Sequence[str]
    origin: str


class Resolver(Protocol):
    """Finds the files of one kind of dependency."""

    def resolve(self, spec: Any, context: ResolveContext) -> Resolved:
        """Return the files that `spec`, the value of the resolver's key, stands for.

        Raises:
            DependencyError: there are none, or they cannot be reached.
        """


class Runtime(Protocol):
    """Provides what the command runs with: an interpreter, an environment."""

    def stage(self, run: Run, project_dir: str | None) -> None:
        """Put into the run directory what the runtime consists of."""


def find_resolver(name: str) -> Resolver:
    """Return the resolver of a name.

    Raises:
        UnknownPlugin: no such resolver is installed.
    """
    return cast(Resolver, _load("resolver", "gage.resolvers", _RESOLVERS, name))


def find_runtime(name: str) -> Runtime:
    """Return the runtime of a name.

    Raises:
        UnknownPlugin: no such runtime is installed.
    """
    return cast(Runtime, _load("runtime", "gage.runtimes", _RUNTIMES, name))


def _load(kind: str, group: str, own: Mapping[str, str], name: str) -> object:
    target = own.get(name) or _installed(group).get(name)
    if target is None:
        known = ", ".join(sorted({*own, *_installed(group)}))
        raise UnknownPlugin(f"there is no {kind} {name}", f"installed are {known}")
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)()


def _installed(group: str) -> Mapping[str, str]:
    # Reading the metadata of all installed packages is slow, and seldom needed.
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=group)}
