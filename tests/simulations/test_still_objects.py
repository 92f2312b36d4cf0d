"""Objects that were there before are left out of the collector's searches, and let in again."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import suppress

import pytest

from fedhome.simulations.still_objects import still_objects


@pytest.fixture(autouse=True)
def _nothing_is_still() -> Iterator[None]:
    """Let in what something else in this process has stilled, the tests' own set-up for one."""
    before, threshold = gc.get_freeze_count(), gc.get_threshold()
    gc.unfreeze()
    yield
    gc.set_threshold(*threshold)
    if before:
        gc.freeze()


class _Ring:
    def __init__(self) -> None:
        self.own = self


def test_what_was_there_waits_and_what_is_new_is_collected() -> None:
    before = _Ring()
    old = weakref.ref(before)
    with still_objects():
        assert gc.get_freeze_count() > 0
        del before
        new = weakref.ref(_Ring())
        gc.collect()
        assert new() is None
        assert old() is not None
    assert gc.get_freeze_count() == 0
    gc.collect()
    assert old() is None


@pytest.mark.parametrize(
    ("before", "within"),
    [((700, 10, 5), (20_000, 10, 5)), ((50_000, 3, 2), (50_000, 3, 2)), ((0, 10, 10), (0, 10, 10))],
)
def test_new_objects_are_looked_through_less_often_and_afterwards_as_before(
    before: tuple[int, int, int], within: tuple[int, int, int]
) -> None:
    gc.set_threshold(*before)
    with suppress(ZeroDivisionError), still_objects():
        assert gc.get_threshold() == within
        raise ZeroDivisionError  # a run that fails leaves its user's process as it was, too
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_what_somebody_else_has_stilled_stays_so() -> None:
    gc.freeze()
    try:
        with still_objects():
            pass
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
