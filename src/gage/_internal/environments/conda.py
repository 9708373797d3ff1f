"""Environments of conda packages, made of an explicit list by micromamba, mamba or conda.

An explicit list (`@EXPLICIT`) has the address of each package, behind `#` its digest. It leaves
nothing to decide, so each of the tools makes the same of it, and `conda-meta` tells in one form
what they have installed (see "Managing environments" of conda's user guide).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal import fs
from gage._internal.caches import cache_dir, make_folder
from gage._internal.environments.bytecode import compile_modules
from gage._internal.environments.installing import run_tool
from gage._internal.environments.prefixes import (
    Named,
    find_named,
    long_folder,
    make_own,
    rename_in_files,
)
from gage._internal.errors import RuntimeFailed
from gage._internal.fs import printable
from gage._internal.store.runtime_record import ENVIRONMENT

TOOLS = ("micromamba", "mamba", "conda")
NOARCH = "noarch"
_EXPLICIT = "@EXPLICIT"
_META = "conda-meta"
_SYSTEMS = {"Linux": "linux", "Darwin": "osx"}
_MACHINES = {"x86_64": "64", "arm64": "arm64", "aarch64": "aarch64"}
# `conda env create` has no option for it in older versions.
_YES = {"CONDA_ALWAYS_YES": "true", "MAMBA_ALWAYS_YES": "true"}
_PACKAGE = re.compile(
    r"(?P<url>[a-z0-9+]+://\S+/(?P<subdir>[^/\s]+)/(?P<name>[^/\s]+)-(?P<version>[^/\s-]+)"
    r"-[^/\s-]+(?:\.conda|\.tar\.bz2))(?P<digest>#(?:[0-9a-f]{32}|(?:sha256:)?[0-9a-f]{64}))?"
)
# The user and password of an address, and the token of anaconda.org.
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@|(?<=/)t/[^/\s]+/")
# What tools note of the machine, and what is true of a package in one place only.
_LOCAL = ("extracted_package_dir", "package_tarball_full_path", "link")
_LOCAL_OF_FILE = ("sha256_in_prefix",)
_LOCAL_OF_MADE = ("sha256", "size_in_bytes")


class Package(NamedTuple):
    """A package of an explicit list; `digest` begins with `#`, and is empty where there is none."""

    name: str
    version: str
    subdir: str
    url: str
    digest: str


class Made(NamedTuple):
    """An environment: versions of its packages by name, and the files that name its directory."""

    packages: Mapping[str, str]
    named: Named


def find_tool() -> str | None:
    """Return the path of the first of the tools that is on PATH."""
    return next(filter(None, map(shutil.which, TOOLS)), None)


def subdir_here() -> str:
    """Return what channels call this platform: `linux-64`."""
    found = os.uname()
    machine = _MACHINES.get(found.machine, found.machine)
    return f"{_SYSTEMS.get(found.sysname, found.sysname.lower())}-{machine}"


def is_explicit(data: bytes) -> bool:
    """Tell whether a file is an explicit list."""
    return _EXPLICIT.encode() in data.splitlines()


def read_explicit(data: bytes, name: str) -> list[Package]:
    """Return the packages of an explicit list, without what an address has for secrets.

    Raises:
        RuntimeFailed: a line of it is something else.
    """
    packages = []
    for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
        words = line.strip()
        if not words or words.startswith("#") or words == _EXPLICIT:
            continue
        found = _PACKAGE.fullmatch(words)
        if not found:
            raise RuntimeFailed(
                f"{printable(name)}:{number} is no address of a package: {printable(words)}",
                "conda list --explicit --md5 writes such lists",
            )
        url = without_credentials(found["url"])
        of_package = found["name"], found["version"], found["subdir"]
        packages.append(Package(*of_package, url, found["digest"] or ""))
    return packages


def without_credentials(address: str) -> str:
    """Return an address without user, password and token: the tools have settings for these."""
    return _CREDENTIALS.sub("", address)


def write_explicit(packages: Sequence[Package]) -> bytes:
    """Return an explicit list, in the order of the packages."""
    platform = "".join(f"# platform: {each}\n" for each in platforms_of(packages))
    lines = "".join(f"{each.url}{each.digest}\n" for each in packages)
    return f"{platform}{_EXPLICIT}\n{lines}".encode()


def platforms_of(packages: Sequence[Package]) -> list[str]:
    """Return the platforms that packages are for, which should be one at most."""
    return sorted({each.subdir for each in packages} - {NOARCH})


def solve(tool: str, path: str) -> list[Package]:
    """Return the packages that an `environment.yml` is for now, those that others need first.

    Raises:
        RuntimeFailed: the tool cannot make an environment of it.
    """
    cache = cache_dir()
    make_folder(cache, os.path.join(cache, "solved"))
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        tree = os.path.join(folder, "environment")
        # Older versions of the others tell by the command what kind of file it is.
        command = ["create"] if os.path.basename(tool) == "micromamba" else ["env", "create"]
        words = [tool, *command, "--quiet", "--prefix", tree, "--file", path]
        run_tool(words, f"solve {printable(os.path.basename(path))}", folder, _YES)
        return _in_order(_records(tree))


def make_conda_environment(tree: str, listed: str, folder: str, tool: str) -> Made:
    """Make the environment of an explicit list in an empty directory, to be used in another one.

    Raises:
        RuntimeFailed: the tool cannot make it, or the other directory has too long a path.
    """
    made_in = long_folder(os.path.dirname(tree))
    os.makedirs(os.path.dirname(made_in), exist_ok=True)
    words = [tool, "create", "--yes", "--quiet", "--prefix", made_in, "--file", listed]
    run_tool(words, "make the environment", os.path.dirname(tree), _YES)
    make_own(made_in, made_in)
    records = _records(made_in)
    binary = {
        file["_path"]
        for record in records
        for file in record.get("paths_data", {}).get("paths", ())
        if file.get("file_mode") == "binary"
    }
    _clean_meta(made_in)
    for path in fs.files_of(made_in):
        if path.endswith(".pyc"):
            os.unlink(f"{made_in}/{path}")
    named = find_named(made_in, made_in, binary)
    rename_in_files(made_in, named, folder)
    python = os.path.join(made_in, "bin", "python")
    if os.path.exists(python):
        compile_modules(made_in, python, ENVIRONMENT)
        _remove_compiled(made_in, named.text)
    # The directory that it is to be in is there, and empty.
    os.rename(made_in, tree)
    fs.remove_tree(_first_below(os.path.dirname(tree), made_in))
    packages = {record["name"]: str(record["version"]) for record in records}
    return Made(packages, named._replace(folder=folder))


def _first_below(parent: str, path: str) -> str:
    return os.path.join(parent, os.path.relpath(path, parent).split("/")[0])


def _remove_compiled(tree: str, modules: Sequence[str]) -> None:
    """Remove what was compiled of modules that change with the directory."""
    import glob

    for path in modules:
        folder, name = os.path.split(f"{tree}/{path}")
        stem = os.path.join(glob.escape(folder), "__pycache__", glob.escape(name[:-3]))
        for compiled in glob.glob(f"{stem}.*.pyc") if name.endswith(".py") else ():
            os.unlink(compiled)


def _records(tree: str) -> list[dict[str, Any]]:
    """Return what is told of each installed package.

    Raises:
        RuntimeFailed: that is not what conda's tools write.
    """
    folder = os.path.join(tree, _META)
    records = []
    try:
        for name in sorted(os.listdir(folder)):
            if name.endswith(".json"):
                record = json.loads(fs.read_bytes(os.path.join(folder, name)))
                if not _PACKAGE.fullmatch(without_credentials(record["url"])):
                    raise ValueError(f"{name} has no address of a package")
                records.append({**record, "name": str(record["name"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RuntimeFailed(f"there is no telling what was installed: {error!r}") from None
    return records


def _in_order(records: Sequence[Mapping[str, Any]]) -> list[Package]:
    """Return the packages of records, each behind those that it depends on."""
    by_name = {record["name"]: record for record in records}
    ordered: dict[str, Package] = {}

    def add(name: str, above: tuple[str, ...]) -> None:
        if name in ordered or name in above or name not in by_name:
            return
        record = by_name[name]
        for needed in record.get("depends", ()):
            add(needed.split()[0], (*above, name))
        found = _PACKAGE.fullmatch(without_credentials(record["url"]))
        assert found
        digest = record.get("md5") or (record.get("sha256") and f"sha256:{record['sha256']}")
        mark = f"#{digest}" if digest else ""
        ordered[name] = Package(name, found["version"], found["subdir"], found["url"], mark)

    for name in sorted(by_name):
        add(name, ())
    return list(ordered.values())


def _clean_meta(tree: str) -> None:
    """Take out of the records of packages what names the machine, or holds in one place only."""
    folder = os.path.join(tree, _META)
    # Its presence makes the directory an environment; it tells of commands, and when they ran.
    fs.replace_file(os.path.join(folder, "history"), b"", 0o644)
    for path in _json_files(folder):
        record = json.loads(fs.read_bytes(path))
        record = {name: value for name, value in record.items() if name not in _LOCAL}
        for name in ("url", "channel"):
            if name in record:
                record[name] = without_credentials(record[name])
        paths = record.get("paths_data", {}).get("paths", ())
        for file in paths:
            # What is not in the package is made where it is installed.
            is_made = file.get("path_type") not in ("hardlink", "softlink")
            for name in (*_LOCAL_OF_FILE, *(_LOCAL_OF_MADE if is_made else ())):
                file.pop(name, None)
        text = json.dumps(record, indent=1, sort_keys=True)
        fs.replace_file(path, text.encode() + b"\n", 0o644)


def _json_files(folder: str) -> Iterator[str]:
    for name in sorted(os.listdir(folder)):
        if name.endswith(".json"):
            yield os.path.join(folder, name)
