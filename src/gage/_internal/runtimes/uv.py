"""Environments made by uv, of what a project's lock file or requirements say.

`uv.lock` is taken as it is, and must agree with `pyproject.toml`; so is `pylock.toml`. What
`requirements*.txt` and `pyproject.toml` leave open is decided when the run is staged, by uv.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from typing import Any

from gage._internal.environments.bundles import Locked, provide_environment
from gage._internal.environments.installing import find_uv, run_tool
from gage._internal.environments.interpreters import Interpreter, find_description
from gage._internal.environments.local_packages import build_wheel, copied_source
from gage._internal.environments.locks import (
    has_dynamic_metadata,
    local_folders,
    pinned_requirements,
    read_pylock,
    split_local,
)
from gage._internal.environments.seeding import fetch_wheels
from gage._internal.errors import RuntimeFailed
from gage._internal.fs import printable
from gage._internal.store.runtime_record import ENV
from gage.plugins import Provided, RuntimeContext

_UV_LOCK = "uv.lock"
_PYLOCK = "pylock.toml"
_PROJECT = "pyproject.toml"
_EXPORT = ("--quiet", "--no-header", "--no-annotate")


class Uv:
    """Provides an environment that uv makes."""

    def provide(self, settings: Mapping[str, Any], context: RuntimeContext) -> Provided:
        """Return the environment of the project's lock file, or of the file that `from` names.

        Raises:
            RuntimeFailed: there is no such file, or uv cannot make the environment.
        """
        uv = find_uv()
        if uv is None:
            raise RuntimeFailed("uv is not installed", "pip install 'gage[uv]', or install uv")
        folder, name = _find_source(settings, context)
        interpreter = _find_interpreter(uv, folder, name, settings.get("python"))
        requirements, local = _locked(uv, folder, name, interpreter, settings)
        projects = [
            build_wheel(os.path.join(folder, path), _digest(context, folder, path), interpreter, uv)
            for path in local
        ]
        locked = Locked(interpreter, requirements, projects, uv, _can_be_moved(uv, interpreter))
        return provide_environment(
            "uv",
            settings.get("bundle", ENV),
            locked,
            lambda listed, tree: fetch_wheels(listed, tree, interpreter, uv),
            context.notice,
        )


def _find_source(settings: Mapping[str, Any], context: RuntimeContext) -> tuple[str, str]:
    """Return the file to take packages from: a directory, and its path there.

    The run has it with the config applied; what is no source of the run is in the project.
    """
    folders = [folder for folder in (context.run_dir, context.project_dir) if folder]
    if "from" in settings:
        for folder in folders:
            if os.path.isfile(os.path.join(folder, settings["from"])):
                return folder, settings["from"]
        raise RuntimeFailed(
            f"runtime: there is no {printable(settings['from'])}", "name a file of the project"
        )
    for folder in folders:
        lists = sorted(glob.glob("requirements*.txt", root_dir=folder))
        for name in (_UV_LOCK, _PYLOCK, *(["requirements.txt"] if lists else []), _PROJECT):
            if os.path.isfile(os.path.join(folder, name)):
                return folder, name
        if len(lists) == 1:
            return folder, lists[0]
        if lists:
            raise RuntimeFailed(
                f"runtime: {', '.join(map(printable, lists))} are all there, and none is"
                " requirements.txt",
                'say which: runtime = { name = "uv", from = "FILE" }',
            )
    raise RuntimeFailed(
        "runtime: the project has none of uv.lock, pylock.toml, requirements.txt, pyproject.toml",
        "uv lock writes one; or leave runtime out, to run with what the system has",
    )


def _find_interpreter(uv: str, folder: str, name: str, wanted: str | None) -> Interpreter:
    cwd = os.path.join(folder, os.path.dirname(name))
    words = [uv, "python", "find", "--system", *([wanted] if wanted else [])]
    path = run_tool(words, f"find Python {wanted}" if wanted else "find a Python", cwd).strip()
    found = find_description(path)
    if found is None:
        raise RuntimeFailed(f"{printable(path)} is no Python that works")
    return found


def _locked(
    uv: str, folder: str, name: str, interpreter: Interpreter, settings: Mapping[str, Any]
) -> tuple[bytes, Sequence[str]]:
    """Return the list of what is to be installed, and the directories of what is to be built."""
    if not has_dynamic_metadata(os.path.join(folder, os.path.dirname(name), _PROJECT)):
        return _lock(uv, folder, name, interpreter, settings)
    # To tell its metadata, such a project is built, which may write beside its source.
    with copied_source(folder) as copy:
        return _lock(uv, copy, name, interpreter, settings)


def _lock(
    uv: str, folder: str, name: str, interpreter: Interpreter, settings: Mapping[str, Any]
) -> tuple[bytes, Sequence[str]]:
    chosen = [word for extra in settings.get("extras", ()) for word in ("--extra", extra)]
    chosen += [word for group in settings.get("groups", ()) for word in ("--group", group)]
    path = os.path.join(folder, name)
    kind = os.path.basename(name)
    cwd = os.path.dirname(path)
    if kind == _UV_LOCK:
        words = ["export", *_EXPORT, "--locked", "--no-emit-local", *chosen]
        words += ["--format", "requirements.txt", "--python", interpreter.path]
        text = run_tool([uv, *words], f"take {printable(name)}", cwd)
        return text.encode(), local_folders(path)
    if kind.startswith("pylock.") and kind.endswith(".toml"):
        return read_pylock(path, settings.get("extras", ()), settings.get("groups", ()))
    words = ["pip", "compile", *_EXPORT, "--generate-hashes", *chosen]
    words += ["--python", interpreter.path, kind]
    text = run_tool([uv, *words], f"decide on versions for {printable(name)}", cwd)
    requirements, local = split_local(text, cwd)
    if kind == _PROJECT and local_folders(path):
        local = [".", *local]
    return pinned_requirements(requirements), local


def _digest(context: RuntimeContext, folder: str, path: str) -> str:
    """Return the digest of a directory's files where they are those of the run, else ""."""
    inside = os.path.normpath(path)
    if folder != context.run_dir or inside.startswith((os.pardir, "/")):
        return ""
    return context.digest(inside)


def _can_be_moved(uv: str, interpreter: Interpreter) -> bool:
    """Tell whether an interpreter is one that uv has installed: these are made to be moved."""
    home = run_tool([uv, "python", "dir"], "tell where it keeps Pythons").strip()
    return interpreter.prefix.startswith(os.path.realpath(home) + os.sep)
