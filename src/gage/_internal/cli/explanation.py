"""Why each path of a project is staged or not, as `gage stage --explain` tells it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal.cli.values import counted_bytes
from gage._internal.errors import UsageError
from gage._internal.fs import printable
from gage._internal.lifecycle.plan import Difference, Plan
from gage._internal.project.git_files import find_ignoring
from gage._internal.project.projects import Project
from gage._internal.project.selection import NOT_BY_GIT, Verdict
from gage._internal.project.source_rules import Rule
from gage._internal.store.logs import counted
from gage._internal.store.names import run_name

_BIGGEST = 10


class Line(NamedTuple):
    """A path, whether it is in, and why: in words, with the rule and its place where one decides.

    `place` is `FILE:LINE`, of the Gage file or of what makes git ignore the path.
    """

    path: str
    is_in: bool
    why: str
    rule: str | None = None
    place: str | None = None


def explain(plan: Plan, project: Project, cwd: str, path: str) -> list[Line]:
    """Return a line for each path of the project, or for `path` and what is below it.

    `path` is relative to `cwd`; where it is in a directory that is left out whole, the line is
    that directory's.

    Raises:
        UsageError: there is no such path in the project.
    """
    verdicts = _chosen(plan.verdicts, project, cwd, path) if path else plan.verdicts
    places = _places(plan, project)
    ignoring = _ignoring(verdicts, project.dir)
    return [_line(verdict, places, ignoring) for verdict in verdicts]


def _chosen(
    verdicts: Iterable[Verdict], project: Project, cwd: str, path: str
) -> Sequence[Verdict]:
    full = os.path.normpath(os.path.join(cwd, path))
    inside = os.path.relpath(full, project.dir)
    if inside.split(os.sep)[0] == os.pardir or not os.path.lexists(full):
        raise UsageError(f"there is no {printable(path)} in {printable(project.dir)}")
    if inside == os.curdir:
        return list(verdicts)
    return [
        verdict
        for verdict in verdicts
        if f"{verdict.path.rstrip('/')}/".startswith(f"{inside}/")
        or (verdict.path.endswith("/") and f"{inside}/".startswith(verdict.path))
    ]


def _places(plan: Plan, project: Project) -> Mapping[Rule, str]:
    from gage._internal.project.gage_file import find_line
    from gage._internal.project.source_rules import parse_rules

    operation = project.operations.get(plan.operation)
    if operation is None or project.gage_file is None:
        return {}
    spec = operation.data.get("sourcecode")
    name = os.path.basename(project.gage_file)
    places = {}
    for i, rule in enumerate(parse_rules(spec)):
        keys = (plan.operation, "sourcecode", *((i,) if isinstance(spec, list) else ()))
        places[rule] = f"{name}:{find_line(project.gage_file, keys)}"
    return places


def _ignoring(verdicts: Iterable[Verdict], project_dir: str) -> dict[str, tuple[str, str]]:
    """Return the pattern and its place for what git ignores, repository by repository."""
    by_repository: dict[str, list[str]] = {}
    is_top: dict[str, bool] = {}
    for verdict in verdicts:
        if verdict.reason != NOT_BY_GIT:
            continue
        root = os.path.dirname(verdict.path.rstrip("/"))
        while root and not is_top.setdefault(
            root, os.path.lexists(os.path.join(project_dir, root, ".git"))
        ):
            root = os.path.dirname(root)
        by_repository.setdefault(root, []).append(verdict.path)
    found = {}
    for root, paths in by_repository.items():
        prefix = f"{root}/" if root else ""
        ignored = find_ignoring(
            os.path.join(project_dir, root), [path[len(prefix) :] for path in paths]
        )
        for path, by in ignored.items():
            place = by.place if os.path.isabs(by.place) else prefix + by.place
            found[prefix + path] = by.pattern, place
    return found


def _line(
    verdict: Verdict, places: Mapping[Rule, str], ignoring: Mapping[str, tuple[str, str]]
) -> Line:
    rule = verdict.limit if verdict.limit and not verdict.is_taken else verdict.rule
    if rule is not None:
        why = "" if rule is verdict.rule else "beyond the limit of"
        return Line(verdict.path, verdict.is_taken, why, rule.text, places.get(rule))
    if verdict.reason == NOT_BY_GIT:
        if verdict.path in ignoring:
            pattern, place = ignoring[verdict.path]
            return Line(verdict.path, False, "git ignores it by", pattern, place)
        if verdict.path.endswith("/"):
            return Line(verdict.path, False, "git has no file in it")
    return Line(verdict.path, verdict.is_taken, verdict.reason)


def as_text(
    lines: Sequence[Line], plan: Plan, since: Difference | None, is_whole: bool
) -> Iterator[str]:
    """Yield what is printed: the paths, and of a whole project a summary."""
    width = min(40, max((len(printable(line.path)) for line in lines), default=0))
    for line in lines:
        rule = "" if line.rule is None else f"{printable(line.rule)}"
        place = "" if line.place is None else f"  ({printable(line.place)})"
        why = " ".join(filter(None, (line.why, rule))) + place
        yield f"{'in ' if line.is_in else 'out'}  {printable(line.path):<{width}}  {why}"
    if not is_whole:
        return
    yield ""
    yield _total("source file", [file.size for file in plan.source])
    for found in plan.dependencies:
        total = _total("file", [file.size for file in found.files])
        yield f"{total} of {found.name}, from {found.origin}"
    yield from (f"note: {note}" for note in plan.notes)
    biggest = _biggest(plan)
    if biggest:
        yield ""
        yield "The biggest:"
        yield from (f"  {counted_bytes(file.size):>9}  {printable(file.path)}" for file in biggest)
    if since is not None:
        yield ""
        yield f"Since run {since.run.id[:8]} ({run_name(since.run.id)}):" + (
            "" if any(since[1:]) else " nothing changed"
        )
        for name, paths in zip(("added", "changed", "removed"), since[1:], strict=True):
            yield from (f"  {name:<7}  {printable(path)}" for path in paths)


def as_json(lines: Sequence[Line], plan: Plan, since: Difference | None) -> dict[str, Any]:
    """Return the same as JSON values; sizes are in bytes."""
    return {
        "operation": plan.operation,
        "paths": [
            {
                "path": line.path,
                "in": line.is_in,
                "why": line.why or None,
                "rule": line.rule,
                "place": line.place,
            }
            for line in lines
        ],
        "files": len(plan.files),
        "bytes": sum(file.size for file in plan.files),
        "biggest": [{"path": file.path, "bytes": file.size} for file in _biggest(plan)],
        "notes": list(plan.notes),
        "since": since
        and {
            "run": since.run.id,
            "added": list(since.added),
            "changed": list(since.changed),
            "removed": list(since.removed),
        },
    }


def _biggest(plan: Plan) -> list[Any]:
    return sorted(plan.files, key=lambda file: -file.size)[:_BIGGEST]


def _total(what: str, sizes: Sequence[int]) -> str:
    return f"{counted(len(sizes), what)}, {counted_bytes(sum(sizes))}"
