"""Stage source code: copy what the project means by source into the run directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gage._internal.fs import printable
from gage._internal.lifecycle.staged_files import StagedFiles
from gage._internal.project.selection import select_source
from gage._internal.project.source_rules import matcher, parse_rules
from gage._internal.store import layout
from gage._internal.store.logs import counted, log_action, log_actions
from gage._internal.store.manifest import SOURCE
from gage._internal.types import OpDef, Run, as_patterns

if TYPE_CHECKING:
    from gage._internal.lifecycle.freeze import Frozen

_MOST_NAMED = 3


class _Found(NamedTuple):
    """The paths of the source, and what is to be logged and told of how they came about."""

    paths: Sequence[str]
    logged: Sequence[str]
    told: Sequence[str]


def stage_sourcecode(
    run: Run,
    opdef: OpDef,
    project_dir: str | None,
    files: StagedFiles,
    notice: Callable[[str], None],
    frozen: Frozen | None = None,
) -> None:
    """Copy the selected files of a project; do nothing without one.

    The summary that an earlier run wrote in the project is no source: the run writes its own.
    What is left out is told to `notice`, biggest first, and to the runner log.

    Raises:
        SourceRefused: a file cannot be staged; the message names it.
    """
    if project_dir is None:
        return
    folder, home = project_dir, os.path.dirname(run.run_dir)
    if frozen:
        found = frozen.once("source", lambda: _find(opdef, folder, home))
    else:
        found = _find(opdef, folder, home)
    if found.logged:
        log_actions(run, found.logged)
    for sentence in found.told:
        notice(sentence)
    copied = files.copy(project_dir, ((path, path) for path in found.paths), SOURCE)
    if copied:
        log_action(run, f"Copied {counted(copied, 'source file')}")


def freeze_sourcecode(
    opdef: OpDef, project_dir: str, home: str, needles: Sequence[bytes], frozen: Frozen
) -> Sequence[str]:
    """Freeze the selected files of a project before there is a run; return what is to be told.

    Raises:
        SourceRefused: a file cannot be staged; the message names it.
    """
    found = frozen.once("source", lambda: _find(opdef, project_dir, home))
    is_writable = matcher(as_patterns(opdef.data.get("writable")))
    frozen.freeze(project_dir, [(path, path) for path in found.paths], is_writable, needles)
    return found.told


def _find(opdef: OpDef, project_dir: str, home: str) -> _Found:
    spec = opdef.data.get("sourcecode")
    rules = None if spec is False else parse_rules(spec)
    selection = select_source(project_dir, rules, prune=[home])
    summary = layout.summary_file(opdef.data)
    paths = [path for path in selection.paths if path != summary]
    logged: list[str] = []
    told: list[str] = []
    if len(paths) < len(selection.paths):
        logged.append(f"Left out {summary}: the run writes it")
    logged += selection.notes
    told += selection.notes
    by_reason: dict[str, list[str]] = {}
    for verdict in selection.verdicts:
        if verdict.is_notable:
            reason = f"it is beyond {verdict.limit.text}" if verdict.limit else verdict.reason
            logged.append(f"Left out {verdict.path}: {reason}")
            by_reason.setdefault(reason, []).append(verdict.path)
    told += [_left_out_sentence(project_dir, those, why) for why, those in by_reason.items()]
    return _Found(paths, logged, told)


def _left_out_sentence(project_dir: str, paths: Sequence[str], reason: str) -> str:
    by_size = sorted(paths, key=lambda p: -os.lstat(os.path.join(project_dir, p)).st_size)
    named = ", ".join(printable(path) for path in by_size[:_MOST_NAMED])
    if len(paths) == 1:
        return f"{named} is left out: {reason}"
    rest = "" if len(paths) <= _MOST_NAMED else f" and {len(paths) - _MOST_NAMED} more"
    return f"{len(paths)} files are left out, each since {reason}: {named}{rest}"
