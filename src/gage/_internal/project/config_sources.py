"""Where the config of an operation comes from.

An operation's `config` is one source or a list of them. A source has names and default values:

- a `file` those that it assigns; they are patched in the staged copy,
- `args` those of a script's arguments, or of a table; they are passed as arguments,
- `env` those of a table; they are passed as environment variables.

`keys` are patterns that choose among the names of a source, `-` in front excludes, the last match
decides; without an including one all are chosen. A chosen name is config under its own name, less
`strip-prefix` and with `prefix` in front, or under the one that `rename` gives it. Users see
no other than these config names; everything else here is in the words of the source.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gage._internal import fs
from gage._internal.errors import ConfigFileError, UnknownConfig
from gage._internal.types import NOTHING, OpDef, as_patterns

if TYPE_CHECKING:
    from gage._internal.project.argparse_options import Option
    from gage._internal.project.gage_file_words import KeyPath

FILE = "file"
ARGS = "args"
ENV = "env"

FLAG_AND_VALUE = "--name value"
FLAG_WITH_VALUE = "--name=value"
NAME_WITH_VALUE = "name=value"
STYLES = (FLAG_AND_VALUE, FLAG_WITH_VALUE, NAME_WITH_VALUE)


class ConfigSource(NamedTuple):
    """One source: what kind it is, where its names are, and which of them are config.

    `path` is that of a file or script relative to `root`, and empty where the names are in
    `table`, to which `gage_keys` lead in the Gage file.
    """

    kind: str
    root: str
    path: str
    gage_keys: KeyPath
    table: Mapping[str, Any] = NOTHING
    style: str = FLAG_AND_VALUE
    keys: Sequence[str] = ()
    prefix: str = ""
    strip_prefix: str = ""
    rename: Mapping[str, str] = NOTHING

    def config_name(self, name: str) -> str:
        """Return the config name of one of the source's names."""
        if name in self.rename:
            return self.rename[name]
        return self.prefix + (name.removeprefix(self.strip_prefix) or name)


class ConfigDefault(NamedTuple):
    """A config name's value where its source has it.

    `name` is what the source calls it, `line` that of the source's file. `option` is a script's
    own description of it, under its config name.
    """

    value: Any
    source: ConfigSource
    name: str
    line: int = 0
    option: Option | None = None

    @property
    def place(self) -> str:
        """Where the default stands, as `path:line`."""
        if self.source.path:
            return f"{fs.printable(self.source.path)}:{self.line}"
        return _gage_place(self.source.root, self.gage_keys) or "the Gage file"

    @property
    def gage_keys(self) -> KeyPath:
        """What leads to the default in the Gage file, where that is its source."""
        source, name = self.source, self.name
        keys = (name,) if name in source.table else tuple(name.split("."))
        return (*source.gage_keys, source.kind, *keys)


def config_sources(opdef: OpDef, root: str) -> list[ConfigSource]:
    """Return the sources of an operation's config, their paths relative to `root`."""
    spec = opdef.data.get("config")
    keys: KeyPath = (opdef.name, "config")
    if spec is None:
        return []
    if isinstance(spec, list):
        return [_source(item, root, (*keys, index)) for index, item in enumerate(spec)]
    return [_source(spec, root, keys)]


def _source(item: Any, root: str, gage_keys: KeyPath) -> ConfigSource:
    if isinstance(item, str):
        item = {FILE: item}
    kind = next(kind for kind in (FILE, ARGS, ENV) if kind in item)
    is_table = isinstance(item[kind], Mapping)
    return ConfigSource(
        kind,
        root,
        "" if is_table else os.path.normpath(item[kind]),
        gage_keys,
        item[kind] if is_table else NOTHING,
        item.get("style", FLAG_AND_VALUE),
        as_patterns(item.get("keys")),
        item.get("prefix", ""),
        item.get("strip-prefix", ""),
        item.get("rename", NOTHING),
    )


def read_defaults(sources: Iterable[ConfigSource]) -> dict[str, ConfigDefault]:
    """Return all config names of sources with their values there.

    Raises:
        ConfigFileError: a file is missing or cannot be parsed, or a name is in two places.
        UnknownConfig: a source has no such name as its `keys` or `rename` say.
    """
    found: dict[str, ConfigDefault] = {}
    for source in sources:
        defaults = {default.name: default for default in _read_source(source)}
        for name, config_name in config_names(source, defaults).items():
            default = defaults[name]
            if config_name in found:
                raise _ambiguous(config_name, found[config_name], default)
            if default.option is not None:
                default = default._replace(option=default.option._replace(name=config_name))
            found[config_name] = default
    return found


