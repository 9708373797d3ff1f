"""Which module reads which files."""

from __future__ import annotations

import importlib
import os
from typing import Any, Protocol, cast

from gage._internal import fs
from gage._internal.errors import ConfigFileError
from gage._internal.project.config_formats.document import Document, Place
from gage._internal.project.config_formats.source_text import SourceText

MODULES = {
    ".cfg": "ini_file",
    ".ini": "ini_file",
    ".ipynb": "notebook",
    ".json": "json_file",
    ".py": "python_file",
    ".toml": "toml_file",
    ".yaml": "yaml_file",
    ".yml": "yaml_file",
}


class Format(Protocol):
    """What the module of a format provides."""

    def parse(self, path: str, data: bytes) -> Document:
        """Find the values of a file and where they stand."""

    def plain(self, value: Any) -> Any:
        """Return the value as `parse` would give it, had it been read from such a file."""

    def render(self, value: Any, place: Place, source: SourceText) -> str:
        """Return the characters that stand for a value; ValueError says why there are none."""


def format_of(path: str) -> Format:
    """Return the format of a file by its extension."""
    extension = os.path.splitext(path)[1].lower()
    if extension not in MODULES:
        what = f"{extension} files" if extension else "files without an extension"
        supported = ", ".join(MODULES)
        raise ConfigFileError(
            f"{fs.printable(path)}: config is not read from {what}, only from {supported}"
        )
    return cast(Format, importlib.import_module(f".{MODULES[extension]}", __package__))
