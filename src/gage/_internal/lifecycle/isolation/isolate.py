"""Choose a rung, start commands in it, and tell what they reached outside of it."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from gage._internal import fs, proc
from gage._internal.errors import CannotIsolate
from gage._internal.fs import printable
from gage._internal.lifecycle.environment import Environment
from gage._internal.lifecycle.execute import CannotExecute, Ended, cannot_execute
from gage._internal.lifecycle.isolation import bubblewrap, kernel, landlock, namespaces
from gage._internal.lifecycle.isolation.child import (
    CannotEnter,
    Child,
    Entrance,
    Waiting,
    fork_child,
)
from gage._internal.lifecycle.isolation.options import (
    BUBBLEWRAP,
    LANDLOCK,
    NAMESPACES,
    RUNGS,
    Isolated,
)
from gage._internal.lifecycle.isolation.view import (
    HOME_NAME,
    TEMPORARY,
    View,
    make_view,
    visible_variables,
)
from gage._internal.lifecycle.isolation.watch import Reached, Watch
from gage._internal.lifecycle.system.programs import find_program
from gage._internal.store import layout, meta
from gage._internal.store.logs import log_action
from gage._internal.types import NOTHING, Run

_NAME = "gage-sealed"
# Of what a run printed, as much is searched where nobody could look at what it opened.
_LAST_BYTES = 1 << 20
_PATHS = rb"'(/[^'\n]+)'|\"(/[^\"\n]+)\"|(/[^\s'\":;,()<>\[\]]+)"


class _Rung(NamedTuple):
    """A rung that works here: how commands get there, and by what they are watched, if they are.

    `program` is in front of them, and `waiting` is a child that is there already.
    """

    name: str
    entrance: Entrance
    reached: Reached
    watch: Watch | None
    program: str = ""
    waiting: Waiting | None = None


class Isolation:
    """Starts commands of a run where nothing is but what its view has."""

    def __init__(self, run: Run, view: View, rung: _Rung, network: bool) -> None:
        self._run = run
        self._view = view
        self._rung = rung
        self._network = network
        has_own_tree = rung.name != LANDLOCK
        self._temporary = TEMPORARY[0] if has_own_tree else os.path.join(view.own, "tmp")
        self._reached = rung.reached
        self._watch = rung.watch
        self._waiting = rung.waiting
        self._has_started = False

    @property
    def words(self) -> str:
        """How the run is sealed, for the log."""
        network = "" if self._network else ", without network"
        watched = "" if self._watch else "; nobody can look at what it opens here"
        return f"Isolated by {self._rung.name}{network}{watched}"

    def as_json(self) -> dict[str, str | bool]:
        """Return how the run is sealed, as it is recorded."""
        network = "open" if self._network else "closed"
        return {"rung": self._rung.name, "network": network, "watched": self._watch is not None}

    def variables(self, inherited: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a command, less what would lead to what is hidden."""
        return visible_variables(inherited, own, self._view, self._temporary)

    def spawn(self, args: Sequence[str], cwd: str, env: Mapping[str, str]) -> Child:
        """Start a command sealed.

        Raises:
            CannotExecute: it is missing there, or cannot be executed.
        """
        self._look_for(args[0], cwd, env)
        self._has_started = True
        words = list(args)
        if self._rung.program:
            words = bubblewrap.wrapped(self._rung.program, self._view, self._network, args)
        try:
            waiting, self._waiting = self._waiting or self._fork(), None
            return waiting.become(words, cwd, env)
        except CannotEnter as error:
            raise CannotExecute(f"{args[0]}: not sealed: {error}", 126) from None
        except (OSError, ValueError) as error:
            raise cannot_execute(args, cwd, error) from None

    def record(self) -> None:
        """Write down how the run is sealed."""
        log_action(self._run, self.words)
        meta.write_json(self._run, layout.SEALED, self.as_json())

    def has(self, path: str) -> bool:
        """Tell whether what a path leads to is there."""
        return self._view.shows(path)

    def close(self, ended: Ended, printed: Callable[[], bytes]) -> list[str]:
        """End what is left of a command; return the files outside that it reached.

        `printed` returns the end of what it printed. A next command can be started then.
        """
        self.stop()
        if ended.exit_text != "0" and (self._watch is None or self._reached.is_blind):
            for path in _paths_in(printed()):
                self._reached.judge(path)
        reached = list(self._reached.paths)
        self._reached.paths.clear()
        return reached

    def stop(self) -> None:
        """End what is left of the run, and the watch."""
        if self._has_started:
            proc.send_signal(proc.run_processes(self._run.id), signal.SIGKILL)
        self._has_started = False
        if self._waiting:
            self._waiting.discard()
            self._waiting = None
        if self._watch:
            self._watch.close()

    def _fork(self) -> Waiting:
        return _enter(self._rung.entrance, self._watch)

    def _look_for(self, program: str, cwd: str, env: Mapping[str, str]) -> None:
        """Make sure that a program is there; what is in its place outside counts as reached."""
        found = find_program(os.path.join(cwd, program) if os.sep in program else program, env, cwd)
        if found and self._view.shows(found):
            return
        outside = found or find_program(program, NOTHING, cwd)
        if outside:
            self._reached.judge(outside)
            where = printable(outside)
            raise CannotExecute(f"{program}: is not there for a sealed run, only in {where}", 127)
        if os.sep in program and os.path.lexists(os.path.join(cwd, program)):
            # It is there and cannot be executed: let the system say so.
            return
        raise CannotExecute(f"{program}: command not found", 127)


