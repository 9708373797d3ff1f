"""What the public functions of `gage` do."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from gage._internal.catalog.find import find_run, list_runs
from gage._internal.catalog.rows import record_as_row
from gage._internal.lifecycle.create import create_run
from gage._internal.lifecycle.isolation.options import Isolated
from gage._internal.lifecycle.stage import stage_run
from gage._internal.lifecycle.start import start_run
from gage._internal.project.operations import Operation, check_config, find_operation
from gage._internal.project.projects import (
    Project,
    check_width,
    find_project_dir,
    read_project,
    runs_home,
)
from gage._internal.store.layout import run_of_dir
from gage._internal.store.output import STDERR
from gage._internal.store.record import RunRecord, find_record, read_record
from gage._internal.types import Run


def stage(
    operation: str | None,
    config: Mapping[str, Any] | None,
    project_dir: str,
    home: str | None,
    label: str | None,
    tags: Sequence[str],
    strict: bool,
    share: bool,
    durable: bool,
) -> RunRecord:
    """Create and stage a run; see `gage.stage`."""
    cwd = os.path.abspath(project_dir)
    project = read_project(find_project_dir(cwd) or cwd)
    check_width(project)
    found = find_operation(project, operation, cwd)
    found, config = _with_chosen_runs(found, config or {}, _home(project, home))
    values = check_config(found, config)
    run = create_run(_home(project, home), found, values, label, tags)
    share = share or project.share
    stage_run(run, project.dir, durable=durable, strict=strict, share=share)
    return read_record(run)


def stage_batch(
    operation: str | None,
    configs: Sequence[Mapping[str, Any]],
    project_dir: str,
    home: str | None,
    group: str | None,
    label: str | None,
    tags: Sequence[str],
    strict: bool,
    share: bool,
) -> list[RunRecord]:
    """Create and stage runs of a project that is frozen once; see `gage.stage_batch`."""
    from gage._internal.lifecycle.batch import frozen_project, stage_batch
    from gage._internal.store.names import group_name

    cwd = os.path.abspath(project_dir)
    project = read_project(find_project_dir(cwd) or cwd)
    check_width(project)
    found = find_operation(project, operation, cwd)
    home = _home(project, home)
    values = [check_config(found, config) for config in configs]
    staged: list[Run] = []
    share = share or project.share
    with frozen_project(home, found.opdef, project.dir, strict=strict, share=share) as fill:
        stage_batch(
            home,
            found,
            values,
            fill,
            group=group or group_name(),
            label=label,
            tags=tags,
            on_staged=staged.append,
        )
    return [read_record(run) for run in staged]


def _with_chosen_runs(
    operation: Operation, config: Mapping[str, Any], home: str
) -> tuple[Operation, Mapping[str, Any]]:
    if "depends" not in operation.opdef.data:
        return operation, config
    from gage._internal.project.chosen_runs import names_of_runs, with_runs

    names = names_of_runs(operation)
    chosen = {
        name: value.run.run_dir if isinstance(value, RunRecord) else find_run(home, value).run_dir
        for name, value in config.items()
        if name in names
    }
    rest = {name: value for name, value in config.items() if name not in names}
    return with_runs(operation, chosen), rest


def start(
    run: Run,
    echo: bool,
    force: bool = False,
    *,
    project_dir: str = ".",
    sealed: bool = False,
    network: bool = True,
) -> RunRecord:
    """Start a staged run and see it to its end; see `gage.start`."""
    isolated = None
    if sealed:
        found = find_project_dir(os.path.abspath(project_dir))
        isolated = Isolated(network, hidden=[found] if found else [])
    take = _TextEcho() if echo else _ignore
    outcome = start_run(run, take, force=force, sealed=isolated)
    if outcome.signal == "SIGINT":
        raise KeyboardInterrupt
    return read_record(run)


def rerun(
    original: Run,
    project_dir: str,
    home: str | None,
    label: str | None,
    tags: Sequence[str],
    echo: bool,
    force: bool,
) -> RunRecord:
    """Run a run again and see it to its end; see `gage.rerun`."""
    from gage._internal.lifecycle.rerun import stage_rerun

    home = _home(_project(project_dir), home)
    return start(stage_rerun(original, home, label, tags, durable=False), echo, force)


def diff(before: Run, after: Run) -> dict[str, Any]:
    """Return what differs between two runs; see `gage.diff`."""
    from gage._internal.catalog.compare import compare_runs, comparison_as_json
    from gage._internal.catalog.compare_sides import read_side

    return comparison_as_json(compare_runs(read_side(before), read_side(after)))


def find(text: str, project_dir: str, home: str | None) -> Run:
    """Return the run that `text` names."""
    return find_run(_home(_project(project_dir), home), text)


def rows(project_dir: str, home: str | None) -> list[dict[str, Any]]:
    """Return a row for each run; see `gage.runs`."""
    return [
        record_as_row(find_record(run)) for run in list_runs(_home(_project(project_dir), home))
    ]


def current_run() -> RunRecord | None:
    """Return the run that this process belongs to; see `gage.current_run`."""
    run_dir = os.environ.get("RUN_DIR")
    if not run_dir or "RUN_ID" not in os.environ:
        return None
    return read_record(run_of_dir(run_dir))


def _project(directory: str) -> Project | None:
    found = find_project_dir(directory)
    return read_project(found) if found else None


def _home(project: Project | None, home: str | None) -> str:
    if project is None:
        return runs_home(None, None, home)
    return runs_home(project.dir, project.runs, home)


def _ignore(stream: str, data: bytes) -> None:
    pass


class _TextEcho:
    """Passes output on to `sys.stdout` and `sys.stderr`, which a notebook replaces."""

    def __init__(self) -> None:
        make = codecs.getincrementaldecoder("utf-8")
        self._decoders = {stream: make(errors="replace") for stream in "oe"}

    def __call__(self, stream: str, data: bytes) -> None:
        target = sys.stderr if stream == STDERR else sys.stdout
        try:
            target.write(self._decoders[stream].decode(data))
            target.flush()
        except (OSError, ValueError):
            # Closed: the run goes on without being watched.
            pass
