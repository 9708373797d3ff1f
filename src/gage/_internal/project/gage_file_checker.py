"""Compare a parsed Gage file with what one may say, and find all its faults at once.

Nothing here knows lines: a fault has the path of keys to what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from gage._internal.project.gage_file_rules import (
    OPERATION,
    SETTINGS,
    Table,
    Value,
    encodable,
    filled,
    operation_name,
)
from gage._internal.project.gage_file_words import (
    KeyPath,
    escaped,
    found,
    listed,
    nearest,
    quoted,
    shown,
    shown_key,
)

# A key in place of a resolver may be a plugin's: only one that is nearly the same is a typo.
_VERY_NEAR = 0.8

# Deeper than anyone writes, and well within what a JSON writer can recurse into.
_DEEPEST = 100


class Fault(NamedTuple):
    """What is wrong, in words, and the keys that lead to it from the top of the Gage file.

    `others` leads to what else takes part in the fault, where one line does not tell it.
    """

    path: KeyPath
    text: str
    others: tuple[KeyPath, ...] = ()


def check_gage_table(table: object) -> list[Fault]:
    """Return every fault of the content of a Gage file, in the order of the file."""
    if not isinstance(table, Mapping):
        return [Fault((), f"the operations must be in a table, not {found(table)}")]
    checker = _Checker()
    defaults: list[str] = []
    for name, value in table.items():
        if not isinstance(name, str):
            checker.fault((shown_key(name),), f"the key {_wrong_key(name)}")
        elif isinstance(value, Mapping) and not is_table_of_settings(name):
            problem = operation_name(name)
            if problem:
                checker.fault((name,), f"the name of operation {quoted(name)} {problem}")
            checker.check_table(OPERATION, value, (name,))
            if value.get("default") is True:
                defaults.append(name)
        else:
            checker.check_setting(name, value)
    if len(defaults) > 1:
        named = listed([shown(name) for name in defaults], "and")
        paths = tuple((name, "default") for name in defaults)
        checker.fault(paths[-1], f"only one operation can be the default, not {named}", paths)
    return checker.faults


def path_in_words(path: KeyPath) -> str:
    """Return what a path of keys leads to, as it is called in messages."""
    if len(path) == 1:
        return str(path[0]) if path[0] in SETTINGS else f"operation {shown(str(path[0]))}"
    words = ""
    for key in path[1:]:
        if isinstance(key, int):
            words += f"[{key}]"
        else:
            words += ("." if words else "") + shown(key)
    of = "" if is_table_of_settings(str(path[0])) else "operation "
    return f"{words} of {of}{shown(str(path[0]))}"


def is_table_of_settings(name: str) -> bool:
    """Tell whether a table at the top of a Gage file is no operation."""
    return name in SETTINGS and SETTINGS[name].table is not None


class _Checker:
    """Collects the faults of one file."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def fault(self, path: KeyPath, text: str, others: tuple[KeyPath, ...] = ()) -> None:
        self.faults.append(Fault(path, text, others))

    def check_setting(self, name: str, value: object) -> None:
        if name in SETTINGS:
            self.check_value(SETTINGS[name], value, (name,))
            return
        near = nearest(name, SETTINGS)
        if near:
            self.fault((name,), f"unknown setting {quoted(name)}: did you mean {quoted(near)}?")
        else:
            self.fault(
                (name,),
                f"{quoted(name)} must be a table, as an operation is, not {found(value)}"
                f" (the only settings are {listed(list(SETTINGS), 'and')})",
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
            text = f"{path_in_words(path)} must be {_expected(rule)}, not {found(value)}"
            self.fault(path, f"{text} ({rule.remedy})" if rule.remedy else text)

    def check_table(self, rule: Table, table: Mapping[Any, Any], path: KeyPath) -> None:
        chosen: list[str] = []
        meant: list[str] = []
        for key, value in table.items():
            if not isinstance(key, str):
                text = f"in {path_in_words(path)}, the key {_wrong_key(key)}"
                self.fault((*path, shown_key(key)), text)
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
                    self._unknown(path, key, f"valid are {listed(list(rule.keys), 'and')}")
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
        problem = (rule.names or filled)(key)
        if problem:
            text = f"in {path_in_words(path)}, the name {quoted(key)} {problem}"
            self.fault((*path, key), text)
        self.check_value(others, value, (*path, key))

    def _check_choice(
        self, rule: Table, chosen: list[str], meant: list[str], path: KeyPath
    ) -> None:
        if len(chosen) > 1:
            named = listed([quoted(key) for key in chosen], "and")
            self.fault(path, f"{path_in_words(path)} must have only one of {named}")
        elif not chosen and not any(key in rule.one_of for key in meant):
            named = listed([quoted(key) for key in rule.one_of], "or")
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
        problem = encodable(value)
    elif isinstance(value, float):
        problem = None if _is_finite(value) else f"must be a finite number, not {value}"
    elif not isinstance(value, (list, Mapping)):
        problem = f"must be something that JSON can hold, not {found(value)}"
    elif id(value) in good:
        problem = None
    elif len(path) > _DEEPEST:
        path = path[:3]
        problem = "is nested too deeply"
    else:
        for key, inner in _items(value):
            if isinstance(value, Mapping) and not isinstance(key, str):
                where = (*path, shown_key(key))
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
        return nearest(key, rule.keys)
    return nearest(key, rule.keys, _VERY_NEAR) if rule.keys else None


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
    return listed(names, "or")


def _wrong_key(key: object) -> str:
    text = escaped(shown_key(key))
    return f"{text} must be a string: write {quoted(text)}"
