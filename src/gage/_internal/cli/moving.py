"""What `push` and `pull` share: places opened, runs moved one after the other, and told of."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gage._internal.catalog.find import find_run, list_runs
from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.values import counted_bytes
from gage._internal.errors import RunNotFound, UsageError
from gage._internal.fs import printable
from gage._internal.portable.snapshot import NAMED, write_snapshot
from gage._internal.portable.transfer import (
    ALREADY,
    MERGED,
    NEWER,
    Listener,
    Transferred,
    transfer,
)
from gage._internal.project.projects import find_project_dir, read_project
from gage._internal.project.remotes import find_remote_address
from gage._internal.store.logs import counted
from gage._internal.store.names import run_name
from gage.plugins import find_remote

if TYPE_CHECKING:
    from gage.plugins import Place


@contextmanager
def opened_remote(context: Context, text: str, make: bool = False) -> Iterator[Place]:
    """Open the remote that a word of the command line means."""
    cwd = context.cwd
    project_dir = find_project_dir(cwd)
    remotes = read_project(project_dir).remotes if project_dir else {}
    found = find_remote_address(text, cwd, project_dir, remotes)
    kind = find_remote(found.kind)
    place = kind.open(found.address, found.options, make, printer.print_note)
    try:
        yield place
    finally:
        place.close()


def opened_local(home: str, make: bool = False) -> Place:
    """Return a runs home of this machine as a place; `make` it where it is not there."""
    if make:
        os.makedirs(home, exist_ok=True)
    return find_remote("directory").open(home, {}, False, printer.print_note)


def find_at(place: Place, words: Iterable[str] | None) -> list[str]:
    """Return the ids of runs at a place that words mean, or of all runs there, the oldest first.

    Raises:
        RunNotFound, RunAmbiguous: a word means none, or several.
    """
    with tempfile.TemporaryDirectory(prefix="gage-") as folder:
        write_snapshot(place, NAMED, folder)
        if words is None:
            return [run.id for run in reversed(list_runs(folder))]
        found = []
        for word in words:
            if "/" in word:
                raise UsageError(f"{printable(word)} is a path", "name runs as gage list does")
            try:
                found.append(find_run(folder, word).id)
            except RunNotFound:
                raise RunNotFound(
                    f"there is no run {printable(word)} at {printable(place.address)}",
                    "gage list --remote lists them",
                ) from None
    return list(dict.fromkeys(found))


def move_runs(
    source: Place, target: Place, run_ids: Iterable[str], context: Context, done: str
) -> None:
    """Bring runs from one place to another, and tell what became of each.

    What was done is said in `done`: `pushed to box`.
    """
    moved: list[Transferred] = []
    try:
        with printer.ProgressLine() as line:
            for run_id in run_ids:
                name = run_name(run_id)

                def progress(count: int, total: int, name: str = name) -> None:
                    line(name, count, total)

                listener = Listener(printer.print_note, progress)
                moved.append(transfer(source, target, run_id, listener))
    finally:
        # What was moved before something went wrong has arrived.
        if context.json:
            printer.print_json([_as_json(each) for each in moved])
        elif moved:
            _tell(moved, target, done)


def _tell(moved: list[Transferred], target: Place, done: str) -> None:
    for each in moved:
        if each.outcome in (ALREADY, NEWER):
            gone_on = ", and has gone on there" if each.outcome == NEWER else ""
            where = printable(target.address)
            printer.print_note(f"run {run_name(each.run_id)} is at {where} already{gone_on}")
        elif each.outcome == MERGED:
            printer.print_note(f"run {run_name(each.run_id)} has been brought up to date")
    sent = [each for each in moved if each.outcome not in (ALREADY, NEWER)]
    if sent:
        here = sum(each.here for each in sent)
        were = f", {counted_bytes(here)} were there" if here else ""
        printer.print_note(
            f"{counted(len(sent), 'run')} {done}: {counted(sum(e.files for e in sent), 'file')},"
            f" {counted_bytes(sum(e.sent for e in sent))} sent{were}"
        )


def _as_json(moved: Transferred) -> dict[str, Any]:
    return {
        "id": moved.run_id,
        "name": run_name(moved.run_id),
        "outcome": moved.outcome,
        "files": moved.files,
        "bytes": moved.size,
        "sent": moved.sent,
    }
