"""The benchmarks work; what they measure is nobody's business here."""

from __future__ import annotations

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def bench(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *args], cwd=ROOT, capture_output=True, text=True
    )


def test_a_row_is_measured(tmp_path):
    done = bench("--rounds", "1", "--work", str(tmp_path), "import gage")
    assert done.returncode == 0, done.stderr
    *header, _, titles, row = done.stdout.splitlines()
    assert [line.split()[0] for line in header] == [
        "machine",
        "system",
        "python",
        "sync",
        "rounds",
    ]
    assert titles.split()[:3] == ["row", "ours", "peer"]
    assert row.startswith("import gage | python -c pass")
    assert row.endswith(" MB")
    assert os.listdir(tmp_path) == []


def test_many_runs_are_made_and_listed(tmp_path):
    done = bench("--rounds", "1", "--work", str(tmp_path), "--runs", "3", "list, 3 runs | ls")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("gage list, 3 runs | ls")


def test_rows_are_listed():
    done = bench("--list", "gage run")
    assert done.stdout.splitlines()[0] == "gage run hello.py | python hello.py"
