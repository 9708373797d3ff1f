"""Values that all layers share: a run, and the operation that it executes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Run:
    """A run on disk.

    `id` is its UUID4 in the usual text form, `run_dir` the absolute path of its run
    directory. The meta directory lies beside it (see `store.layout`).
    """

    id: str
    run_dir: str


@dataclass(frozen=True)
class OpRef:
    """Which operation: the namespace it is defined in (a project's name) and its name."""

    namespace: str
    name: str


@dataclass(frozen=True)
class OpDef:
    """How an operation is defined: its name and the table of its attributes.

    `data` holds JSON values under the keys of the Gage file, as they were written there.
    """

    name: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class OpCmd:
    """What starts a run: its arguments, and environment variables added to the inherited."""

    args: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


def as_patterns(value: Any) -> Sequence[str]:
    """Return an attribute that is one pattern, a list of them or absent as a sequence."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)
