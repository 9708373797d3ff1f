"""What tests look up in the directories of a run."""

from __future__ import annotations

import os
from pathlib import Path

from gage._internal.store.seal import seal_staged
from gage._internal.types import Run


def meta_file(run: Run, name: str) -> Path:
    return Path(run.run_dir + ".meta") / name


def read(run: Run, name: str) -> str:
    return meta_file(run, name).read_text()


def files_below(path: str | Path) -> set[str]:
    return {
        os.path.relpath(os.path.join(folder, name), path)
        for folder, _, names in os.walk(path)
        for name in names
    }


def reseal(run_dir: str | Path) -> None:
    """Seal a staged run anew whose record a test has changed to what another system writes."""
    run = Run(os.path.basename(run_dir), str(run_dir))
    staged = meta_file(run, "staged")
    seal_staged(run, str(staged))
