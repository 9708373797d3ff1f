"""Runs in object storage, or any file system of fsspec: nothing there is ever changed or removed.

Below the address there are (see "Object storage" in `docs/format.md`)

- `objects/XX/SHA256`: bytes with that digest: a piece of a large file, or a pack of small ones;
- `runs/ID/N`: the Nth state of a run, JSON with its small files and the digest of the object that
  lists all files and where their content is. It is written last, and the greatest N counts.

A large file is cut as its size alone says, so that the same content makes the same objects. A push
that was interrupted makes the same objects again, and those that are there do not travel. Of pushes
that write a state at the same time, the store lets one win, where it honours a write on condition
that there is nothing yet; a store that does not is named.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, unquote

from gage._internal.downloads import fetch
from gage._internal.downloads.file_systems import open_file_system
from gage._internal.downloads.objects import StoreFailed, ask, tried_again, version_of
from gage._internal.errors import (
    DependencyError,
    RemoteDenied,
    RemoteFailed,
    RemoteUnfit,
    RemoteUnreachable,
)
from gage._internal.fs import printable
from gage._internal.portable.items import MANIFEST, Described, Item, Refused, Want
from gage._internal.portable.refusals import error_of
from gage._internal.store.layout import is_run_id
from gage._internal.store.manifest import FILE
from gage.plugins import Notice

_VERSION = 1
# From so many bytes on a file is not packed with others.
_SMALL = 1 << 18
# Bytes of an object: the more, the fewer requests; the fewer, the less is lost when one breaks off.
_LEAST_PIECE = 1 << 18
_MOST_PIECE = 32 << 20
_PIECES = 256
_DIGITS = 6
# Small files of the meta directory that are part of the state itself.
_MOST_INLINE = 1 << 16
_NOT_INLINE = ("meta/log/", "meta/output/", "meta/sys/", MANIFEST, "meta/uncommitted.patch")
# Other runs, the newest first, whose lists are looked at for what is there.
_MOST_LISTS = 20
_EXISTS = ("PreconditionFailed", "pre-conditions", "conditionNotMet", "BlobAlreadyExists")
# Objects in a row that were not there, after which it is not asked any more.
_MOST_MISSED = 3

_Result = TypeVar("_Result")
# Where bytes of a file are: the digest of an object, and from where to where in it.
_Span = tuple[str, int, int]


class Fsspec:
    """Opens what fsspec knows."""

    def open(
        self, address: str, options: Mapping[str, Any], make: bool, notice: Notice
    ) -> FsspecPlace:
        """Return the place at an address."""
        try:
            file_system, root = open_file_system(address, options)
        except DependencyError as error:
            raise RemoteUnfit(error.message, error.hint) from None
        except StoreFailed as failed:
            raise _error(address, failed) from None
        return FsspecPlace(address, _Store(address, file_system, root.rstrip("/"), notice))


def _error(address: str, failed: StoreFailed) -> RemoteFailed:
    kind = RemoteUnreachable if failed.is_passing else RemoteFailed
    if failed.hint and "login" in failed.hint:
        kind = RemoteDenied
    return kind(f"{printable(address)}: {failed.reason}", failed.hint)


class _Store:
    """Objects by their names; what fails is tried again for a while."""

    def __init__(self, address: str, file_system: Any, root: str, notice: Notice) -> None:
        self.address = address
        self.notice = notice
        self._file_system = file_system
        self._root = root
        self._is_weak: bool | None = None

    def _ask(self, call: Callable[..., _Result], *args: Any, **options: Any) -> _Result | None:
        """Call the file system; return None where there is no such object."""

        def once() -> _Result | None:
            return ask(_found, call, *args, **options)

        try:
            listener = fetch.Listener(self.notice, lambda what, done, total: None)
            return tried_again(listener, once, lambda: 0)
        except StoreFailed as failed:
            raise _error(self.address, failed) from None

    def names(self, folder: str) -> list[str]:
        """Return the names of all objects below a name, the latest last."""
        self._file_system.invalidate_cache()
        start = f"{self._root}/{folder}/"
        found = self._ask(self._file_system.find, start, detail=True)
        if not found:
            # Nothing is in it, or there is no such bucket.
            top = self._root.lstrip("/").partition("/")[0] or self._root
            if self._root[:1] != "/" and not self._ask(self._file_system.exists, top):
                raise RemoteUnreachable(f"{printable(self.address)}: there is no {printable(top)}")
            return []
        # What is not below it is the directory itself, as some tell of one that is empty.
        latest = sorted(found, key=lambda name: version_of(found[name]).last_modified or "")
        inner = [name.partition(start.lstrip("/")) for name in latest]
        return [name for _, _, name in inner if name]

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes | None:
        """Return what an object holds, all or a range; None where it is not there."""
        path = f"{self._root}/{name}"
        return self._ask(self._file_system.cat_file, path, start=start, end=end)

    def read_all(self, names: Sequence[str]) -> dict[str, bytes]:
        """Return what objects hold, by name, those that are there."""
        paths = {f"{self._root}/{name}": name for name in names}
        if not paths:
            return {}
        found = self._ask(self._file_system.cat, list(paths), on_error="omit") or {}
        if isinstance(found, bytes):
            found = {next(iter(paths)): found}
        by_end = {path.lstrip("/"): name for path, name in paths.items()}
        return {by_end[path.lstrip("/")]: data for path, data in found.items()}

    def has(self, name: str, size: int) -> bool:
        """Tell whether an object of this size is there."""
        self._file_system.invalidate_cache()
        info = self._ask(self._file_system.info, f"{self._root}/{name}")
        return info is not None and info.get("size") == size

    def write(self, name: str, data: bytes) -> None:
        """Write an object."""
        path = f"{self._root}/{name}"
        if self._ask(self._pipe, path, data) is None:
            self._ask(self._file_system.makedirs, path.rpartition("/")[0], exist_ok=True)
            if self._ask(self._pipe, path, data) is None:
                raise RemoteUnreachable(f"{printable(self.address)}: there is no such place")

    def _pipe(self, path: str, data: bytes) -> bool:
        self._file_system.pipe_file(path, data)
        return True

    def create(self, name: str, data: bytes) -> bool:
        """Write an object that is not there yet; tell whether it is now what was written."""
        if self._is_weak is None and not self._knows_conditions():
            self._is_weak = self._said_weak()
        if not self._is_weak:
            is_new = self._create(name, data)
            if is_new and self._is_weak is None:
                # Whether that was a condition shows when it does not hold any more.
                self._is_weak = self._create(name, data) and self._said_weak()
            return is_new or self.read(name) == data
        if self.read(name) is None:
            self.write(name, data)
        return self.read(name) == data

    def _create(self, name: str, data: bytes) -> bool:
        path = f"{self._root}/{name}"
        done = self._ask(self._pipe_new, path, data)
        if done is None:
            self._ask(self._file_system.makedirs, path.rpartition("/")[0], exist_ok=True)
            done = self._ask(self._pipe_new, path, data)
        return bool(done)

    def _pipe_new(self, path: str, data: bytes) -> bool:
        try:
            self._file_system.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            # So far, not all of them tell it by its own error.
            if any(mark in str(error) for mark in _EXISTS):
                return False
            raise
        return True

    def _knows_conditions(self) -> bool:
        pipe = getattr(self._file_system, "_pipe_file", self._file_system.pipe_file)
        return "mode" in inspect.signature(pipe).parameters

    def _said_weak(self) -> bool:
        if not self._is_weak:
            self.notice(
                f"{printable(self.address)} does not honour writes on condition: of two that push"
                " different states of one run at the same time, the later one would win"
            )
        return True


def _found(call: Callable[..., _Result], *args: Any, **options: Any) -> _Result | None:
    """Return what a call returns, None where it finds nothing."""
    try:
        return call(*args, **options)
    except FileNotFoundError:
        return None


class _State(NamedTuple):
    """A state of a run: its number, the object that lists its files, and its small files."""

    number: int
    listed: str
    files: Mapping[str, bytes]


class FsspecPlace:
    """Objects that hold runs."""

    def __init__(self, address: str, store: _Store) -> None:
        self.address = address
        self._store = store
        self._spans: dict[str, dict[str, list[_Span]]] = {}

    def runs(
        self, run_ids: Iterable[str] | None, names: Sequence[str]
    ) -> Mapping[str, Mapping[str, bytes]]:
        """Return small files of runs."""
        states, notes = self._states(run_ids)
        exact = {name for name in names if not name.endswith("/")}
        folders = tuple(name for name in names if name.endswith("/"))
        wanted = {
            f"runs/{run_id}/notes/{quote(path)}": (run_id, f"notes/{path}")
            for run_id, paths in notes.items()
            for path in paths
            if f"notes/{path}" in exact or f"notes/{path}".startswith(folders or "\0")
        }
        found: dict[str, dict[str, bytes]] = {
            run_id: {
                name: data
                for name, data in state.files.items()
                if name in exact or name == "run" or name.startswith(folders or "\0")
            }
            for run_id, state in states.items()
        }
        for name, data in self._store.read_all(list(wanted)).items():
            run_id, path = wanted[name]
            if run_id in found:
                found[run_id][path] = data
        return found

    def _states(
        self, run_ids: Iterable[str] | None
    ) -> tuple[dict[str, _State], dict[str, list[str]]]:
        """Return the last state of runs, and the names of their notes."""
        folders = ["runs"] if run_ids is None else [f"runs/{run_id}" for run_id in run_ids]
        numbers, notes = self._listed(folders)
        return self._read_states(numbers), notes

    def _listed(self, folders: Iterable[str]) -> tuple[dict[str, list[int]], dict[str, list[str]]]:
        """Return the numbers of the states of runs, and the names of their notes."""
        numbers: dict[str, list[int]] = {}
        notes: dict[str, list[str]] = {}
        for folder in folders:
            above = folder.partition("/")[2]
            for name in self._store.names(folder):
                run_id, _, rest = (f"{above}/{name}" if above else name).partition("/")
                if not is_run_id(run_id):
                    continue
                if rest.startswith("notes/"):
                    notes.setdefault(run_id, []).append(unquote(rest[6:]))
                elif rest.isdecimal():
                    # In the order of the last states.
                    numbers[run_id] = [*numbers.pop(run_id, ()), int(rest)]
        return numbers, notes

    def _read_states(self, numbers: dict[str, list[int]]) -> dict[str, _State]:
        states: dict[str, _State] = {}
        # Where the last one was cut short, as a file system can leave it, the one before counts.
        while numbers:
            last = {_state_name(run_id, max(found)): run_id for run_id, found in numbers.items()}
            data = self._store.read_all(list(last))
            for name, run_id in last.items():
                state = _parse_state(max(numbers[run_id]), data.get(name, b""))
                if state:
                    states[run_id] = state
                numbers[run_id].remove(max(numbers[run_id]))
                if state or not numbers[run_id]:
                    del numbers[run_id]
        return states

    def find_state(self, run_id: str) -> _State | None:
        """Return the last state of a run, or None where there is none."""
        return self._states([run_id])[0].get(run_id)

    def describe(self, run_id: str) -> Described | None:
        """Return what there is of a run."""
        state = self.find_state(run_id)
        if state is None:
            return None
        return Described(self._items(run_id, state), (), (), None)

    def _items(self, run_id: str, state: _State) -> list[Item]:
        data = self._store.read(_object_name(state.listed))
        if data is None or hashlib.sha256(data).hexdigest() != state.listed:
            raise RemoteFailed(
                f"{printable(self.address)}: the list of run {run_id} is missing or damaged",
                "push it anew, to another place",
            )
        rows = json.loads(zlib.decompress(data))
        items = [Item(*fields) for *fields, _ in rows]
        self._spans[run_id] = {row[0]: [(o, s, e) for o, s, e in row[-1]] for row in rows}
        return items

    def read_file(self, run_id: str, path: str) -> bytes:
        """Return the content of one file."""
        described = self.describe(run_id)
        for item in described.items if described else ():
            if item.path == path:
                return b"".join(self.read(run_id, [(item, 0)]))
        raise error_of(Refused("failed", f"there is no {printable(path)}"), self.address)

    def read(self, run_id: str, wants: Sequence[tuple[Item, int]]) -> Iterator[bytes]:
        """Yield the content of files."""
        size = _piece_size(sum(item.size - offset for item, offset in wants))
        if run_id not in self._spans:
            self.describe(run_id)
        spans = self._spans.get(run_id, {})
        for name, start, end in _joined(_wanted_spans(spans, wants)):
            for at in range(start, end, size):
                until = min(at + size, end)
                data = self._store.read(_object_name(name), at, until)
                if data is None or len(data) != until - at:
                    raise RemoteFailed(
                        f"{printable(self.address)}: object {name} is missing or cut short",
                        "push a run that has it anew, to another place",
                    )
                yield data

    def receive(self, run_id: str, notice: Notice) -> FsspecArrival:
        """Begin to receive a run."""
        return FsspecArrival(self, self._store, run_id)

    def find_contents(self, wanted: set[str]) -> dict[str, list[_Span]]:
        """Return where contents are that other runs have, by digest."""
        found: dict[str, list[_Span]] = {}
        numbers = self._listed(["runs"])[0]
        latest = list(numbers)[-_MOST_LISTS:]
        states = self._read_states({run_id: numbers[run_id] for run_id in latest})
        for run_id, state in reversed(states.items()):
            if len(found) == len(wanted):
                break
            try:
                items = self._items(run_id, state)
            except RemoteFailed:
                continue
            for item in items:
                if item.kind == FILE and item.sha256 in wanted:
                    found.setdefault(item.sha256, self._spans[run_id][item.path])
        return found

    def notes(self, run_id: str) -> Mapping[str, bytes]:
        """Return the files of a run's notes."""
        names = self._states([run_id])[1].get(run_id, ())
        wanted = {f"runs/{run_id}/notes/{quote(path)}": path for path in names}
        return {wanted[name]: data for name, data in self._store.read_all(list(wanted)).items()}

    def add_notes(self, run_id: str, notes: Mapping[str, bytes]) -> None:
        """Add files to a run's notes."""
        there = self._states([run_id])[1].get(run_id, ()) if notes else ()
        for path, data in notes.items():
            if path not in there:
                self._store.write(f"runs/{run_id}/notes/{quote(path)}", data)

    def close(self) -> None:
        """Let the place go."""


