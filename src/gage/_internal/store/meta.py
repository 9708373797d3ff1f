"""Files of a meta directory: written once, read with clear errors."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from gage._internal import fs
from gage._internal.errors import NewerSchema, RunDamaged
from gage._internal.fs import printable
from gage._internal.store import layout
from gage._internal.types import OpCmd, OpDef, OpRef, Run

_PERCENT = re.compile(rb"%([0-9A-F]{2})")
# The last microsecond of the year 9999, the last that Python can tell the date of.
_LATEST = 253_402_300_799_999_999


def write_meta(run: Run, name: str, data: bytes) -> None:
    """Write a meta file, read-only, making the directory it lies in."""
    path = layout.meta_path(run, name)
    try:
        fs.replace_file(path, data)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path))
        fs.replace_file(path, data)


def write_text(run: Run, name: str, text: str) -> None:
    """Write a meta file of one line."""
    write_meta(run, name, os.fsencode(text) + b"\n")


def write_json(run: Run, name: str, value: Any) -> None:
    """Write a meta file of JSON."""
    write_meta(run, name, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    r"""Return `value` as indented UTF-8 JSON with a final newline.

    A byte that was not UTF-8 where it came from stays a lone surrogate, `\udcNN`: JSON's own
    escape, so that the file is UTF-8 and nothing is lost.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def write_time(run: Run, name: str, time_us: int) -> None:
    """Write a timestamp file: integer microseconds since the epoch."""
    write_text(run, name, str(time_us))


def prepare_time(run: Run, name: str, time_us: int) -> str:
    """Write a timestamp file beside its place, for `fs.put_in_place`; return where."""
    return fs.write_beside(layout.meta_path(run, name), b"%d\n" % time_us)


def read_depends(run: Run) -> list[dict[str, Any]]:
    """Return what is known of the dependencies of a run, an object for each; none if it has none.

    Raises:
        RunDamaged: the file cannot be understood.
    """
    data = find_meta(run, layout.DEPENDS)
    if data is None:
        return []
    records = _parse_json(run, layout.DEPENDS, data)
    if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
        raise damaged(run, layout.DEPENDS, "is not a list of objects")
    return records


def look_again(run: Run) -> None:
    """Make what is told next of files that are not there true now.

    A network file system remembers for up to a minute that there was no file, unless one looks at
    the directory.
    """
    try:
        os.listdir(layout.run_meta_dir(run))
    except OSError:
        pass


def has_meta(run: Run, name: str) -> bool:
    """Tell whether a meta file exists."""
    return os.path.exists(layout.meta_path(run, name))


def read_meta(run: Run, name: str) -> bytes:
    """Return a meta file's bytes.

    Raises:
        RunDamaged: the file is missing or cannot be read.
    """
    try:
        return fs.read_bytes(layout.meta_path(run, name))
    except OSError as error:
        raise _unreadable(run, name, error) from None


def find_meta(run: Run, name: str) -> bytes | None:
    """Return a meta file's bytes, or None where there is none.

    Raises:
        RunDamaged: the file cannot be read.
    """
    try:
        return fs.read_bytes(layout.meta_path(run, name))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(run, name, error) from None


def read_text(run: Run, name: str) -> str:
    """Return the line of a one-line meta file."""
    return _line(run, name, read_meta(run, name))


def _line(run: Run, name: str, data: bytes) -> str:
    if not data.endswith(b"\n"):
        raise damaged(run, name, "has no whole line")
    return os.fsdecode(data[:-1])


def find_text(run: Run, name: str) -> str | None:
    """Return the line of a one-line meta file, or None where there is none."""
    data = find_meta(run, name)
    return None if data is None else _line(run, name, data)


def read_json(run: Run, name: str) -> Any:
    """Return the value of a JSON meta file."""
    return _parse_json(run, name, read_meta(run, name))


