"""Environments made by venv and pip, for where uv is not wanted."""

from __future__ import annotations

import json
import os
import shutil
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from gage._internal.environments.bundles import Locked, provide_environment
from gage._internal.environments.installing import run_tool
from gage._internal.environments.interpreters import Interpreter, find_description
from gage._internal.environments.local_packages import build_wheel, copied_source
from gage._internal.environments.locks import (
    find_indexes,
    local_folders,
    read_pylock,
    reading,
)
from gage._internal.environments.seeding import fetch_wheels
from gage._internal.environments.vcs_versions import version_variables
from gage._internal.errors import RuntimeFailed
from gage._internal.fs import printable
from gage._internal.store.runtime_record import ENV
from gage.plugins import Outline, Provided, RuntimeContext

_NAMES = ("pylock.toml", "requirements.txt", "pyproject.toml")


class Venv:
    """Provides an environment that venv makes and pip fills."""

    def provide(self, settings: Mapping[str, Any], context: RuntimeContext) -> Provided:
        """Return the environment of the file that `from` names, else of one that is there.

        Raises:
            RuntimeFailed: there is no such file, or the environment cannot be made.
        """
        folder, name = _find_source(settings, context)
        if settings.get("groups") and not os.path.basename(name).startswith("pylock."):
            raise RuntimeFailed("runtime: venv takes groups of pylock.toml only", 'use name = "uv"')
        interpreter = _find_interpreter(settings.get("python"))
        path = os.path.join(folder, name)
        with reading(name):
            indexes = find_indexes(path)
            if os.path.basename(name).startswith("pylock."):
                extras, groups = settings.get("extras", ()), settings.get("groups", ())
                requirements, local = read_pylock(path, interpreter, extras, groups)
            else:
                is_project = os.path.basename(name) == "pyproject.toml"
                own = _version_variables(path, folder, context) if is_project else {}
                extras = settings.get("extras", ())
                requirements = _decide(path, interpreter, is_project, extras, own)
                local = local_folders(path) if is_project else []
        projects = []
        for each in local:
            source = os.path.normpath(os.path.join(os.path.dirname(path), each))
            own = _version_variables(os.path.join(source, "pyproject.toml"), folder, context)
            projects.append(build_wheel(source, "", interpreter, None, context.notice, own))
        return provide_environment(
            "venv",
            settings.get("bundle", ENV),
            Locked(interpreter, requirements, projects, None, indexes=indexes),
            lambda listed, tree: fetch_wheels(listed, tree, interpreter, None, indexes),
            context.notice,
        )

    def outline(self, settings: Mapping[str, Any], context: RuntimeContext) -> Outline:
        """Return what `provide` would make the environment of.

        Raises:
            RuntimeFailed: there is nothing.
        """
        return Outline(settings.get("bundle", ENV), _find_source(settings, context)[1])


def _find_source(settings: Mapping[str, Any], context: RuntimeContext) -> tuple[str, str]:
    names = [settings["from"]] if "from" in settings else _NAMES
    for folder in filter(None, (context.run_dir, context.project_dir)):
        for name in names:
            if os.path.isfile(os.path.join(folder, name)):
                return folder, name
    raise RuntimeFailed(
        f"runtime: the project has no {' and no '.join(map(printable, names))}",
        "pip freeze > requirements.txt writes one",
    )


def _find_interpreter(wanted: str | None) -> Interpreter:
    """Return the interpreter that goes by a version or a path, by default the one on PATH."""
    names = [wanted, f"python{wanted}"] if wanted else ["python3", "python"]
    for name in names:
        path = shutil.which(name)
        found = find_description(path) if path else None
        if found is not None:
            return found
    raise RuntimeFailed(f"runtime: there is no Python {printable(wanted or '')} on PATH")


def _version_variables(path: str, folder: str, context: RuntimeContext) -> dict[str, str]:
    """Return the variables that tell the package of a `pyproject.toml` its version."""
    source = os.path.dirname(path)
    inside = os.path.relpath(source, folder)
    return version_variables(source, os.path.join(context.project_dir or folder, inside))


def _decide(
    path: str,
    interpreter: Interpreter,
    is_project: bool,
    extras: Sequence[str],
    own: Mapping[str, str],
) -> bytes:
    """Return the list of what pip would install now."""
    cwd, name = os.path.split(path)
    # What is built to be told its metadata may write beside its source.
    with copied_source(cwd) as copy:
        what = [f".[{','.join(extras)}]" if extras else "."] if is_project else ["-r", name]
        return _report(interpreter, what, name, copy, is_project, own)


def _report(
    interpreter: Interpreter,
    what: list[str],
    name: str,
    cwd: str,
    is_project: bool,
    own: Mapping[str, str],
) -> bytes:
    words = ["-I", "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--dry-run"]
    words += ["--ignore-installed", "--report", "-", *what]
    text = run_tool([interpreter.path, *words], f"decide on versions for {name}", cwd, own)
    lines = []
    for found in json.loads(text)["install"]:
        info, metadata = found["download_info"], found["metadata"]
        archive = info.get("archive_info")
        if found.get("is_direct") or archive is None:
            if is_project and "dir_info" in info and _is_folder(info["url"], cwd):
                continue
            raise RuntimeFailed(
                f"{name}: {metadata['name']} comes from {info['url'].partition('://')[0]}, and venv"
                " takes packages of an index only",
                'use runtime = "uv"',
            )
        digests = sorted(archive.get("hashes", {}).items())
        marks = "".join(f" \\\n    --hash={kind}:{digest}" for kind, digest in digests)
        lines.append(f"{metadata['name']}=={metadata['version']}{marks}\n")
    return "".join(sorted(lines)).encode()


def _is_folder(url: str, folder: str) -> bool:
    path = urllib.parse.unquote(urllib.parse.urlsplit(url).path)
    return os.path.realpath(path) == os.path.realpath(folder)
