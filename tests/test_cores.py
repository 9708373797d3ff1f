"""The same done to many items: results in order, errors kept, helpers that die noticed."""

import os
from pathlib import Path

import pytest

from gage._internal import cores


# A function of the standard library is found by the helping processes as those of Gage are.
@pytest.mark.parametrize("much", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 5000, 1_100_000])
def test_results_are_in_the_order_of_the_items(count: int, much: bool) -> None:
    items = [str(i) for i in range(count)]
    assert cores.do_all(os.path.join, items, "x", much) == [f"{item}/x" for item in items]


def test_an_error_of_the_system_is_raised_with_its_path(tmp_path: Path) -> None:
    # The arguments of rename: where there are many, some process meets the one that is missing.
    items = [str(tmp_path / f"{i}") for i in range(999)]
    for item in items[:-1]:
        Path(item).write_text("")
    with pytest.raises(FileNotFoundError) as caught:
        cores.do_all(os.replace, items, str(tmp_path / "one"), True)
    assert caught.value.filename == items[-1]


def test_a_helper_that_dies_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores.sys, "executable", "/bin/false")
    with pytest.raises(OSError, match="a helping process died at its work"):
        cores.do_all(os.path.join, ["a"] * 999, "x", True)
