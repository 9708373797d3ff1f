"""What a Gage file may say.

The tables below describe every setting and attribute; the checker under them compares a
parsed file with that description and finds all faults at once. The JSON Schema that ships
with the package, `gage-file.schema.json`, says the same to editors; a test holds them together.

Nothing here knows lines: a fault has the path of keys to what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeGuard

Key = str | int
KeyPath = tuple[Key, ...]
Problem = Callable[[str], str | None]
TogetherProblem = Callable[[Mapping[str, Any]], Iterable[tuple[KeyPath, str]]]

# These are named tuples since each command imports this, and a dataclass takes longer to make.


class Fault(NamedTuple):
    """What is wrong, in words, and the keys that lead to it from the top of the Gage file.

    `others` leads to what else takes part in the fault, where one line does not tell it.
    """

    path: KeyPath
    text: str
    others: tuple[KeyPath, ...] = ()


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
    return "must not contain a NUL character" if "\0" in text else _encodable(text)


def _encodable(text: str) -> str | None:
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        return "must not contain half of a surrogate pair"
    return None


def _filled(text: str) -> str | None:
    return _plain(text) if text.strip() else "must not be empty"


def _inside(text: str) -> str | None:
    """Return what is wrong with a path that must stay within the project or the run."""
    if text.startswith("/"):
        return f"must be a relative path, not {quoted(text)}"
    if ".." in text.split("/"):
        return f'must not contain "..", as {quoted(text)} does'
    return _filled(text)


def _rule(text: str) -> str | None:
    from gage._internal.project.source_rules import rule_problem

    return rule_problem(text) or _plain(text)


def _pattern(text: str) -> str | None:
    from gage._internal.project.source_rules import pattern_problem

    return pattern_problem(text) or _plain(text)


def _variable(text: str) -> str | None:
    return 'must not contain "="' if "=" in text else _filled(text)


def _argument(text: str) -> str | None:
    """Return what is wrong with a name that is given as NAME=VALUE."""
    if text.startswith("-"):
        return 'must not begin with "-"'
    return _variable(text)


def _key_pattern(text: str) -> str | None:
    return _filled(text.removeprefix("-"))


def _style(text: str) -> str | None:
    from gage._internal.project.config_sources import STYLES

    if text in STYLES:
        return None
    near = _nearest(text, STYLES, _NEAR)
    named = f"did you mean {quoted(near)}?" if near else _listed(list(map(quoted, STYLES)), "or")
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


def _address(text: str) -> str | None:
    from gage._internal.downloads.addresses import address_problem

    return address_problem(text) or _encodable(text)


def _word(*words: str) -> Problem:
    def problem(text: str) -> str | None:
        if text in words:
            return None
        return f"must be {_listed([quoted(word) for word in words], 'or')}, not {quoted(text)}"

    return problem


def _operation_name(text: str) -> str | None:
    if not text:
        return "must not be empty"
    return "must not contain a newline" if "\n" in text else _plain(text)


_TEXT = Value(text=_plain)
_NAME = Value(text=_filled)
_FLAG = Value(flag=True)
_PATH = Value(text=_inside)
_PATHS = Value(text=_inside, items=_PATH)
_RULES = Value(flag=True, text=_rule, items=Value(text=_rule))
_RULES_OF_DEPENDENCY = Value(text=_rule, items=Value(text=_rule))
_PATTERNS = Value(text=_pattern, items=Value(text=_pattern))
_COMMAND = Value(text=_filled, items=_TEXT, may_be_empty=False)

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
                names=_filled,
            )
        ),
    },
    one_of=("file", "args", "env"),
    together=_wrong_in_config,
)

_STATUSES = ("staged", "running", "completed", "failed", "terminated", "lost")
_RUNS = {"run": _NAME, "operation": _NAME, "status": Value(text=_word(*_STATUSES))}
_RUNS |= {"label": _NAME, "tag": _NAME}

_DEPENDENCY = Table(
    {
        "project-files": _PATHS,
        "files": Value(text=_filled, items=_NAME, may_be_empty=False),
        "run-files": Value(text=_filled, table=Table(_RUNS)),
        "runs-summary": Value(
            text=_filled, table=Table({**_RUNS, "format": Value(text=_word("json", "csv"))})
        ),
        "url": Value(text=_address, items=Value(text=_address), may_be_empty=False),
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
    one_of=("project-files", "files", "run-files", "runs-summary", "url"),
    others=Value(anything=True),
)

_ENV = Table({}, others=_VARIABLE, names=_variable)

_OUTPUT_SUMMARY = Table({}, others=Value(text=_one_group), names=_filled)

_OPERATION = Table(
    {
        "description": _TEXT,
        "default": _FLAG,
        "version": _TEXT,
        "exec": Value(text=_filled, items=_TEXT, may_be_empty=False, table=_EXEC),
        "sourcecode": _RULES,
        "config": Value(text=_inside, table=_CONFIG, items=Value(text=_inside, table=_CONFIG)),
        "depends": Value(table=_DEPENDENCY, items=Value(table=_DEPENDENCY)),
        "runtime": _NAME,
        "env": Value(table=_ENV),
        "secrets": Value(text=_variable, items=Value(text=_variable)),
        "writable": _PATTERNS,
        "summary": _PATH,
        "output-summary": Value(table=_OUTPUT_SUMMARY),
    },
    required=("exec",),
    together=_wrong_in_operation,
)

_SETTINGS: Mapping[str, Value] = {
    "runs": _NAME,
    "share": _FLAG,
    "$schema": Value(text=_plain),
}

# A key in place of a resolver may be a plugin's: only one that is nearly the same is a typo.
_NEAR = 0.6
_VERY_NEAR = 0.8

# Deeper than anyone writes, and well within what a JSON writer can recurse into.
_DEEPEST = 100


def check_gage_table(table: object) -> list[Fault]:
    """Return every fault of the content of a Gage file, in the order of the file."""
    if not isinstance(table, Mapping):
        return [Fault((), f"the operations must be in a table, not {_found(table)}")]
    checker = _Checker()
    defaults: list[str] = []
    for name, value in table.items():
        if not isinstance(name, str):
            checker.fault((_shown_key(name),), f"the key {_wrong_key(name)}")
        elif isinstance(value, Mapping):
            problem = _operation_name(name)
            if problem:
                checker.fault((name,), f"the name of operation {quoted(name)} {problem}")
            checker.check_table(_OPERATION, value, (name,))
            if value.get("default") is True:
                defaults.append(name)
        else:
            checker.check_setting(name, value)
    if len(defaults) > 1:
        named = _listed([_shown(name) for name in defaults], "and")
        paths = tuple((name, "default") for name in defaults)
        checker.fault(paths[-1], f"only one operation can be the default, not {named}", paths)
    return checker.faults


def path_in_words(path: KeyPath) -> str:
    """Return what a path of keys leads to, as it is called in messages."""
    if len(path) == 1:
        return str(path[0]) if path[0] in _SETTINGS else f"operation {_shown(str(path[0]))}"
    words = ""
    for key in path[1:]:
        if isinstance(key, int):
            words += f"[{key}]"
        else:
            words += ("." if words else "") + _shown(key)
    return f"{words} of operation {_shown(str(path[0]))}"


def escaped(text: str) -> str:
    """Return text that prints in one line: what does not print is written as an escape."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def quoted(text: str) -> str:
    """Return text in double quotes, escaped and not too long for a message."""
    short = text if len(text) <= 80 else text[:77] + "..."
    return '"' + escaped(short.replace("\\", "\\\\").replace('"', '\\"')) + '"'


