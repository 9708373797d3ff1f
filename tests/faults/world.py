"""A project with runs of several kinds, as often as needed, and what must be true of it."""

from __future__ import annotations

import compileall
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gage._internal import fs
from gage._internal.catalog.find import list_runs
from gage._internal.catalog.leftovers import find_leftovers
from gage._internal.lifecycle.conclude import conclude_run
from gage._internal.store import status
from gage._internal.store.record import find_record
from gage._internal.store.verify import verify as verify_all
from gage._internal.types import Run

ROOT = Path(__file__).parents[2]
STAGE = ("stage", "train", "lr=0.5", "--tag", "faulty")
BATCH_VALUES = ("0.5", "0.25", "0.2")
STAGE_BATCH = (*STAGE[:2], f"lr=[{','.join(BATCH_VALUES)}]", *STAGE[3:], "--group", "batch")
PATIENCE = 20.0

_FILES = {
    "gage.toml": """\
[train]
exec = { run = "sh run.sh", stage-runtime = "mkdir -p lib && echo built > lib/built.txt" }
config = "train.py"
depends = { project-files = "data" }
writable = ["state.txt"]
""",
    "train.py": "lr = 0.1\nepochs = 3\n",
    "run.sh": 'echo started >> "$FAULTS_STARTED"\necho out\necho more > generated.txt\n',
    "lib/model.py": "size = 16\n" * 50,
    "state.txt": "none\n",
    "data/numbers.txt": "1\n2\n3\n" * 2000,
    "data/more/empty.txt": "",
    ".gitignore": "data/\n.gage/\n",
}


class Fault(Exception):
    """Something that must hold does not."""


class Ended(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str


Stamps = Mapping[str, tuple[Any, ...]]


class Made(NamedTuple):
    """What worlds are copied from: a folder, and what was in it when it was made.

    The runs are one that is staged, one that is completed, one that is in the trash.
    """

    folder: Path
    env: Mapping[str, str]
    staged: str
    completed: str
    deleted: str
    project: Stamps
    runs: Mapping[str, Stamps]


def make(folder: Path) -> Made:
    """Make what worlds are copied from, and a copy of Gage that nobody edits meanwhile."""
    source = folder / "src"
    shutil.copytree(ROOT / "src" / "gage", source / "gage", ignore=_pycache)
    compileall.compile_dir(source, quiet=2)
    world = folder / "world"
    project = world / "project"
    for name, text in _FILES.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (project / "latest").symlink_to("lib/model.py")
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    (folder / "home").mkdir()
    env = {
        "HOME": str(folder / "home"),
        "PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"],
        "PYTHONPATH": str(source),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
    }
    first = World(world, env)
    staged = first.gage(*STAGE).out.strip()
    ran = first.gage("run", "train", "-q")
    if ran.code != 0:
        raise Fault(f"cannot make a world: {ran.err}")
    completed = next(run.id for run in first.list_runs() if run.id != staged)
    deleted = first.gage(*STAGE).out.strip()
    first.gage("comment", deleted, "goes with it")
    first.gage("delete", "-y", deleted)
    os.unlink(first.started_path)
    runs = {run_id: first.run_stamps(run_id) for run_id in (staged, completed, deleted)}
    return Made(folder, env, staged, completed, deleted, first.project_stamps(), runs)


def grow(made: Made, folder: Path, count: int = 450) -> Made:
    """Return the same with so many more files in the project that several processes copy."""
    shutil.copytree(made.folder / "world", folder / "world", symlinks=True)
    many = folder / "world" / "project" / "many"
    many.mkdir()
    for number in range(count):
        (many / f"{number}.txt").write_text(f"{number}\n")
    grown = World(folder / "world", made.env)
    return made._replace(folder=folder, project=grown.project_stamps())


def _pycache(folder: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if name == "__pycache__"]


