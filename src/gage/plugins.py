"""Contracts of what extends Gage, and the registry that finds it by name.

Gage's own plugins are listed here; those of other packages are found by the entry point
groups `gage.resolvers`, `gage.runtimes`, `gage.remotes` and `gage.engines`, each entry naming a
class that is called without arguments.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from gage._internal.errors import UnknownPlugin
from gage._internal.types import NOTHING

if TYPE_CHECKING:
    from gage._internal.environments.kept import KeptTree
    from gage._internal.portable.items import Described, Item, Want
    from gage._internal.store.resources import Resources

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
_REMOTES = {
    "directory": "gage._internal.remotes.directory:Directory",
    "fsspec": "gage._internal.remotes.fsspec:Fsspec",
    "ssh": "gage._internal.remotes.ssh:Ssh",
}
_ENGINES: Mapping[str, str] = {
    "dask": "gage._internal.engines.dask:Dask",
    "kubernetes": "gage._internal.engines.kubernetes:Kubernetes",
    "local": "gage._internal.engines.local:Local",
    "ray": "gage._internal.engines.ray:Ray",
    "slurm": "gage._internal.engines.slurm:Slurm",
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


class Arrival(Protocol):
    """A run that arrives at a place, sent by one process at a time.

    `has_waited` tells that another process has sent it meanwhile, `sent` how many bytes were sent.
    """

    has_waited: bool
    sent: int

    def begin(self, items: Sequence[Item]) -> list[Want]:
        """Return which files of a run are wanted: their numbers, and how much of each is there."""

    def send(self, wants: Sequence[Want], content: Iterable[bytes]) -> list[int]:
        """Take what is wanted, as one stream; return the numbers of files that are not right."""

    def commit(self, base: str | None) -> None:
        """Make the run one that can be seen, in place of the state with the digest `base` if any.

        Raises:
            RunConflict: what is there is not that any more.
        """

    def close(self) -> None:
        """Let others send the run; what has arrived is kept."""


class Place(Protocol):
    """Where runs are kept, opened: they are described, read and received by their ids.

    Names of files begin with `meta/` or `notes/`, paths of items with `run/` or `meta/`. All that
    goes wrong is raised as a RemoteFailed, a NoRoom, or an error of the run.
    """

    address: str

    def runs(
        self, run_ids: Iterable[str] | None, names: Sequence[str]
    ) -> Mapping[str, Mapping[str, bytes]]:
        """Return of runs, all or some, the small files of these names; `run` where it has files.

        A name that ends with a slash stands for all files in a directory.
        """

    def describe(self, run_id: str) -> Described | None:
        """Return what there is of a run; None where nothing is."""

    def read_file(self, run_id: str, path: str) -> bytes:
        """Return the content of one file."""

    def read(self, run_id: str, wants: Sequence[tuple[Item, int]]) -> Iterator[bytes]:
        """Yield the content of files, one after the other, each from an offset on."""

    def receive(self, run_id: str, notice: Notice) -> Arrival:
        """Begin to receive a run; who has to wait for another process is told so."""

    def notes(self, run_id: str) -> Mapping[str, bytes]:
        """Return the files of a run's notes by path."""

    def add_notes(self, run_id: str, notes: Mapping[str, bytes]) -> None:
        """Add files to a run's notes; those that are there stay as they are."""

    def close(self) -> None:
        """Let the place go."""


class Remote(Protocol):
    """Knows how to come to one kind of place where runs are kept."""

    def open(self, address: str, options: Mapping[str, Any], make: bool, notice: Notice) -> Place:
        """Return the place at an address; `make` it where it is only not there yet.

        `options` are those of the settings, `notice` is told what whoever waits should know.

        Raises:
            RemoteFailed: it cannot be reached, or not used.
        """


class Job(NamedTuple):
    """A run that an engine is to execute: which, where it lies, and what it is to have."""

    run_id: str
    run_dir: str
    resources: Resources


