"""What was captured of the system of a run, as people read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gage._internal.cli.values import value_text
from gage._internal.store.logs import counted

_SHORT = 12


def in_brief(system: Mapping[str, Any]) -> dict[str, str]:
    """Return what is shown of each attribute, by name, what people look for first."""
    names = [*(name for name in _IN_BRIEF if name in system), *sorted({*system} - {*_IN_BRIEF})]
    return {name: _brief(name, system[name]) for name in names}


def _brief(name: str, value: Any) -> str:
    try:
        return _IN_BRIEF[name](value)
    except (KeyError, TypeError, AttributeError, ValueError):
        # Another version of Gage wrote it.
        return value_text(value)


def _platform(value: Any) -> str:
    words = (value["system"], value["release"], value["machine"])
    distribution = value.get("distribution")
    return " ".join(words) + (f", {distribution}" if distribution else "")


def _cpu(value: Any) -> str:
    level = f", x86-64-v{value['level']}" if value["level"] else ""
    return f"{value['count']} x {value['model'] or 'unknown'}{level}"


def _gpus(value: Any) -> str:
    models = [gpu["model"] or gpu["vendor"] for gpu in value]
    return ", ".join(f"{models.count(each)} x {each}" for each in dict.fromkeys(models))


def _git(value: Any) -> str:
    commit = value["commit"][:_SHORT]
    text = f"{commit} on {value['branch']}" if value["branch"] else commit
    changed = value.get("changed_files")
    more = " or more" if value.get("capped") else ""
    return f"{text}, {counted(changed, 'file')}{more} changed since" if changed else text


_IN_BRIEF: Mapping[str, Callable[[Any], str]] = {
    "gage": str,
    "platform": _platform,
    "cpu": _cpu,
    "memory": lambda value: f"{value['bytes'] / 2**30:.1f} GiB",
    "gpu": _gpus,
    "driver": lambda value: f"{value['name']} {value['version']}",
    "libc": lambda value: f"{value['name']} {value['version']}",
    "interpreter": lambda value: f"{value['name']}, {value['implementation']} {value['version']}",
    "packages": lambda value: f"{len(value)} installed",
    "git": _git,
}