def _parse_json(run: Run, name: str, data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise damaged(run, name, f"is not JSON: {error}") from None


def find_time(run: Run, name: str) -> int | None:
    """Return a timestamp (microseconds since the epoch), or None where it is not stamped."""
    data = find_meta(run, name)
    if data is None:
        return None
    try:
        time = int(data)
    except ValueError:
        time = -1
    if not 0 <= time <= _LATEST:
        raise damaged(run, name, "is not a time")
    return time


def check_schema(run: Run) -> None:
    """Make sure that this Gage can read the run.

    Raises:
        RunDamaged: the schema is missing or no number.
        NewerSchema: the run was written by a newer Gage.
    """
    text = read_text(run, layout.SCHEMA)
    if not text.isascii() or not text.isdigit():
        raise damaged(run, layout.SCHEMA, "is not a number")
    if int(text) > layout.SCHEMA_VERSION:
        raise NewerSchema(
            f"run {run.id} has schema {text}; this Gage reads up to {layout.SCHEMA_VERSION}",
            "use the Gage that wrote it, or a newer one",
        )


def read_opref(run: Run) -> OpRef:
    """Return which operation a run executes."""
    namespace, colon, name = read_text(run, layout.OPREF).partition(":")
    if not colon:
        raise damaged(run, layout.OPREF, "has no colon")
    return OpRef(_decode_part(namespace), _decode_part(name))


def encode_opref(opref: OpRef) -> str:
    """Return an op ref as its one line: `namespace:name`, percent-encoded where needed."""
    return f"{_encode_part(opref.namespace)}:{_encode_part(opref.name)}"


def _encode_part(text: str) -> str:
    return (
        "".join(
            f"%{byte:02X}" if byte < 0x20 or byte in b"%:\x7f" else chr(byte)
            for byte in os.fsencode(text)
        )
        .encode("latin-1")
        .decode("utf-8", "surrogateescape")
    )


def _decode_part(text: str) -> str:
    return os.fsdecode(_PERCENT.sub(lambda m: bytes([int(m[1], 16)]), os.fsencode(text)))


def read_opdef(run: Run) -> OpDef:
    """Return how the operation of a run is defined."""
    return OpDef(read_opref(run).name, _read_table(run, layout.OPDEF))


def read_cmd(run: Run) -> OpCmd:
    """Return what starts a run."""
    args = read_json(run, layout.CMD)
    if not isinstance(args, list) or not args or not all(isinstance(arg, str) for arg in args):
        raise damaged(run, layout.CMD, "is not a list of strings")
    env = _read_table(run, layout.ENV)
    if not all(isinstance(value, str) for value in env.values()):
        raise damaged(run, layout.ENV, "has values that are not strings")
    return OpCmd(args, env)


def read_config(run: Run) -> Mapping[str, Any]:
    """Return the config of a run; empty where it has none."""
    return _find_table(run, layout.CONFIG) or {}


def find_summary(run: Run) -> Mapping[str, Any]:
    """Return the summary of a finished run; empty where there is none."""
    return _find_table(run, layout.SUMMARY) or {}


def _read_table(run: Run, name: str) -> Mapping[str, Any]:
    return _parse_table(run, name, read_meta(run, name))


def _find_table(run: Run, name: str) -> Mapping[str, Any] | None:
    data = find_meta(run, name)
    return None if data is None else _parse_table(run, name, data)


def _parse_table(run: Run, name: str, data: bytes) -> Mapping[str, Any]:
    table = _parse_json(run, name, data)
    if not isinstance(table, dict):
        raise damaged(run, name, "is not a JSON object")
    return table


def _unreadable(run: Run, name: str, error: OSError) -> RunDamaged:
    return damaged(run, name, f"cannot be read: {error.strerror}")


def damaged(run: Run, name: str, what: str) -> RunDamaged:
    """Return the error for a meta file that cannot be understood."""
    return RunDamaged(f"run {run.id} is damaged: {printable(name)} {what}")
