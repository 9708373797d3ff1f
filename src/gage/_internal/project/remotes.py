"""Remotes by name, as the project's or the user's settings define them, or by their address."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from gage._internal.errors import UnknownRemote
from gage._internal.fs import printable
from gage._internal.project.gage_file_rules import remote_name
from gage._internal.project.user_settings import read_users, settings_path
from gage._internal.types import NOTHING

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(?:://|::)")
# As scp has it: the host comes before the first colon, and no slash before that.
_SCP_LIKE = re.compile(r"(?:[^/@:]+@)?(?:[^/@:\[\]]+|\[[0-9A-Fa-f:.]+\]):")


class RemoteAddress(NamedTuple):
    """Where a remote is: what kind it is of, its address, and options of that."""

    kind: str
    address: str
    options: Mapping[str, Any] = NOTHING


def find_remote_address(
    text: str, cwd: str, project_dir: str | None, remotes: Mapping[str, Any]
) -> RemoteAddress:
    """Return the remote that `text` means: one of `remotes`, of the user's, or an address.

    A path is relative to `cwd`; in the project's settings to the project, in the user's to the
    home directory.

    Raises:
        UnknownRemote: it is neither.
        GageFileError: the user's settings have faults.
    """
    if remote_name(text) or text.startswith(("~", ".")):
        return _address(text, NOTHING, cwd)
    if text in remotes:
        return _defined(remotes[text], project_dir or cwd)
    users = read_users("remotes", "address")
    if text in users:
        return _defined(users[text], os.path.expanduser("~"))
    known = ", ".join(map(printable, sorted({*remotes, *users})))
    hint = f"there are {known}" if known else f"define it under [remotes] in {settings_path()}"
    if os.path.isdir(os.path.join(cwd, text)):
        hint = f"the directory is ./{text}"
    raise UnknownRemote(f"there is no remote {printable(text)}", hint)


def _defined(value: Any, folder: str) -> RemoteAddress:
    if isinstance(value, str):
        return _address(value, NOTHING, folder)
    return _address(value["address"], value.get("options", NOTHING), folder)


def _address(text: str, options: Mapping[str, Any], folder: str) -> RemoteAddress:
    scheme = _SCHEME.match(text)
    if scheme and scheme[1].lower() != "file":
        return RemoteAddress(scheme[1].lower(), text, options)
    if scheme is None and _SCP_LIKE.match(text):
        return RemoteAddress("ssh", text, options)
    path = os.path.expanduser(text.removeprefix("file://"))
    return RemoteAddress("directory", os.path.normpath(os.path.join(folder, path)), options)
