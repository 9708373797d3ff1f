"""Runs on another machine, reached by the system's ssh; nothing of Gage need be there.

What is started there is `python3` with a program that comes over the connection, the text of
`portable/far_end.py`; that page tells the protocol, too. No path goes through the shell there.
"""

from __future__ import annotations

import hashlib
import math
import re
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from gage._internal.errors import RemoteDenied, RemoteFailed, RemoteUnfit, RemoteUnreachable
from gage._internal.fs import printable
from gage._internal.portable import far_end
from gage._internal.portable.far_end import MARK
from gage._internal.portable.frames import Channel, write_all
from gage._internal.portable.items import Described, Item, Refused, Want, index_of
from gage._internal.portable.logins import Login, parse_address, ssh_command
from gage._internal.portable.refusals import error_of
from gage.plugins import Notice

# What a login may print before the program there says that it has begun.
_MOST_NOISE = 1 << 16
_PROGRAM = (
    "import sys,zlib;"
    "sys.version_info<(3,9) and sys.exit(%r+sys.version.split()[0]);"
    "exec(compile(zlib.decompress(sys.stdin.buffer.read(%d)),%r,%r),{%r:%r})"
)
_TOO_OLD = "gage: python3 is "
_NO_PYTHON = re.compile(
    r"python3\W+(command )?not found|not found: python3|unknown command.*python3"
)
_UNREACHABLE = re.compile(
    r"resolve hostname|Connection (refused|timed out|closed|reset)|No route to host"
    r"|unreachable|Operation timed out|Broken pipe|kex_exchange_identification"
)
# Windows: what a slow connection needs to be used fully, and at most so much of all bytes.
_LEAST_WINDOW = 1 << 16
_MOST_WINDOW = 8 << 20
_SHARE = 256
_RATE = 32 << 20
_SHORT = 0.02
# Seconds for an ssh whose connection is closed to end.
_PATIENCE = 5.0


class Ssh:
    """Opens directories on other machines."""

    def open(
        self, address: str, options: Mapping[str, Any], make: bool, notice: Notice
    ) -> SshPlace:
        """Return the directory at an address."""
        login = parse_address(address)
        place = SshPlace(address, login)
        try:
            place.begin(make)
        except BaseException:
            place.close()
            raise
        return place


