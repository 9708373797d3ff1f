"""Stage what a run was staged with once more, with other config: the old run is a prototype.

The project is not needed. What config had changed in the files is taken back, then the new values
are applied; the command is made anew of the operation as it was defined. The runtime, and what
dependencies and hooks brought, are those of the old run.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from gage._internal import fs
from gage._internal.catalog.patches import Hunk, parse_patches, taken_back, unified_diff
from gage._internal.errors import ConfigFileError, RunChanged
from gage._internal.fs import printable
from gage._internal.lifecycle.rerun import Old, fill_from, read_old
from gage._internal.lifecycle.stage_config import patched, patched_files
from gage._internal.project.config_sources import config_sources, read_defaults
from gage._internal.project.operations import Operation
from gage._internal.store import layout, meta
from gage._internal.store.logs import MODIFIED, FileEvent, log_action, log_files
from gage._internal.store.manifest import Entry
from gage._internal.types import Run


class Proto(NamedTuple):
    """A run that others are staged from: its operation, and the config that it had.

    The defaults of the operation are those of its files before config was applied.
    """

    operation: Operation
    config: Mapping[str, Any]
    old: Old
    patches: Mapping[str, Sequence[Hunk]]

    def fill(self, run: Run) -> None:
        """Do all to stage an initialized run, with its own config, but to call it staged.

        Raises:
            RunChanged: the files of the old run are not those that it was staged with.
            UnknownConfig, BadConfigValue, ConfigFileError: the config cannot be applied.
        """
        original = self.old.run
        meta.write_text(run, layout.PROTO, original.id)
        log_action(run, f"Staging what run {original.id} was staged with, with other config")
        fill_from(run, self.old, self._configure)

    def _configure(self, run: Run, entries: Sequence[Entry]) -> Sequence[Entry]:
        config = meta.read_config(run)
        sources = patched_files(self.old.opdef, run.run_dir)
        by_path = {entry.path: entry for entry in entries}
        for path in dict.fromkeys([*self.patches, *sources]):
            if path not in by_path:
                raise ConfigFileError(
                    f"config file {printable(path)} is not among the files of run {self.old.run.id}"
                )
            now = fs.read_bytes(f"{run.run_dir}/{path}")
            before = _taken_back(self.old.run, path, now, self.patches.get(path, ()))
            after, names = patched(path, sources.get(path, ()), before, config)
            if after != now:
                by_path[path] = _rewrite(run, by_path[path], after)
            if names:
                diff = unified_diff(path, before, after)
                fs.append_file(layout.meta_path(run, layout.PATCHED_LOG), diff)
                log_action(run, f"Applied config to {path}: {', '.join(names)}")
        return list(by_path.values())


@contextmanager
def read_proto(original: Run) -> Iterator[Proto]:
    """Yield a run as one that others can be staged from.

    Raises:
        NotStaged: it never was staged.
        RunChanged: its files are not those that it was staged with.
        RunDamaged: its meta files cannot be read.
        ConfigFileError: its config files cannot be parsed.
    """
    old = read_old(original)
    try:
        patches = parse_patches(old.patched or b"")
    except ValueError as error:
        raise meta.damaged(original, layout.PATCHED_LOG, str(error)) from None
    with tempfile.TemporaryDirectory(prefix="gage-") as folder:
        for source in config_sources(old.opdef, original.run_dir):
            _put_before(original, source.path, patches, folder)
        sources = config_sources(old.opdef, folder)
        operation = Operation(old.opref, old.opdef, read_defaults(sources), sources)
        yield Proto(operation, old.config, old, patches)


def _put_before(
    original: Run, path: str, patches: Mapping[str, Sequence[Hunk]], folder: str
) -> None:
    """Write a config file of a run, as it was before config was applied, below a folder."""
    try:
        data = fs.read_bytes(os.path.join(original.run_dir, path)) if path else None
    except OSError:
        # It is found missing where it is read.
        return
    if data is None:
        return
    top = os.path.realpath(original.run_dir)
    real = os.path.relpath(os.path.realpath(os.path.join(top, path)), top)
    target = os.path.join(folder, path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    fs.replace_file(target, _taken_back(original, real, data, patches.get(real, ())), 0o600)


def _taken_back(original: Run, path: str, data: bytes, hunks: Sequence[Hunk]) -> bytes:
    try:
        return taken_back(data, hunks)
    except ValueError as error:
        raise RunChanged(
            f"run {original.id} cannot be staged from: {printable(path)}: {error}",
            "stage it from its project again",
        ) from None


def _rewrite(run: Run, entry: Entry, data: bytes) -> Entry:
    full = f"{run.run_dir}/{entry.path}"
    fs.replace_file(full, data, entry.mode)
    modified = os.lstat(full).st_mtime_ns // 1000
    log_files(run, [FileEvent(MODIFIED, entry.type, modified, entry.path)])
    return entry._replace(size=len(data), sha256=hashlib.sha256(data).hexdigest())
