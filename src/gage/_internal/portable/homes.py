"""Runs kept in a directory: what a transfer asks of them, here or on another machine.

A run arrives in `.incoming/ID/` (see `receiving.py`). When everything is there and on the disk,
`placing` is written, with the inodes of both directories, and from then on the run is put into its
place by whoever comes next, too: the run directory first, then the meta directory, which makes it a
run.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gage._internal import fs
from gage._internal.fs import printable
from gage._internal.portable.items import (
    LOCK,
    MANIFEST,
    META,
    READ_SIZE,
    RUN,
    STARTED,
    STOPPED,
    Described,
    Item,
    Refused,
    check_path,
    fits,
    item_at,
    list_names,
    manifest_items,
    meta_items,
    walk,
)
from gage._internal.proc import ProcessId, is_alive, this_process
from gage._internal.store import layout
from gage._internal.store.manifest import FILE
from gage._internal.store.meta import json_bytes
from gage._internal.types import Run

INCOMING = ".incoming"
PLACING = "placing"

# Seconds that are spent on what other runs here have.
_SEARCH = 10.0
_EXCHANGE = 2
_HERE = -100


class Home:
    """The runs of a directory, which may not be there yet."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(os.path.expanduser(path))

    def check(self, make: bool) -> None:
        """Make sure that the directory is there; `make` it where only itself is missing.

        Raises:
            Refused: it is not there.
        """
        if make and os.path.isdir(os.path.dirname(self.path)) and not os.path.lexists(self.path):
            os.mkdir(self.path)
        if not os.path.isdir(self.path):
            what = "no such directory"
            if make:
                what = "neither such a directory nor the one that it would lie in"
            raise Refused("unreachable", f"there is {what}: {printable(self.path)}")

    def runs(self, run_ids: Iterable[str] | None, names: Sequence[str]) -> dict[str, Any]:
        """Return of each run the files of its meta directory and notes that have these names.

        A name that ends with a slash stands for all in a directory. The content of the manifest
        is left out, and that of a lock whose process is gone.
        """
        if run_ids is None:
            run_ids = self._run_ids()
        return {
            run_id: dict(self._files(run_id, names))
            for run_id in run_ids
            if os.path.isdir(self.place(run_id, META))
        }

    def _files(self, run_id: str, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        if os.path.isdir(self.place(run_id, RUN)):
            yield RUN, b""
        for name in names:
            inner = [name]
            if name.endswith("/"):
                inner = [
                    name + each for each in list_names(self._path(run_id, name)) if each[0] != "."
                ]
            for each in inner:
                try:
                    if each == MANIFEST:
                        os.lstat(self._path(run_id, each))
                        yield each, b""
                        continue
                    with open(self._path(run_id, each), "rb") as file:
                        data = file.read()
                except OSError:
                    continue
                yield each, b"" if each == LOCK and _is_gone(data) else data

    def describe(self, run_id: str) -> Described | None:
        """Return what there is of a run, or None."""
        self._go_on_placing(run_id)
        meta = self.place(run_id, META)
        if not os.path.isdir(meta):
            return None
        items = list(meta_items(meta))
        names = {item.path for item in items}
        # What a run had when its runner was killed is in no manifest.
        is_open = MANIFEST not in names or (STARTED in names and STOPPED not in names)
        listed = manifest_items(self.read_file(run_id, MANIFEST)) if MANIFEST in names else {}
        folder, strange, seen = self.place(run_id, RUN), [], set()
        for path, found in walk(folder) if os.path.isdir(folder) else ():
            name = f"run/{path}"
            known = None if is_open else listed.get(name)
            if known is None and (is_open or stat.S_ISDIR(found.st_mode)):
                try:
                    items.append(item_at(name, os.path.join(folder, path), found))
                except PermissionError:
                    pass
            elif known is None or not fits(known, os.path.join(folder, path), found):
                strange.append(name)
            else:
                items.append(known._replace(mtime_ns=found.st_mtime_ns))
            seen.add(name)
        missing = [] if is_open else [path for path in listed if path not in seen]
        return Described(items, strange, missing, self._lock(run_id))

    def read_file(self, run_id: str, path: str) -> bytes:
        """Return the content of a small file."""
        with open(self._path(run_id, path), "rb") as file:
            return file.read()

    def read(self, run_id: str, wants: Iterable[tuple[Item, int]]) -> Iterator[bytes]:
        """Yield the content of files, each from an offset on.

        Raises:
            Refused: one is not what its item says.
        """
        for item, offset in wants:
            changed = Refused(
                "changed",
                f"run {run_id} is not as it was staged:\n  changed: {printable(item.path)}",
            )
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
            try:
                fd = os.open(self._path(run_id, item.path), flags)
            except FileNotFoundError:
                raise changed from None
            with open(fd, "rb", buffering=0) as file:
                file.seek(offset)
                hasher, left = hashlib.sha256(), item.size - offset
                while left:
                    data = file.read(min(left, READ_SIZE))
                    if not data:
                        raise changed
                    hasher.update(data)
                    left -= len(data)
                    yield data
                if file.read(1) or (offset == 0 and hasher.hexdigest() != item.sha256):
                    raise changed

    def notes(self, run_id: str) -> dict[str, bytes]:
        """Return the files of a run's notes."""
        found = {}
        folder = self._notes(run_id)
        for path, info in walk(folder) if os.path.isdir(folder) else ():
            if stat.S_ISREG(info.st_mode) and os.path.basename(path)[0] != ".":
                with open(os.path.join(folder, path), "rb") as file:
                    found[path] = file.read()
        return found

    def add_notes(self, run_id: str, notes: Mapping[str, bytes]) -> None:
        """Add files to a run's notes; those that are there stay as they are."""
        for path, data in notes.items():
            check_path(f"{RUN}/{path}")
            full = os.path.join(self._notes(run_id), path)
            if os.path.lexists(full):
                continue
            os.makedirs(os.path.dirname(full), exist_ok=True)
            try:
                fs.create_file(full, data, 0o644)
            except FileExistsError:
                pass

    def find_contents(
        self, wanted: Mapping[str, int], but: str
    ) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Yield of contents, which are wanted by digest and size, those that other runs have.

        The newest runs are looked at first, and for a while only.
        """
        left = dict(wanted)
        until = time.monotonic() + _SEARCH
        for run_id in sorted(self._run_ids(), key=self._age):
            if not left or time.monotonic() > until:
                return
            try:
                listed = manifest_items(self.read_file(run_id, MANIFEST))
            except (OSError, Refused):
                continue
            for item in listed.values():
                if item.kind == FILE and run_id != but and left.get(item.sha256) == item.size:
                    del left[item.sha256]
                    yield item.sha256, self.read(run_id, [(item, 0)])

    def _run_ids(self) -> list[str]:
        names = filter(layout.is_meta_dir_name, list_names(self.path))
        return [layout.run_of_meta_name(self.path, name).id for name in names]

    def _age(self, run_id: str) -> int:
        try:
            return -os.lstat(self.place(run_id, META)).st_mtime_ns
        except OSError:
            return 0

    def place(self, run_id: str, part: str) -> str:
        if not layout.is_run_id(run_id):
            raise Refused("failed", f"{printable(run_id)} is not the id of a run")
        run = Run(run_id, os.path.join(self.path, run_id))
        return run.run_dir if part == RUN else layout.run_meta_dir(run)

    def _notes(self, run_id: str) -> str:
        return layout.run_notes_dir(Run(run_id, self.place(run_id, RUN)))

    def _path(self, run_id: str, path: str) -> str:
        part, _, rest = path.partition("/")
        if part == "notes":
            return os.path.join(self._notes(run_id), rest)
        check_path(path.rstrip("/"))
        return os.path.join(self.place(run_id, part), rest)

    def incoming(self, run_id: str) -> str:
        return os.path.join(self.path, INCOMING, os.path.basename(self.place(run_id, RUN)))

    def _lock(self, run_id: str) -> str | None:
        try:
            data = self.read_file(run_id, LOCK)
        except FileNotFoundError:
            return None
        if _is_own(data):
            return None
        return "dead" if _is_gone(data) else "alive"

    def _go_on_placing(self, run_id: str) -> None:
        """Put into its place a run that somebody was about to when he was interrupted."""
        folder = self.incoming(run_id)
        try:
            if not os.path.lexists(folder + ".lock"):
                os.rmdir(os.path.dirname(folder))
                return
            fd = open_locked(folder + ".lock", os.path.lexists(os.path.join(folder, PLACING)))
        except OSError:
            # Who may only read takes what there is.
            return
        if fd is not None:
            try:
                self.put_in_place(run_id)
                if not list_names(folder):
                    self.leave(run_id)
            finally:
                os.close(fd)

    def put_in_place(self, run_id: str) -> None:
        """Rename a run that has arrived into its place, from where an earlier attempt came to.

        Raises:
            Refused: what is there has changed since it was compared.
        """
        folder = self.incoming(run_id)
        note = os.path.join(folder, PLACING)
        try:
            placing = json.loads(fs.read_bytes(note))
        except FileNotFoundError:
            return
        meta = self.place(run_id, META)
        if placing["base"] is not None and inode(self.place(run_id, RUN)) != placing[RUN]:
            self._claim(run_id, placing["base"], note)
        for part in (RUN, META):
            place, new = self.place(run_id, part), os.path.join(folder, part)
            if inode(place) == placing[part]:
                continue
            if placing["base"] is None and (os.path.lexists(place) or os.path.lexists(meta)):
                fs.remove_file(note)
                raise not_alone(run_id)
            if os.path.lexists(place):
                _exchange(new, place, os.path.join(folder, f"old-{part}"))
            else:
                os.rename(new, place)
        fs.sync(self.path)
        for name in list_names(folder):
            # While it is there, what is left is cleared by whoever comes next.
            if name != PLACING:
                fs.remove_tree(os.path.join(folder, name))
        self.leave(run_id)

    def leave(self, run_id: str) -> None:
        """Remove what a run that arrives has in the directory, where nothing of it is there."""
        folder = self.incoming(run_id)
        if os.path.lexists(folder):
            fs.remove_tree(folder)
        fs.remove_file(folder + ".lock")
        try:
            os.rmdir(os.path.dirname(folder))
        except OSError:
            pass

    def _claim(self, run_id: str, base: str, note: str) -> None:
        """Take the lock of a staged run that a later state of it is to replace.

        As a start does: whoever has it, the other one does not get it.
        """
        lock = self._path(run_id, LOCK)
        try:
            fs.create_file(lock, json_bytes(this_process()._asdict()))
        except FileExistsError:
            data = fs.read_bytes(lock)
            if not _is_own(data) and not _is_gone(data):
                fs.remove_file(note)
                raise Refused("active", f"run {run_id} is running there") from None
        found = Described(list(meta_items(self.place(run_id, META))), (), (), None)
        if found.digest() != base:
            fs.remove_file(note)
            fs.remove_file(lock)
            raise not_alone(run_id)


def not_alone(run_id: str) -> Refused:
    return Refused("conflict", f"what is there of run {run_id} has changed meanwhile", "try again")


def inode(path: str) -> int | None:
    try:
        return os.lstat(path).st_ino
    except FileNotFoundError:
        return None


def _exchange(new: str, place: str, old: str) -> None:
    """Let two directories change places, at once where the system can."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "renameat2"):
        names = os.fsencode(new), os.fsencode(place)
        if libc.renameat2(_HERE, names[0], _HERE, names[1], _EXCHANGE) == 0:
            return
    os.rename(place, old)
    os.rename(new, place)


def open_locked(path: str, wait: bool) -> int | None:
    """Open and lock a file that has this name; return None where it is locked and not to `wait`."""
    while True:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            # Who was the last one has just removed the directory.
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        except OSError as error:
            # A network file system that cannot lock: then a rename alone decides who is first.
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
                os.close(fd)
                raise
        try:
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except FileNotFoundError:
            pass
        os.close(fd)


def _is_own(data: bytes) -> bool:
    """Tell whether a lock is that of this process, which moves what it has claimed itself."""
    return data == json_bytes(this_process()._asdict())


def _is_gone(data: bytes) -> bool:
    """Tell whether the process that a lock names surely does not run any more."""
    if not data:
        return True
    try:
        fields = json.loads(data)
        return is_alive(ProcessId(*(fields[name] for name in ProcessId._fields))) is False
    except (ValueError, TypeError, KeyError):
        return False
