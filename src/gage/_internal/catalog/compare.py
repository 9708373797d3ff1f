"""Two runs compared: what went into them, what came out, and what may be the cause of that.

Needs nothing but the directories of the two runs. What cannot be read of one is told, and the rest
compared.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal.catalog import compare_files
from gage._internal.catalog.compare_files import FileChange, compare_entries, find_content
from gage._internal.catalog.compare_sides import Side
from gage._internal.catalog.compare_values import ADDED, CHANGED, REMOVED, Change, compare_tables
from gage._internal.catalog.patches import taken_back
from gage._internal.store import layout
from gage._internal.store.logs import counted
from gage._internal.store.manifest import DEPENDENCY, FILE, RUNTIME, SOURCE, Entry
from gage._internal.store.record import RunRecord

PARTS = ("command", "config", "source", "runtime", "dependencies", "system", "output")
OUTPUT = PARTS[-1]

BY_CONFIG = "by config only"
# What of the system belongs to another part.
_OF_RUNTIME = ("interpreter", "packages")
_OF_SOURCE = "git"
_NOT_RECORDED = (
    "nothing recorded differs: the operation is not deterministic, or uses what is not staged"
    " (time, network, unseeded random numbers)"
)


class Cause(NamedTuple):
    """What may be the cause that results differ: `config (lr)`, `2 source files`."""

    text: str
    is_plural: bool = False


class Part(NamedTuple):
    """What differs in one part: values, files; what is to be said besides, and possible causes."""

    changes: Sequence[Change] = ()
    files: Sequence[FileChange] = ()
    notes: Sequence[str] = ()
    causes: Sequence[Cause] = ()

    @property
    def is_same(self) -> bool:
        """Whether nothing differs."""
        return not self.changes and not self.files


class Comparison(NamedTuple):
    """Two runs compared, part by part; `agree` tells whether their results are the same.

    It is None where one has none. `conclusion` is a sentence that sums it up.
    """

    before: Side
    after: Side
    parts: Mapping[str, Part]
    agree: bool | None
    conclusion: str


def compare_runs(before: Side, after: Side, with_diffs: bool = False) -> Comparison:
    """Return what differs between two runs.

    Generated text files are compared to where they first differ, or as unified diffs `with_diffs`.
    """
    inputs = (
        _compare_command(before, after),
        _compare_config(before, after),
        _compare_source(before, after),
        _compare_runtime(before, after),
        _compare_dependencies(before, after),
        _compare_system(before, after),
    )
    output = compare_output(before, after, with_diffs=with_diffs)
    agree = output.is_same if before.is_finished and after.is_finished else None
    causes = [cause for part in inputs for cause in part.causes]
    # How long a run took is no result.
    output = output._replace(changes=[*output.changes, *_compare_times(before, after)])
    parts = dict(zip(PARTS, (*inputs, output), strict=True))
    return Comparison(before, after, parts, agree, _conclusion(before, after, agree, causes))


def _compare_command(before: Side, after: Side) -> Part:
    definition = compare_tables(before.definition, after.definition)
    old, new = before.record.cmd, after.record.cmd
    args = []
    if list(old.args) != list(new.args):
        args.append(Change("arguments", CHANGED, shlex.join(old.args), shlex.join(new.args)))
    env = compare_tables(old.env, new.env)
    causes = []
    # Where the operation is the same, it is config that makes the command another one.
    if definition or before.record.config == after.record.config:
        causes += [Cause("the command")] if args else []
        causes += _causes("the environment", [change.name for change in env])
    causes += _causes("the operation", [change.name.partition(".")[0] for change in definition])
    changes = [*args, *_named("env ", env), *_named("operation ", definition)]
    return Part(changes, causes=causes)


def _compare_config(before: Side, after: Side) -> Part:
    changes = compare_tables(before.record.config, after.record.config)
    return Part(changes, causes=_causes("config", [change.name for change in changes]))


def _compare_source(before: Side, after: Side) -> Part:
    files = []
    other = 0
    for change in compare_entries(_staged(before, SOURCE), _staged(after, SOURCE)):
        old = find_content(before.run.run_dir, change.before)
        new = find_content(after.run.run_dir, change.after)
        if _is_by_config(change, before, after, old, new):
            files.append(change._replace(detail=BY_CONFIG))
        else:
            other += 1
            files.append(compare_files.with_diff(change, old, new))
    git = compare_tables(_commit(before), _commit(after))
    sides = (("a", before), ("b", after))
    notes = [f"the files of {which} are not known" for which, side in sides if not side.manifest]
    causes = [Cause(counted(other, "source file"), other > 1)] if other else []
    return Part(_named("git ", git), files, notes, causes)


def _is_by_config(
    change: FileChange, before: Side, after: Side, old: bytes | None, new: bytes | None
) -> bool:
    """Tell whether a file differs in nothing but what config made of it."""
    first, second = change.before, change.after
    if not first or not second or old is None or new is None or first.mode != second.mode:
        return False
    patches = before.patched.get(change.path, ()), after.patched.get(change.path, ())
    try:
        return any(patches) and taken_back(old, patches[0]) == taken_back(new, patches[1])
    except ValueError:
        return False


def _commit(side: Side) -> dict[str, Any]:
    found = side.system.get(_OF_SOURCE)
    known = found if isinstance(found, Mapping) else {}
    return {name: known[name] for name in ("commit", "branch") if known.get(name)}


def _compare_runtime(before: Side, after: Side) -> Part:
    about = compare_tables(_runtime(before), _runtime(after))
    old, new = _packages(before), _packages(after)
    notes = _unrecorded("packages", old, new)
    packages = [] if notes else _plain_changes(old, new)
    files = compare_entries(_staged(before, RUNTIME), _staged(after, RUNTIME))
    what = [change.name for change in about]
    if packages:
        what.append(counted(len(packages), "package"))
    if files and what:
        # Whoever knows which package is another one need not know which files that are.
        notes.append(f"files that differ: {len(files)}")
        files = []
    elif files:
        what.append(counted(len(files), "file"))
    changes = [*about, *_named("package ", packages)]
    return Part(changes, files, notes, _causes("the runtime", what))


def _runtime(side: Side) -> dict[str, Any]:
    """Return what a run is executed with: its own, or what the system had."""
    runtime = side.runtime
    defined: Any = side.definition.get("runtime")
    python = runtime.get("python") or side.system.get("interpreter")
    python = python if isinstance(python, Mapping) else {}
    if isinstance(defined, Mapping):
        defined = defined.get("name")
    version = " ".join(str(python[n]) for n in ("implementation", "version") if n in python)
    table = {
        "name": runtime.get("name") or defined,
        "bundle": runtime.get("bundle"),
        "image": runtime.get("path") if runtime.get("bundle") == "image" else None,
        "interpreter": version,
    }
    return {name: value for name, value in table.items() if value}


def _packages(side: Side) -> Mapping[str, Any]:
    packages = side.runtime.get("packages") or side.system.get("packages")
    return packages if isinstance(packages, Mapping) else {}


def _compare_dependencies(before: Side, after: Side) -> Part:
    changes: list[Change] = []
    names = []
    for name in dict.fromkeys((*before.depends, *after.depends)):
        old, new = before.depends.get(name), after.depends.get(name)
        if old is None or new is None:
            kind = ADDED if old is None else REMOVED
            origins = [None if each is None else each.get("origin") for each in (old, new)]
            changes.append(Change(name, kind, origins[0], origins[1]))
            names.append(name)
            continue
        changes += _named(f"{name} ", compare_tables(old, new))
        # That it comes from elsewhere is no cause where it is the same.
        if old.get("sha256") != new.get("sha256"):
            names.append(name)
    files = compare_entries(_staged(before, DEPENDENCY), _staged(after, DEPENDENCY))
    if files and not names:
        names.append(counted(len(files), "file"))
    return Part(changes, files, (), _causes("dependencies", names, is_plural=True))


def _compare_system(before: Side, after: Side) -> Part:
    old, new = _machine(before), _machine(after)
    notes = _unrecorded("the system", old, new)
    changes = [] if notes else compare_tables(old, new)
    requires = _plain_changes(before.requires, after.requires)
    # `gpu[0].model`
    what = [change.name.partition(".")[0].partition("[")[0] for change in changes]
    return Part([*changes, *_named("requires ", requires)], (), notes, _causes("the system", what))


def _machine(side: Side) -> dict[str, Any]:
    others = (_OF_SOURCE, *_OF_RUNTIME)
    return {name: value for name, value in side.system.items() if name not in others}


def compare_output(
    before: Side, after: Side, tolerance: float = 0, with_diffs: bool = False
) -> Part:
    """Return what differs of the results of two runs, metrics by more than a tolerance.

    The file that a run writes its summary to is compared as the summary, by its values.
    """
    old, new = before.record, after.record
    sides = (("a", before), ("b", after))
    notes = [
        f"{which} has no results: it is {side.record.status}"
        for which, side in sides
        if not side.is_finished
    ]
    if notes:
        return Part((), (), notes)
    changes = compare_tables(old.summary, new.summary, tolerance)
    changes += compare_tables(_end(old), _end(new))
    summary = layout.summary_file(before.definition) if old.summary and new.summary else None
    found = compare_entries(_ended(before, summary), _ended(after, summary))
    roots = before.run.run_dir, after.run.run_dir
    tell = compare_files.with_text_diff if with_diffs else compare_files.with_first_difference
    if bool(old.summary) != bool(new.summary):
        notes.append(f"{'b' if old.summary else 'a'} has no summary")
    return Part(changes, [tell(change, *roots) for change in found], notes)


def _ended(side: Side, summary: str | None) -> list[Entry]:
    """Return what a run has ended with, less the file of its summary where that is compared."""
    ended = side.manifest.ended if side.manifest else None
    return [each for each in ended or () if (each.path, each.kind) != (summary, FILE)]


def _end(record: RunRecord) -> dict[str, Any]:
    return {"exit": record.exit, "status": record.status}


def _compare_times(before: Side, after: Side) -> list[Change]:
    old, new = before.record.duration, after.record.duration
    if old is None or new is None:
        return []
    return [Change("duration", CHANGED, f"{old / 1e6:.2f}s", f"{new / 1e6:.2f}s")]


def _staged(side: Side, type_: str) -> list[Entry]:
    return [e for e in side.manifest.staged if e.type == type_] if side.manifest else []


def _unrecorded(what: str, old: object, new: object) -> list[str]:
    """Say of which run something was not recorded that was of the other."""
    return [] if bool(old) == bool(new) else [f"not recorded of {'b' if old else 'a'}: {what}"]


def _plain_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return what differs of two tables whose values hold no others, by name."""
    found = []
    for name in sorted({*before, *after}):
        if name not in after:
            found.append(Change(name, REMOVED, before=before[name]))
        elif name not in before:
            found.append(Change(name, ADDED, after=after[name]))
        elif before[name] != after[name]:
            found.append(Change(name, CHANGED, before[name], after[name]))
    return found


