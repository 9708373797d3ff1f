"""What config, the command and the environment of a run refer to that would not be there.

An absolute path that leads to a place is one such thing. Another is a relative path that the
project has and the run has not: it was meant to be staged, or the run itself writes it, which
`writable` says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal.lifecycle.leaks.leak import MISSING, OUTSIDE, Leak
from gage._internal.lifecycle.leaks.mentions import mentions_in_value
from gage._internal.lifecycle.leaks.places import Places
from gage._internal.lifecycle.leaks.remedies import declaration, remedy_for
from gage._internal.lifecycle.staged_files import StagedFiles
from gage._internal.store import layout, meta
from gage._internal.store.command_lines import FINALIZE, command_words, exec_part
from gage._internal.types import OpDef, Run

# To `make build` is not to read a directory of that name.
_NO_PATHS = frozenset(["", ".", "..", "build", "dist", "node_modules", ".git", ".gage"])
_LONGEST_PATH = 1024


# A name with one of these words in it is that of a place that the run writes to.
_OF_OUTPUT = frozenset(
    [
        *("out", "output", "outputs", "outdir", "outfile", "save", "saved", "dest"),
        *("log", "logs", "logdir", "logfile", "tensorboard", "result", "results"),
        *("checkpoint", "checkpoints", "ckpt", "cache", "tmp"),
    ]
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


class _Value(NamedTuple):
    """A text, who holds it, the keys to it in the Gage file, and its name where it has one."""

    text: str
    holder: str
    keys: tuple[str, ...]
    name: str = ""


def value_leaks(
    run: Run, opdef: OpDef, project_dir: str | None, places: Places, files: StagedFiles
) -> list[Leak]:
    """Return the leaks in a run's config, command and environment, each target once."""
    leaks: dict[str, Leak] = {}
    config = meta.read_config(run) or {}
    command = meta.read_cmd(run)
    values = [*_config_values(config), *_env_values(command.env), *_words(command.args)]
    summary = layout.summary_file(opdef.data)
    finalize = exec_part(opdef.data.get("exec"), FINALIZE)
    values += [
        value._replace(holder="exec.finalize", keys=("exec", FINALIZE))
        for value in _words(finalize or ())
    ]
    for value in values:
        for leak in (
            *_in_places(value, places, files),
            *_missing(value, project_dir, summary, files),
        ):
            if leak.target not in leaks:
                leaks[leak.target] = _located(leak, value, run, opdef, project_dir)
    return list(leaks.values())


def _config_values(config: Mapping[str, Any]) -> Iterator[_Value]:
    for name, value in config.items():
        for text in _texts(value):
            yield _Value(text, f"config {name}", ("config",), name)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)


def _env_values(env: Mapping[str, str]) -> Iterator[_Value]:
    for name, text in env.items():
        yield _Value(text, f"env {name}", ("env", name), name)


def _words(args: Sequence[str]) -> Iterator[_Value]:
    """Yield the words of a command, with the option before each as its name."""
    keys = ("exec", "run")
    name = ""
    for word in command_words(args):
        option, equals, value = word.partition("=")
        if equals and (option.startswith("-") or option.isidentifier()):
            yield _Value(value, "the command", keys, option)
            name = ""
        elif word.startswith("-"):
            yield _Value(word, "the command", keys, "output")
            name = word
        elif set(word) <= set("();<>|&"):
            name = "output" if word.startswith(">") else ""
        else:
            yield _Value(word, "the command", keys, name)
            name = ""


def _in_places(value: _Value, places: Places, files: StagedFiles) -> Iterator[Leak]:
    for mention in mentions_in_value(places, value.text):
        remedy = remedy_for(mention.place, mention.target, files.has)
        yield Leak("", None, mention.place.kind, mention.target, remedy, value.holder)


def _missing(
    value: _Value, project_dir: str | None, summary: str, files: StagedFiles
) -> Iterator[Leak]:
    text = value.text
    if project_dir is None or len(text) > _LONGEST_PATH or text.startswith("/"):
        return
    if "\n" in text or "\0" in text:
        return
    path = os.path.normpath(text)
    if text in _NO_PATHS or path in _NO_PATHS or files.has(path):
        return
    if not os.path.lexists(os.path.join(project_dir, path)):
        return
    if path == summary or files.is_writable(path) or _is_of_output(value.name):
        return
    if path.split("/")[0] == os.pardir:
        remedy = "copy it into the project and declare it with depends"
        yield Leak("", None, OUTSIDE, text, remedy, value.holder)
    else:
        remedy = f"declare it, {declaration(path)}, or with writable if the run writes it"
        yield Leak("", None, MISSING, path, remedy, value.holder)


def _is_of_output(name: str) -> bool:
    """Tell whether a name has a word of output in it: `--log-file`, `OUT_DIR`, `savePath`."""
    return any(word.lower() in _OF_OUTPUT for word in _WORD.findall(name))


def _located(leak: Leak, value: _Value, run: Run, opdef: OpDef, project_dir: str | None) -> Leak:
    """Return a leak with the file and line that the value is from, where they can be found."""
    try:
        if value.keys[0] == "config":
            found = _line_of_config(value.name, run, opdef, project_dir)
        else:
            found = _line_in_gage_file(opdef.name, value.keys, project_dir)
    except Exception:
        # The leak itself matters more than its exact line.
        found = None
    return leak._replace(path=found[0], line=found[1]) if found else leak


def _line_of_config(
    name: str, run: Run, opdef: OpDef, project_dir: str | None
) -> tuple[str, int] | None:
    from gage._internal.project.config_sources import config_sources, read_defaults

    default = read_defaults(config_sources(opdef, run.run_dir))[name]
    if default.source.path:
        return default.source.path, default.line
    return _line_in_gage_file(opdef.name, default.gage_keys[1:], project_dir)


def _line_in_gage_file(
    operation: str, keys: tuple[str | int, ...], project_dir: str | None
) -> tuple[str, int] | None:
    from gage._internal.project.gage_file import find_gage_file
    from gage._internal.project.gage_file_places import find_places

    path = find_gage_file(project_dir) if project_dir else None
    if path is None:
        return None
    name = os.path.basename(path)
    kind = {".toml": "toml", ".json": "json"}.get(os.path.splitext(name)[1], "yaml")
    with open(path, encoding="utf-8-sig") as file:
        places = find_places(kind, file.read())
    top = ("tool", "gage") if name == "pyproject.toml" else ()
    inner = places.top
    for key in (*top, operation):
        if key not in inner.inner:
            return None
        inner = inner.inner[key]
    return name, places.line((*top, operation, *keys))
