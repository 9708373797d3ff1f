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
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

from gage._internal.downloads.file_systems import open_file_system
from gage._internal.downloads.objects import StoreFailed
from gage._internal.errors import (
    DependencyError,
    RemoteFailed,
    RemoteUnfit,
)
from gage._internal.fs import printable
from gage._internal.portable.items import Described, Item, Refused, Want
from gage._internal.portable.object_layout import (
    SMALL,
    VERSION,
    Pack,
    Reader,
    Span,
    State,
    is_inline,
    joined,
    object_name,
    parse_state,
    piece_size,
    state_name,
    wanted_spans,
)
from gage._internal.portable.object_store import ObjectStore, store_error
from gage._internal.portable.refusals import error_of
from gage._internal.store.layout import is_run_id
from gage._internal.store.manifest import FILE
from gage.plugins import Notice

# Other runs, the newest first, whose lists are looked at for what is there.
_MOST_LISTS = 20
# Objects in a row that were not there, after which it is not asked any more.
_MOST_MISSED = 3


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
            raise store_error(address, failed) from None
        return FsspecPlace(address, ObjectStore(address, file_system, root.rstrip("/"), notice))


class FsspecPlace:
    """Objects that hold runs."""

    def __init__(self, address: str, store: ObjectStore) -> None:
        self.address = address
        self._store = store
        self._spans: dict[str, dict[str, list[Span]]] = {}

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
    ) -> tuple[dict[str, State], dict[str, list[str]]]:
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

    def _read_states(self, numbers: dict[str, list[int]]) -> dict[str, State]:
        states: dict[str, State] = {}
        # Where the last one was cut short, as a file system can leave it, the one before counts.
        while numbers:
            last = {state_name(run_id, max(found)): run_id for run_id, found in numbers.items()}
            data = self._store.read_all(list(last))
            for name, run_id in last.items():
                state = parse_state(max(numbers[run_id]), data.get(name, b""))
                if state:
                    states[run_id] = state
                numbers[run_id].remove(max(numbers[run_id]))
                if state or not numbers[run_id]:
                    del numbers[run_id]
        return states

    def find_state(self, run_id: str) -> State | None:
        """Return the last state of a run, or None where there is none."""
        return self._states([run_id])[0].get(run_id)

    def describe(self, run_id: str) -> Described | None:
        """Return what there is of a run."""
        state = self.find_state(run_id)
        if state is None:
            return None
        return Described(self._items(run_id, state), (), (), None)

    def _items(self, run_id: str, state: State) -> list[Item]:
        data = self._store.read(object_name(state.listed))
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
        size = piece_size(sum(item.size - offset for item, offset in wants))
        if run_id not in self._spans:
            self.describe(run_id)
        spans = self._spans.get(run_id, {})
        for name, start, end in joined(wanted_spans(spans, wants)):
            for at in range(start, end, size):
                until = min(at + size, end)
                data = self._store.read(object_name(name), at, until)
                if data is None or len(data) != until - at:
                    raise RemoteFailed(
                        f"{printable(self.address)}: object {name} is missing or cut short",
                        "push a run that has it anew, to another place",
                    )
                yield data

    def receive(self, run_id: str, notice: Notice) -> FsspecArrival:
        """Begin to receive a run."""
        return FsspecArrival(self, self._store, run_id)

    def find_contents(self, wanted: set[str]) -> dict[str, list[Span]]:
        """Return where contents are that other runs have, by digest."""
        found: dict[str, list[Span]] = {}
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

    def __init__(self, place: FsspecPlace, store: ObjectStore, run_id: str) -> None:
        self._place = place
        self._store = store
        self._run_id = run_id
        self._items: Sequence[Item] = ()
        self._spans: dict[str, list[Span]] = {}
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
            if is_new or is_inline(item):
                wants.append((number, 0))
                seen.add(item.sha256)
        return wants

    def send(self, wants: Sequence[Want], content: Iterable[bytes]) -> list[int]:
        """Write what is wanted as objects."""
        items = [self._items[number] for number, _ in wants]
        pack = Pack(piece_size(sum(item.size for item in items if item.size < SMALL)))
        reader, bad = Reader(content), []
        for number, item in zip((number for number, _ in wants), items, strict=True):
            is_right = self._take(item, reader, pack)
            if not is_right:
                bad.append(number)
            if pack.is_full():
                self._spans.update(pack.spans(self._put(pack.data())))
        if pack.data():
            self._spans.update(pack.spans(self._put(pack.data())))
        return bad

    def _take(self, item: Item, reader: Reader, pack: Pack) -> bool:
        """Read a file, and put it into a pack or objects of its own; tell whether it is right."""
        if item.size < SMALL:
            data = reader.read(item.size)
            if hashlib.sha256(data).hexdigest() != item.sha256:
                return False
            if is_inline(item):
                self._files[item.path] = data
            if item.size and item.sha256 not in self._spans:
                pack.add(item.sha256, data)
            return True
        hasher, spans, left = hashlib.sha256(), [], item.size
        size = piece_size(item.size)
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
        name = object_name(sha256)
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
            "version": VERSION,
            "list": listed,
            "files": {path: data.decode("latin-1") for path, data in self._files.items()},
        }
        data = (json.dumps(value, indent=1) + "\n").encode()
        number = state.number + 1 if state else 1
        if self._store.create(state_name(self._run_id, number), data):
            return
        described = self._place.describe(self._run_id)
        if described is None or described.digest() != digest:
            raise self._conflict()

    def _conflict(self) -> Exception:
        what = f"what is there of run {self._run_id} has changed meanwhile"
        return error_of(Refused("conflict", what, "try again"), self._place.address)

    def close(self) -> None:
        """Let others send the run; objects stay, and are found."""
