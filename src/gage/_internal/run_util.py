"""The lifecycle under one roof, for documents and scripts that tell it step by step."""

from gage._internal.catalog.find import list_runs
from gage._internal.lifecycle.finalize import finalize_run
from gage._internal.lifecycle.init import init_run_meta
from gage._internal.lifecycle.make import make_run
from gage._internal.lifecycle.stage import stage_run
from gage._internal.lifecycle.start import start_run
from gage._internal.store.layout import run_meta_dir
from gage._internal.store.status import run_status
from gage._internal.types import Run

__all__ = [
    "Run",
    "finalize_run",
    "init_run_meta",
    "list_runs",
    "make_run",
    "run_meta_dir",
    "run_status",
    "stage_run",
    "start_run",
]
