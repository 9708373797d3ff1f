"""What of a machine a run is to have for itself, as its operation says: CPUs, memory, GPUs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

_MEMORY = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT])(i?)B")
_POWERS = {"K": 1, "M": 2, "G": 3, "T": 4}


class Resources(NamedTuple):
    """What a run is to have while it executes; `memory` in bytes, None where it is not said."""

    cpus: int = 1
    memory: int | None = None
    gpus: int = 0


def resources_of(opdef: Mapping[str, Any]) -> Resources:
    """Return what runs of an operation are to have, of a definition that is right."""
    table = opdef.get("resources") or {}
    memory = table.get("memory")
    return Resources(
        int(table.get("cpus", 1)),
        None if memory is None else parse_memory(memory),
        int(table.get("gpus", 0)),
    )


def parse_memory(text: str) -> int:
    """Return the bytes that a text such as `2GiB` or `500 MB` stands for.

    Raises:
        ValueError: it is no amount of memory.
    """
    match = _MEMORY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no amount such as 2GiB")
    amount, unit, is_binary = match.groups()
    return int(float(amount) * (1024 if is_binary else 1000) ** _POWERS[unit])
