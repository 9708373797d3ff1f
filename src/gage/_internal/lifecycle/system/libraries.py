"""Shared libraries of the system: which there are, and the newest symbols that some have."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from gage._internal import fs

_CACHE = "etc/ld.so.cache"
_FOLDERS = ("lib64", "usr/lib64", "lib", "usr/lib", "usr/local/lib", "opt/homebrew/lib")
_LIBSTDCXX = "libstdc++.so.6"
_OF_LIBSTDCXX = ("GLIBCXX", "CXXABI")


class Libraries:
    """The libraries that a loader finds; the system is what lies below `root`."""

    def __init__(self, env: Mapping[str, str], root: str = "/") -> None:
        self._root = root
        own = env.get("LD_LIBRARY_PATH", os.environ.get("LD_LIBRARY_PATH", ""))
        self._own = [folder for folder in own.split(":") if folder.startswith("/")]
        try:
            self._cache = fs.read_bytes(os.path.join(root, _CACHE))
        except OSError:
            self._cache = b""

    def find(self, name: str) -> str | None:
        """Return the path of a library; None where the loader does not find it."""
        for folder in self._own:
            if os.path.exists(f"{folder}/{name}"):
                return f"{folder}/{name}"
        # Names and paths stand in the cache as strings, in no order.
        pattern = b"\0(/[^\0]*/%s)\0" % re.escape(os.fsencode(name))
        for path in re.findall(pattern, self._cache):
            full = os.path.join(self._root, os.fsdecode(path).lstrip("/"))
            if os.path.exists(full):
                return full
        architecture = f"{os.uname().machine}-linux-gnu"
        for folder in _FOLDERS:
            for full in (
                os.path.join(self._root, folder, name),
                os.path.join(self._root, folder, architecture, name),
            ):
                if os.path.exists(full):
                    return full
        return None

    def newest(self, symbols: str) -> str:
        """Return the newest version of `GLIBC`, `GLIBCXX` or `CXXABI` symbols; empty for none."""
        if symbols == "GLIBC":
            return glibc_version()
        path = self.find(_LIBSTDCXX) if symbols in _OF_LIBSTDCXX else None
        if path is None:
            return ""
        try:
            data = fs.read_bytes(path)
        except OSError:
            return ""
        found = re.findall(rb"\0%s_(\d+(?:\.\d+)*)(?=\0)" % symbols.encode(), data)
        return max(found, key=_numbers).decode() if found else ""


def glibc_version() -> str:
    """Return the version of the GNU C library that this process has; empty for another one."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (AttributeError, ValueError, OSError):
        return ""
    return version if name == "glibc" else ""


def _numbers(version: bytes) -> list[int]:
    return [int(part) for part in version.split(b".")]
