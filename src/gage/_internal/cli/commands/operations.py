"""`gage operations`: list what can be run here, with its config."""

from __future__ import annotations

import argparse
from typing import Any

from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.values import value_text
from gage._internal.errors import GageError
from gage._internal.fs import printable
from gage._internal.project.operations import find_operation, iter_scripts
from gage._internal.project.projects import Project

DESCRIPTION = (
    "List the operations of the Gage file with their config and its defaults; without a Gage"
    " file, the scripts that lie here."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("operation", nargs="*", metavar="OP|SCRIPT", help="only these")


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    project = context.project()
    if args.operation:
        found = [_describe(project, name, context.cwd) for name in args.operation]
    else:
        names = project.operations or iter_scripts(context.cwd)
        found = [_describe_if_sound(project, name, context.cwd) for name in names]
    if context.json:
        printer.print_json(found)
    elif not found:
        printer.print_note("there is nothing to run here; gage init writes a Gage file")
    else:
        for operation in found:
            _print(operation)
    return 0


def _describe_if_sound(project: Project, name: str, cwd: str) -> dict[str, Any]:
    try:
        return _describe(project, name, cwd)
    except GageError as error:
        return {"name": name, "error": error.message, "hint": error.hint}


def _describe(project: Project, name: str, cwd: str) -> dict[str, Any]:
    operation = find_operation(project, name, cwd)
    data = operation.opdef.data
    return {
        "name": name,
        "description": data.get("description"),
        "default": data.get("default", False),
        "config": {
            n: {"default": d.value, "place": d.place} for n, d in operation.defaults.items()
        },
    }


def _print(operation: dict[str, Any]) -> None:
    title = printable(operation["name"])
    if "error" in operation:
        hint = f" ({operation['hint']})" if operation["hint"] else ""
        printer.print_data(f"{title}  cannot be run: {operation['error']}{hint}")
        return
    if operation["default"]:
        title += " (default)"
    if operation["description"]:
        title += f"  {printable(operation['description'])}"
    printer.print_data(title)
    for name, config in operation["config"].items():
        value = value_text(config["default"])
        printer.print_data(f"  {printable(name)}={value}  {config['place']}")
