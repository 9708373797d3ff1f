"""Environments made by uv, of what a project's lock file or requirements say.

`uv.lock` is taken as it is, and must agree with `pyproject.toml`; so is `pylock.toml`. What
`requirements*.txt` and `pyproject.toml` leave open is decided when the run is staged, by uv.

To ask uv takes as long as all the rest once the environment is there, so what it answers is kept
with all that this follows from. What it decided on versions holds for ten minutes at most, so that
the runs of a batch have the same, and the next morning has what is new.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from gage._internal import clock
from gage._internal.environments.bundles import Locked, provide_environment
from gage._internal.environments.installing import (
    entries_of,
    find_uv,
    is_requirement,
    run_tool,
)
from gage._internal.environments.interpreters import Interpreter, find_description
from gage._internal.environments.local_packages import build_wheel, copied_source
from gage._internal.environments.locks import (
    find_indexes,
    folders_to_build,
    is_locked,
    local_folders,
    may_be_built,
    needs_what_is_outside,
    pinned_requirements,
    read_pylock,
    reading,
    split_local,
)
from gage._internal.environments.seeding import fetch_wheels
from gage._internal.environments.vcs_versions import version_variables
from gage._internal.errors import RuntimeFailed
from gage._internal.fs import printable, read_bytes
from gage._internal.lifecycle.system.remembered import identity, remembered
from gage._internal.store.runtime_record import ENV, LOCK
from gage.plugins import Outline, Provided, RuntimeContext

_UV_LOCK = "uv.lock"
_PYLOCK = "pylock.toml"
_PROJECT = "pyproject.toml"
# Variables that choose a Python. Others may hold a password of an index, and are not kept.
_CHOOSING = ("UV_PYTHON", "UV_MANAGED", "UV_NO_MANAGED", "UV_CONFIG", "UV_NO_CONFIG", "PYENV_")
_CHOICE_FILES = (".python-version", ".python-versions", "uv.toml", _PROJECT)
_EXPORTING = ("UV_NO_DEV", "UV_DEV", "UV_NO_GROUP", "UV_NO_DEFAULT_GROUPS", "UV_NO_SOURCES")
_WHERE = ("UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME", "HOME")
# What an index answers may be another later; pages of PyPI are good for as long.
_SAME_FOR = 600
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
        with reading(name):
            if context.project_dir and needs_what_is_outside(os.path.join(folder, name)):
                # What lies beside the project does not lie beside the run.
                folder = context.project_dir
            interpreter = _find_interpreter(uv, folder, name, settings.get("python"))
            variables = _version_variables(folder, name, context)
            requirements, local = _locked(uv, folder, name, interpreter, settings, variables)
            indexes = find_indexes(os.path.join(folder, name))
        projects = [
            _build(os.path.join(os.path.dirname(name), path), folder, context, interpreter, uv)
            for path in local
        ]
        locked = Locked(
            interpreter,
            requirements,
            projects,
            uv,
            _can_be_moved(uv, interpreter),
            os.path.join(folder, os.path.dirname(name)),
            indexes,
        )
        return provide_environment(
            "uv",
            settings.get("bundle", ENV),
            locked,
            lambda listed, tree: fetch_wheels(listed, tree, interpreter, uv, indexes),
            context.notice,
        )

    def outline(self, settings: Mapping[str, Any], context: RuntimeContext) -> Outline:
        """Return what `provide` would make the environment of.

        Raises:
            RuntimeFailed: there is nothing.
        """
        return Outline(settings.get("bundle", ENV), _find_source(settings, context)[1])


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

    def ask() -> str:
        words = [uv, "python", "find", "--system", *([wanted] if wanted else [])]
        return run_tool(words, f"find Python {wanted}" if wanted else "find a Python", cwd).strip()

    path = remembered("uv python find", [uv, identity(uv), wanted, *_choices(cwd)], ask)
    if not identity(path):
        # It was removed, where nothing of the above changes by that.
        path = ask()
    found = remembered("interpreter at", [path, identity(path)], lambda: find_description(path))
    if found is None:
        raise RuntimeFailed(f"{printable(path)} is no Python that works")
    return Interpreter(*found)


def _choices(cwd: str) -> list[Any]:
    """Return all by which uv chooses a Python for a directory, wherever that lies."""
    found: list[Any] = sorted(each for each in os.environ.items() if each[0].startswith(_CHOOSING))
    found += [[folder, identity(folder)] for folder in os.get_exec_path()]
    home = os.path.expanduser("~")
    config = os.environ.get("XDG_CONFIG_HOME", os.path.join(home, ".config"))
    pyenv = os.environ.get("PYENV_ROOT", os.path.join(home, ".pyenv"))
    files = (config, "uv", "uv.toml"), ("/etc", "uv", "uv.toml"), (pyenv, "version")
    found += [identity(os.path.join(*parts)) for parts in files]
    folder = os.path.abspath(cwd)
    while True:
        found += [digest for name in _CHOICE_FILES if (digest := _content(folder, name))]
        if folder == os.path.dirname(folder):
            return found
        folder = os.path.dirname(folder)


def _content(folder: str, name: str) -> str:
    try:
        return name + hashlib.sha256(read_bytes(os.path.join(folder, name))).hexdigest()
    except OSError:
        return ""


def _version_variables(folder: str, name: str, context: RuntimeContext) -> dict[str, str]:
    """Return the variables that tell local packages their versions while a list is made."""
    variables: dict[str, str] = {}
    for path in folders_to_build(os.path.join(folder, name)):
        inside = os.path.normpath(os.path.join(os.path.dirname(name), path))
        origin = os.path.join(context.project_dir or folder, inside)
        variables |= version_variables(os.path.join(folder, inside), origin)
    return variables


def _locked(
    uv: str,
    folder: str,
    name: str,
    interpreter: Interpreter,
    settings: Mapping[str, Any],
    variables: Mapping[str, str],
) -> tuple[bytes, Sequence[str]]:
    """Return the list of what is to be installed, and the directories of what is to be built."""
    if not may_be_built(os.path.join(folder, name)):
        return _lock(uv, folder, name, interpreter, settings, variables)
    # What is built may write beside its source.
    with copied_source(folder) as copy:
        return _lock(uv, copy, name, interpreter, settings, variables)


def _lock(
    uv: str,
    folder: str,
    name: str,
    interpreter: Interpreter,
    settings: Mapping[str, Any],
    own: Mapping[str, str],
) -> tuple[bytes, Sequence[str]]:
    chosen = [word for extra in settings.get("extras", ()) for word in ("--extra", extra)]
    chosen += [word for group in settings.get("groups", ()) for word in ("--group", group)]
    path = os.path.join(folder, name)
    kind = os.path.basename(name)
    cwd = os.path.dirname(path)
    if kind == _UV_LOCK:
        manifests = [_content(os.path.join(cwd, each), _PROJECT) for each in local_folders(path)]
        depends_on: list[Any] = [
            uv,
            identity(uv),
            _content(cwd, kind),
            _content(cwd, _PROJECT),
            manifests,
        ]

        def export() -> str:
            words = ["export", *_EXPORT, "--locked", "--no-editable", *chosen]
            words += ["--format", "requirements.txt", "--python", interpreter.path]
            return run_tool([uv, *words], f"take {printable(name)}", cwd, own)

        variables = [os.environ.get(each) for each in _EXPORTING]
        text = remembered("uv export", [*depends_on, chosen, interpreter, variables], export)
        requirements, local = split_local(text, cwd, interpreter)
        return requirements.encode(), local
    if kind.startswith("pylock.") and kind.endswith(".toml"):
        extras, groups = settings.get("extras", ()), settings.get("groups", ())
        return read_pylock(path, interpreter, extras, groups)
    if kind.endswith(".txt") and is_locked(read_bytes(path)):
        return read_bytes(path), []
    words = ["pip", "compile", *_EXPORT, "--generate-hashes", *chosen]
    # A list alone is to do for other platforms too.
    words += ["--universal"] if settings.get("bundle") == LOCK else []
    words += ["--python", interpreter.path, kind]

    def decide() -> str:
        return run_tool([uv, *words], f"decide on versions for {printable(name)}", cwd, own)

    if kind.endswith(".txt") and not _names_files(path):
        slot = clock.now() // 1_000_000 // _SAME_FOR
        facts = [
            slot,
            uv,
            identity(uv),
            words,
            _content(cwd, kind),
            _settings(),
            _choices(cwd),
        ]
        text = remembered("uv pip compile", facts, decide)
    else:
        text = decide()
    requirements, local = split_local(text, cwd, interpreter)
    if kind == _PROJECT and local_folders(path):
        local = [".", *local]
    return pinned_requirements(requirements), local


def _names_files(path: str) -> bool:
    """Tell whether a list of requirements may name other files, or packages on this machine."""
    entries = filter(is_requirement, entries_of(read_bytes(path).decode(errors="replace")))
    return any(re.search(r"^\s*[-./]|[/\\]|file:", entry) for entry in entries)


def _settings() -> str:
    """Return a digest of all variables that uv may go by; some hold passwords."""
    variables = [each for each in os.environ.items() if each[0].startswith(("UV_", "SSL_"))]
    return hashlib.sha256(os.fsencode(repr(sorted(variables)))).hexdigest()


def _build(
    path: str, folder: str, context: RuntimeContext, interpreter: Interpreter, uv: str
) -> str:
    """Return the path of a wheel of the package in a directory, relative to `folder`.

    What does not lie in the run is taken from where it is beside the project. A wheel is one.
    """
    if path.endswith(".whl"):
        return os.path.join(folder, path)
    inside = os.path.normpath(path)
    if folder == context.run_dir and not inside.startswith((os.pardir, "/")):
        digest = context.digest(inside)
        source = os.path.normpath(os.path.join(folder, inside))
        variables = version_variables(source, os.path.join(context.project_dir or folder, inside))
        return build_wheel(source, digest, interpreter, uv, context.notice, variables)
    beside = os.path.normpath(os.path.join(context.project_dir or folder, path))
    variables = version_variables(beside, beside)
    return build_wheel(beside, "", interpreter, uv, context.notice, variables)


def _can_be_moved(uv: str, interpreter: Interpreter) -> bool:
    """Tell whether an interpreter is one that uv has installed: these are made to be moved."""
    variables = [os.environ.get(name) for name in _WHERE]
    home = remembered(
        "uv python dir",
        [uv, identity(uv), *variables],
        lambda: run_tool([uv, "python", "dir"], "tell where it keeps Pythons").strip(),
    )
    return interpreter.prefix.startswith(os.path.realpath(home) + os.sep)
