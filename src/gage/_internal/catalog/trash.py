"""Deleted runs: kept in the trash of their runs home until they are purged.

Deleting and restoring are renames, in an order that makes either repeatable: the meta
directory, by which a run is found, goes last.
"""

from __future__ import annotations

import os

from gage._internal import fs
from gage._internal.catalog.find import find_run
from gage._internal.errors import RunActive, RunDamaged, RunNotFound
from gage._internal.fs import printable
from gage._internal.store import layout, status
from gage._internal.store.jobs import refuse_job
from gage._internal.types import Run


def trash_dir(home: str) -> str:
    """Return the directory that holds the deleted runs of a runs home."""
    return os.path.join(home, layout.TRASH)


def find_deleted(home: str, text: str) -> Run:
    """Return the run in the trash of a runs home, or of another, that `text` names.

    Raises:
        RunNotFound: no deleted run goes by that.
        RunAmbiguous: several do.
    """
    run = find_run(trash_dir(home), text)
    if not _is_deleted(run):
        raise RunNotFound(f"run {printable(text)} is not deleted", "gage list --deleted")
    return run


def _is_deleted(run: Run) -> bool:
    return os.path.basename(os.path.dirname(run.run_dir)) == layout.TRASH


def delete_run(run: Run) -> None:
    """Move a run to the trash; one that is there stays there.

    Raises:
        RunActive: the run is being staged or is running.
        HasJob: an engine was given it.
    """
    refuse_active(run)
    if _is_deleted(run):
        return
    move_run(run, trash_dir(os.path.dirname(run.run_dir)))


def restore_run(run: Run) -> None:
    """Move a run, whose run directory is in a trash, back to its runs home."""
    move_run(run, os.path.dirname(os.path.dirname(run.run_dir)))


def purge_run(run: Run) -> None:
    """Remove a run in a trash from the disk, for good.

    Its parts get other names first, all of them: so a run in the trash is always a whole one,
    and what is left of a purge that was interrupted is known for that.
    """
    doomed = []
    for path in parts(run):
        beside = fs.path_beside(path)
        try:
            os.rename(path, beside)
        except FileNotFoundError:
            continue
        doomed.append(beside)
    for path in doomed:
        fs.remove_tree(path)


def refuse_active(run: Run) -> None:
    """Make sure that nothing happens to a run just now, as far as can be told.

    Raises:
        RunActive: the run is being staged or is running.
        HasJob: an engine was given it.
    """
    try:
        refuse_job(run)
        found = status.run_status(run)
    except RunDamaged:
        return
    if found in status.ACTIVE:
        raise RunActive(f"run {run.id} is {found}", f"gage stop {run.id[:8]}")


def move_run(run: Run, folder: str) -> None:
    """Move the parts of a run that are not there yet into a folder."""
    os.makedirs(folder, exist_ok=True)
    for path in parts(run):
        target = os.path.join(folder, os.path.basename(path))
        if os.path.lexists(path):
            if os.path.lexists(target):
                raise FileExistsError(17, "exists already", target)
            try:
                os.rename(path, target)
            except FileNotFoundError:
                # Somebody else moves it, too.
                if not os.path.lexists(target):
                    raise


def parts(run: Run) -> tuple[str, ...]:
    """Return the paths that a run may consist of, in the order in which they move."""
    return (run.run_dir, layout.run_notes_dir(run), layout.run_meta_dir(run))
