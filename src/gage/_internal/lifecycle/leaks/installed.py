"""Paths in what an installer wrote: shebangs, `.pth` files, editable installs, `pyvenv.cfg`, ELF.

These name programs and directories of the system too, which is as it should be; what counts is
what leads to the project, the home directory, an environment, or anywhere else that is not of the
system.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from gage._internal.lifecycle.elf import ElfPath
from gage._internal.lifecycle.leaks.leak import OUTSIDE, Leak
from gage._internal.lifecycle.leaks.mentions import Mention, iter_mentions
from gage._internal.lifecycle.leaks.places import Place, Places, is_of_system
from gage._internal.lifecycle.leaks.remedies import remedy_for

_REINSTALL = "install the package into the run, not as editable"
_NEW_ENVIRONMENT = (
    "make the environment of a Python of the system, or leave it out and let it be found on PATH"
)
_NO_RPATH = "link it with an RPATH that starts with $ORIGIN, or stage the library"


def leaks_of_installer(path: str, data: bytes, places: Places) -> Iterator[Leak]:
    """Yield the leaks of a file with a form of its own: `pyvenv.cfg` and the like."""
    name = os.path.basename(path)
    if name == "pyvenv.cfg":
        yield from _of_pyvenv(path, data, places)
    elif name == "direct_url.json":
        yield from _of_direct_url(path, data, places)
    elif name.endswith((".pth", ".egg-link")):
        yield from _of_path_file(path, data, places)


def shebang_leaks(
    path: str, data: bytes, places: Places, is_staged: Callable[[str], bool]
) -> Iterator[Leak]:
    """Yield what the first line of an executable script names and would not be there."""
    lines = data[:4096].split(b"\n", 2)
    if not lines[0].startswith(b"#!"):
        return
    number, line = 1, lines[0][2:]
    if len(lines) > 1 and lines[1].startswith(b"'''exec'"):
        # What pip writes for an interpreter whose path is too long, or has a blank.
        number, line = 2, lines[1][len(b"'''exec'") :].strip().strip(b'"')
    found = list(iter_mentions(places, line))
    words = os.fsdecode(line).split()
    if not found and words:
        place = places.find(words[0])
        found = [Mention(place, words[0], 0)] if place else []
    for mention in found[:1]:
        remedy = remedy_for(mention.place, mention.target, is_staged)
        yield Leak(path, number, mention.place.kind, mention.target, remedy, "its interpreter")


def elf_leaks(path: str, paths: Iterable[ElfPath], places: Places) -> Iterator[Leak]:
    """Yield what the loader of a native program or library would look for and not find."""
    for entry, target in paths:
        place = places.find(os.path.normpath(target)) if target.startswith("/") else None
        if place:
            yield Leak(path, None, place.kind, target, _NO_RPATH, f"its {entry}")


def _of_path_file(path: str, data: bytes, places: Places) -> Iterator[Leak]:
    is_editable = path.endswith(".egg-link") or os.path.basename(path).startswith("__editable__")
    lines = data.split(b"\n")
    for number, line in enumerate(lines[:1] if path.endswith(".egg-link") else lines, 1):
        text = os.fsdecode(line.strip())
        if not text or text.startswith("#"):
            continue
        if text.startswith(("import ", "import\t")):
            mentions = list(iter_mentions(places, line))
            targets = [(each.place.kind, each.target) for each in mentions]
        else:
            kind = _kind_of(path, text, places)
            targets = [(kind, text)] if kind else []
        for kind, target in targets:
            remedy = _REINSTALL if is_editable else "stage that directory and write a relative path"
            yield Leak(path, number, kind, target, remedy)


def _kind_of(path: str, target: str, places: Places) -> str | None:
    """Return where a path in a file leads; None where that is the run itself or the system."""
    if not target.startswith("/"):
        inner = os.path.normpath(os.path.join(os.path.dirname(path), target))
        return OUTSIDE if inner.split("/")[0] == os.pardir else None
    place = places.find(target)
    if place:
        return place.kind
    return None if is_of_system(target) else OUTSIDE


def _of_direct_url(path: str, data: bytes, places: Places) -> Iterator[Leak]:
    import json
    from urllib.parse import unquote, urlsplit

    value = json.loads(data)
    if not isinstance(value, dict):
        return
    info, url = value.get("dir_info"), value.get("url")
    if isinstance(info, dict) and info.get("editable") is True and isinstance(url, str):
        parts = urlsplit(url)
        if parts.scheme == "file":
            target = unquote(parts.path)
            yield Leak(path, None, _kind_of(path, target, places) or OUTSIDE, target, _REINSTALL)


def _of_pyvenv(path: str, data: bytes, places: Places) -> Iterator[Leak]:
    for number, line in enumerate(data.split(b"\n"), 1):
        key, equals, value = line.partition(b"=")
        if equals and key.strip().lower() == b"home":
            target = os.fsdecode(value.strip())
            kind = _kind_of(path, target, places) if target else None
            if kind:
                yield Leak(path, number, kind, target, _NEW_ENVIRONMENT, "home")


def link_leak(path: str, target: str, places: Places) -> Leak | None:
    """Return the leak that a link is which leaves the run, other than to the system."""
    if target.startswith("/"):
        if is_of_system(target):
            return None
        place = places.find(target) or Place(OUTSIDE, target)
    else:
        inner = os.path.normpath(os.path.join(os.path.dirname(path), target))
        if inner.split("/")[0] != os.pardir:
            return None
        place = Place(OUTSIDE, inner)
    remedy = "make it a relative link to what is staged, or put a copy in its place"
    return Leak(path, None, place.kind, target, remedy, "a link")
