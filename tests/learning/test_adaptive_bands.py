"""A band that follows what comes, held against the fixed one on homes that change."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.learning.adaptive_bands import STEP, follow
from fedhome.learning.bands import reach

_ROWS = 24 * 60


def _shares(
    errors: NDArray[np.float64], *, step: float = STEP, delay: int = 1
) -> tuple[float, float, float]:
    """Return what shares of rows lie in the band, below and above it."""
    fitted = np.random.default_rng(7).normal(size=1000)
    low, high = reach(fitted, np.arange(1000)).at(np.arange(len(errors)))
    band = follow(
        errors,
        low,
        high,
        counts=np.ones(len(errors), np.bool_),
        known_before=np.maximum(np.arange(len(errors)) - delay + 1, 0),
        step=step,
    )
    below, above = (errors < band.low).mean(), (errors > band.high).mean()
    return float(1 - below - above), float(below), float(above)


_HOMES = {
    "as before": lambda draw: draw.normal(size=_ROWS),
    "three times as restless by and by": lambda draw: (
        draw.normal(size=_ROWS) * np.linspace(1, 3, _ROWS)
    ),
    "ever higher": lambda draw: draw.normal(size=_ROWS) + np.linspace(0, 4, _ROWS),
    "half as restless at once": lambda draw: draw.normal(size=_ROWS) * 0.5,
}


@pytest.mark.parametrize("home", list(_HOMES))
@pytest.mark.parametrize("delay", [1, 24])
def test_four_of_five_truths_lie_in_it_however_the_home_changes(home: str, delay: int) -> None:
    errors = _HOMES[home](np.random.default_rng(3))
    inside, below, above = _shares(errors, delay=delay)
    assert inside == pytest.approx(0.8, abs=0.03)
    assert (below, above) == (pytest.approx(0.1, abs=0.03), pytest.approx(0.1, abs=0.03))
    fixed, _, _ = _shares(errors, step=0.0)
    if home != "as before":
        assert abs(fixed - 0.8) > 0.12, "the control: the band of the run's end goes wrong"


def test_a_row_is_foretold_by_what_was_known_then() -> None:
    errors = np.array([5.0, 0.0, 0.0, 0.0])
    low, high = np.full(4, -1.0), np.full(4, 1.0)
    band = follow(
        errors, low, high, counts=np.ones(4, np.bool_), known_before=np.array([0, 0, 1, 2])
    )
    out, back = 0.9 * STEP * 2, 0.1 * STEP * 2
    assert band.high.tolist() == pytest.approx([1, 1, 1 + out, 1 + out - back])
    assert band.low.tolist() == pytest.approx([-1, -1, -1 + back, -1 + 2 * back])


def test_rows_that_do_not_count_move_nothing() -> None:
    errors = np.array([9.0, np.nan, 9.0])
    none = np.zeros(3, np.bool_)
    band = follow(errors, -np.ones(3), np.ones(3), counts=none, known_before=np.arange(3))
    assert (band.low.tolist(), band.high.tolist()) == ([-1] * 3, [1] * 3)


def test_ends_that_would_cross_meet_in_the_middle() -> None:
    rows = 400
    band = follow(
        np.zeros(rows),
        np.full(rows, -1.0),
        np.full(rows, 1.0),
        counts=np.ones(rows, np.bool_),
        known_before=np.arange(rows),
    )
    assert bool((band.low <= band.high).all())
    assert band.high[-1] - band.low[-1] < 0.1, "a home that never errs needs no band"


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
@pytest.mark.parametrize("width", [0.0, 1e-12])
def test_a_band_of_no_width_grows_to_the_errors_that_come(scale: float, width: float) -> None:
    errors = scale * np.random.default_rng(5).normal(size=_ROWS)
    every, rows = np.ones(_ROWS, np.bool_), np.arange(_ROWS)
    none = np.zeros(_ROWS)
    band = follow(errors, none, none + width, counts=every, known_before=rows)
    assert (band.low[0], band.high[0]) == (0, width), "before the first truth it is as it was"
    late = rows > 24 * 21
    inside = (band.low <= errors) & (errors <= band.high)
    assert inside[late].mean() == pytest.approx(0.8, abs=0.04)
    reach = 1.2816 * scale
    assert band.high[late].mean() == pytest.approx(reach, rel=0.2)
    assert band.low[late].mean() == pytest.approx(-reach, rel=0.2)


def test_a_band_of_no_width_stays_so_while_there_is_no_error() -> None:
    rows, none = 40, np.zeros(40)
    band = follow(none, none, none, counts=none == 0, known_before=np.arange(rows))
    assert (band.low.tolist(), band.high.tolist()) == ([0] * rows, [0] * rows)


def test_its_first_step_by_hand() -> None:
    errors, none = np.array([4.0, 0.0, 0.0]), np.zeros(3)
    band = follow(errors, none, none, counts=none == 0, known_before=np.arange(3))
    assert band.high.tolist()[:2] == pytest.approx([0, 0.9 * STEP * 4])
    assert band.low.tolist()[:2] == pytest.approx([0, 0.1 * STEP * 4])
