"""How far a run is, as the progress bars of tqdm and rich tell that it prints."""

from __future__ import annotations

import re
from typing import NamedTuple

# tqdm: `lr 0.1:  45%|####5     | 45/100 [00:03<00:04, 12.3it/s]`.
_TQDM = re.compile(
    r"(?:^|[\s:])(?P<percent>\d{1,3})%\|[^|]*\| *(?P<done>\S+)/(?P<of>\S+)"
    r" \[[\d:]+<(?P<left>[\d:]+|\?)(?: days?, [\d:]+)?"
)
# rich: `Training ━━━━━━━━╸━━━━━━  45% 0:00:04`.
_RICH = re.compile(r"[━╸╺] *(?P<percent>\d{1,3})% (?P<left>(?:\d+:)?[\d-]+:[\d-]{2}(?::\d\d)?)")
_LINE_ENDS = re.compile(r"[\r\n]")
# What moves the cursor or colours what follows, also one that is cut off.
_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_]|\[?[^@-~]*$)"
)
_ENDED = 100


class Progress(NamedTuple):
    """How far something is: percent, and the time left in the program's words, "" if unknown."""

    percent: int
    left: str = ""


class Said(NamedTuple):
    """What a run has printed last: the last line that is no progress bar, and the last bar."""

    line: str
    progress: Progress | None


def read_said(data: bytes) -> Said:
    """Return what the end of a run's output tells.

    A bar counts as long as it is not full, and no other one has come after it.
    """
    line, progress = "", None
    for text in _LINE_ENDS.split(data.decode(errors="replace")):
        text = _ESCAPE.sub("", text).strip()
        if not text:
            continue
        found = find_progress(text)
        if found is None:
            line = text
        else:
            progress = found if found.percent < _ENDED else None
    return Said(line, progress)


def find_progress(text: str) -> Progress | None:
    """Return the progress that a line tells, None where it is surely no bar of tqdm or rich."""
    match = _TQDM.search(text) or _RICH.search(text)
    if match is None or int(match["percent"]) > _ENDED:
        return None
    left = match["left"]
    return Progress(int(match["percent"]), "" if "?" in left or "-" in left else left)