class World:
    """A project and its runs home in a folder of its own."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder = folder
        self.project = folder / "project"
        self.home = self.project / ".gage" / "runs"
        self.started_path = folder / "started"
        self.env = {**env, "FAULTS_STARTED": str(self.started_path)}

    @classmethod
    def copy_of(cls, made: Made, folder: Path) -> World:
        """Copy a world to a folder that is not there."""
        shutil.copytree(made.folder / "world", folder, symlinks=True)
        return cls(folder, made.env)

    def argv(self, *args: str) -> list[str]:
        """Return what runs Gage."""
        return [sys.executable, "-m", "gage", *args]

    def gage(self, *args: str, before: Sequence[str] = ()) -> Ended:
        """Run Gage to its end, and all that it has started."""
        ended = subprocess.run(
            [*before, *self.argv(*args)],
            cwd=self.project,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
        self.wait_for_processes()
        return Ended(ended.returncode, os.fsdecode(ended.stdout), os.fsdecode(ended.stderr))

    def wait_for_processes(self) -> None:
        """Wait until no process of this world is left."""
        marker = os.fsencode(f"FAULTS_STARTED={self.started_path}")
        until = time.monotonic() + PATIENCE
        while any(marker in _environ(pid) for pid in os.listdir("/proc") if pid.isdigit()):
            if time.monotonic() > until:
                raise Fault("a process does not end")
            time.sleep(0.002)

    def list_runs(self) -> list[Run]:
        """Return the runs of the home."""
        return list_runs(str(self.home))

    def starts(self) -> int:
        """Return how often the command of a run was started."""
        try:
            return len(self.started_path.read_text().splitlines())
        except FileNotFoundError:
            return 0

    def project_stamps(self) -> Stamps:
        """Return what the project is like, less its runs."""
        return {
            path: stamp
            for path, stamp in _stamps(self.project).items()
            # The runs home is made in it; that changes the time of the project's directory.
            if path != "." and path.split("/")[0] != ".gage"
        }

    def run_stamps(self, run_id: str) -> Stamps:
        """Return what a run is like, wherever in home and trash its parts are."""
        return {
            f"{suffix}/{path}": stamp
            for suffix in ("", ".meta", ".notes")
            for folder in (self.home, self.home / ".trash")
            if (folder / f"{run_id}{suffix}").exists()
            for path, stamp in _stamps(folder / f"{run_id}{suffix}").items()
        }

    def check_untouched(self, made: Made, but: str = "") -> None:
        """Make sure that the project and the runs are as they were made, but one."""
        _compare("the project", made.project, self.project_stamps())
        for run_id, stamps in made.runs.items():
            if run_id != but:
                _compare(f"run {run_id}", stamps, self.run_stamps(run_id))

    def check_new_runs(self, made: Made) -> list[str]:
        """Make sure that each run that was not made here is staged and whole, or not staged.

        Return the statuses.
        """
        found = []
        for run in self.list_runs():
            if run.id in made.runs:
                continue
            record = find_record(run)
            found.append(record.status)
            if record.status in status.ACTIVE:
                raise Fault(f"a run is {record.status}, and its process is gone")
            meta = Path(run.run_dir + ".meta")
            others = ("proc/lock", "started", "stopped")
            if (meta / "staged").exists() and not any((meta / name).exists() for name in others):
                verify(run)
        return found

    def check_clean(self) -> None:
        """Make sure that nothing is left of what was interrupted."""
        left = [
            f"{each.path}: {each.what}" for each in find_leftovers(str(self.home), conclude_run)
        ]
        left += [str(path) for path in self.project.rglob(".*") if fs.find_name_beside(path.name)]
        if left:
            raise Fault("left over: " + "; ".join(left))
        ids = {run.id for run in self.list_runs()}
        strays = [
            path.name for path in self.home.glob("*") if path.name.partition(".")[0] not in ids
        ]
        if set(strays) - {".trash"}:
            raise Fault(f"in the home, and of no run: {strays}")

    def repair(self) -> None:
        """Clear what was left, with the command that does it; it must leave all in order."""
        ended = self.gage("check", "--repair", "--json")
        if ended.code != 0:
            raise Fault(f"check --repair: {ended.out}{ended.err}")
        results = {result["result"] for result in json.loads(ended.out)}
        if not results <= {"ok", "mended"}:
            raise Fault(f"check --repair: {ended.out}")
        self.check_clean()


def verify(run: Run) -> None:
    """Make sure that a run is as it was staged, by Gage's own eyes and by those of sha256sum."""
    record = find_record(run)
    if record.damage is not None:
        raise Fault(f"a staged run is damaged: {record.damage}")
    verify_all(run)
    checked = subprocess.run(
        ["sha256sum", "-c", "--strict", "--quiet", f"../{run.id}.meta/manifest"],
        cwd=run.run_dir,
        capture_output=True,
    )
    if checked.returncode != 0:
        raise Fault(f"sha256sum does not accept a staged run: {checked.stderr.decode()}")


def _compare(what: str, before: Stamps, after: Stamps) -> None:
    if before != after:
        changed = sorted(p for p in before.keys() | after.keys() if before.get(p) != after.get(p))
        raise Fault(f"{what} was changed: {changed[:5]}")


def _stamps(root: Path) -> dict[str, tuple[Any, ...]]:
    found: dict[str, tuple[Any, ...]] = {".": _stamp(root)}
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = Path(folder, name)
            found[str(path.relative_to(root))] = _stamp(path)
    return found


def _stamp(path: Path) -> tuple[Any, ...]:
    at = path.lstat()
    if stat.S_ISDIR(at.st_mode):
        return (at.st_mode,)
    if stat.S_ISLNK(at.st_mode):
        return (at.st_mode, os.readlink(path))
    return (at.st_mode, at.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())


def _environ(pid: str) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []
