"""Stands in for micromamba, mamba and conda, of which none can be had from an index of Python.

Takes the command lines that Gage gives them, and no others, and does what they do by py-rattler,
which is a library that solves for, fetches and links real conda packages.

Usage: conda_tool FOLDER NAME ARGUMENT ... (FOLDER keeps packages, and a note of each call)
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

import rattler
import rattler.package_streaming
from rattler.index import index_fs
from rattler.install import install


def main(folder: Path, name: str, arguments: list[str]) -> None:
    if arguments == ["index"]:
        asyncio.run(index_fs(folder / "channel"))
        return
    with (folder / "calls").open("a") as file:
        file.write(json.dumps([name, *arguments]) + "\n")
    parser = argparse.ArgumentParser(prog=name, allow_abbrev=False)
    parser.add_argument("--yes", action="store_true")
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--prefix", type=Path, required=True)
    parser.add_argument("--file", type=Path, required=True)
    is_env = arguments[:2] == ["env", "create"] and name != "micromamba"
    if not is_env and arguments[:1] != ["create"]:
        parser.error(f"there is no command {arguments[:1]}")
    if is_env and "--yes" in arguments:
        parser.error("older versions of conda env create have no --yes")
    options = parser.parse_args(arguments[2 if is_env else 1 :])
    always = f"{'CONDA' if name == 'conda' else 'MAMBA'}_ALWAYS_YES"
    if not options.yes and os.environ.get(always) != "true":
        parser.error("nobody is there to say yes")
    if os.path.lexists(options.prefix):
        parser.error(f"Non-conda folder exists at prefix: {options.prefix}")
    text = options.file.read_text()
    is_explicit = "@EXPLICIT" in text.splitlines()
    if is_explicit if is_env else not is_explicit and name != "micromamba":
        parser.error(f"{options.file} is not what this command takes")
    asyncio.run(create(folder, options.prefix, explicit(text) if is_explicit else None, text))


def explicit(text: str) -> list[rattler.RepoDataRecord]:
    lines = [line for line in text.splitlines() if line and line[0] not in "#@"]
    return [record_of(*line.partition("#")[::2]) for line in lines]


def record_of(url: str, wanted: str) -> rattler.RepoDataRecord:
    path = Path(unquote(urlsplit(url).path))
    data = path.read_bytes()
    sha256, md5 = hashlib.sha256(data).hexdigest(), hashlib.md5(data).hexdigest()
    if wanted not in ("", md5, sha256, f"sha256:{sha256}"):
        sys.exit(f"error    {path.name} has another digest than {wanted}")
    with tempfile.TemporaryDirectory() as folder:
        rattler.package_streaming.extract(path, folder)
        index = Path(folder, "info", "index.json")
        record = rattler.PackageRecord.from_index_json(index, len(data), sha256, md5)
    return rattler.RepoDataRecord(record, path.name, url, url.rpartition("/")[0])


async def create(
    folder: Path, prefix: Path, records: list[rattler.RepoDataRecord] | None, text: str
) -> None:
    if records is None:
        lines = [line.strip() for line in text.splitlines()]
        channel = next(line[2:] for line in lines if line.startswith("- file:"))
        specs = [line[2:] for line in lines if line.startswith("- ") and "file:" not in line]
        here = rattler.Subdir.current()
        records = await rattler.solve([channel], specs, platforms=[here, "noarch"])
    await install(
        records, prefix, cache_dir=folder / "pkgs", show_progress=False, execute_link_scripts=False
    )
    (prefix / "conda-meta" / "history").write_text(f"==> now <==\n# cmd: {prefix}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
    # A thread of the library may outlive it, which a Python that ends in order does not survive.
    os._exit(0)
