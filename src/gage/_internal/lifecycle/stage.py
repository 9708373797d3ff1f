"""Stage a run: fill the run directory, phase by phase, and vouch for what is in it.

The order is part of the contract. Config patches source that was copied; a runtime may need
configured source; dependencies may need the runtime; the manifest comes after everything.
Everything comes from the run's own meta files and the project.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from gage._internal import clock, fs
from gage._internal.errors import GageError, StageFailed
from gage._internal.lifecycle.digests import Digests, digests_path
from gage._internal.lifecycle.environment import find_environment
from gage._internal.lifecycle.hooks import run_env, run_hook
from gage._internal.lifecycle.leaks.credentials import find_credentials, told
from gage._internal.lifecycle.leaks.find import find_leaks, find_natives
from gage._internal.lifecycle.leaks.places import Places, find_places
from gage._internal.lifecycle.masking import Mask
from gage._internal.lifecycle.secret_values import find_secrets, secret_names
from gage._internal.lifecycle.stage_config import stage_config
from gage._internal.lifecycle.stage_dependencies import stage_dependencies
from gage._internal.lifecycle.stage_runtime import StagedRuntime, stage_runtime
from gage._internal.lifecycle.stage_sourcecode import freeze_sourcecode, stage_sourcecode
from gage._internal.lifecycle.staged_files import StagedFiles
from gage._internal.lifecycle.system.capture import capture_system
from gage._internal.lifecycle.system.derive import Calls, Staged, derive_requirements, find_calls
from gage._internal.lifecycle.system.uncommitted import Diff
from gage._internal.project.source_rules import matcher
from gage._internal.store import layout, lock, manifest, meta
from gage._internal.store.command_lines import exec_part
from gage._internal.store.failure import record_failed_staging
from gage._internal.store.logs import log_action, log_actions
from gage._internal.store.manifest import DEPENDENCY, RUNTIME, SOURCE, Manifest
from gage._internal.store.requirements import write_requirements
from gage._internal.store.seal import seal_staged
from gage._internal.types import OpDef, Run, as_patterns

if TYPE_CHECKING:
    from gage._internal.lifecycle.elf import Elf
    from gage._internal.lifecycle.freeze import Frozen
    from gage.plugins import Progress

_HOOKED = ("sourcecode", "runtime", "dependencies")


def stage_run(
    run: Run,
    project_dir: str | None = None,
    *,
    durable: bool = True,
    strict: bool = False,
    share: bool = False,
    notice: Callable[[str], None] = lambda sentence: None,
    progress: Progress = lambda what, done, total: None,
) -> None:
    """Stage an initialized run from a project; without one only hooks can fill it.

    `durable` waits until all is on disk before the run is called staged. Without it the lock is
    kept for a start in this process, so that what a power cut leaves is never called staged.
    `notice` is told, in sentences, what whoever stages should know, such as which files were left
    out; `progress` is told what is downloaded, its bytes so far, and of how many, where known.
    `strict` makes what would break elsewhere an error, where it is a notice otherwise.
    `share` links files that did not change since the last run of the operation instead of copying
    them, but where a hook may write to them.

    Raises:
        FileNotFoundError: the run directory or the meta directory does not exist.
        StageFailed: the run was staged before, or is not initialized.
        GageError, OSError: a phase failed; the run is `failed`, with the reason in its meta.
    """
    _check_initialized(run)
    with recording_failure(run):
        digests = fill_run(run, project_dir, strict, share, notice, progress)
        call_staged(run, durable)
    digests.write()
    let_go(run, durable)


def fill_run(
    run: Run,
    project_dir: str | None,
    strict: bool,
    share: bool,
    notice: Callable[[str], None],
    progress: Progress,
    frozen: Frozen | None = None,
) -> Digests:
    """Do all of a staging but to call the run staged; see `stage_run`.

    With `frozen` what lies there is staged, and the run is one of a batch.
    """
    opdef = meta.read_opdef(run)
    places = find_places(run.run_dir, project_dir)
    digests = Digests()
    if frozen is None:
        digests = _find_digests(run, opdef, project_dir, places.needles(), share)
    is_writable = matcher(as_patterns(opdef.data.get("writable")))
    files = StagedFiles(run, is_writable, places.needles(), digests, frozen)
    with nullcontext(frozen.diff) if frozen else Diff(project_dir) as diff:
        stage_sourcecode(run, opdef, project_dir, files, notice, frozen)
        _run_phase_hook(run, opdef, project_dir, files, "sourcecode", SOURCE)
        stage_config(run, opdef, files)
        may_link = not has_hook(opdef)
        runtime = stage_runtime(run, opdef, project_dir, files, notice, may_link, frozen)
        _run_phase_hook(run, opdef, project_dir, files, "runtime", RUNTIME)
        stage_dependencies(run, opdef, project_dir, files, notice, progress, frozen)
        _run_phase_hook(run, opdef, project_dir, files, "dependencies", DEPENDENCY)
        natives = _find_leaks(run, opdef, project_dir, places, files, strict, notice, frozen)
        calls = _derive_requirements(run, opdef, files, natives, runtime)
        if project_dir is not None:
            packages = runtime.packages
            capture_system(run, calls.python, calls.interpreter, packages, diff, _mask(opdef))
    files.freeze()
    manifest.write_manifest(run, Manifest(files.entries()))
    log_action(run, "Writing staged")
    return digests


def freeze_source(
    home: str, opdef: OpDef, project_dir: str, frozen: Frozen, notice: Callable[[str], None]
) -> None:
    """Freeze the source code of a project as it is now, and what git says of it.

    Raises:
        SourceRefused: a file cannot be staged; the message names it.
    """
    needles = find_places(home, project_dir).needles()
    for sentence in freeze_sourcecode(opdef, project_dir, home, needles, frozen):
        notice(sentence)
    frozen.diff.read(_mask(opdef))


def _find_digests(
    run: Run, opdef: OpDef, project_dir: str | None, needles: Sequence[bytes], share: bool
) -> Digests:
    if project_dir is None:
        return Digests()
    path = digests_path(os.path.dirname(run.run_dir), project_dir, opdef.name)
    return Digests(path, run.run_dir, needles, share and not has_hook(opdef))


def has_hook(opdef: OpDef) -> bool:
    """Tell whether staging runs a command, which may write to any file."""
    return any(exec_part(opdef.data.get("exec"), f"stage-{phase}") for phase in _HOOKED)


def call_staged(run: Run, durable: bool) -> None:
    """Stamp `staged`: all that it vouches for is written, and on disk where it is durable."""
    staged = seal_run(run)
    try:
        if durable:
            fs.sync(run.run_dir, layout.run_meta_dir(run))
            lock.release(run)
    except BaseException:
        fs.discard(staged)
        raise
    fs.put_in_place(staged, layout.meta_path(run, layout.STAGED))


def seal_run(run: Run) -> str:
    """Seal a run that is to be called staged; return where the stamp lies until then."""
    staged = meta.prepare_time(run, layout.STAGED, clock.now())
    try:
        seal_staged(run, staged)
    except BaseException:
        fs.discard(staged)
        raise
    return staged


def let_go(run: Run, durable: bool) -> None:
    """Let whoever is to start a staged run have it: anybody, or else only this process."""
    if durable:
        fs.sync(layout.run_meta_dir(run))
    else:
        lock.keep(run)
    lock.withdraw(run)


def _check_initialized(run: Run) -> None:
    meta_dir = layout.run_meta_dir(run)
    if not os.path.isdir(run.run_dir):
        raise FileNotFoundError(f"Run dir does not exist: {run.run_dir}")
    if not os.path.isdir(meta_dir):
        raise FileNotFoundError(f"Run meta dir does not exist: {meta_dir}")
    if not meta.has_meta(run, layout.INITIALIZED):
        raise StageFailed(f"run {run.id} is not initialized")
    for name in (layout.STAGED, layout.STOPPED):
        if meta.has_meta(run, name):
            raise StageFailed(f"run {run.id} is {name} already", "make another run")


@contextmanager
def recording_failure(run: Run) -> Iterator[None]:
    """Hold the lock; where what is done fails, leave the run `failed`, with the reason."""
    try:
        lock.acquire(run)
    except FileExistsError:
        raise StageFailed(f"run {run.id} is being staged by {lock.find_holder(run)}") from None
    try:
        yield
    except (GageError, OSError, KeyboardInterrupt) as error:
        try:
            record_failed_staging(run, str(error) or "staging was interrupted")
        except OSError:
            # What failed first is what is to be told; the rest is found when this process is gone.
            pass
        raise


def _run_phase_hook(
    run: Run,
    opdef: OpDef,
    project_dir: str | None,
    files: StagedFiles,
    phase: str,
    type_: str,
) -> None:
    name = f"stage-{phase}"
    command = exec_part(opdef.data.get("exec"), name)
    if command is None:
        return
    env = {**meta.read_cmd(run).env, **run_env(run)}
    if project_dir is not None:
        env["PROJECT_DIR"] = project_dir
    files.thaw()
    run_hook(run, phase, command, env, find_environment(run), f"exec.{name}", _mask(opdef))
    files.find_changes(type_)


def _mask(opdef: OpDef) -> Mask:
    names = secret_names(opdef.data)
    return Mask(find_secrets(names).values() if names else ())


def _find_leaks(
    run: Run,
    opdef: OpDef,
    project_dir: str | None,
    places: Places,
    files: StagedFiles,
    strict: bool,
    notice: Callable[[str], None],
    frozen: Frozen | None,
) -> Mapping[str, Elf]:
    """Tell of what would break elsewhere; return the native code that was come by."""
    search = find_leaks(run, opdef, project_dir, places, files)
    if search.leaks or search.unsearched:
        from gage._internal.lifecycle.leaks.report import report_leaks

        report_leaks(run, search.leaks, search.unsearched, strict, notice)
    credentials = find_credentials(run, files, frozen)
    if credentials:
        log_actions(run, [f"Looks like a secret: {found}" for found in credentials])
        notice(told(credentials))
    return search.natives


def _derive_requirements(
    run: Run,
    opdef: OpDef,
    files: StagedFiles,
    natives: Mapping[str, Elf],
    runtime: StagedRuntime,
) -> Calls:
    """Write what the run needs of a system; return which of its programs it calls."""
    paths: Mapping[str, object] = files.by_path()
    if runtime.packed:
        natives = {**natives, **find_natives(runtime.packed)}
        paths = {**paths, **runtime.packed}

    def locate(path: str) -> str:
        return runtime.packed.get(path) or f"{run.run_dir}/{path}"

    staged = Staged(paths, locate, natives, run.run_dir, runtime.programs)
    calls = find_calls(opdef, meta.read_cmd(run), staged)
    write_requirements(run, derive_requirements(opdef, calls, staged, runtime.requirements))
    return calls
