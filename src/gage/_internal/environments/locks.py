"""Lists of pinned packages, out of lock files.

What is installed from is one form for all: requirements with a version and the digests of its
files, as pip and uv read them. Packages whose source lies on this machine are not in it.

Sources: PEP 751 (pylock.toml); uv's documentation of `uv.lock`, whose `source` tables tell what is
local.
"""

from __future__ import annotations

import os
import sys
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from gage._internal.errors import RuntimeFailed
from gage._internal.fs import printable, read_bytes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]


def local_folders(path: str) -> list[str]:
    """Return the directories, relative to that of a file, of local packages to be installed.

    The file is `uv.lock`, or a `pyproject.toml`, which tells of its own directory only.
    """
    data = _read_toml(path)
    if "package" not in data:
        return ["."] if _is_package(data) else []
    folders = []
    for package in data["package"]:
        source = package.get("source", {})
        folder = source.get("editable") or source.get("directory")
        if folder:
            folders.append(folder)
    return folders


def needs_what_is_outside(path: str) -> bool:
    """Tell whether a lock file or a `pyproject.toml` names packages outside of its directory."""
    name = os.path.basename(path)
    if name == "uv.lock":
        folders = local_folders(path)
    elif name == "pyproject.toml":
        sources = _read_toml(path).get("tool", {}).get("uv", {}).get("sources", {}).values()
        folders = [str(each["path"]) for each in sources if "path" in each]
    else:
        return False
    return any(os.path.normpath(folder).startswith((os.pardir, "/")) for folder in folders)


def has_dynamic_metadata(path: str) -> bool:
    """Tell whether a `pyproject.toml` leaves metadata of its project to whoever builds it."""
    return os.path.exists(path) and bool(_read_toml(path).get("project", {}).get("dynamic"))


def is_locked(data: bytes) -> bool:
    """Tell whether a list of requirements has a version and a digest for each, and nothing else."""
    lines = data.decode(errors="replace").replace("\\\n", " ").splitlines()
    wanted = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return bool(wanted) and all(
        not line.startswith("-") and "==" in line and "--hash=" in line for line in wanted
    )


def read_pylock(
    path: str, extras: Sequence[str] = (), groups: Sequence[str] = ()
) -> tuple[bytes, list[str]]:
    """Return the list that a `pylock.toml` is, and the directories of its local packages.

    Raises:
        RuntimeFailed: it cannot be read, or has a package that no list can have.
    """
    from packaging.markers import InvalidMarker, Marker

    data = _read_toml(path)
    lines, local = [], []
    wanted: dict[str, Any] = {
        "extras": set(extras),
        "dependency_groups": {*data.get("default-groups", ()), *groups},
    }
    for package in data.get("packages", ()):
        name = package.get("name", "?")
        marker = package.get("marker")
        if marker and ("extras" in marker or "dependency_groups" in marker):
            try:
                if not Marker(marker).evaluate(wanted, context="lock_file"):
                    continue
            except InvalidMarker as error:
                raise RuntimeFailed(f"{printable(path)}: {name}: {error}") from None
            marker = None
        if "directory" in package:
            local.append(package["directory"]["path"])
            continue
        lines.append(_requirement(path, name, package) + (f" ; {marker}" if marker else ""))
        lines[-1] += "".join(
            f" \\\n    --hash={digest}" for digest in sorted(set(_hashes(package)))
        )
    return "".join(f"{line}\n" for line in lines).encode(), local


def _requirement(path: str, name: str, package: Mapping[str, Any]) -> str:
    if "version" in package and ("wheels" in package or "sdist" in package):
        return f"{name}=={package['version']}"
    if "archive" in package and "url" in package["archive"]:
        return f"{name} @ {package['archive']['url']}"
    if "vcs" in package and "url" in package["vcs"]:
        vcs = package["vcs"]
        return f"{name} @ {vcs['type']}+{vcs['url']}@{vcs['commit-id']}"
    raise RuntimeFailed(f"{printable(path)}: there is no telling where {name} comes from")


def _hashes(package: Mapping[str, Any]) -> list[str]:
    files = [*package.get("wheels", ()), package.get("sdist"), package.get("archive")]
    return [
        f"{kind}:{digest}"
        for file in files
        if file
        for kind, digest in file.get("hashes", {}).items()
        if kind in ("sha256", "sha384", "sha512")
    ]


def split_local(text: str, folder: str) -> tuple[str, list[str]]:
    """Part a list into what is fetched and the directories, relative to `folder`, of the rest."""
    lines, local = [], []
    for line in text.splitlines(keepends=True):
        target = line.strip().removeprefix("-e ").partition(" @ ")
        address = (target[2] or target[0]).partition(" ;")[0].strip()
        is_local = address.startswith(("file:", ".", "/")) and not address.endswith(".whl")
        if is_local:
            path = urllib.parse.unquote(address.removeprefix("file://"))
            local.append(os.path.relpath(os.path.join(folder, path), folder))
        else:
            lines.append(line)
    return "".join(lines), local


def pinned_requirements(text: str) -> bytes:
    """Return a list without the options that only concern how it was made."""
    kept = [line for line in text.splitlines(keepends=True) if not line.startswith("-")]
    return "".join(kept).encode()


def _is_package(data: Mapping[str, Any]) -> bool:
    return bool(data.get("tool", {}).get("uv", {}).get("package", "build-system" in data))


def _read_toml(path: str) -> dict[str, Any]:
    try:
        data: dict[str, Any] = tomllib.loads(read_bytes(path).decode())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RuntimeFailed(f"{printable(path)}: {reason}") from None
    return data
