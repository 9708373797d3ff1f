r"""The language of source rules: `[-]PATTERN [OPTION ...]`.

A rule takes what its pattern matches, or leaves it out with `-` in front; of the rules that
match a path the last one decides. Options narrow what a rule matches:

    text, binary         files whose first 8 KiB hold no NUL byte, or hold one
    size<N, size>N       smaller or larger files: `size<10MiB`
    max-matches=N        the first N files, in the order of the walk
    dir                  directories, and so all in them
    sentinel=FILE        directories that hold an entry of that name

Words are separated by blanks; `\ ` is a blank within one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gage._internal.project.globs import Glob, GlobError, compile_glob

_WORD = re.compile(r"(?:[^\s\\]|\\.)+|\\$", re.DOTALL)
_OPTIONS = "text, binary, size<N, size>N, max-matches=N, dir and sentinel=FILE"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)")
# K, M, G and T alone are powers of 1024, as they are to `truncate` and `ls -h`.
_UNITS = {
    "": 1, "b": 1,
    "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40,
    "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
}  # fmt: skip


class RuleError(ValueError):
    """A rule that is written wrongly; the text says how, as the end of a sentence."""


class Rule(NamedTuple):
    """A rule; `text` is how it was written. Sizes are in bytes."""

    text: str
    is_include: bool
    glob: Glob
    content: str | None = None
    below: int | None = None
    above: int | None = None
    max_matches: int | None = None
    is_dir: bool = False
    sentinel: str | None = None


def parse_rules(spec: Any) -> tuple[Rule, ...]:
    """Return the rules of a `sourcecode` attribute: true, a string or a list.

    Raises:
        RuleError: a rule is written wrongly.
    """
    if isinstance(spec, str):
        spec = [spec]
    return tuple(map(parse_rule, spec)) if isinstance(spec, (list, tuple)) else ()


def parse_rule(text: str) -> Rule:
    """Parse one rule.

    Raises:
        RuleError: the rule is written wrongly.
    """
    words = _WORD.findall(text)
    if not words:
        raise RuleError("must not be empty")
    rule = parse_pattern(words[0])._replace(text=text)
    for option in words[1:]:
        rule = _with_option(rule, option)
    for_files = [
        option
        for option, is_given in (
            (rule.content, rule.content is not None),
            ("size", rule.below is not None or rule.above is not None),
            ("max-matches", rule.max_matches is not None),
        )
        if is_given
    ]
    if rule.is_dir and for_files:
        raise RuleError(f"must not have both dir or sentinel and {for_files[0]}, which is of files")
    return rule


def parse_pattern(text: str) -> Rule:
    """Parse a rule that has no options, since no file is looked at: blanks are its own.

    Raises:
        RuleError: the rule is written wrongly.
    """
    pattern = text.removeprefix("-")
    if pattern.startswith("!"):
        raise RuleError(f"must leave out with - and not with !, as {_quoted(text)} does")
    if pattern.startswith("#"):
        raise RuleError("must be a pattern, not a comment (a name that starts with # is \\#...)")
    try:
        return Rule(text, pattern == text, compile_glob(pattern))
    except GlobError as error:
        raise RuleError(f"must be a pattern, and {_quoted(text)} {error}") from None


def _with_option(rule: Rule, option: str) -> Rule:
    name, equals, value = option.partition("=")
    if option in ("text", "binary"):
        if rule.content not in (None, option):
            raise RuleError("must not have both text and binary")
        return rule._replace(content=option)
    if option == "dir":
        return rule._replace(is_dir=True)
    if option.startswith("size<"):
        return rule._replace(below=_parse_size(option))
    if option.startswith("size>"):
        return rule._replace(above=_parse_size(option))
    if name == "max-matches" and equals:
        if not (value.isascii() and value.isdigit()):
            raise RuleError(f"must have a number after max-matches=, not {_quoted(value)}")
        return rule._replace(max_matches=int(value))
    if name == "sentinel" and equals:
        value = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
        if not value or "/" in value or value in (".", ".."):
            raise RuleError(f"must have the name of a file after sentinel=, not {_quoted(value)}")
        return rule._replace(is_dir=True, sentinel=value)
    raise RuleError(
        f"has {_quoted(option)}, which is no option (there are {_OPTIONS};"
        " a blank in a pattern is written as \\ and the blank)"
    )


def _parse_size(option: str) -> int:
    found = _SIZE.fullmatch(option[len("size<") :])
    if found is None or found[2].lower() not in _UNITS:
        raise RuleError(f"must have a size such as 10MiB in {_quoted(option)}")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def _quoted(text: str) -> str:
    from gage._internal.project.gage_file_words import quoted

    return quoted(text)


def rule_problem(text: str) -> str | None:
    """Return what is wrong with a rule, as the end of a sentence about it."""
    try:
        parse_rule(text)
    except RuleError as error:
        return str(error)
    return None


def pattern_problem(text: str) -> str | None:
    """Return what is wrong with a rule without options, as the end of a sentence about it."""
    try:
        parse_pattern(text)
    except RuleError as error:
        return str(error)
    return None


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that tells whether rules without options take a file's path."""
    rules = [parse_pattern(pattern) for pattern in reversed(patterns)]

    def is_taken(path: str) -> bool:
        for rule in rules:
            if rule.glob.matches(path):
                return rule.is_include
        return False

    return is_taken
