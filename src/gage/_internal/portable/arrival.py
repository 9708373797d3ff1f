"""Put a run that was unpacked into a runs home.

It comes into a directory of its own in the home, is verified there, and then renamed into place,
the meta directory last: by that a run is found, so nobody sees half of one. What is there under the
same id is the same run or it is not, which the seals tell. A run that was staged here and has ended
elsewhere gets what it ended with; nothing else of a run that is there is ever changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from gage._internal import fs
from gage._internal.errors import RunConflict, RunDamaged
from gage._internal.fs import printable
from gage._internal.store import layout, lock, meta
from gage._internal.store.manifest import read_manifest
from gage._internal.store.seal import Seal, read_seal
from gage._internal.types import Run

# What becomes of a run that comes: it is a new one, is there already, or adds how it ended.
NEW = "new"
THERE = "there"
MERGED = "merged"

_PREFIX = "arriving-"
# Written last and in this order: without all of them, it is to be done again.
_LAST = (layout.SEAL, layout.MANIFEST, layout.STOPPED, layout.STARTED)


@contextmanager
def arriving(home: str, run_id: str) -> Iterator[Run]:
    """Give a place in a runs home for a run that comes; it is gone when the context ends."""
    os.makedirs(home, exist_ok=True)
    for name in lock.list_abandoned(home):
        if is_arrival(name):
            finish_arrival(os.path.join(home, name))
    folder = fs.path_beside(os.path.join(home, _PREFIX + run_id))
    os.mkdir(folder)
    try:
        yield Run(run_id, os.path.join(folder, run_id))
    finally:
        finish_arrival(folder)


def is_arrival(name: str) -> bool:
    """Tell whether a name in a runs home is that of a place of `arriving`."""
    return (fs.find_name_beside(name) or "").startswith(_PREFIX)


def finish_arrival(folder: str) -> None:
    """Remove what is left of an arrival; a run whose files are in place gets its meta first."""
    run_id = (fs.find_name_beside(os.path.basename(folder)) or "")[len(_PREFIX) :]
    came = Run(run_id, os.path.join(folder, run_id))
    here = Run(run_id, os.path.join(os.path.dirname(folder), run_id))
    came_meta, here_meta = layout.run_meta_dir(came), layout.run_meta_dir(here)
    was_moved = os.path.isdir(here.run_dir) and not os.path.lexists(came.run_dir)
    if was_moved and os.path.isdir(came_meta) and not os.path.lexists(here_meta):
        _move(layout.run_notes_dir(came), layout.run_notes_dir(here))
        os.rename(came_meta, here_meta)
    fs.remove_tree(folder)


def check_arrival(run: Run, home: str) -> str:
    """Return what would become of a run that comes, of which the meta directory has come.

    Raises:
        RunConflict: another run has its id, or the one that is there cannot be compared.
    """
    here = Run(run.id, os.path.join(home, run.id))
    if not os.path.lexists(layout.run_meta_dir(here)):
        if os.path.lexists(here.run_dir):
            raise _conflict(here, "there are files of a run without its meta directory")
        return NEW
    try:
        ours, theirs = read_seal(here), read_seal(run)
    except RunDamaged as error:
        raise _conflict(here, str(error)) from None
    if ours.digest != theirs.digest:
        raise _conflict(here, "the one that is there was staged as something else")
    if theirs.ended is None or (ours.ended == theirs.ended and _is_whole(here)):
        return THERE
    if _has_begun(here, theirs):
        raise _conflict(here, "the one that is there was started, too")
    return MERGED


def admit(run: Run, home: str) -> str:
    """Put a run that has come, whole and verified, into its home; return what became of it.

    Raises:
        RunConflict: another run has its id, or it is being started here.
        OSError: it cannot be written.
    """
    outcome = check_arrival(run, home)
    here = Run(run.id, os.path.join(home, run.id))
    if outcome == NEW:
        fs.sync(home)
        # A rename onto an empty directory would succeed.
        os.rename(run.run_dir, here.run_dir)
        _move(layout.run_notes_dir(run), layout.run_notes_dir(here))
        os.rename(layout.run_meta_dir(run), layout.run_meta_dir(here))
        fs.sync(home)
    elif outcome == MERGED:
        _merge(run, here)
    return outcome


def _merge(came: Run, here: Run) -> None:
    """Give a staged run how it ended: its files, then its record, each by one rename."""
    _claim(here)
    manifest = read_manifest(came)
    present = manifest.present()
    for entry in manifest.staged:
        if present.get(entry.path) != entry:
            # First: what it ended with may lie where it was staged with a link.
            fs.remove_tree(f"{here.run_dir}/{entry.path}")
    for entry in manifest.ended or ():
        target = f"{here.run_dir}/{entry.path}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.isdir(target) and not os.path.islink(target):
            fs.remove_tree(target)
        os.replace(f"{came.run_dir}/{entry.path}", target)
    fs.sync(here.run_dir)
    for name in sorted(fs.iter_paths(layout.run_meta_dir(came))):
        if name not in _LAST:
            _replace_meta(came, here, name)
    for name in _LAST:
        _replace_meta(came, here, name)
    fs.sync(here.run_dir)
    lock.release(here)


def _replace_meta(came: Run, here: Run, name: str) -> None:
    target = layout.meta_path(here, name)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.replace(layout.meta_path(came, name), target)


def _claim(run: Run) -> None:
    """Keep others from starting a run."""
    holder = lock.find_holder(run)
    if holder is not None and holder.alive is False:
        # An arrival that was interrupted; what follows is done once more.
        lock.release(run)
    try:
        lock.acquire(run)
    except FileExistsError:
        raise _conflict(run, f"it is being started by {lock.find_holder(run)}") from None
    if meta.has_meta(run, layout.STARTED):
        lock.release(run)
        raise _conflict(run, "the one that is there was started, too")


def _has_begun(here: Run, theirs: Seal) -> bool:
    """Tell whether a run was started here, and not by what is to be brought home."""
    if not any(meta.has_meta(here, name) for name in (layout.STARTED, layout.STOPPED)):
        return False
    try:
        return read_seal(here).ended != theirs.ended
    except RunDamaged:
        return True


def _is_whole(run: Run) -> bool:
    return all(meta.has_meta(run, name) for name in (layout.STOPPED, layout.STARTED))


def _move(source: str, target: str) -> None:
    if os.path.isdir(source) and not os.path.lexists(target):
        os.rename(source, target)


def _conflict(run: Run, why: str) -> RunConflict:
    return RunConflict(
        f"run {run.id} is in {printable(os.path.dirname(run.run_dir))} already: {why}",
        "nothing was changed; another runs home (--runs DIR) can have it",
    )