def config_names(source: ConfigSource, names: Iterable[str]) -> dict[str, str]:
    """Return the names of a source that are config, each with its config name.

    Raises:
        UnknownConfig: `keys` or `rename` have a name that the source has not.
    """
    names = list(names)
    for index, key in enumerate(source.keys):
        name = key.removeprefix("-")
        if name not in names and not any(character in name for character in "*?["):
            raise _unknown(source, ("keys", index), name, names)
    for name in source.rename:
        if name not in names:
            raise _unknown(source, ("rename", name), name, names)
    return {name: source.config_name(name) for name in names if is_chosen(name, source.keys)}


def is_chosen(name: str, keys: Sequence[str]) -> bool:
    """Tell whether key patterns choose a name."""
    import fnmatch

    chosen = all(key.startswith("-") for key in keys)
    for key in keys:
        if fnmatch.fnmatchcase(name, key.removeprefix("-")):
            chosen = not key.startswith("-")
    return chosen


def read_source_file(root: str, path: str) -> bytes:
    """Return the bytes of a config file.

    Raises:
        ConfigFileError: there is no such file.
    """
    try:
        return fs.read_bytes(os.path.join(root, path))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise ConfigFileError(f"config file {fs.printable(path)}: {error.strerror}") from None


def find_refusal(sources: Iterable[ConfigSource], name: str) -> str | None:
    """Return why something in one of the files is not config, by the name it would have."""
    for source in sources:
        if source.kind != FILE:
            continue
        for own_name, reason in _refused(source).items():
            if name in (own_name, source.config_name(own_name)) and is_chosen(
                own_name, source.keys
            ):
                shown = f"{fs.printable(source.path)}: {fs.printable(own_name)}"
                return f"{shown} is not config: {reason}"
    return None


def _refused(source: ConfigSource) -> dict[str, str]:
    from gage._internal.project.config_formats import read_config, read_refused

    data = read_source_file(source.root, source.path)
    found = dict(read_refused(source.path, data))
    for name, value in read_config(source.path, data).items():
        if not _is_json(value.value):
            found[name] = f"its type, {type(value.value).__name__}, cannot be recorded"
    return found


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


def _read_source(source: ConfigSource) -> Iterator[ConfigDefault]:
    if not source.path:
        for name, value in _flattened(source.table):
            yield ConfigDefault(value, source, name)
        return
    data = read_source_file(source.root, source.path)
    found: list[ConfigDefault]
    if source.kind == ARGS:
        from gage._internal.project.argparse_options import read_options

        options = read_options(source.path, data)
        if not options:
            raise ConfigFileError(
                f"{fs.printable(source.path)} adds no arguments to an argparse parser, or in ways"
                " that only running it would tell",
                "name the arguments and their defaults: args = { lr = 0.1 }",
            )
        found = [ConfigDefault(o.default, source, n, o.line, o) for n, o in options.items()]
    else:
        from gage._internal.project.config_formats import read_config

        values = read_config(source.path, data)
        found = [ConfigDefault(v.value, source, n, v.line) for n, v in values.items()]
    for default in found:
        # What cannot be recorded is not config.
        if _is_json(default.value):
            yield default._replace(value=as_json(default.value))


def _flattened(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _unknown(source: ConfigSource, keys: KeyPath, name: str, names: Sequence[str]) -> UnknownConfig:
    from gage._internal.project.near_names import near_hint

    place = _gage_place(source.root, (*source.gage_keys, *keys))
    start = f"{place}: {keys[0]}" if place else f"{keys[0]}"
    refusal = find_refusal([source._replace(keys=())], name)
    if refusal is not None:
        return UnknownConfig(f"{start}: {refusal}")
    holder = fs.printable(source.path) if source.path else f"the table {source.kind}"
    what = f"{start}: {holder} has no config {fs.printable(name)}"
    return UnknownConfig(what, near_hint(name, names))


def _ambiguous(name: str, one: ConfigDefault, other: ConfigDefault) -> ConfigFileError:
    return ConfigFileError(
        f"config {fs.printable(name)} is in {one.place} and in {other.place}",
        "leave one out with keys, or give it another name with prefix or rename",
    )


def _gage_place(root: str, keys: KeyPath) -> str | None:
    """Return the file and line of what keys lead to; None where there is no Gage file."""
    from gage._internal.project.gage_file import find_gage_file, find_line

    path = find_gage_file(root)
    return f"{os.path.basename(path)}:{find_line(path, keys)}" if path else None
