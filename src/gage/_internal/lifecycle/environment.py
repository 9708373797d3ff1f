"""An environment that is ready for a command: the variables that lead there, and its interpreter.

Where the environment has no interpreter of its own, it is linked to one of this machine. The link
is there while the run executes only: nothing that stays with the run names a path of a machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

from gage._internal import fs
from gage._internal.lifecycle.containers import Container
from gage._internal.store import layout, meta
from gage._internal.types import NOTHING, Run

# Is told what whoever waits should know, in sentences.
Notice = Callable[[str], None]

_FOREIGN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX")


class Environment(NamedTuple):
    """Variables for the command; links to make, and the interpreter that they lead to.

    With a `container` the command runs in that. `kept` is a tree of the cache that is to stay there
    while the command runs.
    """

    variables: Mapping[str, str] = NOTHING
    links: Sequence[str] = ()
    interpreter: str = ""
    container: Container | None = None
    kept: str = ""


# What the system has, with nothing in front of it.
SYSTEM = Environment()


def find_environment(run: Run, notice: Notice = lambda sentence: None) -> Environment:
    """Return the environment that a run's commands have, made ready if need be.

    `notice` is told in sentences what takes long.

    Raises:
        RuntimeFailed: it cannot be made ready here.
        RunDamaged: what is recorded of it cannot be understood.
    """
    if not meta.has_meta(run, layout.RUNTIME):
        return SYSTEM
    from gage._internal.lifecycle.start_environment import prepare_environment

    return prepare_environment(run, notice)


@contextmanager
def linked(environment: Environment) -> Iterator[None]:
    """Link an environment to its interpreter, and keep it, for as long as the context lasts.

    Raises:
        OSError: the links cannot be made; that they cannot be removed is no error.
    """
    with _held(environment.kept):
        folders = {os.path.dirname(link) for link in environment.links}
        made = [folder for folder in folders if not os.path.isdir(folder)]
        try:
            for folder in made:
                os.mkdir(folder)
            for link in environment.links:
                # A process that was killed left it.
                fs.remove_file(link)
                os.symlink(environment.interpreter, link)
            yield
        finally:
            for link in environment.links:
                _remove(os.unlink, link)
            for folder in made:
                _remove(os.rmdir, folder)


def _held(root: str) -> AbstractContextManager[None]:
    if not root:
        return nullcontext()
    from gage._internal.environments.kept import holding

    return holding(root)


def _remove(remove: Callable[[str], None], path: str) -> None:
    """Remove a link or a directory; a run may have taken the right to do so, or have done it."""
    try:
        remove(path)
    except FileNotFoundError:
        pass
    except OSError:
        try:
            folder = os.path.dirname(path)
            os.chmod(folder, os.stat(folder).st_mode | 0o700)
            remove(path)
        except OSError:
            pass


def without_foreign(variables: Mapping[str, str], environment: Environment) -> dict[str, str]:
    """Return inherited variables less those that put packages in front of an environment's own."""
    if not environment.variables:
        return dict(variables)
    return {name: value for name, value in variables.items() if name not in _FOREIGN}
