"""Lists of pinned packages, out of lock files.

What is installed from is one form for all: requirements with a version and the digests of its
files, as pip and uv read them. Packages whose source lies on this machine are not in it.

Sources: PEP 751 (pylock.toml); uv's documentation of `uv.lock`, whose `source` tables tell what is
local.
"""

from __future__ import annotations

import os
import re
import sys
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from packaging.markers import InvalidMarker, Marker
from packaging.utils import canonicalize_name

from gage._internal.environments.contents import Content
from gage._internal.environments.installing import entries_of, is_requirement
from gage._internal.environments.interpreters import Interpreter
from gage._internal.errors import RuntimeFailed
from gage._internal.fs import printable, read_bytes
from gage._internal.store.runtime_record import Index

_PYPI = "https://pypi.org/simple"
_OF_FOLDER = re.compile(r"(?m)^\s*(?:(?:-e|--editable)[\s=]+)?(\.[^\s;#\[]*)")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_INDEX_OPTION = re.compile(r"(?m)^\s*(?:-i|--(extra-)?index-url)[\s=]+(\S+)")

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]


def local_folders(path: str) -> list[str]:
    """Return the directories, relative to that of a file, of local packages to be installed.

    The file is `uv.lock`, or a `pyproject.toml`, which tells of its own directory only.
    """
    data = read_toml(path)
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
        sources = read_toml(path).get("tool", {}).get("uv", {}).get("sources", {}).values()
        # A package may have several, each with a marker.
        lists = [each if isinstance(each, list) else [each] for each in sources]
        folders = [str(each["path"]) for several in lists for each in several if "path" in each]
    else:
        return False
    return any(os.path.normpath(folder).startswith((os.pardir, "/")) for folder in folders)


def is_locked(data: bytes) -> bool:
    """Tell whether a list of requirements has a version and a digest for each, and nothing else."""
    wanted = list(filter(is_requirement, entries_of(data.decode(errors="replace"))))
    return bool(wanted) and all(
        not entry.startswith("-") and "==" in entry and "--hash=" in entry for entry in wanted
    )


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Have a file that is not what it should be told as that, whatever is read of it.

    Raises:
        RuntimeFailed: something in it is of another type, or not there.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError) as error:
        raise RuntimeFailed(f"{printable(name)} is not as it should be: {error!r}") from None


