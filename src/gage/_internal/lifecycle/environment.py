"""An environment that is ready for a command: the variables that lead there, and its interpreter.

Where the environment has no interpreter of its own, it is linked to one of this machine. The link
is there while the run executes only: nothing that stays with the run names a path of a machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from gage._internal import fs
from gage._internal.lifecycle.containers import Container
from gage._internal.store import layout, meta
from gage._internal.types import NOTHING, Run


class Environment(NamedTuple):
    """Variables for the command; links to make, and the interpreter that they lead to.

    With a `container` the command runs in that.
    """

    variables: Mapping[str, str] = NOTHING
    links: Sequence[str] = ()
    interpreter: str = ""
    container: Container | None = None


# What the system has, with nothing in front of it.
SYSTEM = Environment()


def find_environment(run: Run) -> Environment:
    """Return the environment that a run's commands have, made ready if need be.

    Raises:
        RuntimeFailed: it cannot be made ready here.
        RunDamaged: what is recorded of it cannot be understood.
    """
    if not meta.has_meta(run, layout.RUNTIME):
        return SYSTEM
    from gage._internal.lifecycle.start_environment import prepare_environment

    return prepare_environment(run)


@contextmanager
def linked(environment: Environment) -> Iterator[None]:
    """Link an environment to its interpreter for as long as the context lasts."""
    try:
        for link in environment.links:
            # A process that was killed left it.
            fs.remove_file(link)
            os.symlink(environment.interpreter, link)
        yield
    finally:
        for link in environment.links:
            fs.remove_file(link)
