"""What other tools take to keep the sources of a project before a run, beside staging it.

Each has a copy of the tree, since it keeps what it writes beside it.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.peers import install
from bench.place import Place, remove
from bench.rows import Row
from bench.trees import make_sources

_TREE = "tree"


@dataclass(frozen=True)
class StagingPeer:
    """A tool: what pip installs, the command, what that leaves in the project, files of that.

    `setup` are commands that are run once in the project.
    """

    requirement: str
    command: tuple[str, ...]
    leaves: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    setup: tuple[tuple[str, ...], ...] = ()


_PEERS = (
    StagingPeer(
        "gage==0.1.2",
        ("gage", "run", "keep", "--stage", "-y"),
        (".gage",),
        {"gage.toml": '[keep]\nexec = "true"\nsourcecode = ["**/*"]\n'},
    ),
    StagingPeer(
        "guildai==0.9.0",
        ("guild", "-H", ".guild", "run", "keep", "--stage", "-y"),
        (".guild/runs",),
        {
            "guild.yml": "keep:\n  exec: 'true'\n  sourcecode:\n    - include: '*'\n",
            # It wants its home to be there.
            ".guild/README": "",
        },
    ),
    StagingPeer(
        "dvc",
        ("dvc", "add", "-q", _TREE),
        (".dvc/cache", f"{_TREE}.dvc"),
        setup=(("dvc", "init", "--no-scm", "-q"),),
    ),
)


def staging_peer_rows(place: Place, cache: str) -> list[Row]:
    """Return a row for each tool, on sources of some 12,000 files."""
    ours = place.path("keep-gage")
    runs = place.path("keep-gage.runs")
    rows = []
    for peer in _PEERS:
        name = peer.requirement.replace("==", "-")
        project = place.path(f"keep-{name}")
        tools = os.path.join(cache, name, "bin")
        left = [os.path.join(project, path) for path in peer.leaves]
        rows.append(
            Row(
                f"gage stage, sources | {peer.requirement}",
                place.command(
                    [place.gage, "--runs", runs, "stage"],
                    ours,
                    {"GAGE_SYNC": "0"},
                    before=functools.partial(remove, runs),
                ),
                place.command(
                    [os.path.join(tools, peer.command[0]), *peer.command[1:]],
                    project,
                    before=functools.partial(remove, *left),
                ),
                prepare=functools.partial(_prepare, place, peer, cache, project, ours),
                optional=True,
            )
        )
    return rows


def _prepare(place: Place, peer: StagingPeer, cache: str, project: str, ours: str) -> None:
    if not os.path.isdir(ours):
        tree = place.path("sources")
        made = tree if os.path.isdir(tree) else make_sources(place, cache)
        shutil.copytree(made, ours, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    shutil.copytree(ours, os.path.join(project, _TREE), symlinks=True)
    place.project(os.path.basename(project), peer.files)
    install(place, peer.requirement, peer.command[0], cache, peer.setup, project)