class FsspecArrival:
    """A run that arrives as objects; they are of use to any run as soon as they are there."""

    has_waited = False

    def __init__(self, place: FsspecPlace, store: _Store, run_id: str) -> None:
        self._place = place
        self._store = store
        self._run_id = run_id
        self._items: Sequence[Item] = ()
        self._spans: dict[str, list[_Span]] = {}
        self._files: dict[str, bytes] = {}
        self._missed = 0
        self.sent = 0

    def begin(self, items: Sequence[Item]) -> list[Want]:
        """Return which files are wanted."""
        self._items = items
        contents = {item.sha256 for item in items if item.kind == FILE and item.size}
        self._spans = self._place.find_contents(contents)
        wants: list[Want] = []
        seen = {*self._spans}
        for number, item in enumerate(items):
            # What tells of the run is part of its state, and so is read here at any rate.
            is_new = item.kind == FILE and item.size and item.sha256 not in seen
            if is_new or _is_inline(item):
                wants.append((number, 0))
                seen.add(item.sha256)
        return wants

    def send(self, wants: Sequence[Want], content: Iterable[bytes]) -> list[int]:
        """Write what is wanted as objects."""
        items = [self._items[number] for number, _ in wants]
        pack = _Pack(_piece_size(sum(item.size for item in items if item.size < _SMALL)))
        reader, bad = _Reader(content), []
        for number, item in zip((number for number, _ in wants), items, strict=True):
            is_right = self._take(item, reader, pack)
            if not is_right:
                bad.append(number)
            if pack.is_full():
                self._spans.update(pack.spans(self._put(pack.data())))
        if pack.data():
            self._spans.update(pack.spans(self._put(pack.data())))
        return bad

    def _take(self, item: Item, reader: _Reader, pack: _Pack) -> bool:
        """Read a file, and put it into a pack or objects of its own; tell whether it is right."""
        if item.size < _SMALL:
            data = reader.read(item.size)
            if hashlib.sha256(data).hexdigest() != item.sha256:
                return False
            if _is_inline(item):
                self._files[item.path] = data
            if item.size and item.sha256 not in self._spans:
                pack.add(item.sha256, data)
            return True
        hasher, spans, left = hashlib.sha256(), [], item.size
        size = _piece_size(item.size)
        while left:
            data = reader.read(min(size, left))
            hasher.update(data)
            left -= len(data)
            spans.append((self._put(data), 0, len(data)))
        if hasher.hexdigest() != item.sha256:
            return False
        self._spans[item.sha256] = spans
        return True

    def _put(self, data: bytes) -> str:
        """Write an object, unless it is there; return its digest."""
        sha256 = hashlib.sha256(data).hexdigest()
        name = _object_name(sha256)
        # What was written before an interruption comes first.
        if self._missed < _MOST_MISSED:
            if self._store.has(name, len(data)):
                self._missed = 0
                return sha256
            self._missed += 1
        self._store.write(name, data)
        self.sent += len(data)
        return sha256

    def commit(self, base: str | None) -> None:
        """Write the state of the run."""
        rows = [
            [*item, self._spans[item.sha256] if item.kind == FILE and item.size else []]
            for item in self._items
        ]
        self._missed = 0
        listed = self._put(zlib.compress(json.dumps(rows, separators=(",", ":")).encode(), 9))
        state = self._place.find_state(self._run_id)
        described = self._place.describe(self._run_id)
        digest = Described(self._items, (), (), None).digest()
        if described and described.digest() == digest:
            return
        if (described.digest() if described else None) != base:
            raise self._conflict()
        value = {
            "version": _VERSION,
            "list": listed,
            "files": {path: data.decode("latin-1") for path, data in self._files.items()},
        }
        data = (json.dumps(value, indent=1) + "\n").encode()
        number = state.number + 1 if state else 1
        if self._store.create(_state_name(self._run_id, number), data):
            return
        described = self._place.describe(self._run_id)
        if described is None or described.digest() != digest:
            raise self._conflict()

    def _conflict(self) -> Exception:
        what = f"what is there of run {self._run_id} has changed meanwhile"
        return error_of(Refused("conflict", what, "try again"), self._place.address)

    def close(self) -> None:
        """Let others send the run; objects stay, and are found."""


