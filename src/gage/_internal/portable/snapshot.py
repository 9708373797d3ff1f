"""What is known of the runs at a place, written down as a runs home has it, to be read as one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gage._internal.store import layout
from gage._internal.types import Run

if TYPE_CHECKING:
    from gage.plugins import Place

# What tells a run apart from others, and how old it is.
NAMED = (f"meta/{layout.ID}", f"meta/{layout.INITIALIZED}")
# What a list of runs shows.
LISTED = (
    *(f"meta/{name}" for name in (layout.SCHEMA, layout.ID, layout.NAME, layout.OPREF)),
    *(f"meta/{name}" for name in (layout.OPDEF, layout.CONFIG, layout.CMD, layout.ENV)),
    *(f"meta/{name}" for name in (layout.LOCK, layout.EXIT, layout.ERROR, layout.SIGNAL)),
    *(f"meta/{name}" for name in (layout.INITIALIZED, layout.STAGED, layout.STARTED)),
    *(f"meta/{name}" for name in (layout.STOPPED, layout.MANIFEST, layout.SUMMARY)),
    f"meta/{layout.GROUP}",
    f"meta/{layout.USER}/{layout.LABEL}",
    f"notes/{layout.LABEL}",
    f"notes/{layout.TAGS}/",
)


def write_snapshot(place: Place, names: tuple[str, ...], home: str) -> None:
    """Write the small files of these names of all runs at a place into an empty directory."""
    for run_id, files in place.runs(None, names).items():
        if layout.is_run_id(run_id):
            _write(Run(run_id, os.path.join(home, run_id)), files)


def _write(run: Run, files: Mapping[str, bytes]) -> None:
    os.mkdir(layout.run_meta_dir(run))
    for name, data in files.items():
        if name == "run":
            os.mkdir(run.run_dir)
            continue
        part, _, path = name.partition("/")
        if ".." in path.split("/") or path.startswith("/"):
            continue
        full = (layout.meta_path if part == "meta" else layout.notes_path)(run, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(data)
