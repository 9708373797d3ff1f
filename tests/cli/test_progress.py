"""Progress, read from what tqdm and rich really print."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gage._internal.cli.progress import Progress, Said, find_progress, read_said

TQDM = """
import sys, time
from tqdm import tqdm
print("loading", flush=True)
for number in tqdm(range(40), desc="lr 0.1: fold 2", mininterval=0, miniters=1, {options}):
    time.sleep(0.002)
"""
RICH = """
from rich.console import Console
from rich.progress import track
print("loading", flush=True)
console = Console(force_terminal=True, color_system={colours}, width={width})
for number in track(range(40), console=console, description="Training {number}%"):
    __import__("time").sleep(0.02)
"""


def printed(script: str) -> bytes:
    """Return what a script prints that has no terminal, as runs have none."""
    return subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True
    ).stdout


def progresses(output: bytes) -> list[int]:
    """Return the percentages that are told as the output grows, a byte at a time."""
    found = []
    for end in range(len(output)):
        said = read_said(output[:end])
        if said.progress and found[-1:] != [said.progress.percent]:
            found.append(said.progress.percent)
    return found


@pytest.mark.parametrize("options", ["", "ascii=True", "ncols=60", "unit='B', unit_scale=True"])
def test_bars_of_tqdm_are_read(options):
    output = printed(TQDM.format(options=options))
    found = progresses(output)
    assert len(found) > 30 and found == sorted(found) and found[-1] >= 95
    # Whole, it is at its end, and there is no progress any more.
    assert read_said(output) == Said("loading", None)


@pytest.mark.parametrize("colours", ["'truecolor'", "None"])
@pytest.mark.parametrize("width", [60, 120])
def test_bars_of_rich_are_read(colours, width):
    output = printed(RICH.format(colours=colours, width=width, number="%d"))
    found = progresses(output)
    assert len(found) >= 2 and found == sorted(found)
    assert read_said(output).progress is None


def test_what_is_left_is_told_where_it_is_known():
    assert find_progress(" 45%|####5     | 45/100 [00:03<00:04, 12.3it/s]") == Progress(45, "00:04")
    assert find_progress("  0%|          | 0/100 [00:00<?, ?it/s]") == Progress(0)
    assert find_progress("a ━━━━╸━━━━  45% 0:00:03") == Progress(45, "0:00:03")
    assert find_progress("a ━━━━╸━━━━   0% -:--:--") == Progress(0)


@pytest.mark.parametrize(
    "line",
    [
        *("45/100", "45%", "100%", "loss 45% | 3", "step 45/100 [00:03]", "epoch 3/10"),
        *("12it [00:01, 9it/s]", "145%|##| 45/100 [00:03<00:04]", "━━━━━━━━"),
        "a | b | 45% 0:00:03",
    ],
)
def test_what_may_mean_something_else_is_no_progress(line):
    assert find_progress(line) is None
    assert read_said(line.encode() + b"\n").line == line


def test_the_last_line_and_the_last_bar_count():
    bar = b"\r 45%|####5     | 45/100 [00:03<00:04, 12.3it/s]"
    assert read_said(b"one\ntwo\n" + bar) == Said("two", Progress(45, "00:04"))
    full = b"\r100%|##########| 100/100 [00:03<00:00, 12.3it/s]\n"
    assert read_said(bar + full + b"\x1b[1mdone\x1b[0m\n\n") == Said("done", None)


@given(st.binary())
def test_anything_else_is_a_line_without_escapes(data):
    said = read_said(data)
    assert said.line == said.line.strip() and not re.search(r"\x1b\[[0-9;]*m|[\r\n]", said.line)


@given(st.integers(0, 100), st.binary(max_size=20), st.text(max_size=20))
def test_a_bar_is_found_behind_anything(percent, before, name):
    name = re.sub(r"[\r\n\x1b]", "", name)
    bar = f"{name}: {percent:3}%|###| {percent}/100 [00:03<00:04, 12.3it/s]".encode()
    found = read_said(before + b"\n" + bar).progress
    assert found == (None if percent == 100 else Progress(percent, "00:04"))
