"""How errors fall with rows, by hand, and of curves that are known."""

from __future__ import annotations

import numpy as np
import pytest

from fedhome.learning.learning_curve import drawn_on, sure_falls

_ROWS = np.array([[10.0, 10.0], [100.0, 100.0]])


def _errors(powers: list[list[float]]) -> np.ndarray:
    """Return errors of homes ``[homes][models]`` that fall by these powers from 1."""
    return np.stack([np.ones_like(powers, float), 10.0 ** np.array(powers)])


def test_a_fall_is_the_mean_over_homes_less_its_standard_error() -> None:
    """Powers of -.2 and -.4: a mean of -.3, a standard error of .1414 / sqrt(2) = .1."""
    falls = sure_falls(_ROWS, _errors([[-0.2, -0.5], [-0.4, -0.5]]))
    assert falls == pytest.approx([-0.2, -0.5])


def test_homes_with_further_between_their_rows_count_more() -> None:
    """Logarithms apart by 1 and 2, powers of -1 and -.5: (-1 - 2) / (1 + 4) = -.6."""
    rows = np.exp([[0.0, 0.0], [1.0, 2.0]])
    errors = np.exp([[[0.0], [0.0]], [[-1.0], [-1.0]]])
    # What is left: 1 * (-1 + .6) and 2 * (-1 + 1.2), so sqrt((.16 + .16) * 2) / 5 = .16.
    assert sure_falls(rows, errors) == pytest.approx([-0.44])


def test_what_does_not_surely_fall_falls_not_at_all() -> None:
    rising, unsure = [0.3, -0.1], [0.5, -0.6]
    falls = sure_falls(_ROWS, _errors(np.transpose([rising, unsure]).tolist()))
    assert falls.tolist() == [0.0, 0.0]


def test_of_one_home_or_of_as_many_rows_nothing_is_told() -> None:
    errors = _errors([[-0.5], [-0.5]])
    assert sure_falls(_ROWS[:, :1], errors[:, :1]).tolist() == [0.0]
    assert sure_falls(_ROWS[[1, 1]], errors).tolist() == [0.0]


def test_no_error_at_all_is_no_endless_fall() -> None:
    """By hand: no less than a thousandth counts, so three decades over one of rows."""
    errors = np.stack([np.ones((2, 1)), np.zeros((2, 1))])
    assert sure_falls(_ROWS, errors) == pytest.approx([-3.0])


def test_errors_are_drawn_on_by_their_power_and_agree_as_before() -> None:
    """Four times the rows: a power of -1 quarters an error, and its product with others halves."""
    matrix = np.array([[1.0, 0.5], [0.5, 4.0]])
    further = drawn_on(matrix, np.array([-1.0, 0.0]), 4.0)
    assert further == pytest.approx(np.array([[0.25, 0.25], [0.25, 4.0]]))
    assert drawn_on(matrix, np.array([-1.0, 0.0]), 0.5) == pytest.approx(matrix)
