"""Look for tokens and private keys in what a run has: values, and files that hold settings.

Not in every file: to search all source code for so many beginnings takes several times as long as
to hash it. So only files that settings are in are read, and those which the copy saw something else
in; each up to `_MOST_OF_A_FILE`, and so many of them. What has none of the beginnings costs a
search for bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gage._internal.fs import printable
from gage._internal.lifecycle.staged_files import StagedFiles
from gage._internal.store import meta
from gage._internal.store.logs import counted, log_action
from gage._internal.store.manifest import FILE, SOURCE
from gage._internal.types import Run

# What a token or a key begins with, or has in its first line.
_BEGINNINGS = (
    *(b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_", b"glpat-", b"hf_", b"AKIA"),
    *(b"ASIA", b"xox", b"sk-", b"AIza", b"k_live_", b"pypi-", b"npm_", b"PRIVATE KEY"),
)
_SETTINGS = (
    *(".env", ".json", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf", ".properties", ".sh"),
    *(".ipynb", ".netrc", ".pypirc", ".npmrc", ".pem", ".key"),
)
_MOST_OF_A_FILE = 32 << 10
_MOST_FILES = 300
_MOST_TOLD = 5
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_REMEDY = "take it out, name it in secrets, and have the program read the variable; then revoke it"


def find_credentials(run: Run, files: StagedFiles) -> list[str]:
    """Return where something looks like a token or a private key, and what it is, in words."""
    return [*_in_values(run), *_in_files(run, files)]


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


def _in_files(run: Run, files: StagedFiles) -> Iterator[str]:
    suspects = files.suspects()
    chosen = [
        path
        for path, entry in files.by_path().items()
        if entry.kind == FILE
        and entry.type == SOURCE
        and (path.endswith(_SETTINGS) or path in suspects)
    ]
    if len(chosen) > _MOST_FILES:
        log_action(
            run, f"Looked for secrets in {_MOST_FILES} of {len(chosen)} files with settings only"
        )
    for path in chosen[:_MOST_FILES]:
        try:
            fd = os.open(os.path.join(run.run_dir, path), _FLAGS)
        except OSError:
            continue
        try:
            data = os.read(fd, _MOST_OF_A_FILE)
        finally:
            os.close(fd)
        for line, kind in _tokens(data):
            yield f"{printable(path)}:{line}: {kind}"


def _tokens(data: bytes) -> Iterator[tuple[int, str]]:
    if any(beginning in data for beginning in _BEGINNINGS):
        from gage._internal.lifecycle.leaks.tokens import find_tokens

        yield from find_tokens(data.decode("utf-8", "replace"))