class _Checker:
    """Collects the faults of one file."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def fault(self, path: KeyPath, text: str, others: tuple[KeyPath, ...] = ()) -> None:
        self.faults.append(Fault(path, text, others))

    def check_setting(self, name: str, value: object) -> None:
        if name in _SETTINGS:
            self.check_value(_SETTINGS[name], value, (name,))
            return
        near = _nearest(name, _SETTINGS, _NEAR)
        if near:
            self.fault((name,), f"unknown setting {quoted(name)}: did you mean {quoted(near)}?")
        else:
            self.fault(
                (name,),
                f"{quoted(name)} must be a table, as an operation is, not {_found(value)}"
                f" (the only settings are {_listed(list(_SETTINGS), 'and')})",
            )

    def check_value(self, rule: Value, value: object, path: KeyPath) -> None:
        if rule.anything:
            self._check_json(value, path)
        elif isinstance(value, str) and rule.text:
            problem = rule.text(value)
            if problem:
                self.fault(path, f"{path_in_words(path)} {problem}")
        elif isinstance(value, bool) and rule.flag:
            pass
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and rule.number:
            if not _is_finite(value):
                self.fault(path, f"{path_in_words(path)} must be a finite number, not {value}")
        elif isinstance(value, list) and rule.items:
            if not value and not rule.may_be_empty:
                self.fault(path, f"{path_in_words(path)} must not be an empty list")
            for index, item in enumerate(value):
                self.check_value(rule.items, item, (*path, index))
        elif isinstance(value, Mapping) and rule.table:
            self.check_table(rule.table, value, path)
        else:
            text = f"{path_in_words(path)} must be {_expected(rule)}, not {_found(value)}"
            self.fault(path, f"{text} ({rule.remedy})" if rule.remedy else text)

    def check_table(self, rule: Table, table: Mapping[Any, Any], path: KeyPath) -> None:
        chosen: list[str] = []
        meant: list[str] = []
        for key, value in table.items():
            if not isinstance(key, str):
                text = f"in {path_in_words(path)}, the key {_wrong_key(key)}"
                self.fault((*path, _shown_key(key)), text)
            elif key in rule.keys:
                if key in rule.one_of:
                    chosen.append(key)
                self.check_value(rule.keys[key], value, (*path, key))
            else:
                near = _near_key(rule, key)
                if near:
                    meant.append(near)
                    self._unknown(path, key, f"did you mean {quoted(near)}?")
                elif rule.others is None:
                    self._unknown(path, key, f"valid are {_listed(list(rule.keys), 'and')}")
                else:
                    chosen.append(key)
                    self._check_other(rule, rule.others, key, value, path)
        for key in rule.required:
            if key not in table and key not in meant:
                self.fault(path, f"{path_in_words(path)} has no {quoted(key)}")
        if rule.one_of:
            self._check_choice(rule, chosen, meant, path)
        if rule.together:
            for keys, text in rule.together(table):
                where = (*path, *keys)
                self.fault(where, f"{path_in_words(where)} {text}")

    def _check_other(
        self, rule: Table, others: Value, key: str, value: object, path: KeyPath
    ) -> None:
        problem = (rule.names or _filled)(key)
        if problem:
            text = f"in {path_in_words(path)}, the name {quoted(key)} {problem}"
            self.fault((*path, key), text)
        self.check_value(others, value, (*path, key))

    def _check_choice(
        self, rule: Table, chosen: list[str], meant: list[str], path: KeyPath
    ) -> None:
        if len(chosen) > 1:
            named = _listed([quoted(key) for key in chosen], "and")
            self.fault(path, f"{path_in_words(path)} must have only one of {named}")
        elif not chosen and not any(key in rule.one_of for key in meant):
            named = _listed([quoted(key) for key in rule.one_of], "or")
            more = " (or the resolver of a plugin)" if rule.others else ""
            self.fault(path, f"{path_in_words(path)} must have {named}{more}")

    def _unknown(self, path: KeyPath, key: str, remedy: str) -> None:
        words = path_in_words(path)
        joined = "of" if len(path) == 1 else "in"
        self.fault((*path, key), f"unknown key {quoted(key)} {joined} {words}: {remedy}")

    def _check_json(self, value: object, path: KeyPath) -> None:
        fault = _json_fault(value, path, set())
        if fault:
            self.faults.append(fault)


def _json_fault(value: object, path: KeyPath, good: set[int]) -> Fault | None:
    """Return the first fault of a value that may be anything that JSON can hold.

    `good` are the containers found to be without fault: YAML can name one many times. One that
    contains itself never becomes good, and ends at the greatest depth.
    """
    if value is None or isinstance(value, (bool, int)):
        return None
    if isinstance(value, str):
        problem = _encodable(value)
    elif isinstance(value, float):
        problem = None if _is_finite(value) else f"must be a finite number, not {value}"
    elif not isinstance(value, (list, Mapping)):
        problem = f"must be something that JSON can hold, not {_found(value)}"
    elif id(value) in good:
        problem = None
    elif len(path) > _DEEPEST:
        path = path[:3]
        problem = "is nested too deeply"
    else:
        for key, inner in _items(value):
            if isinstance(value, Mapping) and not isinstance(key, str):
                where = (*path, _shown_key(key))
                return Fault(where, f"in {path_in_words(path)}, the key {_wrong_key(key)}")
            fault = _json_fault(inner, (*path, key), good)
            if fault:
                return fault
        good.add(id(value))
        problem = None
    return Fault(path, f"{path_in_words(path)} {problem}") if problem else None


def _items(value: list[Any] | Mapping[Any, Any]) -> Iterable[tuple[Any, Any]]:
    return enumerate(value) if isinstance(value, list) else value.items()


def _is_finite(number: float) -> bool:
    return number == number and number not in (float("inf"), float("-inf"))


def _near_key(rule: Table, key: str) -> str | None:
    if rule.others is None:
        return _nearest(key, rule.keys, _NEAR)
    return _nearest(key, rule.keys, _VERY_NEAR) if rule.keys else None


def _nearest(key: str, keys: Iterable[str], cutoff: float) -> str | None:
    import difflib

    near = difflib.get_close_matches(key.lower(), list(keys), 1, cutoff)
    return near[0] if near else None


def _expected(rule: Value) -> str:
    names: list[str] = []
    if rule.text:
        names.append("a string")
    if rule.number:
        names.append("a number")
    if rule.items:
        item = rule.items
        allowed = {"strings": item.text, "numbers": item.number, "tables": item.table}
        plurals = [plural for plural, is_allowed in allowed.items() if is_allowed]
        names.append(f"a list of {' and '.join(plurals)}")
    if rule.table:
        names.append("a table")
    if rule.flag:
        names += ["true", "false"]
    return _listed(names, "or")


def _found(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, Mapping):
        return "a table"
    if hasattr(value, "isoformat"):
        return "a date or time"
    return f"a value of type {type(value).__name__}"


def _shown(name: str) -> str:
    plain = name and all(char.isalnum() or char in "-_" for char in name)
    return name if plain and len(name) <= 80 else quoted(name)


def _shown_key(key: object) -> str:
    if key is None:
        return "null"
    return str(key).lower() if isinstance(key, bool) else str(key)


def _wrong_key(key: object) -> str:
    shown = escaped(_shown_key(key))
    return f"{shown} must be a string: write {quoted(shown)}"


def _listed(names: list[str], last: str) -> str:
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"
