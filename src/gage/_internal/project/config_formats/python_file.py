"""Python files: what a module assigns constants to, read from its syntax tree."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from gage._internal import fs
from gage._internal.errors import ConfigFileError
from gage._internal.project.config_formats.document import Document, Place, dotted_name
from gage._internal.project.config_formats.plain_values import plain_value
from gage._internal.project.config_formats.source_text import SourceText, decode, line_starts

_COOKIE = re.compile(rb"(?:[^\r\n]*(?:\r\n|\r|\n))?[ \t\f]*#[^\r\n]*coding[:=]")
_STRING_START = re.compile(r"(?P<prefix>[A-Za-z]*)(?P<quote>['\"])")
_FLOAT_NAMES = re.compile(r"[+-]?(?:inf|infinity|nan)", re.IGNORECASE)
_NESTED_SCOPES = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

plain = plain_value


class Constant(NamedTuple):
    """A constant and its span in the text of the module."""

    value: Any
    start: int
    end: int


class Assignment(NamedTuple):
    """What binds a name, in the line given; `constant` only where it could be config."""

    keys: tuple[str, ...]
    line: int
    constant: Constant | None = None


class NotConstantError(ValueError):
    """An expression whose value is known only by running it."""


def parse(path: str, data: bytes) -> Document:
    """Find the constants that a Python file assigns."""
    source = decode_python(path, data)
    try:
        module = parse_module(source.text)
    except SyntaxError as error:
        raise ConfigFileError(f"{fs.printable(path)}:{error.lineno or 1}: {error.msg}") from None
    assignments = read_assignments(module, source.text)
    places = {}
    for keys, constant in sole_constants(assignments).items():
        if not is_private(keys):
            places[dotted_name(keys)] = Place(
                constant.value,
                source.line(constant.start),
                constant.start,
                constant.end,
                source.text[constant.start : constant.end],
            )
    return Document(source, places, reassigned(assignments))


def render(value: Any, place: Place, source: SourceText) -> str:
    """Return the value as a Python literal, a string in the quotes of the one before."""
    literal = _literal(value, place.written)
    try:
        literal.encode(source.encoding)
    except UnicodeEncodeError:
        # No escapes in a raw string: only its quotes are followed.
        quote = re.search("['\"]", place.written)
        literal = _literal(value, quote[0] if quote else "")
        return literal.encode("ascii", "backslashreplace").decode()
    return literal


def decode_python(path: str, data: bytes) -> SourceText:
    """Decode a Python file in UTF-8 or in the encoding that its first lines declare."""
    if not _COOKIE.match(data):
        return decode(path, data)
    import tokenize

    lines = iter(data.splitlines(keepends=True))
    try:
        encoding, _ = tokenize.detect_encoding(lambda: next(lines))
    except SyntaxError as error:
        raise ConfigFileError(f"{fs.printable(path)}:1: {error.msg}") from None
    return decode(path, data, "utf-8" if encoding == "utf-8-sig" else encoding)


def parse_module(text: str) -> ast.Module:
    """Parse Python text without running any of it; SyntaxError says why it cannot be."""
    try:
        with warnings.catch_warnings():
            # A doubtful escape sequence is for the program's own run to warn of.
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(str(error) or "nested too deeply") from None


def read_assignments(module: ast.Module, text: str) -> list[Assignment]:
    """List everything that binds a name in the scope of the module."""
    positions = _Positions(text)
    assignments: list[Assignment] = []
    for statement in module.body:
        target = _config_target(statement)
        if target is None:
            assignments += _bindings(statement)
        else:
            keys, value = target
            assignments += _constants(keys, value, statement.lineno, positions)
            assignments += _bindings(value)
    return assignments


def sole_constants(assignments: Iterable[Assignment]) -> dict[tuple[str, ...], Constant]:
    """Return the constants of the names that are bound only once."""
    assignments = list(assignments)
    variables = _variables(assignments)
    return {
        assignment.keys: assignment.constant
        for assignment in assignments
        if assignment.constant is not None and _variable_in(assignment.keys, variables) is None
    }


def is_private(keys: tuple[str, ...]) -> bool:
    """Tell whether a name is the module's own affair, `__all__` for one."""
    return keys[0].startswith("_")


