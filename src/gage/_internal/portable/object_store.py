"""Objects in a store that fsspec knows: written once, read, and asked for.

A store may honour a write on condition that there is nothing yet; one that does not is named.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gage._internal.downloads import fetch
from gage._internal.downloads.objects import StoreFailed, ask, tried_again, version_of
from gage._internal.errors import RemoteDenied, RemoteFailed, RemoteUnreachable
from gage._internal.fs import printable

_EXISTS = ("PreconditionFailed", "pre-conditions", "conditionNotMet", "BlobAlreadyExists")

_Result = TypeVar("_Result")
# Is told what whoever waits should know, in sentences.
Notice = Callable[[str], None]


def store_error(address: str, failed: StoreFailed) -> RemoteFailed:
    """Return what people see of a store that failed."""
    kind = RemoteUnreachable if failed.is_passing else RemoteFailed
    if failed.hint and "login" in failed.hint:
        kind = RemoteDenied
    return kind(f"{printable(address)}: {failed.reason}", failed.hint)


class ObjectStore:
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
            raise store_error(self.address, failed) from None

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
