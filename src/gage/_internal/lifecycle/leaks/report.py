"""Tell of leaks: to whoever stages, to the runner log, or as the error that ends staging."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gage._internal.errors import LeakFound
from gage._internal.lifecycle.leaks.leak import Leak
from gage._internal.store.logs import counted, log_actions
from gage._internal.types import Run

# Of each kind.
_MOST_SHOWN = 3


def report_leaks(
    run: Run,
    leaks: Sequence[Leak],
    unsearched: Sequence[str],
    strict: bool,
    notice: Callable[[str], None],
) -> None:
    """Log every leak, and what was not searched; show the first of each kind.

    Raises:
        LeakFound: there are leaks, and `strict`.
    """
    told = [f"Would break elsewhere: {leak.fault}; {leak.remedy}" for leak in leaks]
    log_actions(run, [*unsearched, *told])
    if not leaks:
        return
    text = _summary(leaks)
    if strict:
        raise LeakFound(text, "mend this, or stage without --strict")
    notice(text)


def _summary(leaks: Sequence[Leak]) -> str:
    by_kind: dict[str, list[Leak]] = {}
    for leak in leaks:
        by_kind.setdefault(leak.kind, []).append(leak)
    lines = [f"{counted(len(leaks), 'thing')} would break elsewhere:"]
    for group in by_kind.values():
        for leak in group[:_MOST_SHOWN]:
            lines += [f"  {leak.fault}", f"    {leak.remedy}"]
        if len(group) > _MOST_SHOWN:
            lines.append(f"  and {len(group) - _MOST_SHOWN} more such (gage logs --runner)")
    return "\n".join(lines)
