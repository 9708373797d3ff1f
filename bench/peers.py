"""Other tools that run a script and keep what it did, each in an environment of its own."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.measure import CannotRun
from bench.place import HELLO, Place
from bench.rows import Row

_INSTALL_SECONDS = 900


@dataclass(frozen=True)
class Peer:
    """A tool: what pip installs, the files of its project, and how it runs the script there.

    `setup` are commands that are run once in the project; each command's first word lies in the
    environment of the tool.
    """

    requirement: str
    run: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    setup: tuple[tuple[str, ...], ...] = ()

    @property
    def name(self) -> str:
        """The requirement as a name of a directory."""
        return self.requirement.replace("==", "-")


_PEERS = (
    Peer(
        "gage==0.1.2",
        ("gage", "run", "hello", "-y"),
        {"gage.toml": '[hello]\ndefault = true\nexec = "python3 hello.py"\n'},
    ),
    Peer("guildai==0.9.0", ("guild", "run", "hello.py", "-y")),
    Peer(
        "dvc",
        ("dvc", "repro", "-f"),
        {"dvc.yaml": "stages:\n  hello:\n    cmd: python3 hello.py\n    deps: [hello.py]\n"},
        (("dvc", "init", "--no-scm", "-q"),),
    ),
)


def peer_rows(place: Place, cache: str) -> list[Row]:
    """Return a row for each tool; it is installed below `cache` when its row is measured."""
    ours = place.project("beside-peers", {"hello.py": HELLO})
    rows = []
    for peer in _PEERS:
        project = place.project(f"with-{peer.name}", {"hello.py": HELLO, **peer.files})
        tools = os.path.join(cache, peer.name, "bin")
        rows.append(
            Row(
                f"gage run hello.py | {peer.requirement}",
                place.command([place.gage, "run", "hello.py"], ours),
                place.command([os.path.join(tools, peer.run[0]), *peer.run[1:]], project),
                prepare=functools.partial(_prepare, place, peer, cache, project),
                optional=True,
            )
        )
    return rows


def _prepare(place: Place, peer: Peer, cache: str, project: str) -> None:
    install(place, peer.requirement, peer.run[0], cache, peer.setup, project)


def install(
    place: Place,
    requirement: str,
    program: str,
    cache: str,
    setup: Sequence[Sequence[str]],
    project: str,
) -> None:
    """Install a tool in an environment below `cache`, unless it is; run its `setup` in a project.

    Raises:
        CannotRun: something of that failed.
    """
    environment = os.path.join(cache, requirement.replace("==", "-"))
    tools = os.path.join(environment, "bin")
    if not os.path.exists(os.path.join(tools, program)):
        _run([sys.executable, "-m", "venv", environment], place, place.folder)
        pip = [os.path.join(tools, "python"), "-m", "pip", "install", "-q", requirement]
        _run(pip, place, place.folder)
    for command in setup:
        _run([os.path.join(tools, command[0]), *command[1:]], place, project)


def _run(command: list[str], place: Place, cwd: str) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=place.env(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CannotRun(f"{' '.join(command)} took too long") from None
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise CannotRun(f"{' '.join(command)}: {last}")
