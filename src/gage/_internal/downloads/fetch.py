"""Fetch what an address holds into the cache, or find that it is there.

What is there is taken if the server says that it is still what the address holds, and also where no
server says anything. A part that is there is gone on with where server and part agree on what it is
a part of.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from gage._internal import clock
from gage._internal.downloads.addresses import name_in, safe_name, without_query
from gage._internal.downloads.cache import Kept, find_kept, has_content, mark_used, write_record
from gage._internal.downloads.partial import Partial, Version
from gage._internal.errors import DependencyError
from gage._internal.fs import printable

if TYPE_CHECKING:
    from http.client import HTTPResponse

# Seconds before each further try; where one went on, all of them are left again.
DELAYS = (0.5, 1.0, 3.0)
_LONGEST_WAIT = 120.0
_TIMEOUT = 30.0
# What is there already is not worth a long wait.
_SHORT_TIMEOUT = 10.0
_READ_SIZE = 1 << 18
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class Listener(NamedTuple):
    """Who is told what happens: `notice` in sentences, `progress` in bytes of an address.

    `progress` gets the address, the bytes that are there, and how many there will be, if known.
    """

    notice: Callable[[str], None]
    progress: Callable[[str, int, int | None], None]


def find_fetched(cache: str, address: str, sha256: str | None) -> Kept | None:
    """Return what needs no request: a content that is wanted by its digest, and is there."""
    if sha256 is None or not has_content(cache, sha256):
        return None
    kept = find_kept(cache, address)
    if kept is not None and kept.sha256 == sha256:
        return kept
    # Of another address: the name that a server gives to this one is not known, nor when.
    return Kept(address, sha256, -1, 0) if name_in(address) else None


def fetch(cache: str, address: str, sha256: str | None, listener: Listener) -> Kept:
    """Return what an address holds, now in the cache; `sha256` is the digest that is wanted.

    Raises:
        DependencyError: it cannot be had, and nothing is there.
        OSError: the cache cannot be written.
    """
    found = find_fetched(cache, address, sha256)
    if found is None:
        asked = clock.now()

        def wait() -> None:
            listener.notice(f"waiting for another process that downloads {printable(address)}")

        with Partial(cache, address, wait) as partial:
            found = find_kept(cache, address)
            if found is None or found.fetched < asked:
                found = _Fetching(cache, address, sha256, partial, found, listener).result()
    mark_used(cache, address)
    return found


class _Fetching:
    """The tries to fetch from an address of which something may be kept already."""

    def __init__(
        self,
        cache: str,
        address: str,
        sha256: str | None,
        partial: Partial,
        kept: Kept | None,
        listener: Listener,
    ) -> None:
        self._cache = cache
        self._address = address
        self._sha256 = sha256
        self._partial = partial
        self._kept = kept
        self._listener = listener
        self._has_begun = False

    def result(self) -> Kept:
        from gage._internal.downloads.http import Unreachable

        failed = 0
        most = self._partial.size
        while True:
            try:
                return self._try()
            except Unreachable as error:
                if self._partial.size > most:
                    most = self._partial.size
                    failed = 0
                is_not_needed = self._kept is not None and not self._has_begun
                is_over = is_not_needed or failed == len(DELAYS)
                if is_over or not error.is_passing or (error.wait or 0) > _LONGEST_WAIT:
                    return self._without(error.reason, error.hint)
                delay = DELAYS[failed] if error.wait is None else error.wait
                failed += 1
                if delay >= 1:
                    self._listener.notice(f"{error.reason}: trying again in {delay:.0f} s")
                time.sleep(delay)

    def _without(self, reason: str, hint: str | None) -> Kept:
        if self._kept is None or self._sha256 not in (None, self._kept.sha256):
            raise DependencyError(f"url {printable(self._address)}: {reason}", hint)
        date = date_text(self._kept.fetched)
        self._listener.notice(f"{reason}: taking what {printable(self._address)} was on {date}")
        return self._kept

    def _try(self) -> Kept:
        from gage._internal.downloads.http import NoSuchRange, open_address

        timeout = _TIMEOUT if self._kept is None else _SHORT_TIMEOUT
        try:
            response = open_address(self._address, self._headers(), timeout)
        except NoSuchRange:
            # All of it was there when a process was killed, or another, shorter one is now.
            self._has_begun = True
            self._partial.begin(Version())
            raise
        if response is None:
            assert self._kept
            self._partial.begin(Version())
            return self._kept
        with response:
            self._take(response)
            return self._keep(response)

    def _headers(self) -> dict[str, str]:
        # What is stored is what is sent: an encoding would only be to be undone.
        headers = {"Accept-Encoding": "identity"}
        if self._kept is not None and self._kept.etag:
            headers["If-None-Match"] = self._kept.etag
        elif self._kept is not None and self._kept.last_modified:
            headers["If-Modified-Since"] = self._kept.last_modified
        if self._partial.size and self._partial.version.validator:
            headers["Range"] = f"bytes={self._partial.size}-"
            headers["If-Range"] = self._partial.version.validator
        return headers

    def _take(self, response: HTTPResponse) -> None:
        from http.client import HTTPException

        from gage._internal.downloads.http import PARTIAL_CONTENT, Unreachable, why_broken

        self._has_begun = True
        version = _version(response)
        if response.status != PARTIAL_CONTENT:
            self._partial.begin(version)
        else:
            part = _version_of_part(response, self._partial.size)
            if part is None or not _may_be_same(part, self._partial.version):
                self._partial.begin(Version())
                raise Unreachable("the server sent another part than was asked for", None, True, 0)
            version = part
        total = version.total
        while True:
            self._listener.progress(self._address, self._partial.size, total)
            try:
                data = response.read1(_READ_SIZE)
            except (OSError, HTTPException) as error:
                raise why_broken(self._address, error) from None
            if not data:
                break
            self._partial.add(data)
        if total is not None and self._partial.size != total:
            raise Unreachable(
                f"the connection ended after {self._partial.size} of {total} bytes",
                is_passing=True,
            )

    def _keep(self, response: HTTPResponse) -> Kept:
        version = self._partial.version
        size = self._partial.size
        moved = without_query(response.url)
        kept = Kept(
            self._address,
            self._partial.finish(),
            size,
            clock.now(),
            _given_name(response),
            version.etag,
            version.last_modified,
            None if moved == without_query(self._address) else moved,
        )
        write_record(self._cache, kept)
        old = self._kept
        if old is not None and old.sha256 != kept.sha256 and self._sha256 is None:
            self._listener.notice(
                f"{printable(self._address)} has changed since {date_text(old.fetched)}: its sha256"
                f" was {old.sha256}, and is {kept.sha256}; with sha256 in the Gage file it would be"
                " an error"
            )
        return kept


def _version(response: HTTPResponse) -> Version:
    headers = response.headers
    length = headers.get("Content-Length", "")
    total = int(length) if length.isascii() and length.isdecimal() else None
    return Version(headers.get("ETag"), headers.get("Last-Modified"), total)


def _version_of_part(response: HTTPResponse, start: int) -> Version | None:
    """Return what a part is of; None unless it begins where it should."""
    match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != start:
        return None
    return _version(response)._replace(total=None if match[3] == "*" else int(match[3]))


def _may_be_same(one: Version, other: Version) -> bool:
    # Of what it has said before, a server need not say all again.
    pairs = zip(one, other, strict=True)
    return all(new is None or old is None or new == old for new, old in pairs)


def _given_name(response: HTTPResponse) -> str | None:
    name = response.headers.get_filename()
    if name is None:
        return None
    try:
        # Some servers send UTF-8 where headers are latin-1.
        name = name.encode("latin-1").decode("utf-8")
    except UnicodeError:
        pass
    return safe_name(name.replace("\\", "/").rpartition("/")[2])


def date_text(time_us: int) -> str:
    """Return a time, in microseconds since the epoch, as messages have it."""
    return clock.log_date(time_us)[:16].replace("T", " ")