def _named(prefix: str, changes: Iterable[Change]) -> list[Change]:
    return [change._replace(name=prefix + change.name) for change in changes]


def _causes(what: str, names: Sequence[str], is_plural: bool = False) -> list[Cause]:
    if not names:
        return []
    return [Cause(f"{what} ({', '.join(dict.fromkeys(names))})", is_plural)]


def _conclusion(before: Side, after: Side, agree: bool | None, causes: Sequence[Cause]) -> str:
    """Return what differs, in a sentence, and what may be the cause of it."""
    names = before.record.opref.name, after.record.opref.name
    if names[0] != names[1]:
        return f"These are runs of different operations, {names[0]} and {names[1]}"
    texts = [cause.text for cause in causes]
    told = " and ".join(filter(None, (", ".join(texts[:-1]), *texts[-1:])))
    is_plural = len(causes) > 1 or any(cause.is_plural for cause in causes)
    differ = "differ" if is_plural else "differs"
    if agree is None:
        so_far = f"{told} {differ}" if causes else "nothing recorded differs"
        return f"Not both of the runs have results; so far {so_far}"
    if agree:
        return "The results are the same" + (f", though {told} {differ}" if causes else "")
    if causes:
        return f"The results differ; so {'do' if is_plural else 'does'} {told}"
    return f"The results differ; {_NOT_RECORDED}"


def comparison_as_json(comparison: Comparison, parts: Sequence[str] = PARTS) -> dict[str, Any]:
    """Return a comparison as JSON values; only some parts of it, if so asked."""
    return {
        "a": _side_json(comparison.before),
        "b": _side_json(comparison.after),
        **{name: part_as_json(comparison.parts[name]) for name in parts},
        "same_results": comparison.agree,
        "conclusion": comparison.conclusion,
    }


def _side_json(side: Side) -> dict[str, Any]:
    record = side.record
    return {
        "id": record.run.id,
        "name": record.name,
        "operation": record.opref.name,
        "status": record.status,
        "run_dir": record.run.run_dir,
        "rerun": side.rerun,
        "lacks": list(side.lacks),
    }


def part_as_json(part: Part) -> dict[str, Any]:
    """Return what differs in a part as JSON values."""
    return {
        "changes": [change.as_json() for change in part.changes],
        "files": [change.as_json() for change in part.files],
        "notes": list(part.notes),
        "causes": [cause.text for cause in part.causes],
    }