class _Pack:
    """Small files that become one object."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._pieces: list[tuple[str, bytes]] = []
        self._length = 0

    def add(self, sha256: str, data: bytes) -> None:
        self._pieces.append((sha256, data))
        self._length += len(data)

    def is_full(self) -> bool:
        return self._length >= self._size

    def data(self) -> bytes:
        return b"".join(data for _, data in self._pieces)

    def spans(self, name: str) -> dict[str, list[_Span]]:
        """Return where the files are in the object of this digest; the next pack is empty."""
        found: dict[str, list[_Span]] = {}
        at = 0
        for sha256, data in self._pieces:
            found[sha256] = [(name, at, at + len(data))]
            at += len(data)
        self._pieces, self._length = [], 0
        return found


class _Reader:
    """A stream, read in pieces of any size."""

    def __init__(self, content: Iterable[bytes]) -> None:
        self._content = iter(content)
        self._left = b""

    def read(self, size: int) -> bytes:
        pieces, missing = [], size
        while missing:
            if not self._left:
                self._left = next(self._content)
            piece, self._left = self._left[:missing], self._left[missing:]
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)


def _is_inline(item: Item) -> bool:
    return (
        item.kind == FILE
        and item.path.startswith("meta/")
        and not item.path.startswith(_NOT_INLINE)
        and item.size <= _MOST_INLINE
    )


def _object_name(sha256: str) -> str:
    return f"objects/{sha256[:2]}/{sha256}"


def _state_name(run_id: str, number: int) -> str:
    return f"runs/{run_id}/{number:0{_DIGITS}}"


def _parse_state(number: int, data: bytes) -> _State | None:
    """Return a state; None where it was not written to its end.

    Raises:
        RemoteFailed: it was written by a newer Gage.
    """
    try:
        value = json.loads(data)
        version, listed = value["version"], value["list"]
        files = {path: text.encode("latin-1") for path, text in value["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if version != _VERSION:
        raise RemoteFailed(
            f"a run was pushed in version {version}; this Gage reads version {_VERSION}",
            "use the Gage that wrote it, or a newer one",
        )
    return _State(number, listed, {**files, "run": b"", MANIFEST: b""})


def _piece_size(size: int) -> int:
    """Return how many bytes of so many make an object: a power of two, about a 256th."""
    piece = 1 << max(0, (size // _PIECES).bit_length() - 1)
    return min(_MOST_PIECE, max(_LEAST_PIECE, piece))


def _wanted_spans(
    spans: Mapping[str, Sequence[_Span]], wants: Iterable[tuple[Item, int]]
) -> Iterator[_Span]:
    for item, offset in wants:
        for name, start, end in spans.get(item.path, ()):
            skipped = min(offset, end - start)
            offset -= skipped
            if start + skipped < end:
                yield name, start + skipped, end


def _joined(spans: Iterable[_Span]) -> Iterator[_Span]:
    """Yield spans, those that follow each other in an object as one."""
    last: _Span | None = None
    for span in spans:
        if last and span[0] == last[0] and span[1] == last[2]:
            last = (last[0], last[1], span[2])
            continue
        if last:
            yield last
        last = span
    if last:
        yield last
