"""Stage and run experiments.

    >>> import gage
    >>> record = gage.run("train.py", {"lr": 0.01})
    >>> record.status, record.summary

Everything here does what the command of the same name does. All times are microseconds since
the epoch unless a function says otherwise.
"""

from __future__ import annotations

# Importing `typing` is most of what importing `gage` would take.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from gage._internal.errors import GageError
    from gage._internal.store.record import RunRecord

__version__ = "0.1.0"

__all__ = [
    "GageError",
    "RunRecord",
    "__version__",
    "current_run",
    "diff",
    "rerun",
    "run",
    "runs",
    "stage",
    "stage_batch",
    "start",
]


def run(
    operation: str | None = None,
    config: Mapping[str, Any] | None = None,
    *,
    project: str = ".",
    runs_home: str | None = None,
    label: str | None = None,
    tags: Sequence[str] = (),
    strict: bool = False,
    share: bool = False,
    echo: bool = True,
    sealed: bool = False,
    network: bool = True,
) -> RunRecord:
    """Stage an operation or script, start it, wait for its end, and return what is known of it.

    Args:
        operation: an operation of the project's Gage file, or the path of a script relative to
            the project; None for the default operation.
        config: values by name; names that are not given keep their defaults. A dependency on files
            of a run is a name too; its value is a run, as `start` takes it.
        project: the project directory.
        runs_home: where runs are kept; None for where the command line keeps them.
        label: a label for the run.
        tags: tags for the run.
        strict: whether it is an error if something in the run would break elsewhere.
        share: whether to link files that did not change since the last run instead of copying them;
            a project's Gage file can say so for all.
        echo: whether to pass on what the run prints to `sys.stdout` and `sys.stderr`.
        sealed: whether to start it where the project, the home directory, other runs and this
            environment do not exist; it fails if it reaches a file of these.
        network: whether a sealed run has one.

    A run that fails raises nothing: look at `status`, `exit` and `reason`.

    Raises:
        GageError: the operation or its config is not right, or the run cannot be staged.
        KeyboardInterrupt: the run was interrupted; it is finalized first.
    """
    from gage._internal import api

    staged = api.stage(
        operation, config, project, runs_home, label, tags, strict, share, durable=False
    )
    return api.start(staged.run, echo, project_dir=project, sealed=sealed, network=network)


def stage(
    operation: str | None = None,
    config: Mapping[str, Any] | None = None,
    *,
    project: str = ".",
    runs_home: str | None = None,
    label: str | None = None,
    tags: Sequence[str] = (),
    strict: bool = False,
    share: bool = False,
) -> RunRecord:
    """Stage an operation or script, to be started later; the arguments are those of `run`.

    Raises:
        GageError: the operation or its config is not right, or the run cannot be staged.
    """
    from gage._internal import api

    return api.stage(
        operation, config, project, runs_home, label, tags, strict, share, durable=True
    )


def stage_batch(
    operation: str | None,
    configs: Sequence[Mapping[str, Any]],
    *,
    project: str = ".",
    runs_home: str | None = None,
    group: str | None = None,
    label: str | None = None,
    tags: Sequence[str] = (),
    strict: bool = False,
    share: bool = False,
) -> list[RunRecord]:
    """Stage a run for each config, all of the project as it is now, and return them in order.

    They are a group, whose name is made up where `group` is None; `share` lets them have files in
    common. The other arguments are those of `stage`. Where one cannot be staged, those before it
    are.

    Raises:
        GageError: the operation or a config is not right, or a run cannot be staged.
    """
    from gage._internal import api

    return api.stage_batch(
        operation, configs, project, runs_home, group, label, tags, strict, share
    )


def start(
    run: RunRecord | str,
    *,
    project: str = ".",
    runs_home: str | None = None,
    echo: bool = True,
    force: bool = False,
    sealed: bool = False,
    network: bool = True,
) -> RunRecord:
    """Start a staged run, wait for its end, and return what is known of it.

    Args:
        run: what `stage` returned; or an id, the beginning of one, a name, or the path of a
            run directory.
        project: the project whose runs home the run is looked for in.
        runs_home: the runs home to look in instead.
        echo: whether to pass on what the run prints to `sys.stdout` and `sys.stderr`.
        force: whether to start it too where it needs what this system does not have.
        sealed: whether to start it where the project, the home directory, other runs and this
            environment do not exist; it fails if it reaches a file of these.
        network: whether a sealed run has one.

    Raises:
        GageError: there is no such run, it is not staged, was started, or was changed; or it needs
            what this system does not have.
        KeyboardInterrupt: the run was interrupted; it is finalized first.
    """
    from gage._internal import api

    found = api.find(run, project, runs_home) if isinstance(run, str) else run.run
    return api.start(found, echo, force, project_dir=project, sealed=sealed, network=network)


def rerun(
    run: RunRecord | str,
    *,
    project: str = ".",
    runs_home: str | None = None,
    label: str | None = None,
    tags: Sequence[str] = (),
    echo: bool = True,
    force: bool = False,
) -> RunRecord:
    """Run a run again from what it was staged with, and return what is known of the new run.

    The arguments are those of `start`, but that the new run is kept in the runs home too; and a
    label and tags for the new run. What became of the old one does not matter.

    Raises:
        GageError: there is no such run, it was never staged, or its files are not there any more;
            or it needs what this system does not have.
        KeyboardInterrupt: the run was interrupted; it is finalized first.
    """
    from gage._internal import api

    found = api.find(run, project, runs_home) if isinstance(run, str) else run.run
    return api.rerun(found, project, runs_home, label, tags, echo, force)


def diff(
    a: RunRecord | str, b: RunRecord | str, *, project: str = ".", runs_home: str | None = None
) -> dict[str, Any]:
    """Compare two runs, and return what differs, as `gage diff --json` prints it.

    A key for each part (`command`, `config`, `source`, `runtime`, `dependencies`, `system`,
    `output`), `same_results` (None where one of the runs has none), and a `conclusion` in words.
    What cannot be read of a run is told under `lacks` of `a` or `b`. The arguments are those of
    `start`.

    Raises:
        GageError: there is no such run.
    """
    from gage._internal import api

    found = [
        api.find(each, project, runs_home) if isinstance(each, str) else each.run for each in (a, b)
    ]
    return api.diff(*found)


def runs(*, project: str = ".", runs_home: str | None = None) -> list[dict[str, Any]]:
    """Return a flat row for each run, newest first, as `pandas.DataFrame` takes them.

    Times are aware `datetime` values in UTC, `duration` is in seconds; each config name and
    metric has a key of its own, `config.NAME` and `summary.NAME`. A run that cannot be read
    says why under `damage`.
    """
    from gage._internal import api

    return api.rows(project, runs_home)


def current_run() -> RunRecord | None:
    """Return the run that this process belongs to; None outside of a run."""
    from gage._internal import api

    return api.current_run()


def __getattr__(name: str) -> Any:
    if name == "GageError":
        from gage._internal.errors import GageError

        return GageError
    if name == "RunRecord":
        from gage._internal.store.record import RunRecord

        return RunRecord
    raise AttributeError(f"module 'gage' has no attribute {name!r}")
