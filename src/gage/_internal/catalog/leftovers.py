"""What interrupted commands left in a runs home and its trash: found, named and cleared.

A command that is killed, or ends with the machine, leaves what it was at: a file that it was
writing, a run that it was making or staging, a run that it had moved or purged in part. All of
these tell who made them, so nothing of a process that lives, and nothing of another host, is
taken for a leftover. And nothing is removed that could be a result: of a run that was staged,
only what Gage itself had put there for a moment.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from gage._internal import fs, proc
from gage._internal.catalog.trash import move_run, parts, purge_run, trash_dir
from gage._internal.errors import GageError, RunDamaged
from gage._internal.portable.arrival import finish_arrival, is_arrival
from gage._internal.store import layout, lock, status
from gage._internal.store.attributes import find_where
from gage._internal.store.failure import record_failed_staging
from gage._internal.store.jobs import find_job
from gage._internal.store.lock import Holder
from gage._internal.store.logs import log_action
from gage._internal.store.record import read_record
from gage._internal.store.verify import verify
from gage._internal.types import Run

# What has no mark was made by a program that uses the parts of Gage by itself, and may go on.
_UNMARKED_FOR = 3600.0
# Clearing one thing may let another be seen, such as a file in a run that was moved in part.
_MOST_ROUNDS = 5
_RECORD = (
    *(layout.SCHEMA, layout.ID, layout.NAME, layout.OPREF, layout.OPDEF, layout.CMD, layout.ENV),
    *(layout.INITIALIZED, layout.STAGED, layout.STARTED, layout.STOPPED, layout.EXIT),
)


class Leftover(NamedTuple):
    """What an interrupted command left: where, what it is, and what clearing it does.

    `clear` may be called again where it was interrupted itself. It is None for what only a
    person can decide about. `alone` tells that no other process may clear it at the same time.
    """

    path: str
    what: str
    remedy: str
    clear: Callable[[], object] | None
    alone: bool = False


# Records the end of a run whose runner is gone.
Conclude = Callable[[Run], object]


def find_leftovers(home: str, conclude: Conclude) -> list[Leftover]:
    """Return what interrupted commands left in a runs home and its trash."""
    return list(_iter_leftovers(os.path.abspath(home), conclude))


def clear_leftovers(home: str, conclude: Conclude) -> list[tuple[Leftover, str | None]]:
    """Clear what interrupted commands left; return what it was, each with why it could not be."""
    done: dict[tuple[str, str], tuple[Leftover, str | None]] = {}
    with _alone(home, wait=True) as is_alone:
        for _ in range(_MOST_ROUNDS):
            found = [
                each
                for each in find_leftovers(home, conclude)
                if each.clear and (is_alone or not each.alone)
                if (each.path, each.what) not in done
            ]
            for each in found:
                done[each.path, each.what] = each, _try_to_clear(each)
            if not found:
                break
    return list(done.values())


def clear_abandoned(home: str) -> None:
    """Finish off the runs whose staging was interrupted, and the names left in a runs home.

    Costs no more than a look at the names in the home where there are none. What cannot be
    cleared stays, for `gage check` to name.
    """
    names = lock.list_abandoned(home)
    if not names:
        return
    home = os.path.abspath(home)
    with _alone(home, wait=False) as is_alone:
        if not is_alone:
            return
        marks, _ = _marks(home, os.listdir(home))
        for run_id, paths in marks.items():
            for each in _of_run(Run(run_id, os.path.join(home, run_id)), paths):
                _try_to_clear(each)
        for each in _files_left(home, names):
            _try_to_clear(each)


def _try_to_clear(leftover: Leftover) -> str | None:
    try:
        if leftover.clear:
            leftover.clear()
    except (GageError, OSError) as error:
        return str(error)
    return None


@contextmanager
def _alone(home: str, wait: bool) -> Iterator[bool]:
    """Keep other processes of this host from clearing the same home; tell whether that is so."""
    import fcntl

    try:
        fd = os.open(home, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            # Somebody does it already, or a network file system cannot lock a directory; what
            # several processes do at once then does no harm, but is not worth an attempt.
            yield False
        else:
            yield True
    finally:
        os.close(fd)


def _iter_leftovers(home: str, conclude: Conclude) -> Iterator[Leftover]:
    trash = trash_dir(home)
    names, deleted = _list(home), _list(trash)
    marks, busy = _marks(home, names)
    yield from _beside_gitignore(home)
    moved = set()
    for run_id in sorted(_run_ids(names) & _run_ids(deleted) - busy):
        leftover = _moved_in_part(home, trash, run_id)
        if leftover:
            moved.add(run_id)
            yield leftover
    yield from _purged_in_part(trash, deleted)
    for run_id in sorted((_run_ids(names) | marks.keys()) - busy - moved):
        yield from _of_run(Run(run_id, os.path.join(home, run_id)), marks.get(run_id, ()))
    for run_id in sorted(_run_ids(deleted) - busy - moved):
        yield from _of_run(Run(run_id, os.path.join(trash, run_id)), ())
    for run_id in sorted(_run_ids(names) - busy - moved):
        yield from _cut_short(Run(run_id, os.path.join(home, run_id)), conclude)
    yield from _files_left(home, names)
    run_dirs = [os.path.join(home, run_id) for run_id in _run_ids(names)]
    run_dirs += [os.path.join(trash, run_id) for run_id in _run_ids(deleted)]
    yield from _submissions_of_none(home, run_dirs)


def _list(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def _run_ids(names: Iterable[str]) -> set[str]:
    """Return the ids of runs of which there is a part among these names."""
    return {stem for stem in (name.partition(".")[0] for name in names) if layout.is_run_id(stem)}


def _marks(home: str, names: Iterable[str]) -> tuple[Mapping[str, list[str]], set[str]]:
    """Return the abandoned marks of runs, by id, and the ids of those that somebody works on."""
    marks: dict[str, list[str]] = {}
    busy = set()
    for name in names:
        run_id = fs.find_name_beside(name)
        if run_id is None or not layout.is_run_id(run_id):
            continue
        if fs.is_abandoned(name):
            marks.setdefault(run_id, []).append(os.path.join(home, name))
        else:
            busy.add(run_id)
    return {run_id: paths for run_id, paths in marks.items() if run_id not in busy}, busy


def _files_left(folder: str, names: Iterable[str]) -> Iterator[Leftover]:
    """Yield what is abandoned of these names, but the marks: they go with their runs."""
    for name in names:
        if fs.is_abandoned(name) and not layout.is_run_id(fs.find_name_beside(name) or ""):
            path = os.path.join(folder, name)
            yield _arrived_in_part(path) if is_arrival(name) else _unfinished(path)


def _submissions_of_none(home: str, run_dirs: Iterable[str]) -> Iterator[Leftover]:
    """Yield what engines were given, and wrote, for runs that know nothing of it any more."""
    folder = os.path.join(home, layout.SUBMISSIONS)
    submissions = _list(folder)
    if not submissions:
        return
    try:
        found = [find_job(layout.run_of_dir(run_dir)) for run_dir in run_dirs]
    except RunDamaged:
        # It may be part of any.
        return
    known = {note.submission for note in found if note}
    for name in submissions:
        path = os.path.join(folder, name)
        # One that is made just now is noted later.
        if name not in known and os.lstat(path).st_mtime < time.time() - _UNMARKED_FOR:
            what = "files of a submission to an engine that no run is part of any more"
            yield Leftover(path, what, "removed", functools.partial(fs.remove_tree, path))


def _unfinished(path: str) -> Leftover:
    return Leftover(path, "an unfinished file", "removed", lambda: fs.remove_tree(path))


def _arrived_in_part(path: str) -> Leftover:
    what, remedy = "a run that arrived in part", "removed, or put in place where only that was left"
    return Leftover(path, what, remedy, lambda: finish_arrival(path))


def _beside_gitignore(home: str) -> Iterator[Leftover]:
    folder = os.path.dirname(home)
    if os.path.basename(folder) == layout.PROJECT_FOLDER:
        yield from _files_left(folder, _list(folder))


def _moved_in_part(home: str, trash: str, run_id: str) -> Leftover | None:
    """Return a run that was deleted or restored in part: it follows what has moved first."""
    here = Run(run_id, os.path.join(home, run_id))
    there = Run(run_id, os.path.join(trash, run_id))
    pairs = [
        (os.path.lexists(a), os.path.lexists(b))
        for a, b in zip(parts(here), parts(there), strict=True)
    ]
    if any(a and b for a, b in pairs) or not any(a for a, _ in pairs):
        return None
    if _is_busy(here) or _is_busy(there):
        return None
    to_trash = next(b for a, b in pairs if a or b)
    if to_trash:
        what, remedy, run, folder = "a run that was deleted in part", "deleted", here, trash
    else:
        what, remedy, run, folder = "a run that was restored in part", "restored", there, home
    return Leftover(run.run_dir, what, remedy, lambda: move_run(run, folder))


def _purged_in_part(trash: str, names: Iterable[str]) -> Iterator[Leftover]:
    doomed: dict[str, list[str]] = {}
    for name in names:
        part = fs.find_name_beside(name)
        if part is not None and fs.is_abandoned(name):
            doomed.setdefault(part.partition(".")[0], []).append(os.path.join(trash, name))
    for stem, paths in doomed.items():
        run = Run(stem, os.path.join(trash, stem))
        # Its run directory got another name first: one that has it is a later run.
        is_whole = not layout.is_run_id(stem) or os.path.lexists(run.run_dir)

        def clear(run: Run = run, paths: list[str] = paths, is_whole: bool = is_whole) -> None:
            if not is_whole:
                purge_run(run)
            for path in paths:
                fs.remove_tree(path)

        yield Leftover(run.run_dir, "a run that was purged in part", "removed", clear)


def _is_busy(run: Run) -> bool:
    """Tell whether somebody may be at work on a run: its holder, or what that has started."""
    try:
        holder = lock.find_holder(run)
    except RunDamaged:
        return True
    if holder is None:
        return False
    return holder.alive is not False or bool(proc.run_processes(run.id))


def _of_run(run: Run, marks: Iterable[str]) -> Iterator[Leftover]:
    """Yield what is left of what was done to a run; `marks` are those of its maker, who is gone."""
    marks = list(marks)
    try:
        holder = lock.find_holder(run)
    except RunDamaged:
        return
    if holder is not None and holder.alive is not False:
        return
    files = list(_unfinished_files(layout.run_meta_dir(run)))
    notes = list(_unfinished_files(layout.run_notes_dir(run)))
    if _was_staged(run):
        if holder is not None:
            yield from _of_lost_holder(run, holder)
        home = os.path.dirname(run.run_dir)
        if _is_cut_short(run) and os.path.basename(home) != layout.TRASH:
            what = "a run whose record was lost with the machine"
            yield Leftover(run.run_dir, what, "deleted", lambda: move_run(run, trash_dir(home)))
            return
    elif holder or marks or files:
        # A hook, or a process that helped to copy, may outlive who started it.
        if not proc.run_processes(run.id):
            yield _half_staged(run, holder, marks)
        return
    elif _was_never_made(run):
        yield Leftover(
            run.run_dir, "a run that was not made to its end", "removed", lambda: _discard(run)
        )
        return
    elif not os.path.lexists(layout.run_meta_dir(run)) and os.path.isdir(run.run_dir):
        if os.listdir(run.run_dir):
            remedy = "move it away, or remove it, if nothing in it is of use"
            yield Leftover(run.run_dir, "files of a run without its meta directory", remedy, None)
        return
    yield from map(_unfinished, (*files, *notes, *marks))


def _was_staged(run: Run) -> bool:
    """Tell whether a run ever was more than an attempt: then it may have results."""
    return any(
        os.path.lexists(layout.meta_path(run, name))
        for name in (layout.STAGED, layout.STARTED, layout.STOPPED, layout.EXIT)
    )


def _was_never_made(run: Run) -> bool:
    """Tell whether there is no more of a run than the first steps of making it, for long."""
    if os.path.lexists(layout.meta_path(run, layout.INITIALIZED)):
        return False
    try:
        if os.listdir(run.run_dir):
            return False
    except OSError:
        return False
    newest = max(
        os.lstat(path).st_ctime
        for path in (run.run_dir, layout.run_meta_dir(run))
        if os.path.lexists(path)
    )
    return newest < time.time() - _UNMARKED_FOR


def _unfinished_files(folder: str) -> Iterator[str]:
    for inner, _, names in os.walk(folder):
        for name in names:
            if name[0] == "." and fs.is_abandoned(name):
                yield os.path.join(inner, name)


def _discard(run: Run) -> None:
    # The directory by which a run is found goes last.
    for path in parts(run):
        fs.remove_tree(path)


def _half_staged(run: Run, holder: Holder | None, marks: Iterable[str]) -> Leftover:
    """Return a run that was made or staged in part.

    It stays in the list as failed, with the reason, and what was staged is removed, as where
    staging fails. Where not even that can be read which defines it, nothing is left of it.
    """

    def clear() -> None:
        if os.path.isdir(layout.run_meta_dir(run)):
            os.makedirs(run.run_dir, exist_ok=True)
        if _is_readable(run):
            who = f"{holder} is gone" if holder else "its process is gone"
            for path in _unfinished_files(layout.run_meta_dir(run)):
                fs.remove_file(path)
            record_failed_staging(run, f"staging was interrupted: {who}")
            for path in _unfinished_files(layout.run_notes_dir(run)):
                fs.remove_file(path)
        else:
            _discard(run)
        for path in marks:
            fs.remove_file(path)

    if os.path.lexists(layout.meta_path(run, layout.INITIALIZED)):
        what, remedy = "a run that was staged in part", "emptied, and recorded as failed"
    else:
        what, remedy = "a run that was made in part", "removed"
    return Leftover(run.run_dir, what, remedy, clear)


def _is_readable(run: Run) -> bool:
    try:
        read_record(run)
    except (RunDamaged, OSError):
        return False
    return True


def _is_cut_short(run: Run) -> bool:
    """Tell whether a file of the record has no content, as only a power cut leaves it."""
    return any(_size(layout.meta_path(run, name)) == 0 for name in _RECORD)


def _size(path: str) -> int | None:
    try:
        return os.lstat(path).st_size
    except OSError:
        return None


def _of_lost_holder(run: Run, holder: Holder) -> Iterator[Leftover]:
    """Yield what the runner of a run left; that what it started still runs is no matter."""
    path = layout.meta_path(run, layout.LOCK)
    if os.path.lexists(layout.meta_path(run, layout.STOPPED)):
        what = "the lock of a run that has ended"
        yield Leftover(path, what, "removed", lambda: lock.release(run))
    elif _has_not_begun(run) and lock.is_of_this_boot(holder) and not find_where(run):
        what = "the claim of a run of which nothing was started"
        remedy = "given back: the run is staged"
        yield Leftover(path, what, remedy, lambda: _give_back(run, holder), alone=True)
    spare = layout.meta_path(run, layout.SPARE)
    if os.path.lexists(spare):
        what = "room that was kept for the end of a run"
        yield Leftover(spare, what, "removed", lambda: fs.remove_file(spare))


def _cut_short(run: Run, conclude: Conclude) -> Iterator[Leftover]:
    """Yield a run whose command has ended, and whose runner was gone before all was recorded."""
    try:
        is_cut = status.is_cut(run, lock.find_holder(run))
    except RunDamaged:
        return
    if is_cut:
        what = "a run whose end was recorded in part"
        yield Leftover(run.run_dir, what, "recorded", lambda: conclude(run), alone=True)


def _has_not_begun(run: Run) -> bool:
    return os.path.lexists(layout.meta_path(run, layout.STAGED)) and not any(
        os.path.lexists(layout.meta_path(run, name))
        for name in (layout.STARTED, layout.EXIT, layout.STOPPED)
    )


def _give_back(run: Run, holder: Holder) -> None:
    """Let a run be started again whose runner was killed before it started anything.

    Raises:
        RunChanged: it is not as it was staged.
    """
    verify(run)
    fs.sync(run.run_dir, layout.run_meta_dir(run))
    if lock.find_holder(run) == holder and _has_not_begun(run):
        log_action(run, f"Given back: {holder} is gone, and had started nothing")
        lock.release(run)
