"""Fetch objects of a file system of fsspec into the cache, or find that they are there.

What is there is taken where the file system says by a checksum, or else by size and time, that it
is still what it was. It is read in ranges, so that what breaks off goes on where it was.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from gage._internal import clock
from gage._internal.downloads.cache import Kept, find_kept, mark_used, write_record
from gage._internal.downloads.fetch import DELAYS, Listener, date_text
from gage._internal.downloads.partial import Partial, Version
from gage._internal.errors import DependencyError
from gage._internal.fs import printable

# A request for each: as much as is lost where one breaks off.
_RANGE_SIZE = 8 << 20
_MAGIC = re.compile(r"[*?\[]")
_CHECKSUMS = (
    *("ETag", "etag", "checksum", "md5Hash", "content_md5", "sha256", "blob_id", "md5", "crc32c"),
    *("generation", "VersionId", "version_id"),
)
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "modified", "modify_time")
# Errors of who may not come in, of the libraries that file systems are made with.
_DENIED = (
    *("NoCredentialsError", "PartialCredentialsError", "NoAuthTokenError"),
    *("AuthenticationException", "PasswordRequiredException", "BadAuthenticationType"),
    *("BadHostKeyException", "ClientAuthenticationError", "GatedRepoError"),
)
_LOOK = "check the address"
_LOG_IN = (
    "a login comes from where the file system looks for one, or from secrets of the dependency"
)
_Result = TypeVar("_Result")


class Stored(NamedTuple):
    """An object: its path in the file system, its address, its name in the run, and its info."""

    path: str
    address: str
    name: str
    info: Mapping[str, Any]


class StoreFailed(Exception):
    """A file system failed: why, whether it may well succeed soon, and what to do."""

    def __init__(self, reason: str, is_passing: bool, hint: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_passing = is_passing
        self.hint = hint


def ask(call: Callable[..., _Result], *args: Any, **options: Any) -> _Result:
    """Call a file system.

    Raises:
        StoreFailed: it raised anything.
    """
    try:
        return call(*args, **options)
    except FileNotFoundError:
        raise StoreFailed("there is no such file or directory", False, _LOOK) from None
    except (NotImplementedError, TypeError) as error:
        raise StoreFailed(_reason(error), is_passing=False) from error
    except Exception as error:
        if isinstance(error, PermissionError) or type(error).__name__ in _DENIED:
            raise StoreFailed(_reason(error), False, _LOG_IN) from error
        raise StoreFailed(_reason(error), is_passing=True) from error


def tried_again(
    listener: Listener, task: Callable[[], _Result], size: Callable[[], int]
) -> _Result:
    """Return what a task returns, which is tried again for a while where its store fails.

    `size` tells how many bytes are there: where one more try went on, all of them are left again.

    Raises:
        StoreFailed: it is no use.
    """
    failed = 0
    most = size()
    while True:
        try:
            return task()
        except StoreFailed as error:
            if size() > most:
                most = size()
                failed = 0
            if failed == len(DELAYS) or not error.is_passing:
                raise
            delay = DELAYS[failed]
            failed += 1
            if delay >= 1:
                listener.notice(f"{error.reason}: trying again in {delay:.0f} s")
            time.sleep(delay)


def has_magic(address: str) -> bool:
    """Tell whether an address is a pattern."""
    return bool(_MAGIC.search(address))


def base_name(address: str) -> str:
    """Return what a file or directory at an address is called."""
    return _halves(address)[0].rstrip("/").rpartition("/")[2].removesuffix(":")


def list_objects(file_system: Any, path: str, address: str) -> list[Stored]:
    """Return what an address is: an object, all below a directory, or what a pattern matches.

    In the run an object has its name, what is in a directory the name of that before its own, and
    what a pattern matches its path below what is no pattern.

    Raises:
        StoreFailed: it cannot be listed, or there is no such thing.
        DependencyError: an object has a name that cannot be that of a file.
    """
    ask(file_system.invalidate_cache)
    head, tail = _halves(address)
    if has_magic(path):
        matches = ask(file_system.glob, path, detail=True)
        root, start = _fixed(path), _fixed(head)
        found: dict[str, Stored] = {}
        for match, info in matches.items():
            for each in _files_of(file_system, match, info):
                below = _below(each[0], root)
                found[each[0]] = Stored(each[0], start + below + tail, below, each[1])
        if found:
            return _checked(sorted(found.values()), address)
    info = ask(file_system.info, path)
    name = base_name(address)
    if info.get("type") != "directory":
        return _checked([Stored(path, address, name, info)], address)
    start = head if head.endswith("/") else head + "/"
    stored = []
    for inner, inner_info in _files_of(file_system, path, info):
        below = _below(inner, path)
        own = f"{name}/{below}" if name else below
        stored.append(Stored(inner, start + below + tail, own, inner_info))
    if not stored:
        raise StoreFailed("there are no files in it", False, _LOOK)
    return _checked(sorted(stored), address)


def fetch_object(
    cache: str, file_system: Any, stored: Stored, key: str, is_pinned: bool, listener: Listener
) -> Kept:
    """Return what an object holds, now in the cache, where it is kept under the address `key`.

    Where its digest `is_pinned`, nobody need be told that it has changed.

    Raises:
        StoreFailed: it cannot be had.
        OSError: the cache cannot be written.
    """
    asked = clock.now()

    def wait() -> None:
        listener.notice(f"waiting for another process that downloads {printable(stored.address)}")

    with Partial(cache, key, wait) as partial:
        kept = find_kept(cache, key)
        if kept is None or kept.fetched < asked:
            fetching = _Fetching(cache, file_system, stored, key, partial, kept, listener)
            old, kept = kept, tried_again(listener, fetching.attempt, lambda: partial.size)
            if old is not None and old.sha256 != kept.sha256 and not is_pinned:
                listener.notice(
                    f"{printable(stored.address)} has changed since {date_text(old.fetched)}: its"
                    f" sha256 was {old.sha256}, and is {kept.sha256}; with sha256 in the Gage file"
                    " it would be an error"
                )
    mark_used(cache, key)
    return kept


def version_of(info: Mapping[str, Any]) -> Version:
    """Return what tells one content of an object from another, as a file system says it."""
    checksum = next((str(info[name]) for name in _CHECKSUMS if info.get(name)), None)
    changed = next((_time_text(info[name]) for name in _TIMES if info.get(name)), None)
    size = info.get("size")
    return Version(checksum, changed, size if isinstance(size, int) else None)


class _Fetching:
    """The attempts to fetch an object of which something may be kept already."""

    def __init__(
        self,
        cache: str,
        file_system: Any,
        stored: Stored,
        key: str,
        partial: Partial,
        kept: Kept | None,
        listener: Listener,
    ) -> None:
        self._cache = cache
        self._file_system = file_system
        self._stored = stored
        self._key = key
        self._partial = partial
        self._kept = kept
        self._listener = listener
        self._info: Mapping[str, Any] | None = stored.info

    def attempt(self) -> Kept:
        info = self._asked() if self._info is None else self._info
        # Of the next attempt it would be too old.
        self._info = None
        version = version_of(info)
        partial = self._partial
        if self._kept is not None and _is_same(self._kept, version):
            partial.begin(Version())
            return self._kept
        is_resumed = bool(partial.size and version.validator and partial.version == version)
        if not is_resumed or (version.total is not None and partial.size > version.total):
            partial.begin(version)
        requests = self._read(version.total)
        if (is_resumed or requests > 1) and version_of(self._asked()) != version:
            partial.begin(Version())
            raise StoreFailed("it has changed while it was read", is_passing=True)
        size = partial.size
        kept = Kept(
            self._key,
            partial.finish(),
            size,
            clock.now(),
            etag=version.etag,
            last_modified=version.last_modified,
        )
        write_record(self._cache, kept)
        return kept

    def _asked(self) -> Mapping[str, Any]:
        ask(self._file_system.invalidate_cache)
        info: Mapping[str, Any] = ask(self._file_system.info, self._stored.path)
        return info

    def _read(self, total: int | None) -> int:
        """Read what is not there yet; return how many requests that took."""
        requests = 0
        for data in self._ranges(total):
            if not data:
                raise StoreFailed(f"it ended after {self._partial.size} of {total} bytes", True)
            self._partial.add(data)
            requests += 1
            self._listener.progress(self._stored.address, self._partial.size, total)
        return requests

    def _ranges(self, total: int | None) -> Iterator[bytes]:
        path = self._stored.path
        if total is None:
            file = ask(self._file_system.open, path, "rb")
            try:
                while data := ask(file.read, _RANGE_SIZE):
                    yield data
            finally:
                ask(file.close)
            return
        while self._partial.size < total:
            start = self._partial.size
            end = min(start + _RANGE_SIZE, total)
            yield ask(self._file_system.cat_file, path, start=start, end=end)[: end - start]


def _files_of(
    file_system: Any, path: str, info: Mapping[str, Any]
) -> list[tuple[str, Mapping[str, Any]]]:
    """Return an object, or all that are below a directory, with the info of each."""
    if info.get("type") != "directory":
        return [(path, info)]
    found = ask(file_system.find, path, detail=True)
    files = []
    for inner, each in found.items():
        # Some stores have an empty object in place of a directory.
        if inner.endswith("/") or each.get("type") == "directory":
            continue
        if each.get("type") == "link":
            each = ask(file_system.info, inner)
            if each.get("type") == "directory":
                continue
        files.append((inner, each))
    return files


def _checked(stored: list[Stored], address: str) -> list[Stored]:
    names = {each.name for each in stored}
    for each in stored:
        parts = each.name.split("/")
        if any(part in ("", ".", "..") for part in parts) or "\0" in each.name:
            raise DependencyError(
                f"fsspec {printable(address)}: {printable(each.address)} has a name that no file"
                " can have",
                "name the others each, or by a pattern",
            )
        for i in range(1, len(parts)):
            above = "/".join(parts[:i])
            if above in names:
                raise DependencyError(
                    f"fsspec {printable(address)}: {printable(above)} is both a file and the"
                    f" directory of {printable(each.name)}",
                    "name the others each, or by a pattern",
                )
    return stored


def _halves(address: str) -> tuple[str, str]:
    """Return the first part of a chained address, and the rest with what joins them."""
    head, joint, tail = address.partition("::")
    return head, joint + tail


def _fixed(path: str) -> str:
    """Return what comes before the first part that is a pattern, up to the last slash."""
    match = _MAGIC.search(path)
    start = path[: match.start()] if match else path
    return start[: start.rfind("/") + 1]


def _below(path: str, root: str) -> str:
    return path[len(root) :].lstrip("/") if path.startswith(root) else path.lstrip("/")


def _is_same(kept: Kept, version: Version) -> bool:
    if version.total is not None and version.total != kept.size:
        return False
    if version.etag is not None:
        return version.etag == kept.etag
    return version.last_modified is not None and version.last_modified == kept.last_modified


def _time_text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _reason(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0]
    return printable(text or type(error).__name__)