def reassigned(assignments: Iterable[Assignment]) -> dict[str, str]:
    """Return why constants are not config whose name is bound more than once."""
    assignments = list(assignments)
    variables = _variables(assignments)
    reasons = {}
    for assignment in assignments:
        variable = _variable_in(assignment.keys, variables)
        if variable is not None:
            lines = [str(line) for line in variables[variable]]
            reasons[dotted_name(assignment.keys)] = (
                f"{dotted_name(variable)} is a variable, "
                f"assigned in lines {', '.join(lines[:-1])} and {lines[-1]}"
            )
    return reasons


def constant_value(node: ast.expr) -> Any:
    """Return the value of a constant expression; NotConstantError where it is none."""
    try:
        return _value(node)
    except (TypeError, RecursionError) as error:
        raise NotConstantError(str(error)) from None


def dotted_keys(node: ast.expr) -> tuple[str, ...] | None:
    """Return `("a", "b")` for `a.b` and `a["b"]`, None for any other expression."""
    keys: list[str] = []
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Attribute):
            keys.append(node.attr)
        elif (
            isinstance(node, ast.Subscript)
            and isinstance(node.slice, ast.Constant)
            and isinstance(node.slice.value, str)
        ):
            keys.append(node.slice.value)
        else:
            return None
        node = node.value
    return (node.id, *reversed(keys))


class _Positions:
    """Offsets of syntax tree nodes, which count UTF-8 bytes from the start of their line."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = line_starts(text)

    def span(self, node: ast.expr) -> tuple[int, int]:
        start = self._offset(node.lineno, node.col_offset)
        assert node.end_lineno is not None and node.end_col_offset is not None
        return start, self._offset(node.end_lineno, node.end_col_offset)

    def _offset(self, line: int, column: int) -> int:
        start = self._starts[line - 1]
        # Characters are at most as many as bytes, so that this holds all that are meant.
        before = self._text[start : start + column]
        if before.isascii():
            return start + column
        return start + len(before.encode()[:column].decode())


def _config_target(statement: ast.stmt) -> tuple[tuple[str, ...], ast.expr] | None:
    """Return the name that a statement assigns and its value, if it could be config."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target, value = statement.targets[0], statement.value
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        target, value = statement.target, statement.value
    else:
        return None
    if not _is_attribute_path(target):
        return None
    keys = dotted_keys(target)
    return (keys, value) if keys else None


