"""The options of a script's `argparse` parser, read from its syntax tree.

Nothing is executed. Statements are followed in order, into functions that are called with a
parser, so that the usual ways of building one are understood; what is computed is not.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal import fs
from gage._internal.errors import BadConfigValue, ConfigFileError, UnknownConfig
from gage._internal.project.config_formats.python_file import (
    NotConstantError,
    constant_value,
    decode_python,
    dotted_keys,
    parse_module,
    read_assignments,
    sole_constants,
)
from gage._internal.project.near_names import near_hint
from gage._internal.project.values import parse_value

_PARSER = "parser"
_SUBPARSERS = "subparsers"
_SUBPARSER = "subparser"

# What argparse takes for a number, and so not for an option, in every Python version.
_NEGATIVE_NUMBER = re.compile(r"-\d+|-\d*\.\d+")

_SWITCH_DEFAULTS = {"store_true": False, "store_false": True}
_NARGS = {"OPTIONAL": "?", "ZERO_OR_MORE": "*", "ONE_OR_MORE": "+", "REMAINDER": "..."}

# A value of each type, None for an argument without one: argparse takes it as text.
_SAMPLES: Mapping[str | None, Any] = {None: "", "str": "", "int": 0, "float": 0.0}

_Scope = dict[tuple[str, ...], str]


class Option(NamedTuple):
    """An argument that a script accepts, named by its `dest`.

    `flags` is empty for a positional argument. `default`, `choices` and `const` are None where
    they are not constant; `type` and `action` are names, dotted where the script has them so.
    `path` and `line` tell where the script adds it.
    """

    name: str
    flags: tuple[str, ...]
    default: Any
    type: str | None
    action: str
    choices: tuple[Any, ...] | None
    nargs: int | str | None
    required: bool
    help: str | None
    path: str
    line: int
    const: Any = None


def read_options(path: str, data: bytes) -> dict[str, Option]:
    """Return the options of a script by name; none if it builds no parser.

    Those of subcommands are left out.

    Raises:
        ConfigFileError: the script is not Python.
    """
    source = decode_python(path, data)
    if "argparse" not in source.text:
        return {}
    try:
        module = parse_module(source.text)
    except SyntaxError as error:
        place = f"{fs.printable(path)}:{error.lineno or 1}"
        raise ConfigFileError(f"{place}: {error.msg}") from None
    reader = _Reader(path, module, source.text)
    try:
        reader.block(module.body, reader.names)
    except RecursionError:
        raise ConfigFileError(f"{fs.printable(path)}:1: nested too deeply") from None
    return reader.options


def parse_option(option: Option, text: str, where: object) -> Any:
    """Return the value that a text gives an option, by its default or else its type.

    Raises:
        BadConfigValue: the text is no such value; `where` names the option.
    """
    return parse_value(text, sample_of(option), where)


def sample_of(option: Option) -> Any:
    """Return a value of the type that an option has: its default, or one of its type; or None."""
    if option.default is None and option.action == "store" and option.nargs in (None, "?"):
        return _SAMPLES.get(option.type)
    return option.default


def option_args(options: Mapping[str, Option], values: Mapping[str, Any]) -> list[str]:
    """Return the command-line arguments that set values, positional ones last.

    Raises:
        UnknownConfig: there is no such option.
        BadConfigValue: no arguments set an option to that value.
    """
    for name in values:
        if name not in options:
            what = f"the script has no argument {fs.printable(name)}"
            raise UnknownConfig(what, near_hint(name, list(options)))
    args: list[str] = []
    is_open = False
    for name, value in values.items():
        if options[name].flags:
            args += _flag_args(options[name], value)
            is_open |= options[name].nargs in ("*", "+")
    positionals = list(_positional_args(options, values))
    if positionals and (is_open or any(arg.startswith("-") for arg in positionals)):
        args.append("--")
    return args + positionals


def _positional_args(options: Mapping[str, Option], values: Mapping[str, Any]) -> Iterator[str]:
    missing: Option | None = None
    for option in options.values():
        if option.flags:
            continue
        if option.name not in values:
            missing = missing or option
        elif missing is not None:
            raise _refusal(option, f"can only be given together with {missing.name} before it")
        else:
            yield from _texts(option, values[option.name])


def _flag_args(option: Option, value: Any) -> list[str]:
    flag = next((flag for flag in option.flags if flag.startswith("--")), option.flags[0])
    if option.action in (*_SWITCH_DEFAULTS, "BooleanOptionalAction"):
        return _switch_args(option, flag, value)
    if option.action in ("store_const", "count"):
        return _bare_args(option, flag, value)
    if value is None and option.default is None:
        return []
    if option.action == "append_const":
        raise _refusal(option, "cannot be given as config")
    if option.action in ("append", "extend"):
        args = []
        for item in _added(option, value):
            args += _joined(option, flag, _texts(option, item))
        return args
    return _joined(option, flag, _texts(option, value))


def _switch_args(option: Option, flag: str, value: Any) -> list[str]:
    if not isinstance(value, bool):
        raise _refusal(option, f"is true or false, not {value!r}")
    if option.action == "BooleanOptionalAction":
        if not value and not flag.startswith("--"):
            raise _refusal(option, "can only be set to False with a long flag")
        return [flag if value else f"--no-{flag[2:]}"]
    if value is not _SWITCH_DEFAULTS[option.action]:
        return [flag]
    if option.default in (value, None):
        return []
    raise _refusal(option, f"is {option.default!r} with and without {flag}")


def _bare_args(option: Option, flag: str, value: Any) -> list[str]:
    """Return a flag without a value as often as is needed."""
    if value == option.default:
        return []
    if option.action == "store_const" and value == option.const:
        return [flag]
    start = option.default or 0
    if option.action == "count" and isinstance(value, int) and value >= start:
        return [flag] * (value - start)
    raise _refusal(option, f"cannot be set to {value!r}")


def _added(option: Option, value: Any) -> Sequence[Any]:
    """Return what is to be appended to the default for it to become the value."""
    if not isinstance(value, (list, tuple)):
        raise _refusal(option, f"takes a list, not {value!r}")
    start = list(option.default or ())
    if list(value[: len(start)]) != start:
        raise _refusal(option, f"can only be added to: it begins with {start!r}")
    items = value[len(start) :]
    return [items] if option.action == "extend" and items else items


def _joined(option: Option, flag: str, texts: list[str]) -> list[str]:
    if len(texts) == 1 and (texts[0].startswith("-") or not texts[0] or option.nargs == "?"):
        return [f"{flag}={texts[0]}"]
    for text in texts:
        if text.startswith("-") and not _NEGATIVE_NUMBER.fullmatch(text):
            raise _refusal(option, f"cannot be given {text!r}: it looks like a flag")
    return [flag, *texts]


def _texts(option: Option, value: Any) -> list[str]:
    """Return the words that an option or positional argument takes for a value."""
    if option.nargs in (None, "?"):
        return [_text(option, value)]
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    if isinstance(option.nargs, int) and len(items) != option.nargs:
        raise _refusal(option, f"takes {option.nargs} values, not {len(items)}")
    if option.nargs == "+" and not items:
        raise _refusal(option, "takes at least one value")
    if len(items) > 1:
        items = [_without_exponent(item) for item in items]
    return [_text(option, item) for item in items]


def _without_exponent(value: Any) -> Any:
    """Return a small negative number as -0.00001, since argparse takes -1e-05 for a flag."""
    if isinstance(value, float) and value < 0 and "e" in repr(value):
        from decimal import Decimal

        return format(Decimal(repr(value)), "f")
    return value


def _text(option: Option, value: Any) -> str:
    if isinstance(value, (list, tuple, dict, set)) or value is None:
        raise _refusal(option, f"cannot be {value!r}")
    refused = {"int": (bool, float), "float": (bool,)}.get(option.type or "", ())
    if isinstance(value, refused):
        raise _refusal(option, f"is of type {option.type}, it cannot be {value!r}")
    if option.choices is not None and str(value) not in map(str, option.choices):
        shown = ", ".join(map(str, option.choices))
        raise _refusal(option, f"is one of {shown}, not {value}")
    if option.type == "bool" and isinstance(value, bool):
        # bool() of any other text is True.
        return "True" if value else ""
    return str(value)


def _refusal(option: Option, what: str) -> BadConfigValue:
    place = f"{fs.printable(option.path)}:{option.line}"
    return BadConfigValue(f"{fs.printable(option.name)} ({place}) {what}")


class _Reader:
    """Follows the statements of a script and collects the options of its parsers.

    Scopes map the names of variables to what they hold: a parser (or group of one), what
    `add_subparsers` returns, or a subcommand's parser.
    """

    def __init__(self, path: str, module: ast.Module, text: str) -> None:
        self.path = path
        self.options: dict[str, Option] = {}
        self.names: _Scope = {}
        self.constants = {
            keys: constant.value
            for keys, constant in sole_constants(read_assignments(module, text)).items()
        }
        self.functions = {
            node.name: node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)
        }
        self.makers = set(_parser_makers(module))
        self.defaults: dict[str, Any] = {}
        self.seen: set[ast.Call] = set()
        self.entered: dict[tuple[str, frozenset[tuple[str, str]]], _Scope] = {}

    def block(self, statements: Iterable[ast.stmt], scope: _Scope) -> None:
        for statement in statements:
            self.statement(statement, scope)

    def statement(self, node: ast.AST, scope: _Scope) -> None:
        """Follow a statement or a part of one that is run in this scope."""
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            self.block(node.body, {**self.names, **scope})
            return
        if isinstance(node, ast.ClassDef):
            self.block(node.body, scope)
            return
        for child in ast.iter_child_nodes(node):
            self.statement(child, scope)
        if isinstance(node, ast.Call):
            self.call(node, scope)
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.NamedExpr)):
            self.assign(node, scope)

    def assign(self, node: ast.Assign | ast.AnnAssign | ast.NamedExpr, scope: _Scope) -> None:
        kind = self.kind(node.value, scope) if node.value is not None else None
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            keys = dotted_keys(target)
            if keys is None:
                continue
            # An attribute of self is there in other methods too.
            for names in (scope, self.names) if keys[0] == "self" else (scope,):
                names.pop(keys, None)
                if kind is not None:
                    names[keys] = kind

    def kind(self, node: ast.expr, scope: _Scope) -> str | None:
        """Tell what an expression is, if it is a parser or part of one."""
        keys = dotted_keys(node)
        if keys is not None:
            return scope.get(keys)
        if not isinstance(node, ast.Call):
            return None
        called = dotted_keys(node.func)
        if called in self.makers:
            return _PARSER
        if called is not None and len(called) == 1 and called[0] in self.functions:
            return self.returned(self.functions[called[0]], node, scope)
        if not isinstance(node.func, ast.Attribute):
            return None
        owner = self.kind(node.func.value, scope)
        if node.func.attr in ("add_argument_group", "add_mutually_exclusive_group"):
            return owner
        made = {(_PARSER, "add_subparsers"): _SUBPARSERS, (_SUBPARSERS, "add_parser"): _SUBPARSER}
        return made.get((owner or "", node.func.attr))

    def returned(self, function: ast.FunctionDef, call: ast.Call, scope: _Scope) -> str | None:
        """Tell what a function of the script returns."""
        inner = self.enter(function, call, scope)
        for node in ast.walk(function):
            if isinstance(node, ast.Return) and node.value is not None and inner:
                kind = self.kind(node.value, inner)
                if kind is not None:
                    return kind
        return None

    def enter(self, function: ast.FunctionDef, call: ast.Call, scope: _Scope) -> _Scope:
        """Follow a function with the parsers that it is called with; return its scope."""
        parameters = [*function.args.posonlyargs, *function.args.args]
        given = [
            (parameter.arg, value) for parameter, value in zip(parameters, call.args, strict=False)
        ]
        given += [(keyword.arg, keyword.value) for keyword in call.keywords if keyword.arg]
        kinds = [(name, self.kind(value, scope)) for name, value in given]
        known = frozenset((name, kind) for name, kind in kinds if kind is not None)
        if (function.name, known) not in self.entered:
            inner = dict(self.names)
            for name, _ in kinds:
                inner.pop((name,), None)
            inner.update(((name,), kind) for name, kind in known)
            # Noted before it is followed: the function may call itself.
            self.entered[function.name, known] = inner
            self.block(function.body, inner)
        return self.entered[function.name, known]

    def call(self, node: ast.Call, scope: _Scope) -> None:
        """Follow a call that adds to a parser, or that gives one to a function."""
        if isinstance(node.func, ast.Name) and node.func.id in self.functions:
            arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
            if any(self.kind(argument, scope) for argument in arguments):
                self.enter(self.functions[node.func.id], node, scope)
        if not isinstance(node.func, ast.Attribute) or node in self.seen:
            return
        add = {"add_argument": self.add_argument, "set_defaults": self.set_defaults}
        if node.func.attr in add and self.kind(node.func.value, scope) == _PARSER:
            self.seen.add(node)
            add[node.func.attr](node)

    def add_argument(self, node: ast.Call) -> None:
        words = [self.constant(argument) for argument in node.args]
        given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
        action = _named(given.get("action")) or "store"
        flags = tuple(word for word in words if isinstance(word, str))
        if len(flags) != len(node.args) or action in ("help", "version"):
            return
        name = self.constant(given.get("dest")) or _dest(flags)
        if not isinstance(name, str):
            return
        if not (flags and flags[0].startswith("-")):
            flags = ()
        nargs = self.constant(given.get("nargs"))
        if nargs is None and "nargs" in given:
            nargs = _NARGS.get(_named(given["nargs"]) or "")
        text = self.constant(given.get("help"))
        option = Option(
            name=name,
            flags=flags,
            default=None,
            type=_type_name(given.get("type")),
            action=action,
            choices=_choices(self.constant(given.get("choices"))),
            nargs=nargs if isinstance(nargs, (int, str)) else None,
            required=self.constant(given.get("required")) is True
            or (not flags and nargs not in ("?", "*")),
            help=text if isinstance(text, str) else None,
            path=self.path,
            line=node.lineno,
            const=self.constant(given.get("const")),
        )
        if "default" in given:
            default = self.constant(given["default"])
        else:
            default = self.defaults.get(name, _SWITCH_DEFAULTS.get(action))
        self.options.setdefault(name, option._replace(default=_typed(default, option.type)))

    def set_defaults(self, node: ast.Call) -> None:
        for keyword in node.keywords:
            if keyword.arg is None:
                continue
            self.defaults[keyword.arg] = default = self.constant(keyword.value)
            option = self.options.get(keyword.arg)
            if option is not None:
                self.options[option.name] = option._replace(default=_typed(default, option.type))

    def constant(self, node: ast.expr | None) -> Any:
        """Return the value of a constant, or of the name of one; None for any other."""
        if node is None:
            return None
        keys = dotted_keys(node)
        if keys is not None:
            return self.constants.get(keys)
        try:
            return constant_value(node)
        except NotConstantError:
            return None


def _parser_makers(module: ast.Module) -> Iterator[tuple[str, ...]]:
    """Yield what the script calls `ArgumentParser`, and its own classes derived from it."""
    makers: set[tuple[str, ...]] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for name in node.names:
                if name.name == "argparse":
                    makers.add((name.asname or name.name, "ArgumentParser"))
        elif isinstance(node, ast.ImportFrom) and node.module == "argparse":
            for name in node.names:
                if name.name in ("ArgumentParser", "*"):
                    makers.add((name.asname or "ArgumentParser",))
    yield from makers
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef) and any(dotted_keys(b) in makers for b in node.bases):
            yield (node.name,)


def _named(node: ast.expr | None) -> str | None:
    """Return a string constant, or the last part of a name."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    keys = dotted_keys(node) if node is not None else None
    return keys[-1] if keys else None


def _type_name(node: ast.expr | None) -> str | None:
    if node is None or (isinstance(node, ast.Constant) and node.value is None):
        return None
    keys = dotted_keys(node)
    return ".".join(keys) if keys else ast.unparse(node)


def _dest(flags: tuple[str, ...]) -> str | None:
    """Return the name that argparse gives an argument: the first long flag, else the first."""
    if not flags or not flags[0].startswith("-"):
        return flags[0] if flags else None
    flag = next((flag for flag in flags if flag.startswith("--")), flags[0])
    return flag.lstrip("-").replace("-", "_")


def _choices(value: Any) -> tuple[Any, ...] | None:
    return tuple(value) if isinstance(value, (list, tuple, str)) else None


def _typed(default: Any, type_name: str | None) -> Any:
    """Return a default as the script gets it: argparse converts one that is a string.

    A whole number for a float is what argparse leaves, but the option takes any float.
    """
    kind = {"int": int, "float": float}.get(type_name or "")
    if kind is not None and (isinstance(default, str) or (kind is float and type(default) is int)):
        try:
            return kind(default)
        except (ValueError, OverflowError):
            return None
    return default
