"""A channel of conda packages that tests build: a Python, and two packages of it from the index.

Each package has what conda-build writes: `info/index.json`, `info/paths.json` with the placeholder
of each file that has one, and `info/link.json` where it is the same on all platforms.
"""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gage._internal.environments.conda import subdir_here

ROOT = Path(__file__).parents[1]
# What conda-build pads the directory to that it builds in.
PLACEHOLDER = "/home/builder/placehold".ljust(255, "_")
SERIES = f"{sys.version_info[0]}.{sys.version_info[1]}"
VERSION = ".".join(map(str, sys.version_info[:3]))
_NOT_NEEDED = {
    "test",
    "site-packages",
    "dist-packages",
    "idlelib",
    "tkinter",
    "ensurepip",
}


@dataclass(frozen=True)
class Channel:
    """A directory with packages; `tools` is one with stand-ins for the tools, each of its name."""

    folder: Path
    tools: Path
    calls: Path

    @property
    def address(self) -> str:
        return self.folder.as_uri()

    def explicit(self, *names: str, digests: bool = True) -> str:
        """Return an explicit list of packages by the beginnings of their names, else of all."""
        lines = []
        for path in sorted(self.folder.glob("*/*.tar.bz2")):
            if not names or path.name.startswith(names):
                digest = hashlib.md5(path.read_bytes()).hexdigest()
                lines.append(path.as_uri() + (f"#{digest}" if digests else ""))
        return "\n".join(["# made by a test", "@EXPLICIT", *lines, ""])

    def called(self) -> list[list[str]]:
        """Return how the tools were called, and forget it."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]


def make_channel(folder: Path) -> Channel:
    """Build a channel with `python`, `tabulate` (for any platform), `markupsafe` and `greet`."""
    python = ROOT / ".venv-servers" / "bin" / "python"
    if not python.exists():
        raise FileNotFoundError(f"{python}: scripts/setup .venv-servers python3 servers")
    channel = Channel(folder / "channel", folder / "tools", folder / "calls")
    channel.tools.mkdir(parents=True)
    tool = Path(__file__).with_name("conda_tool.py")
    for name in ("micromamba", "mamba", "conda"):
        path = channel.tools / name
        path.write_text(f"#!/bin/sh\nexec '{python}' -I '{tool}' '{folder}' {name} \"$@\"\n")
        path.chmod(0o755)
    (channel.folder / "noarch").mkdir(parents=True)
    add_package(channel, "python", VERSION, _python())
    wheels = folder / "wheels"
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", wheels,
         "tabulate==0.9.0", "markupsafe==3.0.2"],
        check=True,
    )  # fmt: skip
    for path in wheels.iterdir():
        files = _files_of_wheel(path)
        if path.name.startswith("tabulate"):
            link = {"type": "python", "entry_points": ["tabulate = tabulate:_main"]}
            add_package(channel, "tabulate", "0.9.0", files, depends=["python"], noarch=link)
        else:
            add_package(channel, "markupsafe", "3.0.2", files, depends=[f"python {SERIES}.*"])
    index_channel(channel)
    return channel


def index_channel(channel: Channel) -> None:
    """Write the index of a channel."""
    subprocess.run([channel.tools / "conda", "index"], check=True)


def _python() -> dict[str, bytes]:
    """Return the files of a Python: the one that executes this, with what tests need of it."""
    base = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    files = {f"bin/python{SERIES}": Path(base).read_bytes()}
    stdlib = Path(os.__file__).parent
    for path in stdlib.rglob("*"):
        inside = path.relative_to(stdlib)
        is_needed = path.suffix in (".py", ".so") and "test" not in path.name
        if is_needed and path.is_file() and inside.parts[0] not in _NOT_NEEDED:
            files[f"lib/python{SERIES}/{inside}"] = path.read_bytes()
    # Debian's Pythons look for packages elsewhere.
    packages = f"lib/python{SERIES}/site-packages"
    customize = f"import site, sys\nsite.addsitedir(sys.prefix + '/{packages}')\n"
    files[f"lib/python{SERIES}/sitecustomize.py"] = customize.encode()
    for path in Path(sys.base_prefix, "lib").glob("libpython*.so.*"):
        files[f"lib/{path.name}"] = _stripped(path)
    return files


def _stripped(path: Path) -> bytes:
    """Return a library without what debuggers want, which takes long to pack."""
    if not shutil.which("strip"):
        return path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["strip", "-o", f"{folder}/library", path], check=True)
        return Path(folder, "library").read_bytes()


def _files_of_wheel(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as wheel:
        files = {name: wheel.read(name) for name in wheel.namelist() if name[-1] != "/"}
    where = "" if "-none-any" in path.name else f"lib/python{SERIES}/"
    return {f"{where}site-packages/{name}": data for name, data in files.items()}


def add_package(
    channel: Channel,
    name: str,
    version: str,
    files: Mapping[str, bytes],
    *,
    depends: Sequence[str] = (),
    noarch: Mapping[str, Any] | None = None,
    modes: Mapping[str, str] | None = None,
    links: Mapping[str, str] | None = None,
) -> Path:
    """Write a package to a channel; `modes` are those of files that have the placeholder."""
    subdir = "noarch" if noarch else subdir_here()
    own_links = dict(links or {})
    if name == "python":
        own_links |= {f"bin/{each}": f"python{SERIES}" for each in ("python", "python3")}
    paths = []
    for path, data in files.items():
        entry = {"_path": path, "path_type": "hardlink", "size_in_bytes": len(data)}
        entry["sha256"] = hashlib.sha256(data).hexdigest()
        if modes and path in modes:
            entry |= {"file_mode": modes[path], "prefix_placeholder": PLACEHOLDER}
        paths.append(entry)
    for path, target in own_links.items():
        digest = hashlib.sha256(files.get(f"{os.path.dirname(path)}/{target}", b"")).hexdigest()
        paths.append({"_path": path, "path_type": "softlink", "sha256": digest, "size_in_bytes": 0})
    index: dict[str, Any] = {
        "name": name, "version": version, "build": "0", "build_number": 0,
        "depends": list(depends), "subdir": subdir, "timestamp": 1_700_000_000_000,
    }  # fmt: skip
    info = {"index.json": index, "paths.json": {"paths": paths, "paths_version": 1}}
    if noarch:
        index["noarch"] = noarch["type"]
        info["link.json"] = {"noarch": noarch, "package_metadata_version": 1}
    contents = {f"info/{each}": json.dumps(value).encode() for each, value in info.items()}
    contents["info/files"] = "".join(f"{path['_path']}\n" for path in paths).encode()
    target = channel.folder / subdir / f"{name}-{version}-0.tar.bz2"
    target.parent.mkdir(exist_ok=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, data in {**contents, **files}.items():
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(data), 0o755 if path.startswith("bin/") else 0o644
            archive.addfile(member, io.BytesIO(data))
        for path, link in own_links.items():
            member = tarfile.TarInfo(path)
            member.type, member.linkname = tarfile.SYMTYPE, link
            archive.addfile(member)
    target.write_bytes(bz2.compress(packed.getvalue(), 1))
    return target


def remove_kept_packages(channel: Channel) -> None:
    """Remove what the tools keep of packages."""
    shutil.rmtree(channel.tools.parent / "pkgs", ignore_errors=True)
