"""Weights of mixtures, held against a solver of another kind and against numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.optimize import minimize

from fedhome.learning.mixture import (
    BOUND,
    STRENGTHS,
    FleetsBlend,
    best_weights,
    entries,
    error_matrices,
    folds_of,
    full,
    home_weights,
    knowing_nothing,
    left_out_errors,
    others,
    steadied,
    upper,
)
from helpers.examples import share_of


def _errors(seed: int, experts: int, rows: int = 40) -> NDArray[np.float64]:
    """Return errors that experts have partly in common, ``[rows, experts]``."""
    drawn = np.random.default_rng(seed)
    common = drawn.normal(size=(rows, 1))
    sizes = drawn.uniform(0.2, 1.5, size=experts)
    return np.asarray(sizes * (common + drawn.normal(size=(rows, experts))), np.float64)


def _matrix(errors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(errors.T @ errors / len(errors), np.float64)


def _by_slsqp(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the best weights by a general solver, from the even mixture on."""
    count = len(matrix)
    found = minimize(
        lambda w: w @ matrix @ w,
        np.full(count, 1 / count),
        jac=lambda w: 2 * matrix @ w,
        bounds=[(0, 1)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda _: np.ones(count)},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert found.success, found.message
    return np.asarray(found.x, np.float64)


@pytest.mark.parametrize("experts", [2, 3, 5])
@pytest.mark.parametrize("seed", range(6))
def test_the_weights_are_those_that_a_general_solver_finds(seed: int, experts: int) -> None:
    matrix = _matrix(_errors(seed, experts))
    weights, other = best_weights(matrix), _by_slsqp(matrix)
    np.testing.assert_allclose(weights, other, atol=2e-5)
    assert weights @ matrix @ weights <= other @ matrix @ other + 1e-9


@settings(max_examples=share_of(100))
@given(arrays(np.float64, (3, 6, 4), elements=st.floats(-4, 4)))
def test_weights_are_shares_and_no_expert_alone_does_better(
    errors: NDArray[np.float64],
) -> None:
    matrices = np.einsum("hrk,hrl->hkl", errors, errors)
    weights = best_weights(matrices)
    assert weights.shape == (3, 4)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    losses = np.einsum("hk,hkl,hl->h", weights, matrices, weights)
    single = np.diagonal(matrices, axis1=1, axis2=2).min(axis=1)
    assert (losses <= single * (1 + 1e-6) + 1e-6).all()
    for matrix, alone in zip(matrices, weights, strict=True):
        np.testing.assert_array_equal(best_weights(matrix), alone)  # nobody's neighbours count


def test_weights_by_hand() -> None:
    # Errors that have nothing to do with each other: in proportion to 1 / (mean square).
    np.testing.assert_allclose(best_weights(np.diag([1.0, 3.0])), [0.75, 0.25])
    # (3 - 2) / (2 + 3 - 2 * 1) = 2 / 3 of the better one.
    np.testing.assert_allclose(best_weights(np.array([[2.0, 1.0], [1.0, 3.0]])), [2 / 3, 1 / 3])
    # Without the bound the worse one would have a weight below zero: (1 - 2) / (1 + 9 - 4).
    assert best_weights(np.array([[1.0, 2.0], [2.0, 9.0]])).tolist() == [1.0, 0.0]
    # Opposite errors cancel; nothing to choose: the first.
    np.testing.assert_allclose(best_weights(np.array([[1.0, -1.0], [-1.0, 1.0]])), [0.5, 0.5])
    assert best_weights(np.zeros((3, 3))).tolist() == [1.0, 0.0, 0.0]
    np.testing.assert_allclose(best_weights(knowing_nothing(4)), np.full(4, 0.25))


def test_a_home_that_knows_nothing_follows_the_fleet_and_one_that_knows_much_itself() -> None:
    fleet, own = np.diag([1.0, 4.0, 4.0]), np.diag([9.0, 9.0, 0.5])
    fleets, homes = best_weights(fleet), best_weights(own)
    np.testing.assert_allclose(home_weights(own, 0, fleet, 10.0), fleets, rtol=1e-12)
    np.testing.assert_allclose(home_weights(own, 10**9, fleet, 10.0), homes, atol=1e-6)
    np.testing.assert_array_equal(home_weights(own, 1, fleet, 0.0), homes)
    # In between, by hand: 4 own + 2 fleet = diag(38, 44, 10), weights as 1 / each of these.
    shares = 1 / np.array([38.0, 44.0, 10.0])
    np.testing.assert_allclose(home_weights(own, 4, fleet, 2.0), shares / shares.sum())


def test_errors_are_in_units_of_no_learning_and_fold_by_fold() -> None:
    errors = np.array([[[2.0, 0.0]], [[2.0, 2.0]], [[0.0, -4.0]]])  # [rows, 1, experts]
    reference = np.array([4.0, 4.0, 4.0])  # a unit of 2
    found = error_matrices(errors, reference, np.array([0, 0, 1]))
    np.testing.assert_allclose(found[0], [[1.0, 0.5], [0.5, 0.5]])
    np.testing.assert_allclose(found[1], [[0.0, 0.0], [0.0, 4.0]])


def test_of_classes_the_diagonal_is_the_brier_score() -> None:
    truth = np.array([[1.0, 0, 0], [0, 1, 0]])
    stated = np.array([[0.5, 0.25, 0.25], [0.0, 0.4, 0.6]])
    errors = (stated - truth)[:, :, None]
    (found,) = error_matrices(errors, np.ones(2), np.zeros(2, np.int64))
    # A half of 0.375, the first row's, and 0.72, the second's.
    np.testing.assert_allclose(found, [[0.5475]])


@pytest.mark.parametrize("awry", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("outputs", [1, 4])
def test_an_expert_that_explodes_counts_as_the_worst_and_is_left_out(
    awry: float, outputs: int
) -> None:
    errors = np.random.default_rng(0).normal(size=(3000, outputs, 3)) / np.sqrt(outputs)
    errors[:, :, 1] = awry
    (found,) = error_matrices(errors, np.ones(3000), np.zeros(3000, np.int64))
    assert np.isfinite(found).all()
    assert np.abs(found).max() == pytest.approx(BOUND)
    assert found[1, 1] == pytest.approx(BOUND)
    assert best_weights(found)[1] < 0.05
    np.testing.assert_allclose(found, found.T)


def test_without_an_error_of_no_learning_the_unit_is_a_tenth() -> None:
    errors = np.full((4, 1, 1), 0.1)
    found = error_matrices(errors, np.zeros(4), np.zeros(4, np.int64))
    np.testing.assert_allclose(found, [[[1.0]]])  # 0.1² / 0.01


def test_folds_are_neighbouring_blocks_ten_at_most() -> None:
    assert folds_of(np.array([0, 0, 1, 2])).tolist() == [0, 0, 1, 2]
    folds = folds_of(np.repeat(np.arange(25), 2))
    assert folds.max() == 9
    assert (np.diff(folds) >= 0).all()
    assert set(np.bincount(folds).tolist()) == {4, 6}  # of 25 blocks two or three, two rows each
    assert folds_of(np.empty(0, np.int64)).tolist() == []


def test_the_error_on_what_was_left_out_is_that_of_fitting_without_it() -> None:
    errors, folds = _errors(1, 3, rows=24), np.repeat([0, 1, 2], [12, 8, 4])
    fleet = _matrix(_errors(2, 3))
    matrices = np.stack([_matrix(errors[folds == fold]) for fold in range(3)])
    found = left_out_errors(matrices, np.array([12, 8, 4]), 3, fleet)
    for place, strength in enumerate(STRENGTHS):
        squares = 0.0
        for fold in range(3):
            rest = _matrix(errors[folds != fold])
            weights = _by_slsqp(2 * rest + strength * fleet)  # two blocks are left
            squares += float(np.sum((errors[folds == fold] @ weights) ** 2))
        assert found[place] == pytest.approx(squares / 24, rel=1e-4)


def test_a_strength_is_tried_as_it_is_used_where_a_fold_has_several_blocks() -> None:
    """Sixty days in three folds: without one the home counts forty, not two, against the fleet."""
    errors, folds = _errors(1, 3, rows=24), np.repeat([0, 1, 2], 8)
    fleet = _matrix(_errors(2, 3))
    matrices = np.stack([_matrix(errors[folds == fold]) for fold in range(3)])
    found = left_out_errors(matrices, np.array([8, 8, 8]), 60, fleet)
    rest = [_matrix(errors[folds != fold]) for fold in range(3)]
    for place, strength in enumerate(STRENGTHS):
        used = [home_weights(some, 40, fleet, strength) for some in rest]
        by_hand = np.mean([w @ some @ w for w, some in zip(used, matrices, strict=True)])
        assert found[place] == pytest.approx(by_hand, rel=1e-9)
    counted_by_folds = left_out_errors(matrices, np.array([8, 8, 8]), 3, fleet)
    assert not np.allclose(found[1:-1], counted_by_folds[1:-1], rtol=1e-6)


def test_a_home_with_one_block_says_nothing_about_the_strength() -> None:
    own, fleet = np.diag([4.0, 1.0]), np.diag([1.0, 3.0])
    found = left_out_errors(own[None], np.array([7]), 1, fleet)
    # The fleet's weights, 3/4 and 1/4, whatever the strength: 9/16 * 4 + 1/16.
    np.testing.assert_allclose(found, np.full(len(STRENGTHS), 37 / 16))


def test_the_others_are_the_fleet_without_the_home() -> None:
    homes = np.stack([_matrix(_errors(seed, 3)) for seed in range(5)])
    np.testing.assert_allclose(others(homes.mean(axis=0), homes[2], 5), homes[[0, 1, 3, 4]].mean(0))
    np.testing.assert_array_equal(others(homes[0], homes[0], 1), homes[0])


@pytest.mark.parametrize("experts", [1, 2, 5])
def test_what_travels_of_a_matrix_says_all_of_it(experts: int) -> None:
    matrix = _matrix(_errors(0, experts))
    said = upper(matrix)
    assert said.shape == (entries(experts),)
    np.testing.assert_allclose(full(said.tolist(), experts), matrix, atol=1e-12)
    stacked = np.stack([matrix, 2 * matrix])
    np.testing.assert_array_equal(upper(stacked), np.stack([said, 2 * said]))


def test_a_matrix_that_rounding_made_negative_in_a_direction_is_mended() -> None:
    # Eigenvalues 3 and -1, along (1, 1) and (1, -1): the second is worth nothing.
    np.testing.assert_allclose(full([1.0, 2.0, 1.0], 2), [[1.5, 1.5], [1.5, 1.5]])


def test_a_home_whose_own_say_could_not_be_tried_takes_the_fleets_weights() -> None:
    """One home of a hundred that could try found no pull the best; the 99 of a night do not."""
    own, fleet = np.diag([1.0, 9.0]), np.diag([3.0, 1.0])
    blend = FleetsBlend(matrix=fleet, strength=0.0, alone=(1.0, 1, 0))
    np.testing.assert_allclose(blend.weights_of(own, 1), [0.25, 0.75])
    np.testing.assert_allclose(blend.weights_of(own, 2), [0.9, 0.1])
    rehearsed = FleetsBlend(matrix=fleet, strength=0.0, alone=(1.0, 1, 0), fewest_blocks=1)
    np.testing.assert_allclose(rehearsed.weights_of(own, 1), [0.9, 0.1])


def test_of_experts_that_are_about_as_good_none_gets_all_for_a_hair() -> None:
    # Two that err alike but for a hundredth: by what was seen the better one is all.
    alike = np.array([[1.0, 1.0], [1.0, 1.02]])
    np.testing.assert_allclose(best_weights(alike), [1.0, 0.0])
    # With a tenth of each one's own: (1.122 - 1) and (1.1 - 1) of their sum.
    np.testing.assert_allclose(best_weights(steadied(alike)), [0.122 / 0.222, 0.1 / 0.222])
    perfect = np.array([[0.0, 0.0], [0.0, 4.0]])
    np.testing.assert_allclose(best_weights(steadied(perfect)), [1.0, 0.0], atol=1e-6)


def test_a_home_is_pulled_to_the_steadied_fleet() -> None:
    alike = np.array([[1.0, 1.0], [1.0, 1.02]])
    fleet = FleetsBlend(matrix=alike, strength=10.0, alone=(1.0, 1, 0))
    expected = best_weights(steadied(alike))
    np.testing.assert_allclose(fleet.weights_of(np.eye(2), 1), expected)
    np.testing.assert_allclose(
        fleet.weights_of(np.eye(2), 5), home_weights(np.eye(2), 5, steadied(alike), 10.0)
    )
