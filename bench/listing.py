"""What it takes to list many runs."""

from __future__ import annotations

import functools
import os
import subprocess
import uuid

from bench.measure import CannotRun
from bench.place import HELLO, Place
from bench.rows import Row

_META = ".meta"
_MINUTE_US = 60_000_000


def listing_rows(place: Place, runs: int) -> list[Row]:
    """Return the rows: the newest runs, and everything about all of them."""
    home = place.path("many-runs")
    project = place.project("listed", {"hello.py": HELLO})
    prepare = functools.partial(_make_runs, place, project, home, runs)
    gage = [place.gage, "--runs", home, "list"]
    peers = {
        "ls": ["ls", home],
        "find -exec cat": ["find", home, "-name", "opref", "-exec", "cat", "{}", "+"],
    }
    return [
        Row(
            f"{name}, {runs} runs | {peer}",
            place.command([*gage, *options], place.folder),
            place.command(args, place.folder),
            prepare=prepare,
        )
        for name, options in (("gage list", []), ("gage list -a --json", ["-a", "--json"]))
        for peer, args in peers.items()
    ]


def _make_runs(place: Place, project: str, home: str, runs: int) -> None:
    """Run a script, then copy the run as often as it takes, each copy a minute older."""
    if os.path.isdir(home):
        return
    command = [place.gage, "--runs", home, "run", "hello.py"]
    done = subprocess.run(command, cwd=project, env=place.env(), capture_output=True, check=False)
    if done.returncode != 0:
        raise CannotRun(f"gage run exited with {done.returncode}: {done.stderr.decode()}")
    (name,) = (name for name in os.listdir(home) if not name.endswith(_META))
    run_dir = os.path.join(home, name)
    with open(os.path.join(run_dir + _META, "initialized"), encoding="ascii") as file:
        initialized = int(file.read())
    for i in range(1, runs):
        _copy_run(run_dir, os.path.join(home, str(uuid.uuid4())), initialized - i * _MINUTE_US)


def _copy_run(run_dir: str, copy: str, initialized: int) -> None:
    from gage._internal.store.names import run_name

    own = {
        "id": os.path.basename(copy),
        "name": run_name(os.path.basename(copy)),
        "initialized": str(initialized),
    }
    _link_tree(run_dir, copy, ())
    _link_tree(run_dir + _META, copy + _META, own)
    for name, text in own.items():
        with open(os.path.join(copy + _META, name), "w", encoding="ascii") as file:
            file.write(text + "\n")


def _link_tree(source: str, target: str, leave_out: dict[str, str] | tuple[()]) -> None:
    os.mkdir(target)
    with os.scandir(source) as entries:
        for entry in entries:
            path = os.path.join(target, entry.name)
            if entry.is_dir(follow_symlinks=False):
                _link_tree(entry.path, path, ())
            elif entry.name not in leave_out:
                os.link(entry.path, path)
