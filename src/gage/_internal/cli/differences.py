"""What differs between runs, as people read it: for `diff` and for `rerun --check`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gage._internal.catalog.compare import Part
from gage._internal.catalog.compare_files import FileChange
from gage._internal.catalog.compare_reruns import Check, Spread, Varying
from gage._internal.catalog.compare_values import change_text
from gage._internal.cli import printer
from gage._internal.cli.values import value_text
from gage._internal.fs import printable
from gage._internal.store.logs import counted

_MOST_NAMED = 50


def print_part(name: str, part: Part) -> None:
    """Print what differs in a part; its diffs come last."""
    notes = [f"({note})" for note in part.notes]
    if part.is_same:
        printer.print_data(f"{name}: {' '.join(notes) or 'same'}")
        return
    printer.print_data(f"{name}:")
    for line in (*part_lines(part), *notes):
        printer.print_data(f"  {line}")
    for change in part.files:
        if change.diff:
            printer.print_diff(change.diff)


def part_lines(part: Part) -> Iterator[str]:
    """Yield a line for each value and each file that differs."""
    yield from map(change_text, part.changes)
    yield from _file_lines(part.files)


def _file_lines(files: Iterable[FileChange]) -> Iterator[str]:
    listed = list(files)
    for change in listed[:_MOST_NAMED]:
        detail = f" ({change.detail})" if change.detail else ""
        yield f"{change.kind}: {printable(change.path)}{detail}"
    if len(listed) > _MOST_NAMED:
        yield f"and {counted(len(listed) - _MOST_NAMED, 'more file')}"


def check_lines(check: Check, count: int, with_printed: bool) -> Iterator[str]:
    """Yield the lines that tell how a run compares with so many reruns."""
    yield check.verdict
    if check.spreads or check.varying:
        yield from (f"  {_spread_text(spread)}" for spread in check.spreads)
        yield from (f"  {_varying_text(varying, count)}" for varying in check.varying)
    else:
        yield from (f"  {line}" for line in part_lines(check.part))
    uncounted = "" if with_printed else " (not counted)"
    yield f"  output: {'same' if check.printed is None else check.printed + uncounted}"
    yield check.conclusion


def _spread_text(spread: Spread) -> str:
    name = printable(spread.name)
    was = f"was {value_text(spread.original)}"
    if spread.relative is None:
        return f"varies: {name}: {', '.join(map(value_text, spread.values))}, {was}"
    low, high = min(spread.values), max(spread.values)
    among = f"{value_text(low)} to {value_text(high)}, relative difference {spread.relative:.2g}"
    return f"varies: {name}: {among}, {was}"


def _varying_text(varying: Varying, count: int) -> str:
    facts = [counted(varying.contents, "content")] if varying.contents else []
    facts += [f"missing in {varying.missing}"] if varying.missing else []
    told = f" ({', '.join(facts)} in {counted(count, 'rerun')})" if facts else ""
    return f"varies: {printable(varying.path)}{told}"
