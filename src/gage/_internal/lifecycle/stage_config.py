"""Apply config: patch the staged files to hold the values that are recorded for the run.

What is passed as arguments or environment variables was recorded with the command already.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from gage._internal import fs
from gage._internal.errors import ConfigFileError
from gage._internal.lifecycle.staged_files import StagedFiles
from gage._internal.project.config_formats import patch_config, read_config
from gage._internal.project.config_sources import (
    FILE,
    ConfigSource,
    as_json,
    config_names,
    config_sources,
    read_source_file,
)
from gage._internal.store import layout, meta
from gage._internal.store.logs import log_action
from gage._internal.types import OpDef, Run

# A carriage return ends no line for patch(1).
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
_ODD_CHARACTER = re.compile(rb'[\x00-\x1f\x7f"\\]')


def stage_config(run: Run, opdef: OpDef, files: StagedFiles) -> None:
    """Patch the config files of a run; what is changed is told in `log/patched`.

    Raises:
        ConfigFileError: a config file was not staged, or cannot be parsed.
        UnknownConfig, BadConfigValue: a value cannot be applied.
    """
    config = meta.read_config(run)
    if not config:
        return
    for path, sources in patched_files(opdef, run.run_dir).items():
        _patch(run, path, sources, config, files)


def patched_files(opdef: OpDef, root: str) -> dict[str, list[ConfigSource]]:
    """Return the files below `root` that config is applied to, each with its sources.

    A file is patched once, whatever number of sources it is: the second of two diffs of a file
    would not be of what was staged. Behind a link it is the file that the link leads to.
    """
    top = os.path.realpath(root)
    found: dict[str, list[ConfigSource]] = {}
    for source in config_sources(opdef, root):
        if source.kind == FILE:
            path = os.path.relpath(os.path.realpath(os.path.join(root, source.path)), top)
            found.setdefault(path, []).append(source)
    return found


def _patch(
    run: Run,
    path: str,
    sources: Sequence[ConfigSource],
    config: Mapping[str, Any],
    files: StagedFiles,
) -> None:
    if files.get(path) is None:
        raise ConfigFileError(
            f"config file {fs.printable(path)} is not among the staged files",
            "include it with sourcecode",
        )
    before = read_source_file(run.run_dir, path)
    after, names = patched(path, sources, before, config)
    if not names:
        return
    files.write(path, after)
    patch = unified_diff(path, before, after)
    fs.append_file(layout.meta_path(run, layout.PATCHED_LOG), patch)
    log_action(run, f"Applied config to {path}: {', '.join(names)}")


def patched(
    path: str, sources: Sequence[ConfigSource], before: bytes, config: Mapping[str, Any]
) -> tuple[bytes, list[str]]:
    """Return a config file's content with the values of a config, and the names that it changes.

    Raises:
        ConfigFileError: the file cannot be parsed.
        UnknownConfig, BadConfigValue: a value cannot be applied.
    """
    values = read_config(path, before)
    changes: dict[str, Any] = {}
    changed = []
    for source in sources:
        for name, config_name in config_names(source, values).items():
            found = values[name].value
            if config_name in config and not _is_same(found, config[config_name]):
                changes[name] = _like(config[config_name], found)
                changed.append(config_name)
    return (patch_config(path, before, changes) if changes else before), changed


def _is_same(found: Any, wanted: Any) -> bool:
    try:
        recorded = as_json(found)
    except ValueError:
        return False
    return type(recorded) is type(wanted) and bool(recorded == wanted)


def _like(wanted: Any, found: Any) -> Any:
    """Return a recorded value in the type of what it replaces: JSON has no tuples."""
    return tuple(wanted) if isinstance(found, tuple) and isinstance(wanted, list) else wanted


def unified_diff(path: str, before: bytes, after: bytes) -> bytes:
    """Return the difference of two contents of a file, as `patch` takes it."""
    import difflib

    lines = difflib.diff_bytes(
        difflib.unified_diff,
        _LINE.findall(before),
        _LINE.findall(after),
        _diff_name(b"a/" + os.fsencode(path)),
        _diff_name(b"b/" + os.fsencode(path)),
    )
    return b"".join(
        line if line.endswith(b"\n") else line + b"\n\\ No newline at end of file\n"
        for line in lines
    )


def _diff_name(name: bytes) -> bytes:
    """Return a file name as patch(1) and git read it: quoted as in C where it has odd characters.

    A blank needs no quotes, but a tab that ends the name.
    """
    if _ODD_CHARACTER.search(name):
        return b'"' + _ODD_CHARACTER.sub(lambda odd: b"\\%03o" % odd[0][0], name) + b'"'
    return name + b"\t" if b" " in name else name
