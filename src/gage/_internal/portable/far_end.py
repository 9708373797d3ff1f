"""The program that keeps runs on another machine, where nothing of Gage is.

`program` makes it of the modules that it consists of, which are sent there and executed (see
`remotes/ssh.py`): they have the standard library of Python 3.9 only. It answers requests, each a
JSON object with `do`, on its standard output, until its standard input ends:

- `open` (`home`, `make`): the runs home that all others are about.
- `runs`, `describe`, `read_file`, `notes`, `add_notes`: as the methods of `Home`.
- `read` (`run`, `wants`, `window`): a stream of the content of files, then null. What is wanted is
  an item, or its number in what `describe` has answered of this run, and an offset.
- `receive` (`run`, `wait`): null where another process sends this run, else the digest of the index
  that is there. Then `begin` (`items`, null where they are those of that index): the files that
  are wanted; `send` (`wants`, null for those, `window`), after which the stream comes: the files
  that did not arrive as they should; `commit` (`base`); or `close`.

The stream is the content of wanted files, one after the other, each from where the receiver has
it; both sides know their sizes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from gage._internal.fs import printable
from gage._internal.portable.frames import Channel
from gage._internal.portable.homes import Home
from gage._internal.portable.items import Item, Refused, index_of
from gage._internal.portable.receiving import Receiving, receive

MARK = b"\0gage far end 1\n"
# What it consists of, each after those that it imports.
MODULES = (
    *("errors", "types", "proc", "fs", "cores", "store.layout", "store.meta", "store.manifest"),
    *("portable.items", "portable.frames", "portable.homes", "portable.receiving"),
    "portable.far_end",
)

# Seconds after which who sends a run counts as gone, so that somebody else can.
_IDLE = 300.0
_PACKAGE = "gage._internal"


def program() -> bytes:
    """Return the program, packed: to be executed with nothing defined."""
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    modules = []
    for name in MODULES:
        with open(os.path.join(folder, *name.split(".")) + ".py", encoding="utf-8") as file:
            modules.append((f"{_PACKAGE}.{name}", file.read()))
    return zlib.compress(_LOADER.replace("MODULES", repr(modules), 1).encode(), 9)


# Packages first: a module of one is an attribute of it, as an import from it has it.
_LOADER = """
import sys, types
for name, text in MODULES:
    parts = name.split(".")
    for i in range(1, len(parts)):
        package = ".".join(parts[:i])
        if package not in sys.modules:
            sys.modules[package] = types.ModuleType(package)
            sys.modules[package].__path__ = []
            if i > 1:
                setattr(sys.modules[".".join(parts[:i - 1])], parts[i - 1], sys.modules[package])
    module = types.ModuleType(name)
    sys.modules[name] = module
    module.__file__ = "/" + name
    exec(compile(text, name, "exec"), module.__dict__)
    setattr(sys.modules[".".join(parts[:-1])], parts[-1], module)
module.main()
"""


def main() -> None:
    """Answer who has started the program."""
    os.write(1, MARK)
    with open(0, "rb", buffering=0) as reader, open(1, "wb", buffering=0) as writer:
        serve(Channel(reader, writer))


def serve(channel: Channel) -> None:
    """Answer requests until the other end has gone."""
    session = _Session(channel)
    try:
        while True:
            request = channel.receive_json()
            try:
                answer = session.answer(request)
            except Refused as error:
                reason = {"kind": error.kind, "reason": error.reason, "hint": error.hint}
                channel.send_json(reason, b"E")
            except BrokenPipeError:
                return
            except OSError as error:
                channel.send_json(_as_answer(error), b"E")
                if request["do"] == "send":
                    # What is on its way is of no use, and cannot be told from requests.
                    return
            else:
                channel.send_json(answer)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def _as_answer(error: OSError) -> dict[str, Any]:
    reason = error.strerror or str(error)
    if isinstance(error.filename, str):
        reason = f"{printable(error.filename)}: {reason}"
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return {"kind": "full" if is_full else "failed", "reason": reason, "hint": None}


class _Session:
    """The requests of one connection, answered."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._home: Home | None = None
        self._receiving: Receiving | None = None
        self._described: dict[str, Sequence[Item]] = {}

    def answer(self, request: Mapping[str, Any]) -> Any:
        do = request["do"]
        if do == "open":
            self._home = Home(request["home"])
            self._home.check(request["make"])
            return {"home": self._home.path, "host": os.uname().nodename}
        if self._home is None:
            raise Refused("failed", "which runs home?")
        if do == "receive":
            return self._receive(self._home, request)
        if self._receiving is not None and do in ("begin", "send", "commit", "close"):
            return self._go_on(self._receiving, request)
        return self._of_run(self._home, request)

    def _receive(self, home: Home, request: Mapping[str, Any]) -> str | None:
        self._receiving = receive(home, request["run"], request["wait"])
        if self._receiving is None:
            return None
        self._channel.idle = _IDLE
        return hashlib.sha256(self._receiving.index()).hexdigest()

    def _go_on(self, receiving: Receiving, request: Mapping[str, Any]) -> Any:
        if request["do"] == "begin":
            items = request["items"]
            index = receiving.index() if items is None else index_of(Item(*item) for item in items)
            return receiving.begin(index)
        if request["do"] == "send":
            wants = request["wants"]
            total = receiving.expect(receiving.wants if wants is None else wants)
            for data in self._channel.receive_stream(total, request["window"]):
                receiving.feed(data)
            return receiving.finish()
        try:
            if request["do"] == "commit":
                receiving.commit(request["base"])
        finally:
            receiving.close()
            self._receiving = self._channel.idle = None
        return None

    def _of_run(self, home: Home, request: Mapping[str, Any]) -> Any:
        do = request["do"]
        if do == "runs":
            found = home.runs(request["runs"], request["names"])
            return {run_id: _as_text(files) for run_id, files in found.items()}
        run_id = request["run"]
        if do == "describe":
            described = home.describe(run_id)
            if described is None:
                return None
            self._described[run_id] = described.items
            return [list(map(list, described.items)), *described[1:]]
        if do == "read_file":
            return home.read_file(run_id, request["path"]).decode("latin-1")
        if do == "read":
            wants = [(self._item(run_id, item), offset) for item, offset in request["wants"]]
            self._channel.send_stream(home.read(run_id, wants), request["window"])
            return None
        if do == "notes":
            return _as_text(home.notes(run_id))
        if do == "add_notes":
            notes = request["notes"].items()
            home.add_notes(run_id, {path: text.encode("latin-1") for path, text in notes})
            return None
        raise Refused("failed", f"{do} is not known here")

    def _item(self, run_id: str, item: Any) -> Item:
        return self._described[run_id][item] if isinstance(item, int) else Item(*item)


def _as_text(files: Mapping[str, bytes]) -> dict[str, str]:
    return {path: data.decode("latin-1") for path, data in files.items()}