class Submission(NamedTuple):
    """Jobs that an engine is given at once.

    `name` tells them apart from all others, for good, and of whom they are (`find_submitter`); the
    engine keeps it with what it makes of them. `runner` is the path of the runner in the runs home,
    and `folder` that of a directory there, made for this submission, for what the engine writes.
    Job number N is executed by `PYTHON RUNNER job RUN_DIR`, or
    `PYTHON RUNNER job --of FOLDER/runs.json N`.
    """

    name: str
    jobs: Sequence[Job]
    runner: str
    folder: str


def submission_name() -> str:
    """Return a new name for what this user submits."""
    return f"gage-{os.geteuid()}-{os.urandom(6).hex()}"


def find_submitter(name: str) -> int | None:
    """Return the id of the user who made the name of a submission; None where it does not tell."""
    words = name.split("-")
    return int(words[1]) if len(words) == 3 and words[1].isdecimal() else None


class Ticket(NamedTuple):
    """What is known of a job by whoever asks for it: submission, number in it, engine's own word.

    That word is "" where submitting was interrupted: then the name of the submission tells.
    """

    submission: str
    number: int
    job: str = ""


class JobState(NamedTuple):
    """How it is about a job: `QUEUED`, `EXECUTING` or `GONE`, and in the engine's own words.

    One that the engine does not know, or does not know any more, is gone. `job` is the engine's
    word for it, `host` where it executes. `has_begun` tells of one that is gone whether it ever
    executed, None where nobody knows any more.
    """

    state: str
    job: str = ""
    said: str = ""
    host: str = ""
    has_begun: bool | None = None


QUEUED, EXECUTING, GONE = ("queued", "executing", "gone")


class Capabilities(NamedTuple):
    """What an engine does: `has_files`, where its jobs execute in the runs home itself.

    Elsewhere it takes capsules along and `collect` brings what a job has made. `private` are the
    names of options that nobody else is to read, such as those with credentials.
    """

    has_files: bool
    private: Sequence[str] = ()


class Engine(Protocol):
    """Executes runs elsewhere, or later: each job is the runner on a run directory.

    `options` are those of the settings, in all calls. All that goes wrong is an EngineFailed;
    an engine that cannot be reached says so with an EngineUnreachable, and never that jobs are
    gone.
    """

    def submit(self, submission: Submission, options: Mapping[str, Any]) -> Sequence[str]:
        """Give the engine jobs; return its words for them, in their order."""

    def poll(self, tickets: Sequence[Ticket], options: Mapping[str, Any]) -> Sequence[JobState]:
        """Return how it is about jobs, in their order, asking the engine once for all.

        For none it is only found out whether the engine can be reached.
        """

    def cancel(self, tickets: Sequence[Ticket], options: Mapping[str, Any]) -> None:
        """End jobs, whether they execute or wait; what those that are gone have left is kept."""

    def capabilities(self, options: Mapping[str, Any]) -> Capabilities:
        """Return what the engine does."""

    def collect(self, ticket: Ticket, path: str, options: Mapping[str, Any]) -> bool:
        """Write the capsule of what a job has left to `path`; tell whether there was one.

        It can be collected again, until it is let go of.
        """

    def let_go(self, tickets: Sequence[Ticket], options: Mapping[str, Any]) -> None:
        """Keep nothing more of jobs that are gone: what became of them is noted in the runs home.

        Until then all that `poll` and `collect` tell of one is told again to whoever asks.
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


def find_remote(name: str) -> Remote:
    """Return the remote of a name, or for what an address begins with.

    Without one of its own, an address is one of fsspec.
    """
    is_known = name in _REMOTES or name in _installed("gage.remotes")
    return cast(Remote, _load("remote", "gage.remotes", _REMOTES, name if is_known else "fsspec"))


def find_engine(name: str) -> Engine:
    """Return the engine of a name.

    Raises:
        UnknownPlugin: no such engine is installed.
    """
    return cast(Engine, _load("engine", "gage.engines", _ENGINES, name))


def has_engine(name: str) -> bool:
    """Tell whether an engine of a name is installed."""
    return name in _ENGINES or name in _installed("gage.engines")


def engine_names() -> Sequence[str]:
    """Return the names of all engines that are installed."""
    return sorted({*_ENGINES, *_installed("gage.engines")})


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
