"""What a Gage file may say.

The tables below describe every setting and attribute; `gage_file_checker` compares a parsed file
with that description. The JSON Schema that ships with the package, `gage-file.schema.json`, says
the same to editors; a test holds them together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeGuard

from gage._internal.project.gage_file_words import KeyPath, listed, nearest, quoted

Problem = Callable[[str], str | None]
TogetherProblem = Callable[[Mapping[str, Any]], Iterable[tuple[KeyPath, str]]]

# These are named tuples since each command imports this, and a dataclass takes longer to make.


class Value(NamedTuple):
    """What a value may be, by its type. What is not allowed here is a fault.

    `text` allows a string and says what is wrong with it, if anything; `items` a list of such
    values; `table` a table; `flag` true and false; `number` numbers; `anything` all of JSON.
    `remedy` is said besides where the type is wrong.
    """

    text: Problem | None = None
    items: Value | None = None
    table: Table | None = None
    flag: bool = False
    number: bool = False
    anything: bool = False
    may_be_empty: bool = True
    remedy: str = ""


class Table(NamedTuple):
    """What a table may hold: its keys, those it must have, those of which it has exactly one.

    `others` is what any other key may hold, whose name `names` checks; without it there is no
    other key. With both `one_of` and `others`, another key counts as one of the choice. `together`
    tells what is wrong with values that are each allowed.
    """

    keys: Mapping[str, Value]
    required: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    others: Value | None = None
    names: Problem | None = None
    together: TogetherProblem | None = None


def _plain(text: str) -> str | None:
    return "must not contain a NUL character" if "\0" in text else encodable(text)


def encodable(text: str) -> str | None:
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        return "must not contain half of a surrogate pair"
    return None


def filled(text: str) -> str | None:
    return _plain(text) if text.strip() else "must not be empty"


def _inside(text: str) -> str | None:
    """Return what is wrong with a path that must stay within the project or the run."""
    if text.startswith("/"):
        return f"must be a relative path, not {quoted(text)}"
    if ".." in text.split("/"):
        return f'must not contain "..", as {quoted(text)} does'
    return filled(text)


def _rule(text: str) -> str | None:
    from gage._internal.project.source_rules import rule_problem

    return rule_problem(text) or _plain(text)


def _pattern(text: str) -> str | None:
    from gage._internal.project.source_rules import pattern_problem

    return pattern_problem(text) or _plain(text)


def _variable(text: str) -> str | None:
    return 'must not contain "="' if "=" in text else filled(text)


def _argument(text: str) -> str | None:
    """Return what is wrong with a name that is given as NAME=VALUE."""
    if text.startswith("-"):
        return 'must not begin with "-"'
    return _variable(text)


def _key_pattern(text: str) -> str | None:
    return filled(text.removeprefix("-"))


def _style(text: str) -> str | None:
    from gage._internal.project.config_sources import STYLES

    if text in STYLES:
        return None
    near = nearest(text, STYLES)
    named = f"did you mean {quoted(near)}?" if near else listed(list(map(quoted, STYLES)), "or")
    return f"must be a style of arguments, not {quoted(text)}: {named}"


def _wrong_in_config(config: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    if "style" in config and not isinstance(config.get("args"), Mapping):
        what = 'goes only with "args" that is a table: the parser of a script has its own'
        yield ("style",), what
    if "prefix" in config and "env" in config:
        what = 'does not go with "env": write names of variables in full, and use "strip-prefix"'
        yield ("prefix",), what


def _wrong_in_operation(operation: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    sources = _config_tables(operation.get("config"))
    command = operation.get("exec")
    keys: KeyPath = ("exec",)
    if isinstance(command, Mapping):
        command, keys = command.get("run"), ("exec", "run")
    has_args = any("args" in source for source in sources.values())
    if _is_command(command) and (has_args or "{args}" in str(command)):
        from gage._internal.store.command_lines import args_problem

        problem = args_problem(command, has_args)
        if problem:
            yield keys, problem
    for place, source in sources.items():
        variables = source.get("env")
        for name in variables if isinstance(variables, Mapping) else ():
            for attribute in ("env", "secrets"):
                taken = operation.get(attribute)
                if (isinstance(taken, (Mapping, list)) and name in taken) or name == taken:
                    what = f"is in {quoted(attribute)} of the operation too: leave one out"
                    yield (*place, "env", name), what


def _config_tables(config: object) -> dict[KeyPath, Mapping[str, Any]]:
    """Return the sources of config that are tables, with the keys to each."""
    found: dict[KeyPath, Any] = {("config",): config}
    if isinstance(config, list):
        found = {("config", index): item for index, item in enumerate(config)}
    return {keys: item for keys, item in found.items() if isinstance(item, Mapping)}


def _is_command(value: object) -> TypeGuard[str | list[str]]:
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, str) for item in value)
    return isinstance(value, str)


def _one_group(text: str) -> str | None:
    import re
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            groups = re.compile(text).groups
    except (re.error, OverflowError, RecursionError) as error:
        return f"must be a regular expression, and {quoted(text)} is not: {error}"
    if groups != 1:
        return f"must have exactly one group, and {quoted(text)} has {groups}"
    return _plain(text)


def _sha256(text: str) -> str | None:
    if len(text) != 64 or not set(text.lower()) <= set("0123456789abcdef"):
        return f"must be 64 hexadecimal digits, not {quoted(text)}"
    return None


def _requirement(text: str) -> str | None:
    from gage._internal.project.requires import requirement_problem

    return requirement_problem(text) or encodable(text)


def _address(text: str) -> str | None:
    from gage._internal.downloads.addresses import address_problem

    return address_problem(text) or encodable(text)


def _repository(text: str) -> str | None:
    from gage._internal.downloads.addresses import repository_problem

    return repository_problem(text) or encodable(text)


def _revision(text: str) -> str | None:
    from gage._internal.downloads.addresses import revision_problem

    return revision_problem(text) or encodable(text)


def _objects(text: str) -> str | None:
    from gage._internal.downloads.addresses import objects_problem

    return objects_problem(text) or encodable(text)


def _option(text: str) -> str | None:
    from gage._internal.downloads.addresses import option_problem

    return option_problem(text) or filled(text)


def _wrong_in_options(
    options: Mapping[str, Any], keys: KeyPath = ()
) -> Iterator[tuple[KeyPath, str]]:
    from gage._internal.downloads.addresses import option_problem

    for name, value in options.items():
        if isinstance(value, Mapping):
            inner = (*keys, name)
            for key in value:
                problem = option_problem(key) if isinstance(key, str) else None
                if problem:
                    yield (*inner, key), problem
            yield from _wrong_in_options(value, inner)


def _word(*words: str) -> Problem:
    def problem(text: str) -> str | None:
        if text in words:
            return None
        return f"must be {listed([quoted(word) for word in words], 'or')}, not {quoted(text)}"

    return problem


def _memory(text: str) -> str | None:
    from gage._internal.store.resources import parse_memory

    try:
        parse_memory(text)
    except ValueError:
        return f"must be an amount such as 2GiB or 500MB, not {quoted(text)}"
    return None


def _wrong_in_resources(resources: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    for name, least in (("cpus", 1), ("gpus", 0)):
        value = resources.get(name, least)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if is_number and (value != value // 1 or value < least):
            yield (name,), f"must be a whole number, {least} at least, not {value}"


def operation_name(text: str) -> str | None:
    if not text:
        return "must not be empty"
    return "must not contain a newline" if "\n" in text else _plain(text)


def remote_name(text: str) -> str | None:
    if "/" in text or ":" in text:
        return 'must not contain "/" or ":", as an address does'
    return filled(text)


_TEXT = Value(text=_plain)
_NAME = Value(text=filled)
_FLAG = Value(flag=True)
_PATH = Value(text=_inside)
_PATHS = Value(text=_inside, items=_PATH)
_RULES = Value(flag=True, text=_rule, items=Value(text=_rule))
_RULES_OF_DEPENDENCY = Value(text=_rule, items=Value(text=_rule))
_PATTERNS = Value(text=_pattern, items=Value(text=_pattern))
_COMMAND = Value(text=filled, items=_TEXT, may_be_empty=False)

_EXEC = Table(
    {
        "run": _COMMAND,
        "stage-sourcecode": _COMMAND,
        "stage-runtime": _COMMAND,
        "stage-dependencies": _COMMAND,
        "finalize": _COMMAND,
    },
    required=("run",),
)

_VARIABLE = Value(text=_plain, number=True, flag=True)

_CONFIG = Table(
    {
        "file": _PATH,
        "args": Value(text=_inside, table=Table({}, others=Value(anything=True), names=_argument)),
        "env": Value(
            table=Table({}, others=_VARIABLE._replace(items=_VARIABLE), names=_variable),
        ),
        "style": Value(text=_style),
        "keys": Value(text=_key_pattern, items=Value(text=_key_pattern)),
        "prefix": Value(text=_argument),
        "strip-prefix": _NAME,
        "rename": Value(
            table=Table(
                {},
                others=Value(text=_argument, remedy="a name with a dot in it stands in quotes"),
                names=filled,
            )
        ),
    },
    one_of=("file", "args", "env"),
    together=_wrong_in_config,
)

_STATUSES = ("staged", "running", "completed", "failed", "terminated", "lost")
_RUNS = {"run": _NAME, "operation": _NAME, "status": Value(text=_word(*_STATUSES))}
_RUNS |= {"label": _NAME, "tag": _NAME}

_REPOSITORY = {"repository": Value(text=_repository), "revision": Value(text=_revision)}
_OPTIONS = Table({}, others=Value(anything=True), names=_option, together=_wrong_in_options)
_OBJECTS = {
    "address": Value(text=_objects, items=Value(text=_objects), may_be_empty=False),
    "options": Value(table=_OPTIONS),
    "secrets": Value(table=Table({}, others=Value(text=_variable), names=filled)),
}

_DEPENDENCY = Table(
    {
        "project-files": _PATHS,
        "files": Value(text=filled, items=_NAME, may_be_empty=False),
        "run-files": Value(text=filled, table=Table(_RUNS)),
        "runs-summary": Value(
            text=filled, table=Table({**_RUNS, "format": Value(text=_word("json", "csv"))})
        ),
        "url": Value(text=_address, items=Value(text=_address), may_be_empty=False),
        "git": Value(
            text=_repository,
            table=Table({**_REPOSITORY, "path": _PATH}, required=("repository",)),
        ),
        "fsspec": Value(
            text=_objects,
            items=Value(text=_objects),
            table=Table(_OBJECTS, required=("address",)),
            may_be_empty=False,
        ),
        "name": _NAME,
        "description": _TEXT,
        "select": _RULES_OF_DEPENDENCY,
        "rename": Value(table=Table({}, others=_PATH, names=_inside)),
        "target": _PATH,
        "sha256": Value(text=_sha256),
        "unpack": _FLAG,
        "link": Value(text=_word("auto", "copy", "reflink", "hardlink", "symlink")),
        "writable": _FLAG,
        "optional": _FLAG,
    },
    one_of=("project-files", "files", "run-files", "runs-summary", "url", "git", "fsspec"),
    others=Value(anything=True),
)

_RUNTIME = Table(
    {
        "name": _NAME,
        "from": _PATH,
        "python": _NAME,
        "image": _NAME,
        "bundle": Value(text=_word("lock", "wheels", "archive", "env")),
        "extras": Value(items=_NAME),
        "groups": Value(items=_NAME),
    },
    required=("name",),
    others=Value(anything=True),
)

_ENV = Table({}, others=_VARIABLE, names=_variable)

_RESOURCES = Table(
    {"cpus": Value(number=True), "memory": Value(text=_memory), "gpus": Value(number=True)},
    together=_wrong_in_resources,
)

_OUTPUT_SUMMARY = Table({}, others=Value(text=_one_group), names=filled)

OPERATION = Table(
    {
        "description": _TEXT,
        "default": _FLAG,
        "version": _TEXT,
        "exec": Value(text=filled, items=_TEXT, may_be_empty=False, table=_EXEC),
        "sourcecode": _RULES,
        "config": Value(text=_inside, table=_CONFIG, items=Value(text=_inside, table=_CONFIG)),
        "depends": Value(table=_DEPENDENCY, items=Value(table=_DEPENDENCY)),
        "runtime": Value(text=filled, table=_RUNTIME),
        "requires": Value(text=_requirement, items=Value(text=_requirement)),
        "resources": Value(table=_RESOURCES),
        "resumable": _FLAG,
        "env": Value(table=_ENV),
        "secrets": Value(text=_variable, items=Value(text=_variable)),
        "writable": _PATTERNS,
        "summary": _PATH,
        "output-summary": Value(table=_OUTPUT_SUMMARY),
    },
    required=("exec",),
    together=_wrong_in_operation,
)

_ENGINE = Table({"kind": _NAME, "options": Value(table=_OPTIONS)}, required=("kind",))
_REMOTE = Table({"address": _NAME, "options": Value(table=_OPTIONS)}, required=("address",))

SETTINGS: Mapping[str, Value] = {
    "runs": _NAME,
    "share": _FLAG,
    "remotes": Value(table=Table({}, others=Value(text=filled, table=_REMOTE), names=remote_name)),
    "engines": Value(table=Table({}, others=Value(text=filled, table=_ENGINE), names=remote_name)),
    "$schema": Value(text=_plain),
}
