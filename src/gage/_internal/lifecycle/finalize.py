"""Finalize a run that has ended: hook, summary, what it generated, and its logs read-only."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from gage._internal import clock, fs
from gage._internal.errors import GageError
from gage._internal.fs import Stamp, printable
from gage._internal.lifecycle.environment import SYSTEM, Environment
from gage._internal.lifecycle.hooks import run_env, run_hook
from gage._internal.lifecycle.masking import Mask
from gage._internal.store import layout, lock, manifest, meta, verified
from gage._internal.store.command_lines import FINALIZE, RUN, exec_part
from gage._internal.store.heartbeat import Heart
from gage._internal.store.logs import ADDED, DELETED, MODIFIED, FileEvent, log_action, log_files
from gage._internal.store.manifest import GENERATED, Entry, Manifest
from gage._internal.store.seal import seal_ended
from gage._internal.types import NOTHING, Run

if TYPE_CHECKING:
    from gage._internal.lifecycle.isolation.isolate import Isolation

# Microseconds. To wait for the disk is nothing after such a run, and much after a shorter one,
# which is soon run again where a power cut takes what it left.
_LONG = 10_000_000
_TAKEN_OVER = "another process has taken it over"


def finalize_run(
    run: Run,
    error: str | None = None,
    stamps: Mapping[str, Stamp] | None = None,
    secrets: Mapping[str, str] = NOTHING,
    environment: Environment = SYSTEM,
    isolation: Isolation | None = None,
    heart: Heart | None = None,
    *,
    hook: bool = True,
    summary: bool = True,
) -> str | None:
    """Write down what a run has ended with; return why it failed, apart from its exit status.

    `error` is what is known to have failed already. `stamps` tell the staged files as they were
    before the run; a file whose stamp is the same is not read again. `secrets` are for the hook,
    which has the run's `environment` and `isolation` too, and masked in all that is recorded;
    without `hook` there is none, and without `summary` none is written. The `heart` beats all the
    while; what another process has taken over meanwhile is left to it.

    Each part is tried whatever becomes of the others; the first failure is recorded. `stopped` is
    stamped last, after a long run when all is on disk, its results too; then the lock is given
    back.
    """
    data = meta.read_opdef(run).data
    mask = Mask(secrets.values())
    is_ours = heart.beat if heart else lambda: True
    meanwhile = heart.beating if heart else nullcontext
    command = exec_part(data.get("exec"), FINALIZE) if hook else None
    if command is not None:
        if not is_ours():
            return _TAKEN_OVER
        environs = secrets, environment, mask, isolation, meanwhile
        error = _try(run, lambda: _run_finalize_hook(run, command, *environs), error, mask)
    with meanwhile():
        if not is_ours():
            return _TAKEN_OVER
        if summary:
            error = _try(run, lambda: _write_summary(run, data, mask), error, mask)
        if not is_ours():
            return _TAKEN_OVER
        error = _try(run, lambda: _write_manifest(run, stamps or {}), error, mask)
        error, stopped = _seal(run, error)
    if not is_ours():
        fs.discard(stopped)
        return _TAKEN_OVER
    fs.put_in_place(stopped, layout.meta_path(run, layout.STOPPED))
    verified.forget(run)
    lock.release(run)
    return error


def _try(run: Run, part: Callable[[], None], error: str | None, mask: Mask) -> str | None:
    """Do a part; return the first error, which is what failed here only if there was none."""
    try:
        part()
    except (GageError, OSError, ValueError) as failure:
        log_action(run, mask.text(f"Failed: {failure}"))
        return error or mask.text(str(failure))
    return error


def _seal(run: Run, error: str | None) -> tuple[str | None, str]:
    """Record the error and seal what is recorded; return the first error, and the stamp to be."""
    if error is not None:
        meta.write_text(run, layout.ERROR, error)
    log_action(run, "Writing stopped")
    for name in (layout.RUNNER_LOG, layout.FILES_LOG, layout.PATCHED_LOG):
        if meta.has_meta(run, name):
            fs.make_read_only(layout.meta_path(run, name))
    stopped = meta.prepare_time(run, layout.STOPPED, clock.now())
    try:
        seal_ended(run, stopped)
        if _took_long(run):
            fs.sync(run.run_dir, layout.run_meta_dir(run))
    except (GageError, OSError) as failure:
        error = error or str(failure)
        meta.write_text(run, layout.ERROR, error)
        _seal_again(run, stopped)
    return error, stopped


def _seal_again(run: Run, stopped: str) -> None:
    try:
        seal_ended(run, stopped)
    except (GageError, OSError):
        # What went wrong is recorded; a run without a whole seal does not verify.
        pass


def _took_long(run: Run) -> bool:
    started = meta.find_time(run, layout.STARTED)
    return started is not None and clock.now() - started >= _LONG


def _run_finalize_hook(
    run: Run,
    command: Sequence[str],
    secrets: Mapping[str, str],
    environment: Environment,
    mask: Mask,
    isolation: Isolation | None,
    meanwhile: Callable[[], AbstractContextManager[object]],
) -> None:
    env = {**meta.read_cmd(run).env, **secrets, **run_env(run)}
    name = f"exec.{FINALIZE}"
    run_hook(run, FINALIZE, command, env, environment, name, mask, isolation, meanwhile)


def _write_summary(run: Run, data: Mapping[str, Any], mask: Mask) -> None:
    """Write the summary: the file that the run wrote, and what its output tells."""
    summary = _read_summary(run, data)
    patterns = data.get("output-summary")
    if patterns:
        summary.update(_output_summary(run, patterns))
    if summary:
        meta.write_meta(run, layout.SUMMARY, mask.data(meta.json_bytes(summary)))


def _read_summary(run: Run, data: Mapping[str, Any]) -> dict[str, Any]:
    name = layout.summary_file(data)
    try:
        text = fs.read_bytes(os.path.join(run.run_dir, name))
    except FileNotFoundError:
        # What nobody saw end had no time to.
        if "summary" in data and meta.has_meta(run, layout.EXIT):
            raise ValueError(f"the run has not written its summary, {printable(name)}") from None
        return {}
    try:
        summary = json.loads(text)
    except (ValueError, RecursionError) as error:
        if not meta.has_meta(run, layout.EXIT):
            # It was being written.
            return {}
        raise ValueError(f"{printable(name)} is not JSON: {error}") from None
    if not isinstance(summary, dict):
        raise ValueError(f"{printable(name)} is not a JSON object")
    return summary


def _output_summary(run: Run, patterns: Mapping[str, str]) -> dict[str, Any]:
    """Return, for each name, what its pattern's group matched last in a line of the output."""
    compiled = {name: re.compile(pattern) for name, pattern in patterns.items()}
    found: dict[str, Any] = {}
    if not os.path.exists(layout.output_path(run, RUN)):
        # Its runner was gone before it had opened that.
        return found
    with open(layout.output_path(run, RUN), "rb") as lines:
        for line in lines:
            text = line.decode(errors="surrogateescape")
            for name, pattern in compiled.items():
                match = pattern.search(text)
                if match and match.group(1) is not None:
                    found[name] = _number(match.group(1))
    for name in patterns.keys() - found.keys():
        log_action(run, f"Not found in the output: {name}")
    return found


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _write_manifest(run: Run, stamps: Mapping[str, Stamp]) -> None:
    """Add to the manifest and to the file log what the run generated, changed and removed."""
    staged = {entry.path: entry for entry in manifest.read_manifest(run).staged}
    found = fs.scan(run.run_dir)
    ended: list[Entry] = []
    events: list[FileEvent] = []
    for path in sorted(found, key=os.fsencode):
        known = staged.get(path)
        if known and stamps.get(path) == found[path]:
            continue
        entry = _find_entry(run, path, known.type if known else GENERATED)
        if entry is not None and entry != known:
            ended.append(entry)
            event = MODIFIED if known else ADDED
            events.append(FileEvent(event, entry.type, found[path].mtime_ns // 1000, path))
    events += [
        FileEvent(DELETED, staged[path].type, clock.now(), path)
        for path in sorted(staged.keys() - found.keys(), key=os.fsencode)
    ]
    superseded = {event.path for event in events}
    kept = tuple(e._replace(superseded=e.path in superseded) for e in staged.values())
    written = Manifest(kept, tuple(ended))
    manifest.write_manifest(run, written)
    log_files(run, events)
    for entry in written.changed():
        what = "Changed" if entry.path in found else "Removed"
        log_action(run, f"{what} by the run, which was staged with it: {entry.path}")


def _find_entry(run: Run, path: str, type_: str) -> Entry | None:
    """Return the entry of a file, or None (said in the runner log) for what has no content."""
    try:
        return manifest.entry_of(run.run_dir, path, type_)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        log_action(run, f"Not in the manifest: {path}: {reason}")
        return None
