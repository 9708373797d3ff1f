"""Config files: reading named values, and changing them in place.

`read_config` names the values of a file, `patch_config` replaces the characters of some of
them and leaves every other byte alone. Each format has a module of its own that is imported
when a file of that format is met: some of the parsers are slow to import.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class ConfigValue(NamedTuple):
    """A value of a config file and the line where it stands, counted from 1."""

    value: Any
    line: int


def read_config(path: str, data: bytes) -> dict[str, ConfigValue]:
    """Return the config values of a file by name, in the order of the file.

    `path` tells the format by its extension and is what messages name. The keys of nested
    tables are joined with dots: `optimizer.lr`.
    """
    from gage._internal.project.config_formats.formats import format_of

    places = format_of(path).parse(path, data).places
    return {name: ConfigValue(place.value, place.line) for name, place in places.items()}


def read_refused(path: str, data: bytes) -> Mapping[str, str]:
    """Return the names of a file that could be taken for config, each with why it is not."""
    from gage._internal.project.config_formats.formats import format_of

    return format_of(path).parse(path, data).refused


def patch_config(path: str, data: bytes, changes: Mapping[str, Any]) -> bytes:
    """Return `data` with the values of `changes` in place of those it holds.

    Only the characters of changed values differ. The result is read again, and refused with
    `BadConfigValue` unless it means exactly what was asked for.
    """
    from gage._internal.project.config_formats.formats import format_of
    from gage._internal.project.config_formats.patching import patch

    return patch(format_of(path), path, data, changes)
