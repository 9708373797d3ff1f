"""Get the environment of a run ready where it starts.

One that the run has is linked to an interpreter of this machine, if it has none. One that comes as
a file, or as a list, is unpacked or made in the cache, once a machine. What was made for another
patch level or platform is made anew of its list, and the log says so.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from gage._internal import fs
from gage._internal.caches import cache_dir
from gage._internal.environments.archives import unpack_tree
from gage._internal.environments.bytecode import compile_modules
from gage._internal.environments.installing import Wanted, find_uv, install
from gage._internal.environments.interpreters import (
    Interpreter,
    find_interpreter,
    interpreter_of,
    iter_interpreters,
)
from gage._internal.environments.kept import KeptTree, keep_tree, root_of, waiting
from gage._internal.environments.prefixes import read_named, rename_in_files
from gage._internal.environments.relocation import (
    interpreter_links,
    link_interpreter,
    make_relocatable,
)
from gage._internal.errors import RuntimeFailed
from gage._internal.lifecycle.containers import find_container
from gage._internal.lifecycle.environment import SYSTEM, Environment, Notice
from gage._internal.store import meta
from gage._internal.store.logs import counted, log_action
from gage._internal.store.runtime_record import (
    ARCHIVE,
    CONDA,
    ENV,
    ENVIRONMENT,
    IMAGE,
    RuntimeRecord,
    find_runtime_record,
)
from gage._internal.types import Run

_FORMAT = "1"


def prepare_environment(run: Run, notice: Notice) -> Environment:
    """Return the environment of a run, ready but for the link to its interpreter.

    `notice` is told where that takes long.

    Raises:
        RuntimeFailed: there is no interpreter for it here, or it cannot be made.
        RunDamaged: what is recorded of it cannot be understood.
    """
    record = find_runtime_record(run)
    if record is None:
        return SYSTEM
    if record.bundle == IMAGE:
        return Environment(container=find_container(record.path))
    # What the operation sets is in front of what is inherited, and behind the environment.
    path = meta.read_cmd(run).env.get("PATH") or os.environ.get("PATH", os.defpath)
    if record.name == CONDA:
        get = _unpacked if record.bundle == ARCHIVE else _made_by_conda
        kept = get(run, record, notice)
        variables = {"CONDA_PREFIX": kept, "PATH": f"{kept}/bin{os.pathsep}{path}"}
        return Environment(variables, kept=kept)
    if record.bundle != ENV:
        kept = (_unpacked if record.bundle == ARCHIVE else _made)(run, record, notice)
        return Environment(_variables(kept, path), kept=kept)
    tree = os.path.join(run.run_dir, record.path)
    if record.python.get("is_staged"):
        return Environment(_variables(tree, path))
    interpreter = _find_interpreter(record)
    links = [os.path.join(tree, name) for name in interpreter_links(interpreter)]
    return Environment(_variables(tree, path), links, interpreter.path)


def _variables(tree: str, path: str) -> dict[str, str]:
    return {"VIRTUAL_ENV": tree, "PATH": f"{tree}/bin{os.pathsep}{path}"}


def _find_interpreter(record: RuntimeRecord) -> Interpreter:
    wanted = interpreter_of(record.python)
    found = find_interpreter(wanted)
    if found is None:
        raise RuntimeFailed(
            f"the environment of the run needs {wanted.words} or another {wanted.series}, and there"
            " is none on PATH",
            f"install Python {wanted.series}, or put the one that is there on PATH",
        )
    return found


def _unpacked(run: Run, record: RuntimeRecord, notice: Notice) -> str:
    """Return the directory of an environment that comes as one file."""
    is_staged = bool(record.python.get("is_staged"))
    interpreter = None if is_staged else _find_interpreter(record)

    many = counted(len(record.packages), "package")

    def make(tree: str) -> Mapping[str, Any]:
        notice(f"unpacking the environment of {many}")
        unpack_tree(os.path.join(run.run_dir, record.path), tree)
        if interpreter:
            link_interpreter(tree, interpreter)
        if record.named:
            named = read_named(os.path.join(run.run_dir, record.named))
            rename_in_files(tree, named, root_of(key))
        return {"what": f"environment of {many}, unpacked"}

    # Files may name the directory, which another one has if the cache is moved.
    facts = interpreter and interpreter.path, record.named and cache_dir()
    key = _key(ARCHIVE, record.sha256, *filter(None, facts))
    kept = keep_tree(key, make, waiting(notice))
    if kept.is_new:
        log_action(run, f"Unpacked {record.path}")
    return kept.root


def _made(run: Run, record: RuntimeRecord, notice: Notice) -> str:
    """Return the directory of an environment that is made of a list."""
    wanted = interpreter_of(record.python)
    interpreter = find_interpreter(wanted) or _find_other(record, wanted)
    listed = os.path.join(run.run_dir, record.path)
    projects = [os.path.join(run.run_dir, path) for path in record.projects]
    wheels = os.path.join(run.run_dir, record.wheels) if record.wheels else None

    def make(tree: str) -> Mapping[str, Any]:
        many = counted(sum(b"==" in line for line in lines), "package")
        notice(f"making the environment of {many} for {interpreter.words}")
        needed = Wanted(listed, projects, wheels, indexes=record.indexes)
        install(tree, interpreter, needed, find_uv())
        make_relocatable(tree, interpreter, with_interpreter=False)
        link_interpreter(tree, interpreter)
        compile_modules(tree, interpreter.path, ENVIRONMENT)
        return {"what": f"environment of a list for {interpreter.words}"}

    lines = fs.read_bytes(listed).splitlines()
    digests = [hashlib.sha256(fs.read_bytes(path)).hexdigest() for path in (listed, *projects)]
    key = _key(record.bundle, *digests, interpreter.path, *interpreter.facts().values())
    kept: KeptTree = keep_tree(key, make, waiting(notice))
    made = "Made" if kept.is_new else "Took"
    log_action(run, f"{made} the environment of {record.path} with {interpreter.words}")
    if interpreter.facts() != wanted.facts():
        log_action(run, f"It was staged with {wanted.words} ({wanted.suffix})")
    return kept.root


def _made_by_conda(run: Run, record: RuntimeRecord, notice: Notice) -> str:
    """Return the directory of an environment that is made of an explicit list."""
    from gage._internal.environments.conda import (
        TOOLS,
        find_tool,
        make_conda_environment,
        subdir_here,
    )

    listed = os.path.join(run.run_dir, record.path)
    if record.platform not in ("", subdir_here()):
        raise RuntimeFailed(
            f"the conda packages of the run are for {record.platform}, and this is {subdir_here()}"
        )
    tool = find_tool()

    def make(tree: str) -> Mapping[str, Any]:
        if tool is None:
            raise RuntimeFailed(
                f"the environment of the run is made by {', '.join(TOOLS[:-1])} or {TOOLS[-1]},"
                " and there is none of these on PATH",
                "install micromamba",
            )
        many = counted(
            sum(b"://" in line for line in fs.read_bytes(listed).splitlines()), "package"
        )
        notice(f"making the environment of {many} of conda")
        made = make_conda_environment(tree, listed, root_of(key), tool)
        return {"what": f"environment of {counted(len(made.packages), 'package')} of conda"}

    digest = hashlib.sha256(fs.read_bytes(listed)).hexdigest()
    key = _key(record.bundle, CONDA, digest, cache_dir())
    kept = keep_tree(key, make, waiting(notice))
    for path in kept.facts["mentions"] if kept.is_new else ():
        log_action(run, f"Noticed: {path} of the environment names where it was made")
    by = f" by {os.path.basename(tool)}" if tool and kept.is_new else ""
    log_action(run, f"{'Made' if kept.is_new else 'Took'} the environment of {record.path}{by}")
    return kept.root


def _find_other(record: RuntimeRecord, wanted: Interpreter) -> Interpreter:
    """Return an interpreter of the same series, built otherwise or for another platform."""
    names = [f"python{wanted.series}", "python3", "python"]
    for found in iter_interpreters(names):
        if (found.implementation, found.series) == (wanted.implementation, wanted.series):
            return found
    return _find_interpreter(record)


def _key(*facts: Any) -> str:
    return hashlib.sha256(json.dumps([_FORMAT, *facts]).encode()).hexdigest()[:32]