def _is_attribute_path(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def _constants(
    keys: tuple[str, ...], node: ast.expr, line: int, positions: _Positions
) -> Iterator[Assignment]:
    if isinstance(node, ast.Dict) and node.keys:
        names = [_string(key) for key in node.keys]
        if None not in names:
            yield Assignment(keys, line)
            for name, value in zip(names, node.values, strict=True):
                assert name is not None
                yield from _constants((*keys, name), value, value.lineno, positions)
            return
    try:
        value = constant_value(node)
    except NotConstantError:
        yield Assignment(keys, line)
        return
    if value == {}:
        yield Assignment(keys, line)
    else:
        yield Assignment(keys, line, Constant(value, *positions.span(node)))


def _string(node: ast.expr | None) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None


def _bindings(root: ast.AST) -> Iterator[Assignment]:
    """Yield what a statement binds in its own scope, not in those of functions and classes."""
    pending = [root]
    while pending:
        node = pending.pop()
        line = getattr(node, "lineno", 1)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield Assignment((node.name,), line)
            continue
        if isinstance(node, _NESTED_SCOPES) or (
            isinstance(node, ast.AnnAssign) and node.value is None
        ):
            continue
        if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
            keys = dotted_keys(node) if isinstance(node.ctx, ast.Store) else None
            if keys is not None:
                yield Assignment(keys, line)
        elif isinstance(node, ast.alias):
            yield Assignment(((node.asname or node.name).partition(".")[0],), line)
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
            if node.name is not None:
                yield Assignment((node.name,), line)
        elif isinstance(node, ast.MatchMapping) and node.rest is not None:
            yield Assignment((node.rest,), line)
        pending.extend(ast.iter_child_nodes(node))


def _variables(assignments: Iterable[Assignment]) -> Mapping[tuple[str, ...], list[int]]:
    """Return the names that are bound more than once, with the lines where they are."""
    lines: dict[tuple[str, ...], list[int]] = {}
    for assignment in assignments:
        lines.setdefault(assignment.keys, []).append(assignment.line)
    return {keys: sorted(where) for keys, where in lines.items() if len(where) > 1}


def _variable_in(
    keys: tuple[str, ...], variables: Mapping[tuple[str, ...], Any]
) -> tuple[str, ...] | None:
    """Return the name itself or the one it is part of that is bound more than once."""
    for length in range(1, len(keys) + 1):
        if keys[:length] in variables:
            return keys[:length]
    return None


def _value(node: ast.expr | None) -> Any:
    if isinstance(node, ast.Constant) and node.value is not ...:
        return node.value
    if isinstance(node, ast.JoinedStr):
        # An f-string in which nothing is computed.
        return "".join(map(_value, node.values))
    if isinstance(node, ast.Tuple):
        return tuple(map(_value, node.elts))
    if isinstance(node, ast.List):
        return list(map(_value, node.elts))
    if isinstance(node, ast.Set):
        return set(map(_value, node.elts))
    if isinstance(node, ast.Dict):
        return dict(zip(map(_value, node.keys), map(_value, node.values), strict=True))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        return _called(node.func.id, node.args)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        number = _number(node.operand)
        return -number if isinstance(node.op, ast.USub) else +number
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        real, imaginary = _number(node.left), _number(node.right)
        if type(real) is not complex and type(imaginary) is complex:
            return real + imaginary if isinstance(node.op, ast.Add) else real - imaginary
    raise NotConstantError("no constant")


def _number(node: ast.expr) -> Any:
    number = _value(node)
    if type(number) not in (int, float, complex):
        raise NotConstantError("no number")
    return number


def _called(function: str, arguments: list[ast.expr]) -> Any:
    """Return the value of the calls that stand for what Python has no literal for."""
    if function == "set" and not arguments:
        return set()
    if function == "float" and len(arguments) == 1:
        text = _string(arguments[0])
        if text is not None and _FLOAT_NAMES.fullmatch(text):
            return float(text)
    raise NotConstantError("a call")


def _literal(value: Any, written: str) -> str:
    if isinstance(value, str):
        return _string_literal(value, written)
    if isinstance(value, float):
        shown = repr(value)
        return f'float("{shown}")' if shown.lstrip("-") in ("inf", "nan") else shown
    if value is None or isinstance(value, (bool, int, complex, bytes)):
        return repr(value)
    if isinstance(value, dict):
        entries = (f"{_inner(key, written)}: {_inner(value[key], written)}" for key in value)
        return f"{{{', '.join(entries)}}}"
    if isinstance(value, list):
        return f"[{', '.join(_inner(item, written) for item in value)}]"
    if isinstance(value, tuple):
        comma = "," if len(value) == 1 else ""
        return f"({', '.join(_inner(item, written) for item in value)}{comma})"
    if isinstance(value, set):
        # Sorted, since the order of a set of strings differs from process to process.
        items = ", ".join(sorted(_inner(item, written) for item in value))
        return f"{{{items}}}" if items else "set()"
    raise ValueError(f"Python has no constant of type {type(value).__name__}")


def _inner(value: Any, written: str) -> str:
    """Return an item of a collection, its strings in the quotes that are used in it first."""
    quote = re.search(r"['\"]", written)
    return _literal(value, quote[0] if quote else "")


def _string_literal(value: str, written: str) -> str:
    start = _STRING_START.match(written)
    prefix, quote = (start["prefix"].lower(), start["quote"]) if start else ("", '"')
    if prefix == "r" and quote not in value and value.isprintable() and value[-1:] != "\\":
        return f"r{quote}{value}{quote}"
    # repr() of a string that holds a double quote is in single quotes and escapes those.
    body = repr('"' + value)[2:-1]
    if quote == '"':
        body = body.replace("\\'", "'").replace('"', '\\"')
    return f"{quote}{body}{quote}"
