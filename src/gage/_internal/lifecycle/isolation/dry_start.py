"""A dry start: what a run would find where nothing is but what it may rely on.

The run stays as it is: its directory can be read and not written, and what a probe makes goes to a
directory of its own. An environment that needs a link to an interpreter is put together beside it.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from gage._internal import fs
from gage._internal.errors import NotStaged
from gage._internal.fs import printable
from gage._internal.lifecycle.elf import find_elf
from gage._internal.lifecycle.environment import Environment, find_environment, without_foreign
from gage._internal.lifecycle.execute import CannotExecute, Ended, StopSignals, execute
from gage._internal.lifecycle.isolation.import_phase import find_import_phase
from gage._internal.lifecycle.isolation.isolate import (
    Isolation,
    describe_reached,
    isolate,
    make_own,
)
from gage._internal.lifecycle.isolation.options import Isolated
from gage._internal.lifecycle.system.compare import check_system
from gage._internal.lifecycle.system.programs import find_program, programs_of, shebang_of
from gage._internal.store import meta, status
from gage._internal.store.command_lines import split_command
from gage._internal.types import Run

# Of what a probe prints, the end is kept.
_MOST_PRINTED = 1 << 20
_SHELL_FAILED = 126
_ERROR_LINES = 3


class DryStart(NamedTuple):
    """What came of a dry start.

    `what` was executed or looked for, in words. `error` says why the run is not independent, or
    that what was tried failed; None where all is well. `reached` are files outside, `output` the
    end of what was printed; the rest is as `proc/sealed` has it.
    """

    what: str
    exit_code: int
    error: str | None
    reached: Sequence[str]
    output: bytes
    rung: str
    network: str
    watched: bool


def sealed_probe(
    run: Run,
    probe: str | Sequence[str] | None = None,
    wanted: Isolated = Isolated(),  # noqa: B008 - it is a value
) -> DryStart:
    """Start a staged run dry, sealed: `probe`, a command, or else its own import phase.

    Of a command that is no Python its programs are looked for, with the libraries they load.

    Raises:
        NotStaged: the run is not staged.
        RuntimeFailed: its environment cannot be made ready here.
        IncompatibleSystem: it needs what this system does not have.
        CannotIsolate: no rung works here, or the one that is wanted does not.
        RunDamaged: its meta files cannot be understood.
    """
    meta.check_schema(run)
    found = status.run_status(run)
    if found != status.STAGED:
        raise NotStaged(f"run {run.id} cannot be started dry: it is {found}")
    command = meta.read_cmd(run)
    check_system(run)
    # Nothing that a probe does is taken for what the run does.
    tried = Run(str(uuid.uuid4()), run.run_dir)
    with ExitStack() as stack:
        environment, more = stack.enter_context(_put_together(find_environment(run)))
        isolation = stack.enter_context(isolate(tried, environment, wanted, False, more))
        own = {"PYTHONDONTWRITEBYTECODE": "1", **command.env, **environment.variables}
        own.update(RUN_ID=tried.id, RUN_DIR=run.run_dir)
        env = isolation.variables(without_foreign(os.environ, environment), own)
        place = _Place(tried, isolation, env)
        if probe is not None:
            args = split_command(probe) if isinstance(probe, str) else list(probe)
            return _answer(isolation, " ".join(args), _try(place, args))
        imports = find_import_phase(command.args)
        if imports:
            what = "imports of " + " ".join(command.args)
            return _answer(isolation, what, _try(place, imports))
        programs = programs_of(command.args)
        return _answer(isolation, ", ".join(programs), _look(place, programs))


class _Place(NamedTuple):
    """Where commands are tried: as which run, in what, with which variables."""

    run: Run
    isolation: Isolation
    env: Mapping[str, str]


class _Tried(NamedTuple):
    """What came of one command: exit status, what it printed, what it reached, what failed."""

    exit_code: int
    output: bytes = b""
    reached: Sequence[str] = ()
    error: str | None = None


def _answer(isolation: Isolation, what: str, tried: _Tried) -> DryStart:
    error = tried.error
    if tried.reached:
        error = describe_reached(tried.reached)
    elif error is None and tried.exit_code:
        lines = tried.output.decode(errors="replace").strip().splitlines()[-_ERROR_LINES:]
        error = f"exited with {tried.exit_code}" + "".join(f"\n  {printable(x)}" for x in lines)
    facts = isolation.as_json()
    return DryStart(
        what,
        tried.exit_code,
        error,
        list(tried.reached),
        tried.output,
        str(facts["rung"]),
        str(facts["network"]),
        bool(facts["watched"]),
    )


def _try(place: _Place, args: Sequence[str]) -> _Tried:
    """Execute a command to its end."""
    printed = bytearray()

    def take(stream: str, data: bytes) -> None:
        printed.extend(data)
        del printed[:-_MOST_PRINTED]

    run, isolation, env = place
    error = None
    with StopSignals() as signals:
        try:
            ended = execute(args, run.run_dir, env, take, run.id, signals, isolation.spawn)
        except CannotExecute as failure:
            ended, error = Ended(str(failure.exit_code)), str(failure)
    reached = isolation.close(ended, lambda: bytes(printed))
    if ended.signal == "SIGINT":
        raise KeyboardInterrupt
    return _Tried(status.exit_code(ended.exit_text), bytes(printed), reached, error)


def _look(place: _Place, programs: Sequence[str]) -> _Tried:
    """Look for programs, the interpreters of scripts, and the libraries that they load."""
    run, isolation, env = place
    waiting = list(programs)
    seen: set[str] = set()
    while waiting:
        name = waiting.pop(0)
        path = os.path.join(run.run_dir, name) if os.sep in name else name
        found = find_program(path, env, run.run_dir)
        if found is None or not isolation.has(found):
            tried = _try(place, [name])
            return tried._replace(exit_code=tried.exit_code or _SHELL_FAILED)
        if found in seen:
            continue
        seen.add(found)
        words = shebang_of(found)
        if words:
            # `env` starts what it is told to.
            is_env = os.path.basename(words[0]) == "env" and len(words) == 2
            waiting += words if is_env else words[:1]
            continue
        loader = _loader_of(found)
        if loader:
            tried = _try(place, [loader, "--list", found])
            if tried.exit_code or tried.reached:
                return tried
    return _Tried(0)


def _loader_of(path: str) -> str:
    """Return the loader that finds libraries for a program; empty where it needs none."""
    try:
        with open(path, "rb") as file:
            elf = find_elf(file.fileno())
    except OSError:
        return ""
    paths = elf.paths if elf else ()
    return next((each.path for each in paths if each.entry == "interpreter"), "")


@contextmanager
def _put_together(environment: Environment) -> Iterator[tuple[Environment, Sequence[str]]]:
    """Return an environment with the links it lacks, and what is to be there for that.

    They are not made in the run, which somebody else may be starting.
    """
    if not environment.links:
        yield environment, ()
        return
    tree = environment.variables["VIRTUAL_ENV"]
    own = make_own()
    other = os.path.join(own, "environment")
    try:
        os.makedirs(os.path.join(other, "bin"))
        for name in os.listdir(tree):
            full = os.path.join(tree, name)
            if name == "pyvenv.cfg":
                shutil.copy(full, other)
            elif name != "bin":
                os.symlink(full, os.path.join(other, name))
        for link in environment.links:
            os.symlink(environment.interpreter, os.path.join(other, "bin", os.path.basename(link)))
        # A script looks for the Python that lies beside it.
        for name in _names_in(os.path.join(tree, "bin")):
            if not os.path.lexists(os.path.join(other, "bin", name)):
                full = os.path.join(tree, "bin", name)
                shutil.copy2(full, os.path.join(other, "bin", name), follow_symlinks=False)
        variables = {
            name: value.replace(tree, other) if name in ("PATH", "VIRTUAL_ENV") else value
            for name, value in environment.variables.items()
        }
        yield environment._replace(variables=variables, links=()), [other]
    finally:
        fs.remove_tree(own)


def _names_in(folder: str) -> list[str]:
    # An environment without a script may have no such directory until it is linked.
    return os.listdir(folder) if os.path.isdir(folder) else []