@contextmanager
def isolate(
    run: Run,
    environment: Environment,
    wanted: Isolated,
    is_writable: bool = True,
    more: Sequence[str] = (),
) -> Iterator[Isolation]:
    """Return what starts commands of a run sealed; where it keeps files for that is removed.

    The other arguments are those of `make_view`.

    Raises:
        CannotIsolate: no rung works here, or the one that is wanted does not.
        RunDamaged: a meta file cannot be understood.
    """
    if environment.container:
        raise CannotIsolate(
            "the run is executed in a container, whose engine is not there for a sealed run",
            "start it without --sealed: the container is as good a proof",
        )
    if wanted.rung not in (None, *RUNGS):
        raise CannotIsolate(f"there is no rung {wanted.rung}", f"the rungs are {', '.join(RUNGS)}")
    own = make_own()
    try:
        view = make_view(run, environment, own, wanted.hidden, is_writable, more)
        isolation = Isolation(run, view, _choose(view, wanted), wanted.network)
        try:
            yield isolation
        finally:
            isolation.stop()
    finally:
        _remove(own)


def make_own() -> str:
    """Return a new directory for what a sealed run has of its own."""
    place = os.path.realpath(os.environ.get("TMPDIR") or TEMPORARY[0])
    for name in os.listdir(place):
        # Of a runner that was killed.
        if fs.find_name_beside(name) == _NAME and fs.is_abandoned(name):
            _remove(os.path.join(place, name))
    own = fs.path_beside(os.path.join(place, _NAME))
    os.mkdir(own, 0o700)
    os.makedirs(os.path.join(own, "tmp", HOME_NAME))
    os.mkdir(os.path.join(own, "root"))
    return own


def _remove(own: str) -> None:
    try:
        fs.remove_tree(own)
    except OSError:
        # What stays of it lies where temporary files do.
        pass


def _choose(view: View, wanted: Isolated) -> _Rung:
    reasons = []
    for name in (wanted.rung,) if wanted.rung else RUNGS:
        try:
            return _ENTRANCES[name](view, wanted.network)
        except CannotEnter as error:
            reasons.append(f"{name}: {error}")
    raise CannotIsolate(
        "a run cannot be sealed here: " + "; ".join(reasons),
        "install bubblewrap, or allow user namespaces; Landlock comes with Linux 5.13",
    )


def _namespaces(view: View, network: bool) -> _Rung:
    return _forked(NAMESPACES, view, lambda mapping: namespaces.enter(view, network, mapping))


def _landlock(view: View, network: bool) -> _Rung:
    return _forked(LANDLOCK, view, lambda mapping: landlock.enter(view, network))


def _forked(name: str, view: View, enter: Callable[[Callable[[], None]], None]) -> _Rung:
    """Return a rung that a child has entered, where it waits for the command."""
    machine = kernel.find_machine()
    if machine is None:
        raise CannotEnter("is not known for this system")
    reached = Reached(view, name == LANDLOCK)
    watch = Watch(machine, reached)
    entrance = Entrance(enter)
    waiting = _enter(entrance, watch)
    return _Rung(name, entrance, reached, watch if waiting.is_watched else None, "", waiting)


def _enter(entrance: Entrance, watch: Watch | None) -> Waiting:
    waiting = fork_child(entrance)
    try:
        waiting.attend(watch.attend if watch else os.close)
    except BaseException:
        if watch:
            watch.close()
        raise
    return waiting


def _bubblewrap(view: View, network: bool) -> _Rung:
    program = bubblewrap.find_bubblewrap()
    if program is None:
        raise CannotEnter("is not installed")
    words = bubblewrap.wrapped(program, view, network, ["true"])
    machine = kernel.find_machine()
    reason = ""
    # Where it has rights of its own by its file, who looks at it takes them.
    for is_watched in (True, False) if machine else (False,):
        reached = Reached(view, False)
        watch = Watch(machine, reached) if machine and is_watched else None
        entrance = Entrance(lambda mapping: None, is_watched, bubblewrap.ignore_signals)
        reason = _said_by(entrance, words, view, watch)
        reached.paths.clear()
        if not reason:
            has_watched = watch is not None and watch.has_attended
            return _Rung(BUBBLEWRAP, entrance, reached, watch if has_watched else None, program)
    raise CannotEnter(reason)


def _said_by(entrance: Entrance, words: Sequence[str], view: View, watch: Watch | None) -> str:
    """Return what a command says that does not work; empty where it does."""
    try:
        child = _enter(entrance, watch).become(words, view.run_dir, os.environ)
        with child.stdout, child.stderr:
            said = child.stderr.read()
            code = child.wait()
    except OSError as error:
        return error.strerror or str(error)
    finally:
        if watch:
            watch.close()
    if code == 0:
        return ""
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exited with {code}"


_ENTRANCES: Mapping[str, Callable[[View, bool], _Rung]] = {
    NAMESPACES: _namespaces,
    BUBBLEWRAP: _bubblewrap,
    LANDLOCK: _landlock,
}


def last_printed(run: Run, phase: str) -> bytes:
    """Return the end of what a phase of a run printed."""
    try:
        with open(layout.output_path(run, phase), "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST_BYTES))
            return file.read()
    except OSError:
        return b""


def _paths_in(text: bytes) -> list[str]:
    """Return the absolute paths that a text names."""
    found = (next(filter(None, match.groups())) for match in re.finditer(_PATHS, text))
    return list(dict.fromkeys(map(os.fsdecode, found)))


def describe_reached(paths: Sequence[str]) -> str:
    """Return in words that a run reached files outside, the reason first."""
    named = [printable(path) for path in paths]
    if len(named) == 1:
        return f"the run reached {named[0]}, which is outside of what it may rely on"
    lines = "".join(f"\n  {path}" for path in named)
    return f"the run reached {len(named)} files outside of what it may rely on:{lines}"
