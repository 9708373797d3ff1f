"""What a submission has in object storage: capsules that go out, marks, and what comes back.

Each job has objects of its own, `NUMBER.NAME`, for which links can be signed, so that whoever
executes it needs no credentials.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gage._internal.downloads.file_systems import open_file_system, scheme_of
from gage._internal.downloads.objects import StoreFailed, ask
from gage._internal.errors import (
    DependencyError,
    EngineFailed,
    EngineUnreachable,
    RemoteFailed,
    RemoteUnreachable,
)
from gage._internal.fs import printable
from gage._internal.portable.errand import CHUNK
from gage._internal.portable.object_store import ObjectStore, store_error


class ParcelStore:
    """The objects of a submission, below a directory of that name at an address.

    `options` are what fsspec is to know of the storage. All that goes wrong is an EngineFailed.
    """

    def __init__(self, address: str, options: Mapping[str, Any], name: str) -> None:
        storage = dict(options)
        if scheme_of(address) in ("s3", "s3a"):
            # What else it may sign with is not taken by all stores any more.
            storage["config_kwargs"] = {
                "signature_version": "s3v4",
                **storage.get("config_kwargs", {}),
            }
        try:
            self._file_system, root = open_file_system(address, storage)
        except (DependencyError, StoreFailed) as error:
            hint = error.hint or "set options.capsules to an address such as s3://BUCKET/PREFIX"
            raise EngineFailed(f"{printable(address)}: {error}", hint) from None
        self._address = address
        self._root = f"{root.rstrip('/')}/{name}"
        self._objects = ObjectStore(address, self._file_system, self._root, lambda sentence: None)

    def put(self, number: int, name: str, source: str) -> None:
        """Write an object of a job, the content of a file."""
        with _understood(self._address):
            ask(self._file_system.put_file, source, self._path(number, name))

    def create(self, number: int, name: str, data: bytes) -> bool:
        """Write an object of a job unless it is there; tell whether it is this one now."""
        with _understood(self._address):
            return self._objects.create(f"{number}.{name}", data)

    def read(self, number: int, name: str) -> bytes | None:
        """Return a small object of a job; None where it is not there."""
        with _understood(self._address):
            return self._objects.read(f"{number}.{name}")

    def iter_pieces(self, number: int, name: str) -> Iterator[bytes]:
        """Yield an object of a job.

        Raises:
            FileNotFoundError: it is not there.
        """
        with _understood(self._address):
            file = ask(_find_file, self._file_system, self._path(number, name))
            if file is None:
                raise FileNotFoundError(f"{self._address}: there is no {number}.{name}")
            with file:
                while piece := ask(file.read, CHUNK):
                    yield piece

    def has(self, number: int, name: str) -> bool:
        """Tell whether there is an object of a job."""
        with _understood(self._address):
            return bool(ask(self._file_system.exists, self._path(number, name)))

    def remove(self, number: int, name: str) -> None:
        """Remove an object of a job."""
        with _understood(self._address):
            ask(self._file_system.rm_file, self._path(number, name))

    def link(self, number: int, name: str, is_to_write: bool, seconds: int) -> str:
        """Return an address by which anybody may read or write an object of a job.

        Raises:
            EngineFailed: the store has none.
        """
        more = {"client_method": "put_object"} if is_to_write else {}
        if scheme_of(self._address) not in ("s3", "s3a"):
            raise EngineFailed(
                f"{printable(self._address)} gives no links to write by",
                "set options.capsules to an address such as s3://BUCKET/PREFIX",
            )
        return str(self._file_system.sign(self._path(number, name), expiration=seconds, **more))

    def _path(self, number: int, name: str) -> str:
        return f"{self._root}/{number}.{name}"


def _find_file(file_system: Any, path: str) -> Any:
    try:
        return file_system.open(path, "rb")
    except FileNotFoundError:
        return None


@contextmanager
def _understood(address: str) -> Iterator[None]:
    """Raise what goes wrong with object storage as an EngineFailed."""
    try:
        try:
            yield
        except StoreFailed as failed:
            raise store_error(address, failed) from None
    except RemoteUnreachable as error:
        raise EngineUnreachable(error.message, error.hint) from None
    except RemoteFailed as error:
        raise EngineFailed(error.message, error.hint) from None
