"""Find the paths in a text that lead to places."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from gage._internal.lifecycle.leaks.places import HOME, RUN, Place, Places

_LONGEST_TARGET = 200
# Before a path there is no part of a longer one; an option such as `-I` may be.
_BEFORE = rb"(?:(?<![\w.+~@})*\x80-\xff-])|(?<=-[A-Z]))"
_AFTER = rb"(?![\w.+~@\x80-\xff-])"
_REST = rb"[^\s\"'`<>|;,:()\[\]{}?#&\\\x00]*"
_HOME_WORD = re.compile(r"(?:^|(?<=[\s=:\"'(]))(?:~(?=/|$)|\$HOME\b|\$\{HOME\})[^\s\"'`<>|;,:()&]*")


class Mention(NamedTuple):
    """A path in a text that leads to a place; `at` is where it starts."""

    place: Place
    target: str
    at: int


def iter_mentions(places: Places, data: bytes) -> Iterator[Mention]:
    """Yield the paths in a text that lead to places."""
    if not places.all:
        return
    for match in _pattern(places.all).finditer(data):
        path = os.fsdecode(match[1])
        target = os.fsdecode(match[1] + match[2]).rstrip("/.")
        place = next(place for place in places.all if place.path == path)
        if _is_meant(place, target):
            found = places.find(target) or place
            yield Mention(found, target[:_LONGEST_TARGET], match.start(1))


def mentions_in_value(places: Places, text: str) -> list[Mention]:
    """Return the paths that lead to places in a value or an argument.

    There `~` and `$HOME` are the home directory, and a path that is all of it may lead to an
    environment that nobody has told of.
    """
    found = list(iter_mentions(places, os.fsencode(text)))
    for match in _HOME_WORD.finditer(text):
        place = Place(HOME, match[0])
        found.append(Mention(place, match[0][:_LONGEST_TARGET], match.start()))
    if not found and text.startswith("/") and text.isprintable():
        whole = places.find(text)
        if whole:
            found.append(Mention(whole, text[:_LONGEST_TARGET], 0))
    return found


@functools.lru_cache(maxsize=8)
def _pattern(places: tuple[Place, ...]) -> re.Pattern[bytes]:
    names = b"|".join(re.escape(os.fsencode(place.path)) for place in places)
    return re.compile(_BEFORE + b"(" + names + b")" + _AFTER + b"(" + _REST + b")")


def _is_meant(place: Place, target: str) -> bool:
    """Tell whether a path that starts with the name of a place is meant as one.

    A name such as `/app` is also the beginning of addresses and keys.
    """
    if place.kind == RUN or place.path.count("/") > 1:
        return True
    first = target[len(place.path) + 1 :].partition("/")[0]
    return bool(first) and os.path.lexists(f"{place.path}/{first}")
