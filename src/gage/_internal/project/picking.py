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


def pick_files(root: str, paths: Sequence[str], rules: Sequence[Rule]) -> list[str]:
    """Return those of `paths`, relative to `root`, that the rules take; all where there are none.

    Raises:
        OSError: a file cannot be looked at.
    """
    if not rules:
        return list(paths)
    counts = [0] * len(rules)
    by_default = not rules[0].is_include
    return [path for path in paths if _is_taken(root, path, rules, counts, by_default)]


def _is_taken(
    root: str, path: str, rules: Sequence[Rule], counts: list[int], by_default: bool
) -> bool:
    full = os.path.join(root, path)
    for i in reversed(range(len(rules))):
        rule = rules[i]
        if not _matches(root, path, rule) or not _fits(full, rule):
            continue
        if rule.max_matches is not None:
            if counts[i] == rule.max_matches:
                continue
            counts[i] += 1
        return rule.is_include
    return by_default


def _matches(root: str, path: str, rule: Rule) -> bool:
    """Tell whether a rule's pattern matches a file, or a directory that it is in."""
    state = START
    for name, folder in _parts(path):
        state, is_match = rule.glob.step(state, name, is_dir=folder is not None)
        if is_match and (folder is not None or not rule.is_dir):
            sentinel = None if folder is None else rule.sentinel
            if sentinel is None or os.path.lexists(os.path.join(root, folder or "", sentinel)):
                return True
        if not state:
            return False
    return False


def _parts(path: str) -> Iterator[tuple[str, str | None]]:
    """Yield each name of a path, with the path so far where that is a directory."""
    names = path.split("/")
    for i, name in enumerate(names[:-1], 1):
        yield name, "/".join(names[:i])
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
