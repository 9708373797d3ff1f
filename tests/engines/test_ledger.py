"""The ledger of a submission: whatever an engine does, each job begins once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gage._internal.portable import ledger
from gage._internal.portable.ledger import GO, NO, WAIT, Ledger
from gage.plugins import EXECUTING, GONE, QUEUED


def test_jobs_wait_until_all_are_there() -> None:
    kept = Ledger(1)
    assert kept.begin(0, "w1", "n1") == WAIT
    assert kept.complete()
    assert kept.begin(0, "w1", "n1") == GO
    assert kept.tell(0) == (EXECUTING, "EXECUTING", "n1", True)


def test_who_begins_again_has_lost_the_first() -> None:
    kept = Ledger(1)
    kept.complete()
    kept.begin(0, "w1", "n1")
    assert kept.begin(0, "w2", "n2") == NO
    assert kept.tell(0) == (GONE, "it was lost with its worker on n1", "n1", True)
    assert kept.begin(0, "w3", "n3") == NO


def test_what_an_interrupted_submission_left_never_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Ledger(1)
    now = ledger.time.monotonic()
    monkeypatch.setattr(ledger.time, "monotonic", lambda: now + 3600)
    assert kept.tell(0)[0] == GONE
    assert not kept.complete()
    assert kept.begin(0, "w1", "n1") == NO
    assert kept.is_settled()


def test_what_became_of_a_job_is_told_until_it_is_let_go_of() -> None:
    kept = Ledger(2)
    kept.complete()
    kept.begin(0, "w1", "n1")
    kept.end(0, "", True, True)
    assert kept.stop(1)
    for _ in range(2):
        assert kept.tell(1) == (GONE, "cancelled before it began", "", False)
        assert not kept.is_settled()
    assert not kept.stop(0)
    kept.let_go(1)
    assert kept.has_left(0) and not kept.is_settled()
    kept.let_go(0)
    assert not kept.has_left(0) and kept.is_settled()


def test_what_executes_is_not_let_go_of() -> None:
    kept = Ledger(1)
    kept.complete()
    kept.begin(0, "w1", "n1")
    kept.let_go(0)
    kept.end(0, "", True, True)
    assert kept.has_left(0) and not kept.is_settled()


steps = st.lists(
    st.tuples(
        st.sampled_from(["begin", "end", "fail", "stop", "let_go", "tell"]), st.integers(0, 2)
    ),
    max_size=30,
)


@given(steps)
def test_no_order_of_events_begins_a_job_twice_or_brings_one_back(
    taken: list[tuple[str, int]],
) -> None:
    kept = Ledger(3)
    kept.complete()
    begun: list[int] = []
    gone: set[int] = set()
    for step, number in taken:
        if step == "begin":
            if kept.begin(number, "w", "n") == GO:
                assert number not in gone
                begun.append(number)
        elif step == "end" and number in begun and number not in gone:
            kept.end(number, "", True, True)
        elif step == "fail":
            kept.fail(number, "why")
        elif step == "stop":
            kept.stop(number)
        elif step == "let_go":
            kept.let_go(number)
        state, *_, has_begun = kept.tell(number)
        assert state in (QUEUED, EXECUTING, GONE)
        assert has_begun == (number in begun)
        assert state == GONE or number not in gone
        if state == GONE:
            gone.add(number)
    assert len(begun) == len(set(begun))
    assert kept.unfinished() == [number for number in range(3) if number not in gone]
