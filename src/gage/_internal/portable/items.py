"""What a run consists of, as two places tell each other: files, links and directories.

Carried to other machines, as all that this imports (see `far_end.py`).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from gage._internal.fs import printable
from gage._internal.store import layout
from gage._internal.store.manifest import DIRECTORY, FILE, LINK, parse_manifest

RUN = "run"
META = "meta"
LOCK = f"meta/{layout.LOCK}"
MANIFEST = f"meta/{layout.MANIFEST}"
STARTED = f"meta/{layout.STARTED}"
STOPPED = f"meta/{layout.STOPPED}"

READ_SIZE = 1 << 18

# The number of an item, and how many bytes of it are there.
Want = tuple[int, int]

# What belongs to a process that is at work on a run.
_OF_PROCESS = (LOCK, f"meta/{layout.SPARE}")


class Refused(Exception):
    """It cannot be done: a word for the kind of reason, the reason, and what to do."""

    def __init__(self, kind: str, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.hint = hint


class Item(NamedTuple):
    """A file, link or directory of a run: `path` begins with `run/` or `meta/`."""

    path: str
    kind: str
    mode: int
    mtime_ns: int
    size: int
    sha256: str = ""
    target: str = ""


class Described(NamedTuple):
    """What there is of a run.

    `strange` are paths that are not as the manifest has them, `missing` such that are not there.
    `lock` is None, `dead` where its process is gone, or `alive`.
    """

    items: Sequence[Item]
    strange: Sequence[str]
    missing: Sequence[str]
    lock: str | None

    def digest(self) -> str:
        """Return one digest of the meta directory."""
        files = sorted((i.path, i.sha256) for i in self.items if i.path.startswith("meta/"))
        return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def index_of(items: Iterable[Item]) -> bytes:
    """Return items as JSON."""
    return json.dumps([list(item) for item in items], separators=(",", ":")).encode()


def items_of(index: bytes) -> list[Item]:
    """Return the items that `index_of` made an index of."""
    return [Item(*fields) for fields in json.loads(index)]


def manifest_items(data: bytes) -> dict[str, Item]:
    """Return what a manifest says of the run directory as it is now, by path.

    Raises:
        Refused: it is not one.
    """
    try:
        entries = parse_manifest(os.fsdecode(data)).present()
    except ValueError as error:
        raise Refused("failed", f"a manifest cannot be understood: {error}") from None
    return {
        f"run/{path}": Item(f"run/{path}", e.kind, e.mode, 0, e.size, e.sha256, e.target)
        for path, e in entries.items()
    }


def check_path(path: str) -> None:
    parts = path.split("/")
    is_below = not any(part in ("", ".", "..") for part in parts)
    if parts[0] not in (RUN, META) or not is_below or "\0" in path:
        raise Refused("failed", f"{printable(path)} is not a path of a run")


def check_items(items: Sequence[Item]) -> None:
    """Make sure that nothing of a run would lie outside of it."""
    kinds: dict[str, str] = {}
    for item in items:
        check_path(item.path)
        if "/" not in item.path or item.path in kinds or item.kind not in (FILE, LINK, DIRECTORY):
            raise Refused("failed", f"{printable(item.path)} cannot be received")
        kinds[item.path] = item.kind
    for path in kinds:
        above = path.rpartition("/")[0]
        while "/" in above:
            if kinds.get(above, DIRECTORY) != DIRECTORY:
                raise Refused("failed", f"{printable(path)} lies in what is no directory")
            above = above.rpartition("/")[0]


def list_names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def walk(root: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield all files, links and directories below a directory, what is above before what is in."""
    folders = [""]
    while folders:
        folder = folders.pop()
        for name in list_names(os.path.join(root, folder)):
            path = f"{folder}/{name}" if folder else name
            found = os.lstat(os.path.join(root, path))
            if kind_of(found.st_mode):
                yield path, found
            if stat.S_ISDIR(found.st_mode):
                folders.append(path)


def kind_of(mode: int) -> str:
    kinds = {stat.S_IFREG: FILE, stat.S_IFLNK: LINK, stat.S_IFDIR: DIRECTORY}
    return kinds.get(stat.S_IFMT(mode), "")


def item_at(path: str, full: str, found: os.stat_result) -> Item:
    """Return the item of what lies at `full`, reading it."""
    kind, mode = kind_of(found.st_mode), stat.S_IMODE(found.st_mode)
    if kind == FILE:
        size, sha256 = 0, hashlib.sha256()
        for data in read_pieces(full):
            size += len(data)
            sha256.update(data)
        return Item(path, kind, mode, found.st_mtime_ns, size, sha256.hexdigest())
    if kind == LINK:
        target = os.readlink(full)
        size = len(target.encode("utf-8", "surrogateescape"))
        return Item(path, kind, mode, found.st_mtime_ns, size, "", target)
    return Item(path, kind, mode, found.st_mtime_ns, 0)


def fits(item: Item, full: str, found: os.stat_result) -> bool:
    if item.kind != kind_of(found.st_mode):
        return False
    if item.kind == LINK:
        return os.readlink(full) == item.target
    return item.kind == DIRECTORY or item.size == found.st_size


def meta_items(folder: str) -> Iterator[Item]:
    """Yield the items of a meta directory, but what belongs to a process at work on the run."""
    for path, found in walk(folder):
        if os.path.basename(path)[0] != "." and f"meta/{path}" not in _OF_PROCESS:
            yield item_at(f"meta/{path}", os.path.join(folder, path), found)


def read_pieces(path: str) -> Iterator[bytes]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with open(fd, "rb", buffering=0) as file:
        yield from pieces(file, None)


def pieces(file: BinaryIO, size: int | None) -> Iterator[bytes]:
    """Yield the content of a file from where it stands: so many bytes, or all."""
    while size is None or size:
        data = file.read(READ_SIZE if size is None else min(size, READ_SIZE))
        if not data:
            if size is None:
                return
            raise OSError(errno.EIO, "it became shorter while it was read")
        if size is not None:
            size -= len(data)
        yield data


def digest_of(path: str) -> str:
    hasher = hashlib.sha256()
    for data in read_pieces(path):
        hasher.update(data)
    return hasher.hexdigest()
