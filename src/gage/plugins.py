"""Contracts of what extends Gage, and the registry that finds it by name.

Gage's own plugins are listed here; those of other packages are found by the entry point
groups `gage.resolvers` and `gage.runtimes`, each entry naming a class that is called without
arguments.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from gage._internal.errors import UnknownPlugin
from gage._internal.types import NOTHING

if TYPE_CHECKING:
    from gage._internal.environments.kept import KeptTree

_RESOLVERS = {
    "files": "gage._internal.resolvers.files:Files",
    "fsspec": "gage._internal.resolvers.fsspec:Fsspec",
    "git": "gage._internal.resolvers.git:Git",
    "project-files": "gage._internal.resolvers.project_files:ProjectFiles",
    "run-files": "gage._internal.resolvers.run_files:RunFiles",
    "runs-summary": "gage._internal.resolvers.runs_summary:RunsSummary",
    "url": "gage._internal.resolvers.url:Url",
}
_RUNTIMES = {
    "conda": "gage._internal.runtimes.conda:Conda",
    "container": "gage._internal.runtimes.container:ContainerImage",
    "inherit": "gage._internal.runtimes.inherit:Inherit",
    "uv": "gage._internal.runtimes.uv:Uv",
    "venv": "gage._internal.runtimes.venv:Venv",
}


# Is told what whoever waits should know, in sentences.
Notice = Callable[[str], None]
# Is told what is on its way, how many bytes of it are there, and of how many, if that is known.
Progress = Callable[[str, int, "int | None"], None]


class ResolveContext(NamedTuple):
    """What a resolver may use: the project (its directory, or "") and the runs home.

    `sha256` is the digest that the dependency must have, in lower case, where one is given: what is
    at hand with that digest need not be fetched. It is checked all the same. `notice` and
    `progress` are told what happens. In a preview nothing is fetched (see `Resolved.awaited`).
    """

    project_dir: str
    runs_home: str
    sha256: str | None = None
    notice: Notice = lambda sentence: None
    progress: Progress = lambda what, done, total: None
    is_preview: bool = False


class Resolved(NamedTuple):
    """Files that a dependency resolved to.

    `paths` are those of files and links relative to `root`, and as they are named in the run
    unless `names` holds other ones. `made` holds files that are only made now, by name. `origin`
    says where all of them come from in a few words, for people; `lineage`, values that JSON has,
    says it for good: what is kept with the run to find the same files again. `digests` holds the
    SHA-256 that files must have, by path, where a copy with another one would be a damaged one.
    `awaited` are the names of files that a preview does not fetch; one that ends with a slash
    stands for all that may be below it, where that is not known.
    """

    root: str
    paths: Sequence[str]
    origin: str
    names: Sequence[str] | None = None
    made: Mapping[str, bytes] = NOTHING
    lineage: Mapping[str, Any] = NOTHING
    digests: Mapping[str, str] = NOTHING
    awaited: Sequence[str] = ()


class Resolver(Protocol):
    """Finds the files of one kind of dependency."""

    def resolve(self, spec: Any, context: ResolveContext) -> Resolved:
        """Return the files that `spec`, the value of the resolver's key, stands for.

        Nothing is written but to caches.

        Raises:
            DependencyError: there are none, or they cannot be reached.
        """


class RuntimeContext(NamedTuple):
    """What a runtime may use: the run directory, with its configured source, and the project.

    `project_dir` is "" where there is none. `digest` returns one digest of the files that are
    staged below a directory of the run. `notice` is told what happens.
    """

    run_dir: str
    project_dir: str = ""
    digest: Callable[[str], str] = lambda folder: ""
    notice: Notice = lambda sentence: None


class Provided(NamedTuple):
    """What a runtime puts into a run, and what the run's meta directory is to say of it.

    `trees` pairs trees of the cache with the directories that they become; their files are linked,
    where that can be. `files` pairs paths of other files with the paths they get; `made` holds
    files that are only made now. `record` is written to `runtime.json` (see
    `store.runtime_record`), nothing where it is empty; `said` tells people in a few words what was
    put there. `packed` are trees whose files the run has within another file, with the directories
    that they will become.
    """

    trees: Sequence[tuple[KeptTree, str]] = ()
    files: Sequence[tuple[str, str]] = ()
    made: Mapping[str, bytes] = NOTHING
    record: Mapping[str, Any] = NOTHING
    said: str = ""
    packed: Sequence[tuple[KeptTree, str]] = ()


class Outline(NamedTuple):
    """What a runtime would provide: in which form, and of which file or reference."""

    bundle: str
    source: str


class Runtime(Protocol):
    """Provides what the command runs with: an interpreter, an environment.

    One that has `outline`, with the arguments of `provide`, tells by it what it would provide,
    without making anything. In its context the project stands for the run directory.
    """

    def provide(self, settings: Mapping[str, Any], context: RuntimeContext) -> Provided:
        """Return what the run is to have; `settings` is the table `runtime` of the Gage file.

        Nothing is written but to caches.

        Raises:
            RuntimeFailed: it cannot be made.
        """


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
