"""Engines by name: those of the project's and the user's settings, and those installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal.project.user_settings import read_users
from gage._internal.types import NOTHING
from gage.plugins import engine_names, has_engine


class EngineSetting(NamedTuple):
    """An engine that runs are given to: its kind, and what it needs to know."""

    kind: str
    options: Mapping[str, Any] = NOTHING


def find_engine_setting(text: str, engines: Mapping[str, Any]) -> EngineSetting | None:
    """Return the engine that `text` names: one of `engines`, of the user's, or an installed one.

    Raises:
        GageFileError: the user's settings have faults.
    """
    for defined in (engines, read_users("engines", "kind")):
        if text in defined:
            value = defined[text]
            if isinstance(value, str):
                return EngineSetting(value)
            return EngineSetting(value["kind"], value.get("options", NOTHING))
    return EngineSetting(text) if has_engine(text) else None


def list_engines(engines: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of all engines that there are."""
    return sorted({*engines, *read_users("engines", "kind"), *engine_names()})
