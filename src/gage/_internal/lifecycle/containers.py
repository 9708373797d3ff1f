"""The command of a run in a container, by whichever engine is here.

The run directory is where it is outside, and the working directory. Of the environment the
container gets what is recorded for the run, its secrets by name, and nothing else; an engine passes
signals on to what it runs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gage._internal.errors import RuntimeFailed

ENGINES = ("podman", "docker", "apptainer")


class Container(NamedTuple):
    """What runs the commands of a run: the name of the engine, its path, and the image."""

    engine: str
    path: str
    image: str


def find_container(image: str) -> Container:
    """Return what runs an image here.

    Raises:
        RuntimeFailed: there is none of the engines.
    """
    import shutil

    for engine in ENGINES:
        path = shutil.which(engine)
        if path:
            return Container(engine, path, image)
    raise RuntimeFailed(
        f"the run needs a container engine, and there is no {', no '.join(ENGINES)} on PATH",
        "install one of them",
    )


def container_command(
    container: Container, run_dir: str, variables: Mapping[str, str], args: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """Return the arguments that run a command in a container, and variables for the engine.

    Values are in no arguments, which anybody on this machine can read.
    """
    if container.engine == "apptainer":
        words = ["exec", "--cleanenv", "--no-home", "--bind", run_dir, "--pwd", run_dir]
        env = {f"APPTAINERENV_{name}": value for name, value in variables.items()}
        return [container.path, *words, f"docker://{container.image}", *args], env
    words = ["run", "--rm", "--interactive", "--init", "--workdir", run_dir]
    # No other syntax takes a path with a colon in it.
    words += ["--mount", f"type=bind,source={run_dir},target={run_dir}"]
    if container.engine == "docker":
        # What it writes is to belong to whoever starts the run; podman sees to that itself.
        words += ["--user", f"{os.getuid()}:{os.getgid()}"]
    for name in sorted(variables):
        words += ["--env", name]
    # The command itself, and not what the image has in front of commands.
    words += ["--entrypoint", args[0]]
    return [container.path, *words, container.image, *args[1:]], dict(variables)
