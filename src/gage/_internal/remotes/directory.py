"""A directory that holds runs, such as one on a network mount; also the runs home itself."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from gage._internal.fs import printable
from gage._internal.portable.homes import Home
from gage._internal.portable.items import Described, Item, Refused, Want, index_of
from gage._internal.portable.receiving import Receiving, receive
from gage._internal.portable.refusals import told
from gage.plugins import Notice


class Directory:
    """Opens directories."""

    def open(
        self, address: str, options: Mapping[str, Any], make: bool, notice: Notice
    ) -> DirectoryPlace:
        """Return the directory at a path."""
        home = Home(address.removeprefix("file://"))
        with told(address):
            home.check(make)
        return DirectoryPlace(address, home)


@contextmanager
def _told(address: str) -> Iterator[None]:
    with told(address):
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Refused("full", str(error)) from None
            raise


class DirectoryPlace:
    """A directory that holds runs."""

    def __init__(self, address: str, home: Home) -> None:
        self.address = address
        self._home = home

    def runs(
        self, run_ids: Iterable[str] | None, names: Sequence[str]
    ) -> Mapping[str, Mapping[str, bytes]]:
        """Return small files of runs."""
        with _told(self.address):
            return self._home.runs(run_ids, names)

    def describe(self, run_id: str) -> Described | None:
        """Return what there is of a run."""
        with _told(self.address):
            return self._home.describe(run_id)

    def read_file(self, run_id: str, path: str) -> bytes:
        """Return the content of one file."""
        with _told(self.address):
            return self._home.read_file(run_id, path)

    def read(self, run_id: str, wants: Sequence[tuple[Item, int]]) -> Iterator[bytes]:
        """Yield the content of files."""
        with _told(self.address):
            yield from self._home.read(run_id, wants)

    def receive(self, run_id: str, notice: Notice) -> DirectoryArrival:
        """Begin to receive a run."""
        with _told(self.address):
            receiving = receive(self._home, run_id, wait=False)
            if receiving is not None:
                return DirectoryArrival(self.address, receiving, False)
            notice(f"waiting for another process that sends run {run_id}")
            waited = receive(self._home, run_id, wait=True)
            assert waited is not None
            return DirectoryArrival(self.address, waited, True)

    def notes(self, run_id: str) -> Mapping[str, bytes]:
        """Return the files of a run's notes."""
        with _told(self.address):
            return self._home.notes(run_id)

    def add_notes(self, run_id: str, notes: Mapping[str, bytes]) -> None:
        """Add files to a run's notes."""
        with _told(self.address):
            self._home.add_notes(run_id, notes)

    def close(self) -> None:
        """Let the place go."""


class DirectoryArrival:
    """A run that arrives in a directory."""

    def __init__(self, address: str, receiving: Receiving, has_waited: bool) -> None:
        self._address = printable(address)
        self._receiving = receiving
        self.has_waited = has_waited
        self.sent = 0

    def begin(self, items: Sequence[Item]) -> list[Want]:
        """Return which files are wanted."""
        with _told(self._address):
            return self._receiving.begin(index_of(items))

    def send(self, wants: Sequence[Want], content: Iterable[bytes]) -> list[int]:
        """Take what is wanted."""
        self._receiving.expect(wants)
        for data in content:
            with _told(self._address):
                self._receiving.feed(data)
            self.sent += len(data)
        with _told(self._address):
            return self._receiving.finish()

    def commit(self, base: str | None) -> None:
        """Put the run into its place."""
        with _told(self._address):
            self._receiving.commit(base)

    def close(self) -> None:
        """Let others send the run."""
        self._receiving.close()
