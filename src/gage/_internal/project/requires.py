"""The language of `requires` in a Gage file: `python>=3.11`, `cmd:ffmpeg>=5`, `gpu`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from gage._internal.project.gage_file_words import listed, nearest, quoted
from gage._internal.store.needed import AMOUNT, OPERATORS, VERSION
from gage._internal.store.requirements import (
    ANY_GPU,
    ARCHITECTURE,
    COMMAND,
    CPU,
    CPUS,
    DECLARED,
    DISK,
    DRIVER,
    GPU,
    LIBRARY,
    MEMORY,
    NVIDIA,
    PLATFORM,
    PYTHON,
    SYMBOLS,
    Requirement,
)
from gage._internal.types import as_patterns


class _Form(NamedTuple):
    """How one kind is written: its word, and patterns of what may follow.

    `name` follows a colon; without it there is none. `value` is what is compared with, and must be
    there where `is_compared`.
    """

    word: str
    kind: str
    own_name: str
    name: str = ""
    value: str = ""
    is_compared: bool = False
    example: str = ""


_PLAIN = r"[^\s<>=!,/:\u0000]+"
_FORMS = (
    _Form("python", PYTHON, "python3", "", VERSION, False, "python>=3.11"),
    _Form("cmd", COMMAND, "", _PLAIN, VERSION, False, "cmd:ffmpeg>=5"),
    _Form("lib", LIBRARY, "", _PLAIN, "", False, "lib:libssl.so.3"),
    _Form("glibc", SYMBOLS, "GLIBC", "", VERSION, True, "glibc>=2.31"),
    _Form("gpu", GPU, ANY_GPU, "", "[0-9]+", False, "gpu>=2"),
    _Form("driver", DRIVER, NVIDIA, "", VERSION, False, "driver>=525"),
    _Form("cpus", CPUS, "cpus", "", "[0-9]+", True, "cpus>=8"),
    _Form("memory", MEMORY, "memory", "", AMOUNT, True, "memory>=16GiB"),
    _Form("disk", DISK, "disk", "", AMOUNT, True, "disk>=100GiB"),
    _Form("platform", PLATFORM, "", r"linux|darwin", "", False, "platform:linux"),
    _Form("architecture", ARCHITECTURE, "", _PLAIN, "", False, "architecture:x86_64"),
    _Form("cpu", CPU, "", r"x86-64-v[1-4]", "", False, "cpu:x86-64-v3"),
)
_BY_WORD = {form.word: form for form in _FORMS}
_OPERATOR = "|".join(OPERATORS)
_PARTS = re.compile(r"([^\s<>=!~,:]*)(?::([^\s<>=!,]*))?\s*(.*)", re.DOTALL)


def _pattern_of(form: _Form) -> str:
    pattern = f"{form.word}:(?:{form.name})" if form.name else form.word
    if form.value:
        comparison = rf" *(?:{_OPERATOR}) *(?:{form.value})"
        compared = f"{comparison}(?: *,{comparison})*"
        pattern += compared if form.is_compared else f"(?:{compared})?"
    return pattern


# What may stand there, for the schema, which editors read; in `$` a newline may follow.
PATTERNS = [rf"^{_pattern_of(form)}(?![\s\S])" for form in _FORMS]
_EACH = {form.word: re.compile(_pattern_of(form)) for form in _FORMS}


def requirement_problem(text: str) -> str | None:
    """Return what is wrong with a requirement, as the rest of a sentence; None for nothing."""
    match = _PARTS.fullmatch(text)
    form = _BY_WORD.get(match[1]) if match else None
    if match is None or form is None:
        word = match[1] if match else text
        near = nearest(word, _BY_WORD)
        meant = f"did you mean {quoted(near)}?" if near else f"known are {_known()}"
        if word and near is None and re.fullmatch(_PLAIN, word):
            meant = f"{meant}; an application is {quoted('cmd:' + word)}"
        return f"must be a requirement, not {quoted(text)}: {meant}"
    if _EACH[form.word].fullmatch(text):
        return None
    return f"must be like {quoted(form.example)}, not {quoted(text)}{_why(form, match)}"


def _why(form: _Form, match: re.Match[str]) -> str:
    if form.name and not match[2]:
        return ": a name follows the colon"
    if match[2] is not None and not form.name:
        return f": {form.word} has no name"
    if match[3] and not form.value:
        return ": it is there or not, and has no version"
    if "~" in match[3]:
        return f": operators are {listed(list(OPERATORS), 'and')}"
    return ""


def _known() -> str:
    return listed([form.word + (":NAME" if form.name else "") for form in _FORMS], "and")


def declared_requirements(value: Any) -> list[Requirement]:
    """Return the requirements that an operation declares, of a value that is right."""
    return [_parsed(text) for text in as_patterns(value)]


def _parsed(text: str) -> Requirement:
    match = _PARTS.fullmatch(text)
    assert match is not None, text
    form = _BY_WORD[match[1]]
    return Requirement(form.kind, match[2] or form.own_name, match[3].replace(" ", ""), DECLARED)


def is_declared(requirement: Requirement, declared: Sequence[Requirement]) -> bool:
    """Tell whether a requirement of the same kind and name is declared."""
    return any((d.kind, d.name) == (requirement.kind, requirement.name) for d in declared)
