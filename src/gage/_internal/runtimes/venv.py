"""Environments made by venv and pip, for where uv is not wanted."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from typing import Any

from gage._internal.environments.bundles import Locked, provide_environment
from gage._internal.environments.installing import run_tool
from gage._internal.environments.interpreters import Interpreter, find_description
from gage._internal.environments.local_packages import build_wheel, copied_source
from gage._internal.environments.locks import local_folders, read_pylock
from gage._internal.environments.seeding import fetch_wheels
from gage._internal.errors import RuntimeFailed
from gage._internal.fs import printable
from gage._internal.store.runtime_record import ENV
from gage.plugins import Provided, RuntimeContext

_NAMES = ("pylock.toml", "requirements.txt", "pyproject.toml")


class Venv:
    """Provides an environment that venv makes and pip fills."""

    def provide(self, settings: Mapping[str, Any], context: RuntimeContext) -> Provided:
        """Return the environment of the file that `from` names, else of one that is there.

        Raises:
            RuntimeFailed: there is no such file, or the environment cannot be made.
        """
        folder, name = _find_source(settings, context)
        interpreter = _find_interpreter(settings.get("python"))
        path = os.path.join(folder, name)
        if os.path.basename(name).startswith("pylock."):
            requirements, local = read_pylock(
                path, settings.get("extras", ()), settings.get("groups", ())
            )
        else:
            is_project = os.path.basename(name) == "pyproject.toml"
            requirements = _decide(path, interpreter, is_project, settings.get("extras", ()))
            local = local_folders(path) if is_project else []
        projects = [
            build_wheel(os.path.join(os.path.dirname(path), each), "", interpreter, None)
            for each in local
        ]
        return provide_environment(
            "venv",
            settings.get("bundle", ENV),
            Locked(interpreter, requirements, projects, None),
            lambda listed, tree: fetch_wheels(listed, tree, interpreter, None),
            context.notice,
        )


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


def _decide(path: str, interpreter: Interpreter, is_project: bool, extras: list[str]) -> bytes:
    """Return the list of what pip would install now."""
    cwd, name = os.path.split(path)
    if not is_project:
        return _report(interpreter, ["-r", name], name, cwd)
    with copied_source(cwd) as copy:
        what = f".[{','.join(extras)}]" if extras else "."
        return _report(interpreter, [what], name, copy)


def _report(interpreter: Interpreter, what: list[str], name: str, cwd: str) -> bytes:
    words = ["-I", "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--dry-run"]
    words += ["--ignore-installed", "--report", "-", *what]
    text = run_tool([interpreter.path, *words], f"decide on versions for {name}", cwd)
    lines = []
    for found in json.loads(text)["install"]:
        archive = found["download_info"].get("archive_info")
        if archive is None:
            continue
        metadata = found["metadata"]
        digests = sorted(archive.get("hashes", {}).items())
        marks = "".join(f" \\\n    --hash={kind}:{digest}" for kind, digest in digests)
        lines.append(f"{metadata['name']}=={metadata['version']}{marks}\n")
    return "".join(sorted(lines)).encode()
