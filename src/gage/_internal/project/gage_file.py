"""The Gage file of a project: found, read and validated.

Only the parser of the file's own format is imported, and what is needed to report faults only
where there are some: a command reads this file before it does anything else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gage._internal.errors import GageFileError
from gage._internal.project.gage_file_checker import (
    Fault,
    check_gage_table,
    is_table_of_settings,
    path_in_words,
)
from gage._internal.project.gage_file_words import KeyPath, escaped, quoted
from gage._internal.types import NOTHING, OpDef

GAGE_FILE_NAMES = ("gage.toml", "gage.yaml", "gage.yml", "gage.json", "pyproject.toml")

_PYPROJECT = "pyproject.toml"

# What the parser of TOML says where a line ends within braces.
_IN_BRACES = ("Invalid initial character for a key part", "Unclosed inline table")


class GageFile(NamedTuple):
    """What a Gage file says.

    `path` is the absolute path of the file, `runs` where the runs home is (relative to the
    project) where the file says so, `operations` the operations by name, in file order,
    `share` whether a run shares files with the one before it, `remotes` where else runs are kept,
    `engines` where else they execute.
    """

    path: str
    runs: str | None
    operations: Mapping[str, OpDef]
    share: bool = False
    remotes: Mapping[str, Any] = NOTHING
    engines: Mapping[str, Any] = NOTHING


class _Parsed(NamedTuple):
    """A parsed file. Of a key that stands twice in it only one value is here."""

    value: Any
    has_repeats: bool = False


class _SyntaxFaultError(Exception):
    """Where and why a text is not of its format."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


def find_gage_file(directory: str) -> str | None:
    """Return the path of the Gage file in a directory, or None if there is none.

    Only the directory itself is looked at. `pyproject.toml` counts where it has a `[tool.gage]`,
    written so.
    """
    found = [name for name in GAGE_FILE_NAMES if _is_gage_file(os.path.join(directory, name), name)]
    if len(found) > 1:
        named = f"{', '.join(found[:-1])} and {found[-1]}"
        raise GageFileError(
            f"more than one Gage file in {escaped(_shortest(directory))}: {named}",
            "Keep one of them.",
        )
    return os.path.join(directory, found[0]) if found else None


def read_gage_file(path: str) -> GageFile:
    """Return what a Gage file says, or raise a GageFileError that tells all its faults."""
    path = os.path.abspath(path)
    with open(path, "rb") as file:
        data = file.read()
    shown = escaped(_shortest(path))
    try:
        kind = _kind(path)
        text = _decode(data)
        parsed = _PARSERS[kind](text)
        table, prefix = _gage_table(path, parsed.value)
    except _SyntaxFaultError as fault:
        raise GageFileError(f"{shown}:{fault.line}: {escaped(fault.reason)}") from None
    faults = check_gage_table(table)
    if faults or parsed.has_repeats:
        raise _error(shown, kind, text, prefix, faults)
    return GageFile(
        path=path,
        runs=table.get("runs") if isinstance(table.get("runs"), str) else None,
        operations={
            name: OpDef(name, value)
            for name, value in table.items()
            if isinstance(value, Mapping) and not is_table_of_settings(name)
        },
        share=table.get("share") is True,
        remotes=table.get("remotes") or NOTHING,
        engines=table.get("engines") or NOTHING,
    )


def schema_path() -> str:
    """Return the path of the JSON Schema of Gage files, which editors complete with."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return os.path.join(package, "gage-file.schema.json")


def _is_gage_file(path: str, name: str) -> bool:
    if not os.path.isfile(path):
        return False
    if name != _PYPROJECT:
        return True
    with open(path, "rb") as file:
        data = file.read()
    # Most projects have this file for other reasons; to parse it would cost each command.
    if b"tool.gage" not in data:
        return False
    try:
        value = _parse_toml(_decode(data)).value
    except _SyntaxFaultError:
        # Whoever reads it then is told where it is wrong, rather than that it is not there.
        return True
    tools = value.get("tool")
    return isinstance(tools, dict) and "gage" in tools


def find_line(path: str, keys: KeyPath) -> int:
    """Return the line of a Gage file where the value is that keys lead to from its top."""
    from gage._internal.project.gage_file_places import find_places

    with open(path, "rb") as file:
        text = _decode(file.read())
    prefix = ("tool", "gage") if os.path.basename(path) == _PYPROJECT else ()
    return find_places(_kind(path), text).line((*prefix, *keys))


def _kind(path: str) -> str:
    suffix = os.path.splitext(path)[1]
    kinds = {".toml": "toml", ".yaml": "yaml", ".yml": "yaml", ".json": "json"}
    if suffix not in kinds:
        raise _SyntaxFaultError(1, f"the name of a Gage file ends in {', '.join(kinds)}")
    return kinds[suffix]


def _decode(data: bytes) -> str:
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        reason = f"not UTF-8: byte 0x{data[error.start]:02x} ({error.reason})"
        raise _SyntaxFaultError(line, reason) from None


def _gage_table(path: str, value: Any) -> tuple[Any, KeyPath]:
    """Return the part of a parsed file that is Gage's, and the keys that lead to it."""
    if os.path.basename(path) != _PYPROJECT:
        return value, ()
    tools = value.get("tool")
    if not isinstance(tools, dict) or "gage" not in tools:
        raise _SyntaxFaultError(1, "there is no [tool.gage] in this file")
    return tools["gage"], ("tool", "gage")


