"""What it takes to give many runs to Slurm, as one array, beside an array that knows no runs.

The cluster is the one of the tests, on loopback, started for the row and ended with the benchmark.
It starts no jobs, so that to submit is all that is measured.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys

from bench.measure import CannotRun
from bench.place import Place, remove
from bench.rows import Row

_MANY = 1000
_FILES = {
    "gage.toml": '[work]\nexec = "true"\nsourcecode = ["gage.toml"]\n'
    "[[work.config]]\nenv = { X = 0 }\n"
}
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_CLUSTER = os.path.join(_ROOT, "tests", "engines", "slurm_cluster.py")


def submitting_rows(place: Place) -> list[Row]:
    """Return the row."""
    project = place.project("submitted", _FILES)
    # A socket's path is short.
    folder = place.path("slurm")
    env = {"SLURM_CONF": os.path.join(folder, "slurm.conf")}
    home = os.path.join(project, ".gage", "runs")
    clear = functools.partial(_clear, place, env, home)
    submit = ["start", "--all", "--on", "slurm", "-q"]
    array = ["sbatch", f"--array=0-{_MANY - 1}", "--output=/dev/null", "--wrap", "true"]
    return [
        Row(
            f"gage start --on slurm, {_MANY} runs | sbatch --array",
            place.command([place.gage, *submit], project, env, before=clear),
            place.command(array, project, env, before=clear),
            prepare=functools.partial(_prepare, place, project, folder, env),
        )
    ]


def _prepare(place: Place, project: str, folder: str, env: dict[str, str]) -> None:
    if shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        raise CannotRun("needs a Slurm: apt-get install slurm-wlm munge")
    os.makedirs(folder)
    cluster = subprocess.Popen(
        [sys.executable, _CLUSTER, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert cluster.stdin and cluster.stdout
    atexit.register(cluster.stdin.close)
    if not cluster.stdout.readline():
        raise CannotRun("the cluster does not start")
    _do(place, env, project, "scontrol", "update", "PartitionName=debug", "State=DOWN")
    _do(place, env, project, place.gage, "stage", f"X=range(0,{_MANY})")


def _clear(place: Place, env: dict[str, str], home: str) -> None:
    """Let all runs be staged as before, and Slurm know none of them."""
    _do(place, env, home, "scancel", "--me")
    notes = [name for name in os.listdir(home) if name.endswith(".notes")]
    remove(os.path.join(home, ".jobs"), *(os.path.join(home, name) for name in notes))


def _do(place: Place, env: dict[str, str], folder: str, *words: str) -> None:
    done = subprocess.run(words, cwd=folder, env=place.env(env), capture_output=True, check=False)
    if done.returncode != 0:
        raise CannotRun(f"{words[0]}: {done.stderr.decode(errors='replace').strip()}")
