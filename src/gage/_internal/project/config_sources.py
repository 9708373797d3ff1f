"""Where the config of an operation comes from: files that hold values, and script arguments.

An operation's `config` is one source or a list. A source is a file (`config = "train.py"` or
`{file = "train.py"}`), whose values are patched where the file assigns them, or the arguments
that a script parses (`{args = "train.py"}`). `keys` are patterns that choose among its names,
`-` in front excludes, the last match decides; without an including one all are chosen.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal import fs
from gage._internal.errors import ConfigFileError
from gage._internal.project.argparse_options import Option, option_args, read_options
from gage._internal.project.config_formats import read_config
from gage._internal.types import as_patterns


class ConfigSource(NamedTuple):
    """One source: a file or a script, its path relative to the project, and its key patterns."""

    path: str
    is_args: bool = False
    keys: Sequence[str] = ()


class ConfigDefault(NamedTuple):
    """A config name's value where the source has it, and the place: `path:line`.

    `option` is the script's own description of the name where it is an argument.
    """

    value: Any
    place: str
    option: Option | None = None


def config_sources(spec: Any) -> list[ConfigSource]:
    """Return the sources that an operation's `config` attribute names."""
    if spec is None:
        return []
    return [_source(item) for item in (spec if isinstance(spec, list) else [spec])]


def _source(item: Any) -> ConfigSource:
    if isinstance(item, str):
        return ConfigSource(item)
    is_args = "args" in item
    return ConfigSource(item["args" if is_args else "file"], is_args, as_patterns(item.get("keys")))


def read_defaults(root: str, sources: Sequence[ConfigSource]) -> dict[str, ConfigDefault]:
    """Return all config names of sources below `root` with their values there.

    Raises:
        ConfigFileError: a file is missing or cannot be parsed, or a name is in two of them.
    """
    found: dict[str, ConfigDefault] = {}
    for source in sources:
        for name, default in _read_source(root, source).items():
            if name in found:
                raise ConfigFileError(
                    f"config {fs.printable(name)} is in {found[name].place} and in {default.place}",
                    "leave one out with keys",
                )
            found[name] = default
    return found


def _read_source(root: str, source: ConfigSource) -> dict[str, ConfigDefault]:
    data = read_source_file(root, source.path)
    found: dict[str, tuple[Any, int, Option | None]]
    if source.is_args:
        options = read_options(source.path, data)
        found = {name: (o.default, o.line, o) for name, o in options.items()}
    else:
        values = read_config(source.path, data)
        found = {name: (v.value, v.line, None) for name, v in values.items()}
    return {
        name: ConfigDefault(as_json(value), f"{fs.printable(source.path)}:{line}", option)
        for name, (value, line, option) in found.items()
        if is_chosen(name, source.keys) and _is_json(value)
    }


def as_json(value: Any) -> Any:
    """Return a config value as it is recorded: with lists for tuples.

    Raises:
        ValueError: JSON has no such value (bytes, sets, dates, keys that are not text).
    """
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: as_json(item) for key, item in value.items()}
    raise ValueError(f"{value!r} cannot be recorded")


def _is_json(value: Any) -> bool:
    try:
        as_json(value)
    except ValueError:
        return False
    return True


def read_source_file(root: str, path: str) -> bytes:
    """Return the bytes of a config file.

    Raises:
        ConfigFileError: there is no such file.
    """
    try:
        return fs.read_bytes(os.path.join(root, path))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise ConfigFileError(f"config file {fs.printable(path)}: {error.strerror}") from None


def is_chosen(name: str, keys: Sequence[str]) -> bool:
    """Tell whether key patterns choose a config name."""
    chosen = all(key.startswith("-") for key in keys)
    for key in keys:
        if fnmatch.fnmatchcase(name, key.removeprefix("-")):
            chosen = not key.startswith("-")
    return chosen


def script_args(defaults: Mapping[str, ConfigDefault], config: Mapping[str, Any]) -> list[str]:
    """Return the command-line arguments that give a script its config; defaults need none."""
    options = {name: d.option for name, d in defaults.items() if d.option is not None}
    changed = {n: config[n] for n in options if n in config and config[n] != defaults[n].value}
    return option_args(options, changed)
