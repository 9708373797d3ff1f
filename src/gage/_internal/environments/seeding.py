"""Packages as files, for environments that are made where there is no network.

uv has no command that fetches wheels, so pip does it in either case: the interpreter's own, or for
uv, whose interpreters may have none, one in an environment that is there for this only.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

from gage._internal.environments.installing import has_all_digests, pip_indexes, run_tool
from gage._internal.environments.interpreters import Interpreter
from gage._internal.errors import RuntimeFailed
from gage._internal.store.runtime_record import Index

# What uv and pip call the index that packages are taken from.
_INDEXES = (("UV_DEFAULT_INDEX", "PIP_INDEX_URL"), ("UV_INDEX_URL", "PIP_INDEX_URL"))


def fetch_wheels(
    listed: str,
    target: str,
    interpreter: Interpreter,
    uv: str | None,
    indexes: Sequence[Index] = (),
) -> None:
    """Put wheels of all that a list of requirements has into a directory.

    They are taken from `indexes` too. What there is no wheel of is built.

    Raises:
        RuntimeFailed: something cannot be fetched or built.
    """
    if not os.path.getsize(listed):
        return
    if not has_all_digests(listed):
        raise RuntimeFailed(
            "bundle = wheels needs a digest for each package, and one that is taken from version"
            " control has none",
            'use another bundle, such as "env"',
        )
    env = {pip: os.environ[own] for own, pip in _INDEXES if own in os.environ}
    with tempfile.TemporaryDirectory() as folder:
        python = interpreter.path
        if uv:
            python = os.path.join(folder, "seed", "bin", "python")
            words = [uv, "venv", "--quiet", "--no-project", "--seed", "--python", interpreter.path]
            run_tool([*words, os.path.join(folder, "seed")], "make an environment for pip")
        words = [python, "-I", "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
        # Older versions of pip would build by what is installed, which has no wheel.
        words += ["--use-pep517", "--no-deps", "--require-hashes"]
        words += [*pip_indexes(indexes), "-r", listed, "--wheel-dir", target]
        run_tool(words, "fetch packages", folder, env)
