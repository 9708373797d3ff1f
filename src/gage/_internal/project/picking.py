"""Which of a list of files rules take, where there is no project to walk: those of a dependency.

The rules are those of source (see `source_rules`), and the last one that matches a path decides.
Where the first of them leaves something out, all else is taken; else only what rules name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from gage._internal.project.globs import START
from gage._internal.project.selection import is_text
from gage._internal.project.source_rules import Rule


def pick_files(
    root: str, files: Sequence[tuple[str, str]], rules: Sequence[Rule]
) -> list[tuple[str, str]]:
    """Return those of `files` that the rules take; all where there are none.

    Each is a path relative to `root` and the name that rules know it by.

    Raises:
        OSError: a file cannot be looked at.
    """
    if not rules:
        return list(files)
    counts = [0] * len(rules)
    by_default = not rules[0].is_include
    return [
        (path, name)
        for path, name in files
        if _is_taken(os.path.join(root, path), name, rules, counts, by_default)
    ]


def _is_taken(
    full: str, name: str, rules: Sequence[Rule], counts: list[int], by_default: bool
) -> bool:
    for i in reversed(range(len(rules))):
        rule = rules[i]
        if not _matches(full, name, rule) or not _fits(full, rule):
            continue
        if rule.max_matches is not None:
            if counts[i] == rule.max_matches:
                continue
            counts[i] += 1
        return rule.is_include
    return by_default


def _matches(full: str, path: str, rule: Rule) -> bool:
    """Tell whether a rule's pattern matches a file, or a directory that it is in."""
    state = START
    for name, folder in _parts(full, path):
        state, is_match = rule.glob.step(state, name, is_dir=folder is not None)
        if is_match and (folder is not None or not rule.is_dir):
            sentinel = None if folder is None else rule.sentinel
            if sentinel is None or os.path.lexists(os.path.join(folder or "", sentinel)):
                return True
        if not state:
            return False
    return False


def _parts(full: str, path: str) -> Iterator[tuple[str, str | None]]:
    """Yield each name of a path, and where it is one of a directory, that which `full` is in."""
    names = path.split("/")
    for below, name in zip(range(len(names) - 1, 0, -1), names, strict=False):
        yield name, full.rsplit("/", below)[0]
    yield names[-1], None


def _fits(full: str, rule: Rule) -> bool:
    if rule.content is not None:
        found = "text" if os.path.islink(full) or is_text(full) else "binary"
        if found != rule.content:
            return False
    if rule.below is None and rule.above is None:
        return True
    size = os.lstat(full).st_size
    return (rule.below is None or size < rule.below) and (rule.above is None or size > rule.above)
