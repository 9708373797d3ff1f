"""What a container does with a job: all that it needs of an object store are three links.

A capsule is behind `capsule`, what the job has left goes to `left`, and whoever writes `begun`
first executes it. Sent there with `errand`, where no Gage is installed: standard library alone.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import IO, Any

from gage._internal.portable.errand import CHUNK, Errand, run_errand

_LONGEST = 2048
_TRIES = 5
_TIMEOUT = 60
# What a store answers where there is such an object, or one is just being written.
_TAKEN = (409, 412)


def execute_linked(folder: str, last_words: str) -> int:
    """Execute the job of this container, whose links are in a folder; return its exit status.

    What there is to say of it is written to the file `last_words`.

    Raises:
        OSError: the store does not answer.
    """
    with open(os.path.join(folder, os.environ["JOB_COMPLETION_INDEX"]), encoding="utf-8") as file:
        order = json.load(file)
    with tempfile.TemporaryFile() as left:
        line = _Line(order, left)
        # The first process of a container takes no signal that it does not ask for.
        signal.signal(signal.SIGTERM, line.stop)
        run_errand(Errand(order["number"], order["run"], order["python"]), line)
    if line.said:
        try:
            with open(last_words, "w", encoding="utf-8") as file:
                file.write(line.said[:_LONGEST])
        except OSError:
            pass
    return 0 if line.has_left else 1


class _Line:
    """How a container speaks with whoever submitted its job."""

    def __init__(self, order: Mapping[str, Any], left: IO[bytes]) -> None:
        self._order = order
        self._left = left
        self._is_stopped = False
        self.said = "it was begun before, or cancelled"
        self.has_left = False

    def stop(self, number: int, frame: FrameType | None) -> None:
        self._is_stopped = True

    def begin(self, host: str) -> str:
        request = _put(self._order["begun"], host.encode(), {"If-None-Match": "*"})
        try:
            # Not tried again: an answer that was lost may have been that it is ours.
            urllib.request.urlopen(request, timeout=_TIMEOUT).close()
        except urllib.error.HTTPError as error:
            if error.code in _TAKEN:
                return "no"
            raise
        return "go"

    def is_stopped(self) -> bool:
        return self._is_stopped

    def fetch(self) -> Iterator[bytes]:
        with _open(urllib.request.Request(self._order["capsule"])) as answer:
            expected = answer.headers.get("Content-Length")
            size = 0
            for chunk in iter(lambda: answer.read(CHUNK), b""):
                size += len(chunk)
                yield chunk
        if expected is not None and size != int(expected):
            raise OSError(f"of its capsule came {size} of {expected} bytes")

    def give(self, chunk: bytes) -> None:
        self._left.write(chunk)

    def end(self, said: str, has_begun: bool, has_left: bool) -> None:
        if has_left:
            size = self._left.tell()
            for tries in range(_TRIES):
                self._left.seek(0)
                request = _put(self._order["left"], self._left, {"Content-Length": str(size)})
                try:
                    urllib.request.urlopen(request, timeout=_TIMEOUT).close()
                    break
                except OSError as error:
                    if tries == _TRIES - 1:
                        self.said = f"what it has left cannot be stored: {error}"
                        return
                    time.sleep(2**tries)
        self.said, self.has_left = said, has_left


def _put(link: str, data: Any, headers: Mapping[str, str]) -> urllib.request.Request:
    # Without a type of its own, urllib would add one, of which the signature knows nothing.
    return urllib.request.Request(
        link, data=data, method="PUT", headers={"Content-Type": "", **headers}
    )


def _open(request: urllib.request.Request) -> Any:
    for tries in range(_TRIES):
        try:
            return urllib.request.urlopen(request, timeout=_TIMEOUT)
        except OSError:
            if tries == _TRIES - 1:
                raise
            time.sleep(2**tries)
    raise AssertionError
