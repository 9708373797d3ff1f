"""What is being downloaded from an address: one file, which one process at a time has.

The file is its own lock (flock), so that a process that is killed leaves nothing but a part of the
content, which the next one goes on with. It gets its name among the contents by being renamed, and
whoever waited for it then finds that what he locked does not have its name any more.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple

from gage._internal import fs
from gage._internal.caches import make_folder
from gage._internal.downloads.cache import PARTIAL, content_name, key_of
from gage._internal.lock_files import has_name, open_locked
from gage._internal.store.meta import json_bytes

_READ_SIZE = 1 << 20


class Version(NamedTuple):
    """What tells one content of an address from another, as a server says it."""

    etag: str | None = None
    last_modified: str | None = None
    total: int | None = None

    @property
    def validator(self) -> str | None:
        """What a request for the rest must be answered by, if the rest can be asked for."""
        if self.etag:
            return None if self.etag.startswith("W/") else self.etag
        return self.last_modified


class Partial:
    """A context in which this process alone downloads from an address.

    `wait` is called where another process is at it for longer than a second.
    """

    def __init__(self, cache: str, address: str, wait: Callable[[], None]) -> None:
        self._cache = cache
        self._path = os.path.join(cache, PARTIAL, key_of(address))
        self._wait = wait
        self._fd = -1
        self._sha256 = hashlib.sha256()
        self.size = 0
        self.version = Version()

    def __enter__(self) -> Partial:
        make_folder(self._cache, self._path)
        self._fd = open_locked(self._path, self._wait)
        try:
            self._read()
        except BaseException:
            os.close(self._fd)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            is_of_use = self.size and self.version.validator and not is_full
            # Once it has its name as content, somebody else may have begun another one here.
            if not is_of_use and has_name(self._fd, self._path):
                fs.discard(self._path + ".json")
                fs.discard(self._path)
        finally:
            os.close(self._fd)

    def begin(self, version: Version) -> None:
        """Forget what there is of another version."""
        fs.discard(self._path + ".json")
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._sha256 = hashlib.sha256()
        self.size = 0
        self.version = version
        if version.validator:
            fs.replace_file(self._path + ".json", json_bytes(version._asdict()), 0o600)

    def add(self, data: bytes) -> None:
        """Append to what there is."""
        try:
            fs.write_all(self._fd, data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._path) from None
        self._sha256.update(data)
        self.size += len(data)

    def finish(self) -> str:
        """Give the content its name in the cache; return its digest."""
        if os.environ.get("GAGE_SYNC") != "0":
            os.fsync(self._fd)
        os.fchmod(self._fd, fs.READ_ONLY)
        sha256 = self._sha256.hexdigest()
        path = os.path.join(self._cache, content_name(sha256))
        make_folder(self._cache, path)
        fs.discard(self._path + ".json")
        os.replace(self._path, path)
        return sha256

    def _read(self) -> None:
        """Take up what a process that was killed has left."""
        try:
            version = Version(**json.loads(fs.read_bytes(self._path + ".json")))
            is_of_use = version.validator is not None
        except (OSError, ValueError, TypeError, AttributeError):
            version, is_of_use = Version(), False
        while is_of_use:
            data = os.read(self._fd, _READ_SIZE)
            if not data:
                self.version = version
                return
            self._sha256.update(data)
            self.size += len(data)
        self.begin(Version())
