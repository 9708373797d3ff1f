"""Operations of a project: those of its Gage file, and those that scripts imply.

A script needs no Gage file: `train.py` implies an operation that runs it with Python, its
config the script's arguments where it parses any, else its top-level assignments.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal import fs
from gage._internal.errors import (
    BadConfigValue,
    GageFileError,
    UnknownConfig,
    UnknownOperation,
    UsageError,
)
from gage._internal.project.config_sources import (
    ConfigDefault,
    ConfigSource,
    as_json,
    config_sources,
    find_refusal,
    read_defaults,
)
from gage._internal.project.projects import Project
from gage._internal.project.values import check_value, parse_value
from gage._internal.store.command_lines import run_command
from gage._internal.types import OpCmd, OpDef, OpRef


class Operation(NamedTuple):
    """An operation that can be run: which it is, how it is defined, its config's defaults.

    `sources` are where its config is from.
    """

    opref: OpRef
    opdef: OpDef
    defaults: Mapping[str, ConfigDefault]
    sources: Sequence[ConfigSource]


def find_operation(project: Project, name: str | None, cwd: str) -> Operation:
    """Return the operation that `name` means: one of the Gage file, else a script's.

    None means the default operation, or the only one. A script's path is relative to `cwd`.

    Raises:
        UnknownOperation: there is no such operation and no such script.
    """
    if name is None:
        return read_operation(project, _default_name(project))
    if name in project.operations:
        return read_operation(project, name)
    path = os.path.normpath(os.path.join(cwd, name))
    if os.path.isfile(path):
        relative = os.path.relpath(path, project.dir)
        if relative.startswith(os.pardir + os.sep):
            raise UnknownOperation(
                f"{fs.printable(name)} is not in the project {fs.printable(project.dir)}",
                "name the project with -C",
            )
        return _with_defaults(project, script_operation(project, relative))
    raise _unknown(project, name)


def read_operation(project: Project, name: str) -> Operation:
    """Return an operation of the Gage file by its name."""
    return _with_defaults(project, project.operations[name])


def _with_defaults(project: Project, opdef: OpDef) -> Operation:
    sources = config_sources(opdef, project.dir)
    return Operation(OpRef(project.name, opdef.name), opdef, read_defaults(sources), sources)


def _default_name(project: Project) -> str:
    names = list(project.operations)
    chosen = [n for n in names if project.operations[n].data.get("default")]
    if not chosen and len(names) == 1:
        chosen = names
    if chosen:
        return chosen[0]
    if names:
        shown = ", ".join(map(fs.printable, names))
        raise UsageError(f"which operation? Here are {shown}", "or give one of them default = true")
    raise UsageError("which script? There is no Gage file here", "gage run SCRIPT, or gage init")


def _unknown(project: Project, name: str) -> UnknownOperation:
    import difflib

    known = [*project.operations, *iter_scripts(project.dir)]
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {fs.printable(near[0])}?" if near else "gage operations lists them"
    what = "operation or script" if project.gage_file else "script"
    return UnknownOperation(f"there is no {what} {fs.printable(name)}", hint)


def iter_scripts(project_dir: str) -> Iterator[str]:
    """Yield the names of the scripts that lie in the project directory itself."""
    for name in sorted(os.listdir(project_dir)):
        path = os.path.join(project_dir, name)
        if name.endswith((".py", ".sh")) and os.path.isfile(path) and not name.startswith("."):
            yield name


def script_operation(project: Project, path: str) -> OpDef:
    """Return the operation that a script of the project implies; `path` is relative to it.

    Raises:
        UnknownOperation: the file is no Python or shell script and cannot be executed.
    """
    if path.endswith(".py"):
        config: Any = {"args": path} if _parses_args(project, path) else path
        return OpDef(path, {"exec": [_python(), _operand(path)], "config": config})
    if os.access(os.path.join(project.dir, path), os.X_OK):
        return OpDef(path, {"exec": [os.path.join(".", path)]})
    if path.endswith(".sh"):
        return OpDef(path, {"exec": ["sh", _operand(path)]})
    raise UnknownOperation(
        f"{fs.printable(path)} is not a Python or shell script, nor executable",
        "define an operation with exec in a gage.toml",
    )


def _parses_args(project: Project, path: str) -> bool:
    data = fs.read_bytes(os.path.join(project.dir, path))
    if b"argparse" not in data:
        return False
    from gage._internal.project.argparse_options import read_options

    return bool(read_options(path, data))


def _operand(path: str) -> str:
    """Return a path that an interpreter does not take for an option."""
    return os.path.join(".", path) if path.startswith("-") else path


def _python() -> str:
    paths = [os.path.join(folder, "python3") for folder in os.get_exec_path()]
    found = any(os.path.isfile(path) and os.access(path, os.X_OK) for path in paths)
    return "python3" if found else "python"


def parse_config(operation: Operation, assignments: Sequence[str]) -> dict[str, Any]:
    """Return the config of a run from the `NAME=VALUE` words of a command line.

    Values are of the type of the default; names that are not given keep theirs.

    Raises:
        UsageError: a word has no `=`.
        UnknownConfig: the operation has no such name.
        BadConfigValue: the text is no value of the default's type.
    """
    given = {}
    for word in assignments:
        name, text = name_and_text(operation, word)
        given[name] = parse_given(operation, name, text)
    return all_config(operation, given)


def parse_given(operation: Operation, name: str, text: str) -> Any:
    """Return what a text gives a config name, in the type of its default.

    Raises:
        UnknownConfig: the operation has no such name.
        BadConfigValue: the text is no value of the default's type.
    """
    default = default_of(operation, name)
    where = Where(name, default)
    if default.option is not None:
        from gage._internal.project.argparse_options import parse_option

        return parse_option(default.option, text, where)
    return parse_value(text, default.value, where)


def name_and_text(operation: Operation, word: str) -> tuple[str, str]:
    """Split a word at the first `=` behind a name that is known, else at the first one.

    Raises:
        UsageError: it has none.
    """
    if "=" not in word[1:]:
        raise UsageError(f"{fs.printable(word)} is not of the form NAME=VALUE")
    parts = word.split("=")
    for count in range(1, len(parts)):
        name = "=".join(parts[:count])
        if name in operation.defaults:
            return name, "=".join(parts[count:])
    return parts[0], "=".join(parts[1:])


def check_config(operation: Operation, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a run from Python values, with defaults for the rest.

    Raises:
        UnknownConfig: the operation has no such name.
        BadConfigValue: a value is not of the default's type, or cannot be recorded.
    """
    given = {name: check_given(operation, name, value) for name, value in values.items()}
    return all_config(operation, given)


