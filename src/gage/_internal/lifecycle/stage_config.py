"""Apply config: patch the staged files to hold the values that are recorded for the run.

What is passed as arguments or environment variables was recorded with the command already.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from gage._internal import fs
from gage._internal.catalog.patches import unified_diff
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
