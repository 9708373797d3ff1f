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
# The JSON Schema has these too.
_REPOSITORY = re.compile(
    r"(?!-)(?![A-Za-z0-9+.-]*::)"
    rf"(?:[hH][tT][tT][pP][sS]?://{_HOST}(:({_PORT}))?(/[^\x00-\x20\x7f?#]*)?"
    r"|(ssh|git)://([^\x00-\x20\x7f/@:]+@)?[^\x00-\x20\x7f/@]+(/[^\x00-\x1f\x7f]*)?"
    r"|file://[^\x00-\x1f\x7f]+"
    r"|(?![^/]*://)(?=[^\x00-\x1f\x7f]*[^\x00-\x20\x7f])[^\x00-\x1f\x7f]+)"
)
_REVISION = re.compile(
    r"(?![-/.])(?![\s\S]*(\.\.|@\{|//))[^\x00-\x20\x7f~^:?*\[\\]*[^\x00-\x20\x7f~^:?*\[\\/.]"
)
_OBJECTS = re.compile(
    r"(?![hH][tT][tT][pP][sS]?://)(?![^\x00-\x1f\x7f]*//[^/@]*:[^/@]*@)"
    r"[A-Za-z][A-Za-z0-9+.-]*(::|://)[^\x00-\x1f\x7f]+"
)
_WITH_PASSWORD = re.compile(r"//[^/@]*:[^/@]*@")
_SECRET_OPTION = re.compile(
    r"secret|passw|passphrase|token|credential|account_key|connection_string|private_key",
    re.IGNORECASE,
)
_SCP_LIKE = re.compile(r"[^/:]+:")
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
    return f'must be an http:// or https:// address, not "{printable(address)}"' + (
        ": what is kept elsewhere is what fsspec takes" if "://" in address else ""
    )


def repository_problem(address: str) -> str | None:
    """Return what is wrong with the address of a git repository, as the rest of a sentence.

    What would be a password in it is not repeated.
    """
    if _REPOSITORY.fullmatch(address):
        return None
    if _LOGIN.match(address):
        return (
            "must not hold a user or password, which would be kept with each run: let a credential"
            ' helper of git know it, or write a line "machine HOST login USER password PASSWORD"'
            " into ~/.netrc"
        )
    if not address.strip():
        return "must not be empty"
    if re.search(r"[\x00-\x1f\x7f]", address):
        return "must not contain control characters"
    return (
        "must be an address of http, https, ssh or git, USER@HOST:PATH, or a directory, not"
        f' "{printable(address)}"'
    )


def revision_problem(revision: str) -> str | None:
    """Return what is wrong with a revision of a git repository, as the rest of a sentence."""
    if _REVISION.fullmatch(revision):
        return None
    return f'must be a branch, a tag or a commit, not "{printable(revision)}"'


def is_local_repository(address: str) -> bool:
    """Tell whether an address that is right is a directory here, as git tells it."""
    return "://" not in address and not _SCP_LIKE.match(address)


def repository_name(address: str) -> str:
    """Return the name of the directory that git would clone a repository to."""
    path = address.rstrip("/").removesuffix("/.git").rstrip("/")
    last = re.split("[/:]", path)[-1].removesuffix(".git")
    return safe_name(last) or "repository"


def objects_problem(address: str) -> str | None:
    """Return what is wrong with an address that fsspec is to take, as the rest of a sentence.

    What would be a password in it is not repeated.
    """
    if _OBJECTS.fullmatch(address):
        return None
    if _WITH_PASSWORD.search(address):
        return (
            "must not hold a password, which would be kept with each run: name the secret that has"
            " it, secrets = { password = NAME }"
        )
    if re.search(r"[\x00-\x1f\x7f]", address):
        return "must not contain control characters"
    if re.match("https?://", address, re.IGNORECASE):
        return "must not be an http:// or https:// address, which is what url takes"
    return f'must be an address such as s3://BUCKET/PATH, not "{printable(address)}"'


def option_problem(name: str) -> str | None:
    """Return what is wrong with an option that is given as it is, as the rest of a sentence."""
    if _SECRET_OPTION.search(name):
        remedy = f"name the secret that has it, secrets = {{ {name} = NAME }}"
        return f"would be kept with each run: {remedy}"
    return None


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
