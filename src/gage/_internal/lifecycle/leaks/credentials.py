"""Look for tokens and private keys in what a run has: values, and files that hold settings.

Not in every byte: that would take longer than to hash them, and of a large project most is nobody's
own. So `_MOST_BYTES` of the source are searched, which is all of an ordinary project: first files
that settings are in, then those that lie nearest to its top; of each, the beginning. What has
nothing with the shape of a token costs three searches for one byte.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gage._internal.fs import printable
from gage._internal.lifecycle.staged_files import StagedFiles
from gage._internal.store import meta
from gage._internal.store.logs import counted, log_action
from gage._internal.store.manifest import FILE, SOURCE, Entry
from gage._internal.types import Run

if TYPE_CHECKING:
    from gage._internal.lifecycle.freeze import Frozen

# What has one of the forms of `tokens` has one of these. Each begins with one certain byte: to look
# for all beginnings of tokens in one expression takes ten times as long.
_SHAPES = (
    re.compile(rb"_[A-Za-z0-9]{24}"),
    re.compile(rb"-(?:[A-Za-z0-9_][A-Za-z0-9_-]{19}|----BEGIN )"),
    re.compile(rb"A(?:KIA|SIA|Iza)"),
)
_SETTINGS = (
    *(".env", ".json", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf", ".properties", ".sh"),
    *(".ipynb", ".netrc", ".pypirc", ".npmrc", ".pem", ".key"),
)
_MOST_OF_A_FILE = 64 << 10
_MOST_BYTES = 3 << 20
# To open one takes as long as to search so much.
_BYTES_OF_OPENING = 4 << 10
_MOST_TOLD = 5
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_REMEDY = "take it out, name it in secrets, and have the program read the variable; then revoke it"


def find_credentials(run: Run, files: StagedFiles, frozen: Frozen | None = None) -> list[str]:
    """Return where something looks like a token or a private key, and what it is, in words.

    With `frozen`, files that are the same in all runs of a batch are searched once.
    """
    return [*_in_values(run), *_in_files(run, files, frozen)]


def told(found: Sequence[str]) -> str:
    """Return what people are told of what was found."""
    lines = [f"{counted(len(found), 'thing')} in the run {_look(len(found))} like a secret:"]
    lines += [f"  {each}" for each in found[:_MOST_TOLD]]
    if len(found) > _MOST_TOLD:
        lines.append(f"  and {len(found) - _MOST_TOLD} more (gage logs --runner)")
    return "\n".join([*lines, f"  {_REMEDY}"])


def _look(count: int) -> str:
    return "looks" if count == 1 else "look"


def _in_values(run: Run) -> Iterator[str]:
    command = meta.read_cmd(run)
    yield from _in_value("the command", list(command.args))
    for name, value in command.env.items():
        yield from _in_value(f"env {name}", value)
    for name, value in meta.read_config(run).items():
        yield from _in_value(f"config {name}", value)


def _in_value(holder: str, value: Any) -> Iterator[str]:
    for text in _texts(value):
        for _, kind in _tokens(os.fsencode(text)):
            yield f"{printable(holder)}: {kind}"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _texts(inner)


def _in_files(run: Run, files: StagedFiles, frozen: Frozen | None) -> Iterator[str]:
    entries = files.by_path()
    source = [each for each in entries.values() if each.kind == FILE and each.type == SOURCE]
    chosen = _chosen(source)
    if len(chosen) < len(source):
        log_action(run, f"Looked for secrets in {len(chosen)} of {len(source)} files only")
    for path, size in chosen:

        def find(path: str = path, size: int = size) -> Sequence[str]:
            return list(_in_file(f"{run.run_dir}/{path}", path, size))

        key = "credentials", path, size, entries[path].sha256
        yield from frozen.once(key, find) if frozen else find()


def _in_file(full: str, path: str, size: int) -> Iterator[str]:
    try:
        fd = os.open(full, _FLAGS)
    except OSError:
        return
    try:
        data = os.read(fd, size)
    finally:
        os.close(fd)
    # What is no text has lines that nobody finds.
    for line, kind in () if b"\0" in data else _tokens(data):
        yield f"{printable(path)}:{line}: {kind}"


def _chosen(source: Sequence[Entry]) -> list[tuple[str, int]]:
    """Return the paths of the files that are searched, and up to where."""
    chosen, left = [], _MOST_BYTES
    for each in sorted(source, key=_rank):
        size = min(each.size, _MOST_OF_A_FILE)
        left -= size + _BYTES_OF_OPENING
        if left < 0:
            break
        chosen.append((each.path, size))
    return chosen


def _rank(entry: Entry) -> tuple[bool, int, int]:
    return not entry.path.endswith(_SETTINGS), entry.path.count("/"), entry.size


def _tokens(data: bytes) -> Iterator[tuple[int, str]]:
    if any(shape.search(data) for shape in _SHAPES):
        from gage._internal.lifecycle.leaks.tokens import find_tokens

        yield from find_tokens(data.decode("utf-8", "replace"))
