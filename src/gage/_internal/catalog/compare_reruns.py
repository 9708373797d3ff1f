"""A run and its reruns compared: the same results, others, or others each time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from gage._internal.catalog.compare import Part, compare_output, compare_runs, part_as_json
from gage._internal.catalog.compare_files import find_difference
from gage._internal.catalog.compare_sides import Side
from gage._internal.catalog.compare_values import is_same, iter_leaves, relative_difference
from gage._internal.store import output
from gage._internal.store.command_lines import RUN
from gage._internal.store.logs import counted
from gage._internal.types import Run

IDENTICAL = "identical"
DIFFERENT = "different"
VARIES = "varies"

_ABSENT = object()


class Spread(NamedTuple):
    """A value that differs among reruns: what it was in each, None where it was not there.

    `original` is what it was in the run itself. `relative` is the greatest difference of numbers.
    """

    name: str
    values: Sequence[Any]
    original: Any
    relative: float | None


class Varying(NamedTuple):
    """A file that differs among reruns: how many contents it had, 0 for one that is not a file.

    `missing` is the number of reruns that do not have it.
    """

    path: str
    contents: int
    missing: int


class Check(NamedTuple):
    """How a run compares with its reruns.

    `part` is what differs between it and the first of them, `spreads` and `varying` what differs
    among these. `printed` tells where what it printed to stdout first differs from that of one of
    them; None where it does not.
    """

    verdict: str
    part: Part
    spreads: Sequence[Spread]
    varying: Sequence[Varying]
    printed: str | None
    conclusion: str


def compare_reruns(
    original: Side, reruns: Sequence[Side], tolerance: float = 0, with_printed: bool = False
) -> Check:
    """Return how the results of a run compare with those of its reruns.

    Numbers of the summary are the same if they differ by no more than `tolerance`, relative to the
    greater one. What was printed counts `with_printed` only.
    """
    first = reruns[0]
    part = compare_output(original, first, tolerance)
    spreads = _find_spreads(original, reruns, tolerance)
    varying = _find_varying(reruns)
    among = [_find_printed(first.run, each.run) for each in reruns[1:]]
    against = [_find_printed(original.run, each.run) for each in reruns]
    printed = next(filter(None, against), None)
    ended = original.manifest.ended if original.manifest else None
    lost = [each for each in reruns if not each.is_finished]
    if lost:
        verdict = DIFFERENT
        conclusion = f"Rerun {lost[0].record.name} has no results: it is {lost[0].record.status}"
    elif spreads or varying or (with_printed and any(among)):
        verdict = VARIES
        conclusion = "The reruns differ among themselves: the operation is not deterministic"
    elif not part.is_same:
        verdict, conclusion = DIFFERENT, compare_runs(original, first).conclusion
    elif with_printed and printed:
        verdict, conclusion = DIFFERENT, "The results are the same, but not what is printed"
    else:
        verdict = IDENTICAL
        files = counted(len(ended or ()), "generated file")
        values = counted(len(dict(iter_leaves(original.record.summary))), "value")
        conclusion = f"The results are the same: {files}, {values} of the summary"
    return Check(verdict, part, spreads, varying, printed, conclusion)


def _find_spreads(original: Side, reruns: Sequence[Side], tolerance: float) -> list[Spread]:
    tables = [_values(side) for side in reruns]
    was = _values(original)
    found = []
    for name in dict.fromkeys(name for table in tables for name in table):
        values = [table.get(name, _ABSENT) for table in tables]
        relative = _relative_spread(values)
        if relative is not None:
            is_spread = relative > tolerance
        else:
            is_spread = not all(is_same(values[0], each) for each in values)
        if is_spread:
            known = [None if value is _ABSENT else value for value in values]
            found.append(Spread(name, known, was.get(name), relative))
    return found


def _values(side: Side) -> dict[str, Any]:
    ends = {"exit": side.record.exit, "status": side.record.status}
    return {**ends, **dict(iter_leaves(side.record.summary))}


def _relative_spread(values: Sequence[Any]) -> float | None:
    """Return the greatest relative difference of numbers; None where one is none."""
    relatives = [relative_difference(values[0], value) for value in values]
    if None in relatives:
        return None
    ordered = sorted(value for value in values if value == value)
    if len(ordered) < len(values):
        return max(each for each in relatives if each is not None)
    return relative_difference(ordered[0], ordered[-1])


def _find_varying(reruns: Sequence[Side]) -> list[Varying]:
    found: dict[str, None] = {}
    for side in reruns[1:]:
        found.update((change.path, None) for change in compare_output(reruns[0], side).files)
    varying = []
    for path in sorted(found):
        ended = [side.manifest.ended or () for side in reruns if side.manifest]
        entries = [entry for each in ended for entry in each if entry.path == path]
        contents = {entry.sha256 for entry in entries if entry.sha256}
        varying.append(Varying(path, len(contents), len(reruns) - len(entries)))
    return varying


def _find_printed(first: Run, second: Run) -> str | None:
    """Return where what two runs printed to stdout first differs; None where it does not."""
    return find_difference(_printed(first), _printed(second))


def _printed(run: Run) -> Iterator[bytes]:
    try:
        for piece in output.iter_pieces(run, RUN):
            if piece.stream == output.STDOUT:
                yield piece.data
    except FileNotFoundError:
        # It was not started, or somebody has removed what it printed.
        return


def check_as_json(check: Check, reruns: Sequence[Side]) -> dict[str, Any]:
    """Return how a run compares with its reruns as JSON values."""
    found = part_as_json(check.part)
    return {
        "verdict": check.verdict,
        "reruns": [
            {"id": each.run.id, "status": each.record.status, "run_dir": each.run.run_dir}
            for each in reruns
        ],
        "changes": found["changes"],
        "files": found["files"],
        "spreads": [spread._asdict() for spread in check.spreads],
        "varying": [varying._asdict() for varying in check.varying],
        "output": check.printed,
        "conclusion": check.conclusion,
    }
