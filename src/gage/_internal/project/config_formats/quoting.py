"""Double-quoted strings as YAML and TOML both read them."""

from __future__ import annotations

_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
}


def double_quoted(value: str) -> str:
    """Return the value as a double-quoted string; a lone surrogate is a ValueError."""
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if 0xD800 <= code <= 0xDFFF:
        raise ValueError("it holds a byte that is not UTF-8 text")
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
