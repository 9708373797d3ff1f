"""Times as people read them: ages, durations, dates."""

from __future__ import annotations

from gage._internal import clock

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60))


def duration_text(duration_us: int | None) -> str:
    """Return a duration in microseconds as `0.42s`, `12.3s`, `4m07s`, `3h05m` or `2d04h`."""
    if duration_us is None:
        return "-"
    seconds = max(0, duration_us) / 1e6
    if seconds < 10:
        return f"{seconds:.2f}s"
    if seconds < 60:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 3_600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3_600}h{whole % 3_600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3_600:02d}h"


def age_text(time_us: int | None) -> str:
    """Return how long ago a time (microseconds since the epoch) was: `now`, `5m`, `3h`, `2d`."""
    if time_us is None:
        return "-"
    seconds = (clock.now() - time_us) // 1_000_000
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s" if seconds > 0 else "now"


def date_text(time_us: int | None) -> str:
    """Return a time as a local date with its zone, or `-`."""
    return "-" if time_us is None else clock.log_date(time_us)


def parse_duration(text: str) -> float:
    """Return the seconds that a text such as `30s`, `5m`, `2h` or `1d` stands for.

    Raises:
        ValueError: it is no such text.
    """
    seconds = float(text[:-1]) * _SECONDS.get(text[-1:], 0)
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{text!r} is no duration")
    return seconds
