"""The values of the secrets that an operation names, found when it starts and never written.

A value comes from the environment, else from a file with a line `NAME=VALUE` for each, which nobody
else may read (`GAGE_SECRETS` says where, else `~/.config/gage/secrets`), else from the system's
keyring, under the service `gage`, where the `keyring` package is installed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any

from gage._internal.errors import SecretMissing
from gage._internal.fs import printable

FILE_VARIABLE = "GAGE_SECRETS"
_DEFAULT_FILE = os.path.join("~", ".config", "gage", "secrets")
_SERVICE = "gage"
_OTHERS = 0o077


def secret_names(data: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of the secrets of an operation, of which `data` is the definition."""
    names = data.get("secrets", ())
    return (names,) if isinstance(names, str) else tuple(names)


def read_secrets(names: Sequence[str]) -> Mapping[str, str]:
    """Return the value of each secret.

    Raises:
        SecretMissing: some have none; the message names them all. Or the file with secrets may be
            read by others.
    """
    values = find_secrets(names)
    missing = [printable(name) for name in names if name not in values]
    if missing:
        raise SecretMissing(
            f"there is no value for {'a secret' if len(missing) == 1 else 'secrets'} that the run"
            f" needs: {', '.join(missing)}",
            f"set it in the environment, or in {_shown(_file_path())}, one NAME=VALUE a line",
        )
    return values


def find_secrets(names: Sequence[str]) -> Mapping[str, str]:
    """Return the value of each secret that has one; an empty one counts as none.

    Raises:
        SecretMissing: the file with secrets may be read by others, or cannot be read.
    """
    found = {name: os.environ[name] for name in names if os.environ.get(name)}
    if len(found) < len(names):
        found = {**{n: v for n, v in _read_file().items() if v and n in names}, **found}
    for name in names:
        if name not in found:
            value = _find_in_keyring(name)
            if value:
                found[name] = value
    return found


def _file_path() -> str:
    return os.path.expanduser(os.environ.get(FILE_VARIABLE) or _DEFAULT_FILE)


def _shown(path: str) -> str:
    home = os.path.expanduser("~")
    return printable("~" + path[len(home) :] if path.startswith(home + "/") else path)


def _read_file() -> Mapping[str, str]:
    path = _file_path()
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & _OTHERS:
                raise SecretMissing(
                    f"{printable(path)} has secrets, and others may read it", f"chmod 600 {path}"
                )
            lines = file.read().splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SecretMissing(f"{printable(path)}: {error.strerror}") from None
    pairs = (line.partition("=") for line in lines if not line.lstrip().startswith("#"))
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def _find_in_keyring(name: str) -> str | None:
    import importlib

    try:
        keyring = importlib.import_module("keyring")
    except ImportError:
        return None
    try:
        value: str | None = keyring.get_password(_SERVICE, name)
    except keyring.errors.KeyringError:
        return None
    return value
