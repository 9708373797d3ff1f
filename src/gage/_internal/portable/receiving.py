"""A run that arrives in a runs home, by one process at a time.

It arrives in `.incoming/ID/`, with its directories as `run` and `meta`, and `index`, the list of
all that there will be. What is there after an interruption is gone on with: a file of its full size
is read and compared with its digest, one that is shorter gets the rest. Files are compared while
they are written; what was there before is read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

from gage._internal import fs
from gage._internal.fs import printable
from gage._internal.portable.frames import write_all
from gage._internal.portable.homes import PLACING, Home, inode, not_alone, open_locked
from gage._internal.portable.items import (
    MANIFEST,
    META,
    RUN,
    STARTED,
    STOPPED,
    Item,
    Refused,
    Want,
    check_items,
    digest_of,
    items_of,
    kind_of,
    list_names,
    manifest_items,
    pieces,
    read_pieces,
    walk,
)
from gage._internal.store.manifest import DIRECTORY, FILE, LINK


def receive(home: Home, run_id: str, wait: bool) -> Receiving | None:
    """Begin to receive a run, alone; return None where somebody else does and not to `wait`."""
    fd = open_locked(home.incoming(run_id) + ".lock", wait)
    if fd is None:
        return None
    try:
        return Receiving(home, run_id, fd)
    except BaseException:
        os.close(fd)
        raise


class Receiving:
    """A run that arrives, by one process at a time."""

    def __init__(self, home: Home, run_id: str, fd: int) -> None:
        self._home = home
        self._run_id = run_id
        self._fd = fd
        self._folder = home.incoming(run_id)
        self._items: Sequence[Item] = ()
        self._known: Mapping[str, Item] = {}
        self._folders: set[str] = set()
        self.wants: list[Want] = []
        self._incoming: _Incoming | None = None
        home.put_in_place(run_id)
        os.makedirs(self._folder, exist_ok=True)

    def close(self) -> None:
        """Let others receive the run."""
        if self._incoming:
            self._incoming.close()
        if not list_names(self._folder):
            self._home.leave(self._run_id)
        os.close(self._fd)

    def index(self) -> bytes:
        """Return the items that an earlier attempt was about, as JSON, or nothing."""
        try:
            return fs.read_bytes(os.path.join(self._folder, "index"))
        except FileNotFoundError:
            return b""

    def begin(self, index: bytes) -> list[Want]:
        """Return which files are to be sent, from where on; `index` are all items, as JSON."""
        items = items_of(index)
        check_items(items)
        if index != self.index():
            fs.replace_file(os.path.join(self._folder, "index"), index)
        self._items = items
        self._known = {item.path: item for item in items}
        self._folders = {item.path for item in items if item.kind == DIRECTORY}
        for path in self._known:
            while path := path.rpartition("/")[0]:
                self._folders.add(path)
        self._prune()
        for folder in (RUN, META):
            os.makedirs(os.path.join(self._folder, folder), exist_ok=True)
        for item in items:
            if item.kind == DIRECTORY:
                os.makedirs(self._at(item), exist_ok=True)
        firsts: set[str] = set()
        wants: list[Want] = []
        for number, item in enumerate(items):
            if item.kind != FILE:
                continue
            size = self._size(item)
            if item.sha256 in firsts:
                # What has the same content is copied here.
                if size > 0:
                    os.unlink(self._at(item))
            elif size >= 0:
                wants.append((number, size))
            firsts.add(item.sha256)
        self.wants = self._look_here(wants)
        return self.wants

    def _at(self, item: Item) -> str:
        return os.path.join(self._folder, item.path)

    def _prune(self) -> None:
        """Remove what is there of an earlier attempt and cannot be gone on with."""
        for part in (RUN, META):
            folder = os.path.join(self._folder, part)
            for path, found in list(walk(folder)) if os.path.isdir(folder) else ():
                full = os.path.join(folder, path)
                if os.path.lexists(full) and not self._is_of_use(f"{part}/{path}", full, found):
                    fs.remove_tree(full)
        for name in ("old-run", "old-meta"):
            fs.remove_tree(os.path.join(self._folder, name))

    def _is_of_use(self, path: str, full: str, found: os.stat_result) -> bool:
        kind, item = kind_of(found.st_mode), self._known.get(path)
        if kind == DIRECTORY:
            os.chmod(full, 0o700)
            return path in self._folders
        return item is not None and kind == item.kind == FILE and found.st_size <= item.size

    def _size(self, item: Item) -> int:
        """Return how much there is of a file; -1 for all of it, compared with its digest."""
        path = self._at(item)
        try:
            size = os.lstat(path).st_size
        except FileNotFoundError:
            return 0
        if size < item.size:
            return size
        if digest_of(path) == item.sha256:
            _finish(path, item)
            return -1
        os.unlink(path)
        return 0

    def _look_here(self, wants: list[Want]) -> list[Want]:
        """Take from runs that are here what they have; return what is wanted of others."""
        here: set[int] = set()
        listed = self._listed_here()
        for number, _ in wants:
            item = self._items[number]
            twin = listed.get(item.path)
            if twin and (twin.kind, twin.size, twin.sha256) == (FILE, item.size, item.sha256):
                read = self._home.read(self._run_id, [(item, 0)])
                if self._take(item, read):
                    here.add(number)
        # A copy of a few bytes costs as much as sending them.
        wanted = {
            self._items[n].sha256: n for n, _ in wants if n not in here and self._items[n].size
        }
        sizes = {sha256: self._items[n].size for sha256, n in wanted.items()}
        for sha256, content in self._home.find_contents(sizes, self._run_id) if sizes else ():
            if self._take(self._items[wanted[sha256]], content):
                here.add(wanted[sha256])
        return [(number, offset) for number, offset in wants if number not in here]

    def _listed_here(self) -> Mapping[str, Item]:
        try:
            return manifest_items(self._home.read_file(self._run_id, MANIFEST))
        except (OSError, Refused):
            return {}

    def _take(self, item: Item, content: Iterator[bytes]) -> bool:
        """Copy a file that is here; tell whether it was what it should be."""
        beside = os.path.join(self._folder, "copy")
        hasher = hashlib.sha256()
        with open(beside, "wb") as file:
            try:
                for data in content:
                    hasher.update(data)
                    file.write(data)
            except Refused:
                hasher = hashlib.sha256()
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                hasher = hashlib.sha256()
        if hasher.hexdigest() != item.sha256:
            fs.remove_file(beside)
            return False
        os.makedirs(os.path.dirname(self._at(item)), exist_ok=True)
        os.replace(beside, self._at(item))
        _finish(self._at(item), item)
        return True

    def expect(self, wants: Sequence[Want]) -> int:
        """Get ready for a stream of these; return how many bytes it has."""
        if self._incoming:
            self._incoming.close()
        pairs = [(number, self._items[number], offset) for number, offset in wants]
        self._incoming = _Incoming(self._folder, pairs)
        return sum(item.size - offset for _, item, offset in pairs)

    def feed(self, data: bytes) -> None:
        """Take a piece of the stream."""
        assert self._incoming
        self._incoming.feed(data)

    def finish(self) -> list[int]:
        """Return which of the files that have arrived are not what they should be."""
        assert self._incoming
        return self._incoming.finish()

    def commit(self, base: str | None) -> None:
        """Put the run into its place, where all of it is there.

        `base` is the digest of the meta directory that it replaces, None where there is none.

        Raises:
            Refused: something is missing, or what is there is not what was compared.
        """
        self._complete()
        self._compare_with_manifest()
        if base is None and any(
            os.path.lexists(self._home.place(self._run_id, part)) for part in (RUN, META)
        ):
            raise not_alone(self._run_id)
        fs.sync(self._folder)
        placing = {
            "base": base,
            RUN: inode(os.path.join(self._folder, RUN)),
            META: inode(os.path.join(self._folder, META)),
        }
        fs.replace_file(os.path.join(self._folder, PLACING), json.dumps(placing).encode())
        fs.sync(self._folder)
        self._home.put_in_place(self._run_id)

    def _complete(self) -> None:
        firsts: dict[str, Item] = {}
        for item in self._items:
            if item.kind != FILE:
                continue
            first = firsts.setdefault(item.sha256, item)
            if first is not item and self._has_arrived(first) and not self._has_arrived(item):
                self._take(item, read_pieces(self._at(first)))
            if not self._has_arrived(item):
                raise Refused("failed", f"{printable(item.path)} has not arrived")
            _finish(self._at(item), item)
        for item in self._items:
            if item.kind == LINK:
                os.makedirs(os.path.dirname(self._at(item)), exist_ok=True)
                os.symlink(item.target, self._at(item))
                os.utime(self._at(item), ns=(item.mtime_ns, item.mtime_ns), follow_symlinks=False)
        for item in sorted(self._items, key=lambda item: item.path, reverse=True):
            if item.kind == DIRECTORY:
                os.chmod(self._at(item), item.mode)
                os.utime(self._at(item), ns=(item.mtime_ns, item.mtime_ns))

    def _has_arrived(self, item: Item) -> bool:
        try:
            found = os.lstat(self._at(item))
        except FileNotFoundError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == item.size

    def _compare_with_manifest(self) -> None:
        paths = self._known
        if MANIFEST not in paths or (STARTED in paths and STOPPED not in paths):
            return
        with open(os.path.join(self._folder, MANIFEST), "rb") as file:
            listed = manifest_items(file.read())
        files = {p for p, item in paths.items() if p[:4] == "run/" and item.kind != DIRECTORY}
        for path in sorted(files | listed.keys()):
            sent, item = paths.get(path), listed.get(path)
            if not sent or not item or sent[1:3] + sent[4:] != item[1:3] + item[4:]:
                raise Refused("failed", f"{printable(path)} is not as the manifest has it")


class _Incoming:
    """A stream of contents that is written to files."""

    def __init__(self, folder: str, wants: Sequence[tuple[int, Item, int]]) -> None:
        self._folder = folder
        self._waiting = list(reversed(wants))
        self._bad: list[int] = []
        self._file: BinaryIO | None = None
        self._hasher = hashlib.sha256()
        self._left = 0
        self._number = -1
        self._item: Item | None = None
        self._next()

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def finish(self) -> list[int]:
        self.close()
        if self._item is not None:
            raise Refused("failed", "it ended before all of it was there")
        return self._bad

    def feed(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            if self._file is None:
                raise Refused("failed", "there came more than was wanted")
            piece = view[: self._left]
            write_all(self._file, piece)
            self._hasher.update(piece)
            self._left -= len(piece)
            view = view[len(piece) :]
            if not self._left:
                self._end()
                self._next()

    def _next(self) -> None:
        """Open the next file of which something is to come; the others are there already."""
        self._item = None
        while self._waiting:
            self._number, self._item, offset = self._waiting.pop()
            path = os.path.join(self._folder, self._item.path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._hasher = hashlib.sha256()
            if offset:
                self._file = open(path, "r+b", buffering=0)  # noqa: SIM115
                for data in pieces(self._file, offset):
                    self._hasher.update(data)
            else:
                self._file = open(path, "wb", buffering=0)  # noqa: SIM115
                os.chmod(path, 0o600)
            self._left = self._item.size - offset
            if self._left:
                return
            self._end()
            self._item = None

    def _end(self) -> None:
        assert self._item
        self.close()
        path = os.path.join(self._folder, self._item.path)
        if self._hasher.hexdigest() == self._item.sha256:
            _finish(path, self._item)
        else:
            os.unlink(path)
            self._bad.append(self._number)


def _finish(path: str, item: Item) -> None:
    os.chmod(path, item.mode)
    os.utime(path, ns=(item.mtime_ns, item.mtime_ns))
