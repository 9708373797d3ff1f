"""Patterns over paths, as gitignore has them, matched one directory at a time.

The meaning is that of https://git-scm.com/docs/gitignore: a pattern with a slash, but at its
end, starts at the top; one without matches at any depth; one that ends in a slash matches
directories only; `*`, `?` and `[]` do not match a slash, `**` between slashes matches any number
of directories, and what matches a directory holds for all in it. Where git takes a pattern that
is written wrongly for one that matches nothing, it is an error here.

A pattern is a row of segments, and matching goes along a path as an automaton does: the state is
the set of segments that may come next, as the bits of a number. One step costs the same at any
depth, so a walk hands the state of a directory on to what is in it, and no pattern, however many
`**` it has, is slow on a deep path, as a regular expression over the whole path would be.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# None stands for `**`; a text for a name without wildcards.
Segment = re.Pattern[str] | str | None

_CLASSES = {
    "alnum": "a-zA-Z0-9", "alpha": "a-zA-Z", "blank": " \\t", "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9", "graph": "\\x21-\\x7e", "lower": "a-z", "print": "\\x20-\\x7e",
    "punct": "!-/:-@\\[-`{-~", "space": "\\t-\\r ", "upper": "A-Z", "xdigit": "0-9a-fA-F",
}  # fmt: skip

START = 1


class GlobError(ValueError):
    """A pattern that cannot mean anything; the text says why."""


class Glob(NamedTuple):
    """A compiled pattern; `names` are its segments as they are written."""

    segments: tuple[Segment, ...]
    is_dir_only: bool
    names: tuple[str, ...]

    def step(self, state: int, name: str, is_dir: bool) -> tuple[int, bool]:
        """Go from a directory's state to that of an entry; tell whether the entry matches.

        A state of 0 means that nothing below can match any more.
        """
        following = 0
        bit = 1
        for segment in self.segments:
            if state & bit:
                if segment is None:
                    # It stays for any further directory, or has ended before this one.
                    following |= bit
                    state |= bit << 1
                elif segment == name if isinstance(segment, str) else segment.fullmatch(name):
                    following |= bit << 1
            bit <<= 1
        is_match = bool(following & bit) and (is_dir or not self.is_dir_only)
        return following & ~bit, is_match

    def matches(self, path: str) -> bool:
        """Tell whether a file's path, or a directory above it, matches."""
        state = START
        names = path.split("/")
        last = len(names) - 1
        for i, name in enumerate(names):
            state, is_match = self.step(state, name, is_dir=i < last)
            if is_match:
                return True
            if not state:
                break
        return False


def compile_glob(pattern: str) -> Glob:
    """Compile a pattern.

    Raises:
        GlobError: the pattern cannot match anything, or is not closed.
    """
    body = pattern.removesuffix("/")
    if not body.strip("/"):
        raise GlobError("names nothing")
    names = tuple(body.removeprefix("/").split("/"))
    if "" in names:
        raise GlobError("has an empty name between two slashes")
    if "." in names or ".." in names:
        raise GlobError('has a name "." or "..", which no path has')
    segments = [_compile_segment(name) for name in names]
    if "/" not in body:
        # At any depth: and of asterisks that stand alone one is as good as two.
        segments = [None, re.compile(".*", re.DOTALL) if segments[0] is None else segments[0]]
    elif segments[-1] is None:
        # All that is inside, but not the directory itself.
        segments.append(re.compile(".*", re.DOTALL))
    return Glob(tuple(segments), pattern.endswith("/"), names)


def _compile_segment(text: str) -> Segment:
    if len(text) > 1 and not text.strip("*"):
        return None
    parts: list[str] = [""]
    is_literal = True
    literal = ""
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "*":
            is_literal = False
            if parts[-1] or len(parts) == 1:
                parts.append("")
        elif char == "?":
            is_literal = False
            parts[-1] += "."
        elif char == "[":
            is_literal = False
            one, at = _compile_bracket(text, at)
            parts[-1] += one
        else:
            if char == "\\":
                if at == len(text):
                    raise GlobError("has a \\ with nothing behind it")
                char = text[at]
                at += 1
            literal += char
            parts[-1] += re.escape(char)
    return literal if is_literal else re.compile(_joined(parts), re.DOTALL)


def _joined(parts: list[str]) -> str:
    """Join what stands between asterisks, so that no place is tried twice for any of it.

    The first place where a part fits is as good as any later one, but for the last part, which
    must end the name: a lookahead finds it, and is not entered again.
    """
    first, *others = parts
    if not others:
        return first
    middle = "".join(
        f"(?=(?P<g{i}>.*?{part}))(?P=g{i})" for i, part in enumerate(others[:-1]) if part
    )
    return f"{first}{middle}.*{others[-1]}"


def _compile_bracket(text: str, at: int) -> tuple[str, int]:
    """Compile a `[]` whose bracket opens before `at`; return it and where it ends."""
    negated = at < len(text) and text[at] in "!^"
    at += negated
    start = at
    inner = ""
    while True:
        if at >= len(text):
            raise GlobError("has a [ without a ]")
        char = text[at]
        if char == "]" and at > start:
            break
        if text.startswith("[:", at):
            end = text.find(":]", at + 2)
            if end >= 0:
                name = text[at + 2 : end]
                if name not in _CLASSES:
                    raise GlobError(f"has [:{name}:], which is no class of characters")
                inner += _CLASSES[name]
                at = end + 2
                continue
        low, at = _bracket_char(text, at)
        if text.startswith("-", at) and at + 1 < len(text) and text[at + 1] != "]":
            high, at = _bracket_char(text, at + 1)
            if low <= high:
                inner += f"{re.escape(low)}-{re.escape(high)}"
        else:
            inner += re.escape(low)
    if not inner:
        return ("." if negated else "(?!)"), at + 1
    return f"[{'^' if negated else ''}{inner}]", at + 1


def _bracket_char(text: str, at: int) -> tuple[str, int]:
    if text[at] == "\\":
        at += 1
        if at >= len(text):
            raise GlobError("has a [ without a ]")
    return text[at], at + 1
