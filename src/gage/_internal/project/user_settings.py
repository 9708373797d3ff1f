"""What the user's settings define by name, for all projects: remotes and engines."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from gage._internal.errors import GageFileError
from gage._internal.fs import printable


def settings_path() -> str:
    """Return the path of the user's settings."""
    configs = os.environ.get("XDG_CONFIG_HOME", "")
    # A relative path there is to be ignored, as the standard that has the variable says.
    folder = configs if configs.startswith("/") else os.path.expanduser("~/.config")
    return os.path.join(folder, "gage", "settings.toml")


def read_users(title: str, key: str) -> Mapping[str, Any]:
    """Return a table of the user's settings: each value is a text, or a table of it and options.

    `key` is what such a table calls the text.

    Raises:
        GageFileError: the settings have faults.
    """
    path = settings_path()
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return {}
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]
    try:
        table = tomllib.loads(data.decode()).get(title, {})
    except ValueError as error:
        raise GageFileError(f"{printable(path)}: {printable(str(error))}") from None
    if not isinstance(table, dict):
        raise GageFileError(f"{printable(path)}: {title} must be a table")
    for name, value in table.items():
        text = value.get(key) if isinstance(value, dict) else value
        options = value.get("options", {}) if isinstance(value, dict) else {}
        if not isinstance(text, str) or not text or not isinstance(options, dict):
            article = "an" if key[0] in "aeiou" else "a"
            raise GageFileError(
                f"{printable(path)}: {title}.{printable(name)} must be {article} {key}, or a table"
                f" of {key} and options"
            )
    return table
