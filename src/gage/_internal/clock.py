"""Time as Gage records it: integer microseconds since the epoch, and log lines' dates."""

from __future__ import annotations

import time


def now() -> int:
    """Return the present time in microseconds since the epoch."""
    return time.time_ns() // 1000


def log_date(time_us: int) -> str:
    """Format a time (microseconds since the epoch) as ISO 8601, local, with its zone.

    For example `2026-05-04T09:30:00.125+02:00`.
    """
    seconds, micros = divmod(time_us, 1_000_000)
    local = time.localtime(seconds)
    minutes = local.tm_gmtoff // 60
    sign = "-" if minutes < 0 else "+"
    hours, minutes = divmod(abs(minutes), 60)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", local)
    return f"{stamp}.{micros // 1000:03d}{sign}{hours:02d}:{minutes:02d}"
