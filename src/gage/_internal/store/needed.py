"""What is needed of a version or an amount, and whether what was found is that.

Comparisons are an operator and a version or amount each, joined by commas: `>=3.11,<4`. A version
is compared as far as it is written, so `==3.11` and `<=3.11` take 3.11.7, and `>3.11` does not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

OPERATORS = (">=", "<=", "==", "!=", ">", "<")
VERSION = r"[0-9]+(?:\.[0-9]+)*"
AMOUNT = r"[0-9]+(?:\.[0-9]+)?(?:[kKMGTP]i?B?|B)?"

_NUMBERS = re.compile(VERSION)
_UNITS = {"k": 1, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def comparisons(needed: str) -> list[tuple[str, str]]:
    """Return the operators and versions of what is needed.

    Raises:
        ValueError: it cannot be understood.
    """
    found = []
    for part in filter(None, needed.split(",")):
        part = part.strip()
        operator = next(filter(part.startswith, OPERATORS), None)
        if operator is None:
            raise ValueError(f"{part} is not a comparison")
        found.append((operator, part[len(operator) :].strip()))
    return found


def is_version_met(needed: str, found: str) -> bool:
    """Tell whether a version is one of those needed; what follows its numbers does not count."""
    match = _NUMBERS.search(found)
    if match is None:
        return not needed
    return all(
        _compares(operator, *_same_length(version_numbers(version), version_numbers(match[0])))
        for operator, version in comparisons(needed)
    )


def is_amount_met(needed: str, found: int) -> bool:
    """Tell whether an amount, a number or bytes, is one of those needed."""
    return all(
        _compares(operator, [amount(text)], [found]) for operator, text in comparisons(needed)
    )


def version_numbers(version: str) -> list[int]:
    """Return the numbers of a version."""
    return [int(part) for part in version.split(".")]


def amount(text: str) -> int:
    """Return an amount in bytes, or a number.

    `MB` are powers of 1000, `MiB` and `M` alone of 1024.

    Raises:
        ValueError: it is no amount.
    """
    if not re.fullmatch(AMOUNT, text):
        raise ValueError(f"{text} is not an amount")
    digits = text.rstrip("kKMGTPiB")
    unit = text[len(digits) :]
    if unit in ("", "B"):
        return int(float(digits))
    base = 1000 if unit.endswith("B") and "i" not in unit else 1024
    return int(float(digits) * base ** _UNITS[unit[0]])


def _same_length(needed: Sequence[int], found: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return two versions, what was found as long as what is needed."""
    count = len(needed)
    return list(needed), [*found[:count], *[0] * (count - len(found))]


def _compares(operator: str, needed: Sequence[int], found: Sequence[int]) -> bool:
    needed, found = list(needed), list(found)
    if operator == ">=":
        return found >= needed
    if operator == "<=":
        return found <= needed
    if operator == ">":
        return found > needed
    if operator == "<":
        return found < needed
    return (found == needed) is (operator == "==")