def check_given(operation: Operation, name: str, value: Any) -> Any:
    """Return a Python value that a config name is given as it is recorded; see `check_config`."""
    default = default_of(operation, name)
    where = Where(name, default)
    try:
        return as_json(check_value(value, default.value, where))
    except ValueError as error:
        raise BadConfigValue(f"{where}: {error}") from None


def all_config(operation: Operation, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what config names are given, and the defaults of the others."""
    return {name: given.get(name, d.value) for name, d in operation.defaults.items()}


class Where(NamedTuple):
    """A config name with its place, which may take the Gage file to be read once more."""

    name: str
    default: ConfigDefault

    def __str__(self) -> str:
        return f"{fs.printable(self.name)} ({self.default.place})"


def default_of(operation: Operation, name: str) -> ConfigDefault:
    """Return what a config name is where nothing is given.

    Raises:
        UnknownConfig: the operation has no such name.
    """
    try:
        return operation.defaults[name]
    except KeyError:
        pass
    refusal = find_refusal(operation.sources, name)
    if refusal is not None:
        raise UnknownConfig(refusal)
    from gage._internal.project.near_names import near_hint

    # Whoever gives the name that a file has means the one it was renamed to.
    meant = [known for known, default in operation.defaults.items() if default.name == name]
    what = f"{fs.printable(operation.opdef.name)} has no config {fs.printable(name)}"
    hint = near_hint(name, list(operation.defaults))
    raise UnknownConfig(what, f"did you mean {fs.printable(meant[0])}?" if meant else hint)


def operation_cmd(operation: Operation, config: Mapping[str, Any]) -> OpCmd:
    """Return what starts a run of an operation with a config."""
    from gage._internal.project.passed_config import config_args, config_env, env_text

    data = operation.opdef.data
    command = run_command(data["exec"], config_args(operation.defaults, config))
    if command is None:
        raise GageFileError(f"operation {fs.printable(operation.opdef.name)} has no exec.run")
    env = {name: env_text(value) for name, value in data.get("env", {}).items()}
    return OpCmd(command, {**env, **config_env(operation.defaults, config)})