class SshPlace:
    """A directory on another machine that holds runs."""

    def __init__(self, address: str, login: Login) -> None:
        self.address = address
        self._login = login
        self._round_trip = math.inf
        self._described: dict[str, dict[str, int]] = {}
        self._program = far_end.program()
        words = ("far_end", "exec", "__name__", "__main__")
        program = _PROGRAM % (_TOO_OLD, len(self._program), *words)
        command = ssh_command(login, program)
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                bufsize=0,
            )
        except FileNotFoundError:
            self._said.close()
            raise RemoteUnfit("there is no ssh here", "install OpenSSH's client") from None
        assert self._process.stdin and self._process.stdout
        self._channel = Channel(
            cast(BinaryIO, self._process.stdout), cast(BinaryIO, self._process.stdin)
        )

    def begin(self, make: bool) -> None:
        """Start the program there, and let it open the directory."""
        with self.asked():
            assert self._process.stdin and self._process.stdout
            write_all(cast(BinaryIO, self._process.stdin), memoryview(self._program))
            seen = b""
            while not seen.endswith(MARK):
                data = self._process.stdout.read(1)
                if not data or len(seen) > _MOST_NOISE:
                    raise EOFError
                seen += data
            for _ in range(3):
                asked = time.monotonic()
                self.ask(do="open", home=self._login.path, make=make)
                # Where it is short, a busy machine makes more of a difference than the way.
                self._round_trip = min(self._round_trip, time.monotonic() - asked)
                if self._round_trip > _SHORT:
                    break

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Turn what goes wrong while the other machine is asked into errors that people see."""
        try:
            yield
        except Refused as refused:
            raise error_of(refused, self.address) from None
        except (EOFError, BrokenPipeError, ConnectionError):
            raise self._why() from None

    def ask(self, **request: Any) -> Any:
        """Ask the other machine, and return what it answers."""
        self._channel.send_json(request)
        return self._channel.receive_json()

    def send(self, wants: Sequence[Want] | None, content: Iterable[bytes], total: int) -> list[int]:
        """Send a stream of what is wanted, or was at the beginning; return what is not right."""
        window = self._window(total)
        try:
            self._channel.send_json({"do": "send", "wants": wants, "window": window})
            self._channel.send_stream(content, window)
        except BrokenPipeError:
            # What it said last may be why.
            while True:
                self._channel.value_of(*self._channel.receive())
        bad: list[int] = self._channel.receive_json()
        return bad

    def _window(self, total: int) -> int:
        """Return how far ahead the sender of so many bytes may be."""
        needed = int(self._round_trip * _RATE)
        return min(_MOST_WINDOW, max(_LEAST_WINDOW, needed, total // _SHARE))

    def runs(
        self, run_ids: Iterable[str] | None, names: Sequence[str]
    ) -> Mapping[str, Mapping[str, bytes]]:
        """Return small files of runs."""
        wanted = None if run_ids is None else list(run_ids)
        with self.asked():
            answer = self.ask(do="runs", runs=wanted, names=list(names))
        return {run_id: _as_bytes(files) for run_id, files in answer.items()}

    def describe(self, run_id: str) -> Described | None:
        """Return what there is of a run."""
        with self.asked():
            answer = self.ask(do="describe", run=run_id)
        if answer is None:
            return None
        items, *rest = answer
        self._described[run_id] = {fields[0]: number for number, fields in enumerate(items)}
        return Described([Item(*fields) for fields in items], *rest)

    def read_file(self, run_id: str, path: str) -> bytes:
        """Return the content of one file."""
        with self.asked():
            answer: str = self.ask(do="read_file", run=run_id, path=path)
        return answer.encode("latin-1")

    def read(self, run_id: str, wants: Sequence[tuple[Item, int]]) -> Iterator[bytes]:
        """Yield the content of files."""
        total = sum(item.size - offset for item, offset in wants)
        window = self._window(total)
        with self.asked():
            # By their numbers, since digests are most of what it takes to tell of a file.
            numbers = self._described.get(run_id, {})
            pairs = [[numbers.get(item.path, list(item)), offset] for item, offset in wants]
            self._channel.send_json({"do": "read", "run": run_id, "wants": pairs, "window": window})
            yield from self._channel.receive_stream(total, window)
            self._channel.receive_json()

    def receive(self, run_id: str, notice: Notice) -> SshArrival:
        """Begin to receive a run."""
        with self.asked():
            known = self.ask(do="receive", run=run_id, wait=False)
            has_waited = known is None
            if has_waited:
                notice(f"waiting for another process that sends run {run_id}")
                known = self.ask(do="receive", run=run_id, wait=True)
        return SshArrival(self, known, has_waited)

    def notes(self, run_id: str) -> Mapping[str, bytes]:
        """Return the files of a run's notes."""
        with self.asked():
            return _as_bytes(self.ask(do="notes", run=run_id))

    def add_notes(self, run_id: str, notes: Mapping[str, bytes]) -> None:
        """Add files to a run's notes."""
        if notes:
            text = {path: data.decode("latin-1") for path, data in notes.items()}
            with self.asked():
                self.ask(do="add_notes", run=run_id, notes=text)

    def close(self) -> None:
        """Close the connection."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream
            try:
                stream.close()
            except BrokenPipeError:
                pass
        self._end()
        self._said.close()

    def _end(self) -> int:
        try:
            return self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _why(self) -> RemoteFailed:
        """Return why the connection has ended, as ssh or the shell there says it."""
        assert self._process.stdin
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        code = self._end()
        self._said.seek(0)
        text = self._said.read().decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        last = printable(lines[-1]) if lines else "the connection has ended"
        where = printable(self._login.host)
        if _TOO_OLD in text:
            version = text.rpartition(_TOO_OLD)[2].split()[0]
            return RemoteUnfit(
                f"{where} has Python {printable(version)}, and 3.9 or newer is needed there"
            )
        if code == 127 or _NO_PYTHON.search(text):
            return RemoteUnfit(f"{where} has no python3", "install Python 3.9 or newer there")
        if "IDENTIFICATION HAS CHANGED" in text:
            return RemoteDenied(
                f"the key of {where} is not the one that is known",
                "find out why before you trust it; ssh says which line of which file",
            )
        if "Host key verification failed" in text:
            return RemoteDenied(
                f"the key of {where} is not known",
                "connect to it once with ssh, and accept its key",
            )
        if "Permission denied" in text and code == 255:
            return RemoteDenied(
                f"{where} does not let anybody in: {last}",
                f"ssh {where} must log in without asking: see ssh-copy-id and ssh-add",
            )
        if code == 255 and (_UNREACHABLE.search(text) or not lines):
            return RemoteUnreachable(f"{where} cannot be reached: {last}", "repeat it later")
        return RemoteFailed(f"{where}: {last}", "repeat it: what is there is not sent again")


class SshArrival:
    """A run that arrives on another machine."""

    def __init__(self, place: SshPlace, known: str, has_waited: bool) -> None:
        self._place = place
        self._known = known
        self._items: Sequence[Item] = ()
        self._is_open = True
        self.has_waited = has_waited
        self.sent = 0

    def begin(self, items: Sequence[Item]) -> list[Want]:
        """Return which files are wanted."""
        self._items = items
        is_known = hashlib.sha256(index_of(items)).hexdigest() == self._known
        with self._place.asked():
            listed = None if is_known else [list(item) for item in items]
            wants = self._place.ask(do="begin", items=listed)
        return [(number, offset) for number, offset in wants]

    def send(self, wants: Sequence[Want], content: Iterable[bytes]) -> list[int]:
        """Send what is wanted."""
        total = sum(self._items[number].size - offset for number, offset in wants)
        with self._place.asked():
            bad: list[int] = self._place.send(wants if self.sent else None, content, total)
        self.sent += total
        return bad

    def commit(self, base: str | None) -> None:
        """Let the run be put into its place."""
        self._is_open = False
        with self._place.asked():
            self._place.ask(do="commit", base=base)

    def close(self) -> None:
        """Let others send the run."""
        if self._is_open:
            self._is_open = False
            try:
                self._place.ask(do="close")
            except (EOFError, OSError, ValueError, Refused):
                # The end of the connection does so as well.
                pass


def _as_bytes(files: Mapping[str, str]) -> dict[str, bytes]:
    return {path: data.encode("latin-1") for path, data in files.items()}
