"""Trees of files to stage: real sources, tiny files, large files, sources beside what is pruned."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tarfile

from bench.measure import CannotRun
from bench.place import Place

# Source distributions of some 12,000 files and 200 MB together.
_SDISTS = ("Django==5.2.19", "sympy==1.14.0", "botocore==1.44.8")
_GAGE_FILE = '[bench]\nexec = "true"\n'
_MIB = 1 << 20


def make_sources(place: Place, cache: str) -> str:
    """Unpack source distributions, downloaded once, into a project that git manages."""
    folder = place.path("sources")
    archives = os.path.join(cache, "sdists")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
    command += ["--no-binary", ":all:", "-d", archives]
    for sdist in _SDISTS:
        name = sdist.partition("==")[0].lower()
        if not _archive(archives, name):
            done = subprocess.run([*command, sdist], capture_output=True, text=True, check=False)
            if not _archive(archives, name):
                raise CannotRun(f"{sdist} cannot be downloaded: {done.stderr.strip()[-200:]}")
        with tarfile.open(_archive(archives, name)) as archive:
            archive.extractall(folder)
    return _finish(place, folder)


def _archive(folder: str, name: str) -> str:
    names = os.listdir(folder) if os.path.isdir(folder) else []
    found = [n for n in names if n.lower().startswith(f"{name}-")]
    return os.path.join(folder, found[0]) if found else ""


def make_tiny(place: Place) -> str:
    """Make 50,000 files of 1 to 200 bytes in 500 directories."""
    folder = place.path("tiny")
    chance = random.Random(1)
    for i in range(500):
        inner = os.path.join(folder, f"part{i // 25}", f"group{i}")
        os.makedirs(inner)
        for j in range(100):
            with open(os.path.join(inner, f"{j}.txt"), "w") as file:
                file.write("x" * chance.randint(1, 200))
    return _finish(place, folder)


def make_large(place: Place) -> str:
    """Make one file of 2 GiB and 20 of 50 MB, of bytes that do not compress."""
    folder = place.path("large")
    os.makedirs(folder)
    chance = random.Random(2)
    sizes = {"one.bin": 2048 * _MIB, **{f"part{i}.bin": 50_000_000 for i in range(20)}}
    for name, size in sizes.items():
        with open(os.path.join(folder, name), "wb") as file:
            while size:
                piece = chance.randbytes(min(16 * _MIB, size))
                file.write(piece)
                size -= len(piece)
    return _with_gage_file(folder, 'sourcecode = "*.bin"\n')


def make_pruned(place: Place) -> str:
    """Make 100 sources beside 50,000 files in a virtual environment and in node_modules."""
    folder = place.path("pruned")
    _write_many(folder, 100, 10)
    _write_many(os.path.join(folder, ".venv", "lib"), 25_000, 500)
    _write_many(os.path.join(folder, "node_modules"), 25_000, 500)
    with open(os.path.join(folder, ".venv", "pyvenv.cfg"), "w") as file:
        file.write("home = /usr/bin\n")
    with open(os.path.join(folder, ".gitignore"), "w") as file:
        file.write(".venv/\nnode_modules/\n")
    return _finish(place, folder)


def _write_many(folder: str, files: int, folders: int) -> None:
    for i in range(folders):
        inner = os.path.join(folder, f"part{i}")
        os.makedirs(inner)
        for j in range(files // folders):
            with open(os.path.join(inner, f"module{j}.py"), "w") as file:
                file.write("value = 1\n" * 50)


def _finish(place: Place, folder: str) -> str:
    _with_gage_file(folder, "")
    place.commit(folder)
    return folder


def _with_gage_file(folder: str, more: str) -> str:
    with open(os.path.join(folder, "gage.toml"), "w") as file:
        file.write(_GAGE_FILE + more)
    return folder
