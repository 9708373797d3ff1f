"""What it takes to stage a run with an environment of 10,000 files, and with a large download.

The packages are fetched before anything is measured. The first staging makes the environment and
compiles its modules; the peer does as much by `uv venv` and `uv pip sync`, without the modules.
"""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess

from bench.measure import CannotRun
from bench.place import Place, remove
from bench.rows import Row

_PACKAGES = "django==5.2\nsympy==1.13.3\nbotocore==1.37.0\nnumpy==2.2.6\n"
_GAGE_FILE = '[work]\nexec = "python work.py"\nruntime = "uv"\n'
_NO_SYNC = {"GAGE_SYNC": "0"}
_GIB = 1 << 30
_UV = 'uv venv -q "$1" && uv pip sync -q --python "$1/bin/python" "$2"'


def environment_rows(place: Place) -> list[Row]:
    """Return the rows; uv must be on PATH or beside this Python."""
    project, runs = place.path("with-uv"), place.path("with-uv.runs")
    cache, fresh = place.path("with-uv.cache"), place.path("with-uv.fresh")
    copy = place.path("with-uv.copy")
    env = {**_NO_SYNC, "UV_CACHE_DIR": place.path("with-uv.packages")}
    stage = [place.gage, "--runs", runs, "stage"]
    kept = functools.partial(_prepare, place, project, stage, {**env, "GAGE_CACHE": cache})
    clear = functools.partial(remove, copy, runs)
    uv = ["sh", "-c", _UV, "sh", copy, os.path.join(project, "requirements.txt")]
    again = place.command(stage, project, {**env, "GAGE_CACHE": cache}, before=clear)
    first = place.command(
        stage,
        project,
        {**env, "GAGE_CACHE": fresh},
        before=functools.partial(remove, copy, runs, fresh),
    )
    copied = ["sh", "-c", 'cp -a "$1"/.gage/runs/*/.venv "$2"', "sh", project, copy]
    return [
        Row(
            "gage stage, an environment, first | uv venv, uv pip sync",
            first,
            place.command(uv, project, env, before=clear),
            prepare=kept,
        ),
        Row(
            "gage stage, an environment, again | uv venv, uv pip sync",
            again,
            place.command(uv, project, env, before=clear),
            prepare=kept,
        ),
        Row(
            "gage stage, an environment, again | cp -a",
            again,
            place.command(copied, project, before=clear),
            prepare=kept,
        ),
        _download_row(place),
    ]


def _prepare(place: Place, project: str, stage: list[str], env: dict[str, str]) -> None:
    """Make the project, and one run in it from which the peers copy."""
    if os.path.isdir(project):
        return
    files = {"gage.toml": _GAGE_FILE, "requirements.txt": _PACKAGES, "work.py": "print(1)\n"}
    place.project("with-uv", files)
    done = subprocess.run(
        [place.gage, "stage"], cwd=project, env=place.env(env), capture_output=True, check=False
    )
    if done.returncode != 0:
        raise CannotRun(done.stderr.decode(errors="replace"))


def _download_row(place: Place) -> Row:
    """Return a row that stages 1 GiB that is kept in the cache, whose server is not there."""
    project, runs = place.path("with-url"), place.path("with-url.runs")
    cache, copy = place.path("with-url.cache"), place.path("with-url.copy")
    content = os.path.join(cache, "content")

    def prepare() -> None:
        os.makedirs(project, exist_ok=True)
        made = place.path("with-url.data")
        hasher = hashlib.sha256()
        with open(made, "wb") as file:
            for _ in range(_GIB >> 20):
                data = os.urandom(1 << 20)
                hasher.update(data)
                file.write(data)
        sha256 = hasher.hexdigest()
        os.makedirs(os.path.join(content, sha256[:2]))
        os.replace(made, os.path.join(content, sha256[:2], sha256))
        os.chmod(os.path.join(content, sha256[:2], sha256), 0o444)
        place.project(
            "with-url",
            {
                "gage.toml": (
                    '[work]\nexec = "true"\n'
                    f'depends = {{ url = "http://127.0.0.1:9/data.bin", sha256 = "{sha256}" }}\n'
                )
            },
        )

    clear = functools.partial(remove, copy, runs)
    return Row(
        "gage stage, 1 GiB from the cache | cp",
        place.command(
            [place.gage, "--runs", runs, "stage"],
            project,
            {**_NO_SYNC, "GAGE_CACHE": cache},
            before=clear,
        ),
        place.command(
            ["sh", "-c", 'cp "$1"/*/* "$2"', "sh", content, copy], place.folder, before=clear
        ),
        prepare=prepare,
    )
