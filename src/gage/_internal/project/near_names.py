"""What a name that is unknown was meant to be."""

from __future__ import annotations

from collections.abc import Sequence

from gage._internal import fs


def near_hint(name: str, known: Sequence[str]) -> str:
    """Return a hint that suggests the names like one that is unknown, or else lists those known."""
    if not known:
        return "it has none"
    near = _near(name, known)
    if near:
        return f"did you mean {' or '.join(map(fs.printable, near))}?"
    return f"it has {', '.join(map(fs.printable, known[:10]))}{', ...' if len(known) > 10 else ''}"


def _near(name: str, known: Sequence[str]) -> list[str]:
    """Return the names like a name: those below it, those that end in it, the one spelt so."""
    from difflib import get_close_matches

    below = [other for other in known if other.startswith(f"{name}.")]
    ending = [other for other in known if other.endswith(f".{name}")]
    spelt: dict[str, str] = {}
    for other in known:
        spelt.setdefault(other.rpartition(".")[2].lower(), other)
    spelt.update((other.lower(), other) for other in known)
    close = [spelt[match] for match in get_close_matches(name.lower(), spelt, 1)]
    return list(dict.fromkeys(below + ending + close))[:3]