def read_pylock(
    path: str,
    interpreter: Interpreter,
    extras: Sequence[str] = (),
    groups: Sequence[str] = (),
) -> tuple[bytes, list[str]]:
    """Return the list that a `pylock.toml` is, and the directories of its local packages.

    Raises:
        RuntimeFailed: it cannot be read, or has a package that no list can have.
    """
    data = read_toml(path)
    lines, local = [], []
    wanted: dict[str, Any] = {
        **_facts(interpreter),
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
        return f"{name} @ {package['archive']['url']}{_inside(package['archive'])}"
    if "vcs" in package and "url" in package["vcs"]:
        vcs = package["vcs"]
        return f"{name} @ {vcs['type']}+{vcs['url']}@{vcs['commit-id']}{_inside(vcs)}"
    raise RuntimeFailed(f"{printable(path)}: there is no telling where {name} comes from")


def _inside(source: Mapping[str, Any]) -> str:
    return f"#subdirectory={source['subdirectory']}" if "subdirectory" in source else ""


def _hashes(package: Mapping[str, Any]) -> list[str]:
    files = [*package.get("wheels", ()), package.get("sdist"), package.get("archive")]
    return [
        f"{kind}:{digest}"
        for file in files
        if file
        for kind, digest in file.get("hashes", {}).items()
        if kind in ("sha256", "sha384", "sha512")
    ]


def split_local(text: str, folder: str, interpreter: Interpreter) -> tuple[str, list[str]]:
    """Part a list into what is fetched, and directories and archives on this machine.

    Their paths are absolute, or relative to `folder`. One whose marker does not hold for the
    interpreter is left out.
    """
    lines, local = [], []
    for entry in entries_of(text):
        words, _, marker = entry.replace("\\\n", " ").partition(" --hash=")[0].partition(" ;")
        named = words.strip().removeprefix("-e ").partition(" @ ")
        address = (named[2] or named[0]).strip()
        if not address.startswith(("file:", ".", "/")):
            lines.append(entry)
            continue
        if marker.strip() and not Marker(marker.strip()).evaluate(_facts(interpreter)):
            continue
        path = urllib.parse.unquote(address.removeprefix("file://")).partition("[")[0]
        inside = os.path.relpath(path, os.path.realpath(folder)) if path.startswith("/") else path
        local.append(path if path.startswith("/") and inside.startswith(os.pardir) else inside)
    return "".join(lines), local


def _facts(interpreter: Interpreter) -> dict[str, str]:
    """Return what markers may ask of an interpreter on this platform."""
    return {
        "python_version": interpreter.series,
        "python_full_version": interpreter.version,
        "implementation_name": interpreter.implementation,
    }


def with_digests(requirements: bytes, wheels: Sequence[Content]) -> bytes:
    """Return a list with the digests of wheels too; some were built of a source archive."""
    digests: dict[str, list[str]] = {}
    for each in wheels:
        name = canonicalize_name(each.path.partition("-")[0])
        digests.setdefault(name, []).append(each.sha256)
    entries = entries_of(requirements.decode())
    for number, entry in enumerate(entries):
        name = canonicalize_name(re.split(r"[\s=@\[;]", entry, maxsplit=1)[0])
        missing = [digest for digest in digests.get(name, []) if digest not in entry]
        if missing:
            more = "".join(f" \\\n    --hash=sha256:{digest}" for digest in missing)
            entries[number] = f"{entry.rstrip()}{more}\n"
    return "".join(entries).encode()


def find_indexes(path: str) -> list[Index]:
    """Return the indexes that have what a file names, whichever packages they are for.

    These are what the settings beside it say, and the file itself.
    """
    folder, name = os.path.split(path)
    found = [*_indexes_of_settings(folder)]
    if name == "uv.lock":
        sources = (each.get("source", {}) for each in read_toml(path).get("package", ()))
        found += [Index(each["registry"]) for each in sources if "registry" in each]
    elif name.startswith("pylock."):
        packages = read_toml(path).get("packages", ())
        found += [Index(each["index"]) for each in packages if "index" in each]
    elif name.endswith(".txt"):
        text = read_bytes(path).decode(errors="replace")
        text = _VARIABLE.sub(lambda match: os.environ.get(match[1], match[0]), text)
        found += [Index(url, "", not extra) for extra, url in _INDEX_OPTION.findall(text)]
    # The first one of an address is the one that has a name.
    by_url = {without_login(each.url).rstrip("/"): each for each in reversed(found)}
    return [each for url, each in reversed(by_url.items()) if url != _PYPI]


def without_login(url: str) -> str:
    """Return an address without user and password."""
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"


def _indexes_of_settings(folder: str) -> Iterator[Index]:
    """Yield the indexes that uv has in the settings of a project."""
    own, project = (os.path.join(folder, name) for name in ("uv.toml", "pyproject.toml"))
    if os.path.exists(own):
        settings = read_toml(own)
    elif os.path.exists(project):
        settings = read_toml(project).get("tool", {}).get("uv", {})
    else:
        return
    for each in settings.get("index", ()):
        if "url" in each:
            yield Index(each["url"], each.get("name", ""), bool(each.get("default")))
    if "index-url" in settings:
        yield Index(settings["index-url"], "", True)
    yield from map(Index, settings.get("extra-index-url", ()))


def folders_to_build(path: str) -> list[str]:
    """Return the directories, relative to that of a file, of packages that may have to be built."""
    name = os.path.basename(path)
    if name.endswith(".txt"):
        return _OF_FOLDER.findall(read_bytes(path).decode(errors="replace"))
    return local_folders(path) if name in ("uv.lock", "pyproject.toml") else []


def may_be_built(path: str) -> bool:
    """Tell whether to read a list builds a package of a directory, to be told its metadata."""
    name = os.path.basename(path)
    folder = os.path.dirname(path)
    if name == "uv.lock":
        return any(_is_dynamic(os.path.join(folder, each)) for each in local_folders(path))
    if name == "pyproject.toml":
        return _is_dynamic(folder)
    text = read_bytes(path).decode(errors="replace")
    return any(
        line.strip().startswith(("-e", "--editable", ".", "/", "-r", "-c")) or "file:" in line
        for line in text.splitlines()
    )


def _is_dynamic(folder: str) -> bool:
    """Tell whether a package leaves metadata to whoever builds it."""
    path = os.path.join(folder, "pyproject.toml")
    if not os.path.exists(path):
        return True
    project = read_toml(path).get("project")
    return project is None or bool(project.get("dynamic"))


def pinned_requirements(text: str) -> bytes:
    """Return a list without the options that only concern how it was made."""
    kept = [line for line in text.splitlines(keepends=True) if not line.startswith("-")]
    return "".join(kept).encode()


def _is_package(data: Mapping[str, Any]) -> bool:
    return bool(data.get("tool", {}).get("uv", {}).get("package", "build-system" in data))


def read_toml(path: str) -> dict[str, Any]:
    """Return what a TOML file has.

    Raises:
        RuntimeFailed: it cannot be read.
    """
    try:
        data: dict[str, Any] = tomllib.loads(read_bytes(path).decode())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RuntimeFailed(f"{printable(path)}: {reason}") from None
    return data
