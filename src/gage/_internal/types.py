"""Values that all layers share: a run, and the operation that it executes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

# What a value that maps nothing defaults to.
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Run(NamedTuple):
    """A run on disk.

    `id` is its UUID4 in the usual text form, `run_dir` the absolute path of its run
    directory. The meta directory lies beside it (see `store.layout`).
    """

    id: str
    run_dir: str


class OpRef(NamedTuple):
    """Which operation: the namespace it is defined in (a project's name) and its name."""

    namespace: str
    name: str


class OpDef(NamedTuple):
    """How an operation is defined: its name and the table of its attributes.

    `data` holds JSON values under the keys of the Gage file, as they were written there.
    """

    name: str
    data: Mapping[str, Any]


class OpCmd(NamedTuple):
    """What starts a run: its arguments, and environment variables added to the inherited."""

    args: Sequence[str]
    env: Mapping[str, str] = NOTHING


def as_patterns(value: Any) -> Sequence[str]:
    """Return an attribute that is one pattern, a list of them or absent as a sequence."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)
