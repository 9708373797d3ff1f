"""Where everything of a run lies: every file name, once."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from gage._internal.types import Run

SCHEMA_VERSION = 1

SCHEMA = "__schema__"
ID = "id"
NAME = "name"
OPREF = "opref"
OPDEF = "opdef.json"
CONFIG = "config.json"
CMD = "proc/cmd"
ENV = "proc/env"
LOCK = "proc/lock"
EXIT = "proc/exit"
ERROR = "proc/error"
SIGNAL = "proc/signal"
SPARE = "proc/spare"
SEALED = "proc/sealed"
USER = "user"
SYS = "sys"
INITIALIZED = "initialized"
STAGED = "staged"
STARTED = "started"
STOPPED = "stopped"
RUNNER_LOG = "log/runner"
FILES_LOG = "log/files"
PATCHED_LOG = "log/patched"
DEPENDS = "depends.json"
RUNTIME = "runtime.json"
REQUIRES = "requires.json"
UNCOMMITTED = "uncommitted.patch"
RERUN = "rerun"
GROUP = "group"
PROTO = "proto"
ATTEMPTS = "attempts"
MANIFEST = "manifest"
SEAL = "seal"
OUTPUT = "output"
SUMMARY = "summary.json"
# What a run writes its summary to, in the run directory, unless its operation says otherwise.
DEFAULT_SUMMARY = "summary.json"

LABEL = "label"
TAGS = "tags"
COMMENTS = "comments"
WHERE = "where"
JOB = "job"
# Notes that mean something in this runs home only: they never travel with the run.
NOTES_HERE = (WHERE, JOB)

TRASH = ".trash"
# In a runs home, a directory for each submission to an engine.
SUBMISSIONS = ".jobs"
# In a project, where its runs home lies unless it says otherwise.
PROJECT_FOLDER = ".gage"

_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_META_SUFFIX = ".meta"
_NOTES_SUFFIX = ".notes"


def run_meta_dir(run: Run) -> str:
    """Return the path of a run's meta directory."""
    return run.run_dir + _META_SUFFIX


def run_notes_dir(run: Run) -> str:
    """Return the path of the directory that holds what users attach to a run later."""
    return run.run_dir + _NOTES_SUFFIX


def meta_path(run: Run, *names: str) -> str:
    """Return the path of a file in a run's meta directory."""
    return os.sep.join((run_meta_dir(run), *names))


def notes_path(run: Run, *names: str) -> str:
    """Return the path of a file in a run's notes directory."""
    return os.sep.join((run_notes_dir(run), *names))


def output_path(run: Run, phase: str) -> str:
    """Return the path of the bytes that a phase printed."""
    return meta_path(run, OUTPUT, phase)


def output_index_path(run: Run, phase: str) -> str:
    """Return the path of the index of the bytes that a phase printed."""
    return meta_path(run, OUTPUT, phase + ".index")


def summary_file(opdef: Mapping[str, Any]) -> str:
    """Return the path, in the run directory, of the summary that a run of an operation writes."""
    return str(opdef.get("summary", DEFAULT_SUMMARY))


def run_of_dir(run_dir: str) -> Run:
    """Return the run whose run directory is `run_dir`; its id is the directory's name."""
    run_dir = os.path.abspath(run_dir)
    return Run(os.path.basename(run_dir), run_dir)


def run_of_meta_name(home: str, name: str) -> Run:
    """Return the run of a runs home, an absolute path, whose meta directory has this name."""
    run_id = name[: -len(_META_SUFFIX)]
    return Run(run_id, os.path.join(home, run_id))


def is_meta_dir_name(name: str) -> bool:
    """Tell whether a directory of this name in a runs home is a run's meta directory."""
    return name.endswith(_META_SUFFIX) and is_run_id(name[: -len(_META_SUFFIX)])


def is_run_dir(path: str) -> bool:
    """Tell whether a directory is the run directory of a run: its meta directory lies beside."""
    return is_run_id(os.path.basename(path)) and os.path.isdir(path + _META_SUFFIX)


def is_part_of_run(path: str) -> bool:
    """Tell whether a directory is one of those that a run consists of."""
    run_dir, suffix = os.path.splitext(path)
    return suffix in ("", _META_SUFFIX, _NOTES_SUFFIX) and is_run_dir(run_dir)


def is_run_id(text: str) -> bool:
    """Tell whether `text` is a UUID in its usual form."""
    return _RUN_ID.fullmatch(text) is not None
