"""What parsing a config file yields: named values and where they stand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from gage._internal.project.config_formats.source_text import SourceText
from gage._internal.types import NOTHING

_BARE_KEY = re.compile(r"[\w-]+")


class Place(NamedTuple):
    """A value and the characters of the file that it is written with.

    `written` is what stands there in the format's own terms: for a notebook that is Python,
    not the JSON around it. `shared` marks a value that also depends on characters elsewhere.
    """

    value: Any
    line: int
    start: int
    end: int
    written: str
    shared: bool = False


class Document(NamedTuple):
    """A parsed config file.

    `refused` holds names that a user could take for config, each with what it is instead.
    """

    source: SourceText
    places: Mapping[str, Place]
    refused: Mapping[str, str] = NOTHING


def dotted_name(keys: Iterable[str]) -> str:
    """Join keys with dots; a key with a dot or other odd character is quoted as in TOML."""
    return ".".join(key if _BARE_KEY.fullmatch(key) else _quoted(key) for key in keys)


def _quoted(key: str) -> str:
    from gage._internal.project.config_formats.quoting import double_quoted

    try:
        return double_quoted(key)
    except ValueError:
        return ascii(key)