def _parse_toml(text: str) -> _Parsed:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]
    try:
        return _Parsed(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise _toml_fault(text, str(error)) from None
    except (ValueError, RecursionError) as error:
        raise _unreadable("TOML", error) from None


def _toml_fault(text: str, message: str) -> _SyntaxFaultError:
    import re

    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.S)
    if match is None:
        return _SyntaxFaultError(1, f"not valid TOML: {message}")
    line = int(match[2]) if match[2] else text.rstrip("\n").count("\n") + 1
    reason = match[1]
    if reason in _IN_BRACES and match[3]:
        written = text.split("\n")[line - 1]
        before, after = written[: int(match[3]) - 1], written[int(match[3]) - 1 :].strip()
        if "{" in before and after[:1] in ("", "#"):
            reason = "a table in braces must end in the line in which it begins"
    if reason == "Cannot overwrite a value" or reason.startswith("Duplicate inline table key"):
        reason = "a key is given twice"
    table = re.fullmatch(r"Cannot (?:declare|mutate|redefine)[^(]*\((.*?),?\).*", reason, re.S)
    if table:
        reason = f"the table {table[1]} is given twice, or added to where it is complete"
    return _SyntaxFaultError(line, f"not valid TOML: {reason[0].lower()}{reason[1:]}")


def _parse_json(text: str) -> _Parsed:
    import json

    has_repeats = False

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal has_repeats
        value = dict(pairs)
        has_repeats = has_repeats or len(value) != len(pairs)
        return value

    try:
        value = json.loads(text, object_pairs_hook=table)
    except json.JSONDecodeError as error:
        reason = error.msg.removesuffix(" at").removesuffix(" starting")
        reason = f"not valid JSON: {reason[0].lower()}{reason[1:]}"
        raise _SyntaxFaultError(error.lineno, reason) from None
    except (ValueError, RecursionError) as error:
        raise _unreadable("JSON", error) from None
    return _Parsed(value, has_repeats)


def _parse_yaml(text: str) -> _Parsed:
    # Besides its own errors, ruamel.yaml lets out whatever odd scalars make Python raise.
    try:
        return _Parsed(_load_yaml(text, allow_repeats=False))
    except Exception as error:
        from ruamel.yaml.constructor import DuplicateKeyError

        fault = _yaml_fault(text, error)
        if not isinstance(error, DuplicateKeyError):
            raise fault from None
    try:
        parsed = _Parsed(_load_yaml(text, allow_repeats=True), has_repeats=True)
    except Exception as error:
        raise _yaml_fault(text, error) from None

    from gage._internal.project.gage_file_places import find_places

    if not find_places("yaml", text).repeats:
        raise fault
    return parsed


def _load_yaml(text: str, allow_repeats: bool) -> Any:
    import warnings

    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.allow_duplicate_keys = allow_repeats
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = yaml.load(text)
    # A file with nothing but comments is a Gage file with no operations, as it is in TOML.
    return {} if value is None else value


def _yaml_fault(text: str, error: Exception) -> _SyntaxFaultError:
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.reader import ReaderError

    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        line = mark.line + 1 if mark else 1
        return _SyntaxFaultError(line, f"not valid YAML: {reason}")
    if isinstance(error, ReaderError):
        line = text.count("\n", 0, error.position) + 1
        reason = f"character {quoted(text[error.position])} must be written as an escape"
        return _SyntaxFaultError(line, f"not valid YAML: {reason}")
    return _unreadable("YAML", error)


def _unreadable(language: str, error: Exception) -> _SyntaxFaultError:
    """Return the fault of a text that a parser gave up on without saying where."""
    reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    return _SyntaxFaultError(1, f"cannot be read as {language}: {reason}")


_PARSERS: Mapping[str, Callable[[str], _Parsed]] = {
    "toml": _parse_toml,
    "yaml": _parse_yaml,
    "json": _parse_json,
}


def _error(shown: str, kind: str, text: str, prefix: KeyPath, faults: list[Fault]) -> GageFileError:
    """Return the error that tells all faults, each with its line."""
    from gage._internal.project.gage_file_places import find_places

    places = find_places(kind, text)
    lines = [
        (repeat.line, f"{path_in_words(repeat.path)} is given twice", [repeat.first_line])
        for repeat in places.repeats
    ]
    for fault in faults:
        others = [places.line((*prefix, *path)) for path in fault.others]
        lines.append((places.line((*prefix, *fault.path)), fault.text, others))
    lines.sort(key=lambda fault: fault[0])
    told = [f"{shown}:{line}: {text}{_and_lines(others, line)}" for line, text, others in lines]
    if len(told) == 1:
        return GageFileError(told[0])
    return GageFileError("\n  ".join([f"{len(told)} faults in {shown}:", *told]))


def _and_lines(others: list[int], line: int) -> str:
    if not others:
        return ""
    *first, last = [str(number) for number in sorted({*others, line})]
    return f" (lines {', '.join(first)} and {last})" if first else f" (line {last})"


def _shortest(path: str) -> str:
    """Return the path relative to the current directory, if that is shorter."""
    path = os.path.abspath(path)
    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):
        return path
    return relative if len(relative) < len(path) else path
