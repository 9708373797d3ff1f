"""What a submission has in object storage: capsules that go out, marks, and what comes back.

Each job has objects of its own, `NUMBER.NAME`, for which links can be signed, so that whoever
executes it needs no credentials. What comes back is in pieces, `NUMBER.NAME.PIECE`, of which
`NUMBER.NAME`, written last, is the list: a line for each, as sha256sum prints it.
"""

from __future__ import annotations

import hashlib
import re
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

_TOKEN = "x-amz-security-token="
_LIST = re.compile(rb"(?:[0-9a-f]{64}  [^\n]+\n)+")


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

    def iter_listed(self, number: int, name: str) -> Iterator[bytes]:
        """Yield what is in the pieces of a job.

        Raises:
            FileNotFoundError: there is no list of them.
            EngineFailed: they are not as it says.
        """
        listed = self.read(number, name)
        if listed is None:
            raise FileNotFoundError(f"{self._address}: there is no {number}.{name}")
        if not _LIST.fullmatch(listed):
            raise self._is_altered(f"{number}.{name}")
        for piece, line in enumerate(listed.splitlines()):
            hasher = hashlib.sha256()
            for data in self._iter_object(f"{number}.{name}.{piece}"):
                hasher.update(data)
                yield data
            if hasher.hexdigest() != line[:64].decode():
                raise self._is_altered(f"{number}.{name}.{piece}")

    def _iter_object(self, name: str) -> Iterator[bytes]:
        with _understood(self._address):
            file = ask(self._file_system.open, f"{self._root}/{name}", "rb")
            with file:
                while data := ask(file.read, CHUNK):
                    yield data

    def _is_altered(self, name: str) -> EngineFailed:
        return EngineFailed(f"{printable(self._address)}: {name} is not what was stored there")

    def remove(self, number: int, name: str) -> None:
        """Remove an object of a job, and its pieces, as far as they are there; the list first."""
        start = self._path(number, name)
        with _understood(self._address):
            ask(self._file_system.invalidate_cache)
            found = ask(self._file_system.find, self._root, prefix=f"{number}.{name}")
            for path in sorted(found):
                if path == start or path.startswith(f"{start}."):
                    ask(self._file_system.rm_file, path)

    def has_lasting_links(self) -> bool:
        """Tell whether links last as long as they are signed for.

        Those that are signed with temporary credentials end with these, of which no more is known
        than that there is a token.
        """
        return _TOKEN not in self.link(0, "capsule", False, 1).lower()

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
        with _understood(self._address):
            path = self._path(number, name)
            return str(ask(self._file_system.sign, path, expiration=seconds, **more))

    def _path(self, number: int, name: str) -> str:
        return f"{self._root}/{number}.{name}"


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
