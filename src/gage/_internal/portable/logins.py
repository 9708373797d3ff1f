"""Other machines, reached by the system's ssh as its user's configuration says."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from gage._internal.errors import RemoteFailed
from gage._internal.fs import printable

_ADDRESS = re.compile(
    r"[sS][sS][hH]://(?:([^/@]+)@)?(\[[0-9A-Fa-f:.%\w]+\]|[^/@:\[\]]+)(?::([0-9]{1,5}))?(/.*)?",
    re.DOTALL,
)
_SCP_LIKE = re.compile(r"(?:([^/@:]+)@)?([^/@:\[\]]+|\[[0-9A-Fa-f:.]+\]):(.*)", re.DOTALL)


class Login(NamedTuple):
    """Where to log in, and the directory there: relative to that of the login, or absolute."""

    host: str
    user: str | None
    port: str | None
    path: str


def parse_address(address: str) -> Login:
    """Return what an address means: `ssh://[USER@]HOST[:PORT]/PATH` or `[USER@]HOST:PATH`.

    `/~/` at the beginning of PATH is the directory of the login.

    Raises:
        RemoteFailed: it is no such address.
    """
    match = _ADDRESS.fullmatch(address)
    if match:
        user, host, port, path = match.groups()
        path = unquote(path or "")
        path = path[1:] if path.startswith("/~") else path
    else:
        match = None if "://" in address else _SCP_LIKE.fullmatch(address)
        if match is None:
            raise _wrong(address)
        user, host, path = match.groups()
        port = None
    if not path.strip("/") or "\0" in path or host.startswith("-") or (user or "").startswith("-"):
        raise _wrong(address)
    return Login(host.strip("[]"), user, port, path)


def ssh_command(login: Login, program: str) -> list[str]:
    """Return the command that executes a program of Python on another machine.

    There must be no double quote within a string of the program.
    """
    # No character in it that means something within quotes, whatever shell is there.
    quoted = program.replace("'", '"')
    command = ["ssh", "-T", "-oBatchMode=yes", "-oClearAllForwardings=yes", "-oForwardX11=no"]
    command += ["-oForwardAgent=no"]
    command += ["-p", login.port] if login.port else []
    command += ["-l", login.user] if login.user else []
    return [*command, "--", login.host, f"exec python3 -X utf8 -I -S -c '{quoted}'"]


def _wrong(address: str) -> RemoteFailed:
    return RemoteFailed(
        f"{printable(address)} is no address of a directory on another machine",
        "ssh://HOST/DIRECTORY, or HOST:DIRECTORY",
    )
