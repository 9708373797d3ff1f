"""Config and other values as people read them, on one line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gage._internal.fs import printable


def value_text(value: Any) -> str:
    """Return a value on one line: text as it is, anything else as JSON."""
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def config_text(config: Mapping[str, Any]) -> str:
    """Return config on one line: `lr=0.1 epochs=3`."""
    return " ".join(f"{printable(name)}={value_text(value)}" for name, value in config.items())


def counted_bytes(count: int) -> str:
    """Return a number of bytes with the unit that suits it: `3.1 MB`; a MB is 1,000,000 bytes."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
