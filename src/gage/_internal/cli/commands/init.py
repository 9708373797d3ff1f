"""`gage init`: write a commented Gage file for the scripts that are here."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable

from gage._internal import fs
from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.errors import UsageError
from gage._internal.fs import printable
from gage._internal.project.gage_file import find_gage_file
from gage._internal.project.operations import iter_scripts, script_operation
from gage._internal.project.projects import Project

DESCRIPTION = "Write gage.toml, commented, with an operation for each script that lies here."

_HEADER = """\
# What can be run in this project; `gage operations` lists it. Each table is an operation.
# Files that git ignores are not staged; name data that a run needs under depends.
"""
_ATTRIBUTES = """\
# description = "Say what it does"
# sourcecode = ["-notebooks", "assets/logo.png"]  # leave out, take in
# depends = {{ project-files = "data" }}
# env = {{ OMP_NUM_THREADS = "1" }}
# writable = ["checkpoints/**"]  # staged files that the run may change
# summary = "summary.json"  # metrics that the run writes
"""
_EXAMPLE = """\
# [train]
# exec = "python3 train.py"
# config = "train.py"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    directory = context.cwd
    existing = find_gage_file(directory)
    if existing is not None:
        raise UsageError(f"{printable(existing)} is here already")
    text = gage_file_text(Project(directory), printer.print_note)
    path = os.path.join(directory, "gage.toml")
    fs.create_file(path, os.fsencode(text), mode=0o644)
    printer.print_note(f"wrote {printable(path)}; gage operations shows what it defines")
    return 0


def gage_file_text(project: Project, notice: Callable[[str], None]) -> str:
    """Return the text of a Gage file for the scripts of a project.

    `notice` is told, in sentences, which scripts cannot be in it.
    """
    parts = [_HEADER]
    names: set[str] = set()
    for script in iter_scripts(project.dir):
        if not script.isprintable():
            notice(f"{printable(script)} is left out: a Gage file cannot hold its name")
            continue
        name = os.path.splitext(script)[0]
        parts.append(_operation_text(project, script, script if name in names else name))
        names.add(name)
    return "\n".join(parts if names else [_HEADER, _EXAMPLE])


def _operation_text(project: Project, script: str, name: str) -> str:
    data = script_operation(project, script).data
    lines = [f"[{_toml(name)}]", f"exec = {_toml(data['exec'])}"]
    config = data.get("config")
    if isinstance(config, str):
        lines.append(f"config = {_toml(config)}")
    elif config:
        lines.append(f"config = {{ args = {_toml(config['args'])} }}")
    return "\n".join(lines) + "\n" + _ATTRIBUTES.format()


def _toml(value: object) -> str:
    """Return text, or a list of texts, in TOML; what prints is written there as in JSON."""
    return json.dumps(value, ensure_ascii=False)
