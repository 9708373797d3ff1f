"""What `requires` of a Gage file may say, and what it means."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gage._internal.project.gage_file_checker import check_gage_table
from gage._internal.project.requires import PATTERNS, declared_requirements, requirement_problem
from gage._internal.store.needed import amount, comparisons, is_amount_met, is_version_met
from gage._internal.store.requirements import Requirement


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("python>=3.11", ("python", "python3", ">=3.11")),
        ("python >= 3.11, < 3.13", ("python", "python3", ">=3.11,<3.13")),
        ("cmd:ffmpeg", ("command", "ffmpeg", "")),
        ("cmd:g++>=12.2", ("command", "g++", ">=12.2")),
        ("lib:libGL.so.1", ("library", "libGL.so.1", "")),
        ("glibc>=2.31", ("symbols", "GLIBC", ">=2.31")),
        ("gpu", ("gpu", "gpu", "")),
        ("gpu>=2", ("gpu", "gpu", ">=2")),
        ("driver>=525.60.13", ("driver", "nvidia", ">=525.60.13")),
        ("cpus>=8", ("cpus", "cpus", ">=8")),
        ("memory>=16GiB", ("memory", "memory", ">=16GiB")),
        ("disk>=0.5TB", ("disk", "disk", ">=0.5TB")),
        ("platform:linux", ("platform", "linux", "")),
        ("architecture:aarch64", ("architecture", "aarch64", "")),
        ("cpu:x86-64-v3", ("cpu", "x86-64-v3", "")),
    ],
)
def test_each_form(text: str, expected: tuple[str, str, str]) -> None:
    assert requirement_problem(text) is None
    assert declared_requirements([text]) == [Requirement(*expected, "requires")]
    assert declared_requirements(text) == [Requirement(*expected, "requires")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "known are python, cmd:NAME"),
        ("ffmpeg", 'an application is "cmd:ffmpeg"'),
        ("pyhton>=3", 'did you mean "python"?'),
        ("python~=3.11", 'must be like "python>=3.11", not "python~=3.11": operators are >=, <='),
        ("python>=3.x", 'must be like "python>=3.11"'),
        ("cmd:", "a name follows the colon"),
        ("cmd:/usr/bin/ffmpeg", 'must be like "cmd:ffmpeg>=5"'),
        ("gpu:nvidia", "gpu has no name"),
        ("lib:libx.so.1>=1", "has no version"),
        ("memory", 'must be like "memory>=16GiB"'),
        ("memory>=16Gb", 'must be like "memory>=16GiB"'),
        ("cpu:v4", 'must be like "cpu:x86-64-v3"'),
        ("platform:windows", 'must be like "platform:linux"'),
        ("gpu\n", 'must be like "gpu>=2"'),
    ],
)
def test_what_is_wrong_is_told(text: str, told: str) -> None:
    (fault,) = check_gage_table({"a": {"exec": "x", "requires": ["gpu", text]}})
    assert fault.path == ("a", "requires", 1)
    assert told in fault.text


def test_the_schema_has_the_same_forms() -> None:
    schema = json.loads(files("gage").joinpath("gage-file.schema.json").read_text())
    patterns = [each["pattern"] for each in schema["$defs"]["requirement"]["anyOf"]]
    assert patterns == PATTERNS


_VERSIONS = st.lists(st.integers(0, 20), min_size=1, max_size=4).map(
    lambda n: ".".join(map(str, n))
)


@given(_VERSIONS, _VERSIONS)
def test_operators_fit_together(needed: str, found: str) -> None:
    is_met = {op: is_version_met(op + needed, found) for op in (">=", "<=", "==", "!=", ">", "<")}
    assert is_met["=="] is not is_met["!="]
    assert is_met[">="] is not is_met["<"]
    assert is_met["<="] is not is_met[">"]
    assert is_met["=="] is (is_met[">="] and is_met["<="])


@pytest.mark.parametrize(
    ("needed", "found", "is_met"),
    [
        ("", "anything", True),
        (">=3.11", "3.9.18", False),
        (">=3.11,<4", "3.12.1", True),
        (">=3.11,<4", "4.0", False),
        ("==3.11", "3.11.7", True),
        (">3.11", "3.11.7", False),
        ("<=3.11", "3.11.7", True),
        (">=5.1", "5", False),
        (">=525.60.13", "535.104.05", True),
        (">=2.1", "v2.1.0+cu121", True),
        (">=1", "", False),
    ],
)
def test_versions(needed: str, found: str, is_met: bool) -> None:
    assert is_version_met(needed, found) is is_met


def test_amounts() -> None:
    assert [amount(text) for text in ("16", "1kB", "1KiB", "1K", "1.5GiB", "2G", "2GB", "7B")] == [
        16, 1000, 1024, 1024, 3 << 29, 2 << 30, 2 * 10**9, 7,
    ]  # fmt: skip
    assert is_amount_met(">=1KiB,<2KiB", 1024) and not is_amount_met(">1KiB", 1024)
    for text in ("", "1XB", "GiB", "-1"):
        with pytest.raises(ValueError):
            amount(text)
    with pytest.raises(ValueError):
        comparisons("3.11")
