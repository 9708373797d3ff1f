"""Packages as files, for environments that are made where there is no network.

uv has no command that fetches wheels, so pip does it in either case; where pip is not at hand, in
an environment of its own that is there for this only.
"""

from __future__ import annotations

import os
import tempfile

from gage._internal.environments.installing import run_tool
from gage._internal.environments.interpreters import Interpreter

# What uv and pip call the index that packages are taken from.
_INDEXES = (("UV_DEFAULT_INDEX", "PIP_INDEX_URL"), ("UV_INDEX_URL", "PIP_INDEX_URL"))


def fetch_wheels(listed: str, target: str, interpreter: Interpreter, uv: str | None) -> None:
    """Put wheels of all that a list of requirements has into a directory.

    What there is no wheel of is built.

    Raises:
        RuntimeFailed: something cannot be fetched or built.
    """
    if not os.path.getsize(listed):
        return
    env = {pip: os.environ[own] for own, pip in _INDEXES if own in os.environ}
    with tempfile.TemporaryDirectory() as folder:
        seed = os.path.join(folder, "seed")
        if uv:
            words = [uv, "venv", "--quiet", "--no-project", "--seed"]
            run_tool([*words, "--python", interpreter.path, seed], "make an environment for pip")
        else:
            run_tool([interpreter.path, "-m", "venv", seed], "make an environment for pip")
        words = [os.path.join(seed, "bin", "python"), "-I", "-m", "pip", "wheel", "--quiet"]
        words += ["--disable-pip-version-check", "--no-deps", "--require-hashes"]
        run_tool([*words, "-r", listed, "--wheel-dir", target], "fetch packages", folder, env)
