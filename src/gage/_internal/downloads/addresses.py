"""Addresses of what is downloaded: which are taken, and what the file behind one is called."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from gage._internal.fs import printable

# The JSON Schema of the Gage file has the same pattern.
_PORT = "6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[0-9]{1,4}"
_HOST = r"(\[[0-9A-Fa-f:.]+\]|[^\x00-\x20\x7f/?#@:\[\]\\]+)"
_ADDRESS = re.compile(
    rf"[hH][tT][tT][pP][sS]?://{_HOST}(:({_PORT}))?([/?#][^\x00-\x20\x7f]*)?", re.DOTALL
)
_LOGIN = re.compile(r"[^/?#]*//[^/?#]*@")
_UNSAFE = re.compile(r"[/\x00-\x1f\x7f]")
_LONGEST_NAME = 255
# What a path or query may hold as it is; anything else is percent-encoded.
_PLAIN = "%/:=&?~#+!$,;'@()*[]-._"


def address_problem(address: str) -> str | None:
    """Return what is wrong with an address, as the rest of a sentence about it; None for nothing.

    What would be a password in it is not repeated.
    """
    if _ADDRESS.fullmatch(address):
        return None
    if _LOGIN.match(address):
        return (
            "must not hold a user or password, which would be kept with each run: write a line"
            ' "machine HOST login USER password PASSWORD" into ~/.netrc'
        )
    if re.search(r"[\x00-\x20\x7f]", address):
        return "must not contain blanks or control characters: write a blank as %20"
    return f'must be an http:// or https:// address, not "{printable(address)}"'


def name_in(address: str) -> str | None:
    """Return the file name that an address ends with, if any."""
    last = urlsplit(address).path.rpartition("/")[2]
    return safe_name(unquote(last, errors="surrogateescape"))


def safe_name(text: str) -> str | None:
    """Return a text as a file name; None where it cannot be one."""
    name = _UNSAFE.sub("_", text)
    while len(name.encode("utf-8", "surrogateescape")) > _LONGEST_NAME:
        name = name[:-1]
    return None if name.strip() in ("", ".", "..") else name


def host_of(address: str) -> str:
    """Return the host that an address names."""
    return urlsplit(address).hostname or ""


def is_same_origin(one: str, other: str) -> bool:
    """Tell whether two addresses have scheme, host and port in common."""
    return _origin(one) == _origin(other)


def _origin(address: str) -> tuple[str, str | None, int]:
    parts = urlsplit(address)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def without_query(address: str) -> str:
    """Return an address less what may hold a signature or a password."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def as_requested(address: str) -> str:
    """Return an address in ASCII and without the fragment, as a request has it.

    Raises:
        UnicodeError: the host cannot be a host's name.
    """
    parts = urlsplit(address)
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode("ascii")
    path, query = (quote(part, _PLAIN, errors="surrogateescape") for part in parts[2:4])
    return urlunsplit((parts.scheme, host, path or "/", query, ""))
