"""Rows of a batch that a file has: CSV, JSON, YAML or TOML.

A CSV file names config in its first line; what is below are the texts of values, as on a command
line, and nothing stands for the default. JSON and YAML hold a list of mappings, TOML one array of
tables; their values have the types that they are written with.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal import fs
from gage._internal.errors import BatchFileError

_FORMATS = "a .csv, .json, .yaml, .yml or .toml"


class BatchRow(NamedTuple):
    """What one row gives config names, and where it stands; texts where `is_text`."""

    values: Mapping[str, Any]
    place: str
    is_text: bool = False


def read_rows(path: str, shown: str) -> list[BatchRow]:
    """Return the rows of a batch file, which messages call `shown`.

    Raises:
        BatchFileError: it is not there, cannot be parsed, or has no rows.
    """
    shown = fs.printable(shown)
    read = _READERS.get(os.path.splitext(path)[1].lower())
    if read is None:
        raise BatchFileError(f"{shown} is not {_FORMATS} file", "its name has to end so")
    try:
        text = fs.read_bytes(path).decode("utf-8-sig")
    except OSError as error:
        raise BatchFileError(f"{shown}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BatchFileError(f"{shown} is not UTF-8: {error.reason}") from None
    if not text.strip():
        raise BatchFileError(f"{shown} is empty: there is nothing to stage")
    rows = list(read(text, shown))
    if not rows:
        raise BatchFileError(f"{shown} has no rows: there is nothing to stage")
    return rows


def _read_csv(text: str, shown: str) -> Iterator[BatchRow]:
    import csv

    # By itself, since a value may hold what other ends of lines there are.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        if not names or len(set(names)) < len(names) or "" in names:
            raise BatchFileError(f"{shown}:1: each column needs a name of its own")
        has_rows = False
        for cells in reader:
            place = f"{shown}:{reader.line_num}"
            if not cells:
                continue
            if len(cells) != len(names):
                raise BatchFileError(f"{place}: has {len(cells)} values for {len(names)} names")
            pairs = zip(names, cells, strict=True)
            yield BatchRow({name: cell for name, cell in pairs if cell}, place, is_text=True)
            has_rows = True
        if not has_rows:
            raise BatchFileError(
                f"{shown}:1: names {fs.printable(', '.join(names))}, and no row below has values",
                "each row is a run; without any there is nothing to stage",
            )
    except csv.Error as error:
        raise BatchFileError(f"{shown}:{reader.line_num}: {error}") from None


class _Twice(dict[str, Any]):
    """A table of JSON in which a name stands twice: the last value counts, unless that is told."""

    name: str


def _read_json(text: str, shown: str) -> Iterator[BatchRow]:
    try:
        found = json.loads(text, object_pairs_hook=_table)
        for number, row in enumerate(found if isinstance(found, list) else [], 1):
            twice = _find_twice(row)
            if twice is not None:
                name = fs.printable(twice)
                raise BatchFileError(f"{shown}, row {number}: gives {name} twice", "leave one out")
    except json.JSONDecodeError as error:
        raise BatchFileError(f"{shown}:{error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise BatchFileError(f"{shown}: {error}") from None
    yield from _tables(found, shown)


def _table(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    names = [name for name, _ in pairs]
    twice = _Twice(found)
    twice.name = next(name for name in names if names.count(name) > 1)
    return twice


def _find_twice(value: Any) -> str | None:
    """Return a name that stands twice in one table, somewhere in a value; None if none does."""
    if isinstance(value, _Twice):
        return value.name
    if not isinstance(value, (dict, list)):
        return None
    values = value.values() if isinstance(value, dict) else value
    found = (_find_twice(each) for each in values)
    return next((name for name in found if name is not None), None)


def _read_yaml(text: str, shown: str) -> Iterator[BatchRow]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        found = YAML(typ="safe", pure=True).load(text)
    # Besides its own errors, ruamel.yaml lets out whatever odd scalars make Python raise.
    except (YAMLError, ValueError, TypeError, RecursionError) as error:
        raise BatchFileError(f"{shown}: {error}") from None
    yield from _tables(found, shown)


def _read_toml(text: str, shown: str) -> Iterator[BatchRow]:
    import sys

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BatchFileError(f"{shown}: {error}") from None
    if len(found) > 1:
        raise BatchFileError(f"{shown} has more than one array of tables", "[[run]] for each row")
    yield from _tables(next(iter(found.values()), []), shown)


def _tables(found: Any, shown: str) -> Iterator[BatchRow]:
    rows = [] if found is None else found
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        raise BatchFileError(f"{shown} is not a list of rows, each with values by name")
    for number, row in enumerate(rows, 1):
        place = f"{shown}, row {number}"
        if not isinstance(row, Mapping):
            raise BatchFileError(f"{place}: is no values by name")
        yield BatchRow({str(name): value for name, value in row.items()}, place)


_READERS: Mapping[str, Callable[[str, str], Iterator[BatchRow]]] = {
    ".csv": _read_csv,
    ".json": _read_json,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".toml": _read_toml,
}
