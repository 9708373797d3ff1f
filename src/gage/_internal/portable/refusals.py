"""Why something could not be done where runs are kept, as an error that people see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gage._internal.errors import (
    GageError,
    NoRoom,
    RemoteFailed,
    RemoteUnreachable,
    RunActive,
    RunChanged,
    RunConflict,
)
from gage._internal.fs import printable
from gage._internal.portable.items import Refused

_OF_RUN = {"conflict": RunConflict, "active": RunActive, "changed": RunChanged}


def error_of(refused: Refused, place: str) -> GageError:
    """Return the error for what was refused at a place."""
    if refused.kind in _OF_RUN:
        return _OF_RUN[refused.kind](refused.reason, refused.hint)
    if refused.kind == "full":
        return NoRoom(f"there is no room left at {printable(place)}", "make room, and repeat it")
    kind = RemoteUnreachable if refused.kind == "unreachable" else RemoteFailed
    return kind(f"{printable(place)}: {refused.reason}", refused.hint)


@contextmanager
def told(place: str) -> Iterator[None]:
    """Turn what is refused into errors that people see."""
    try:
        yield
    except Refused as refused:
        raise error_of(refused, place) from None
