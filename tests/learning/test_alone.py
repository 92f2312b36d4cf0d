"""What a home can do alone, held against closed forms and against what must be so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from fedhome.data.series.examples import Targets
from fedhome.learning.alone import FITTERS, OwnRows, linear, network, trees
from fedhome.learning.alone.own_rows import by_others
from fedhome.learning.alone.pass_counts import PASSES, AloneWay, passes_of, ways_of
from fedhome.plan.settings import PersonaliseSettings
from helpers import tiny
from helpers.points import Points

_STRENGTHS = [float(10**power) for power in range(-2, 5)]


def _rows(
    targets: Targets, y: Any, x: Any, counts: tuple[int, int, int], outputs: int = 1
) -> OwnRows:
    ends = np.cumsum(counts)[:-1]
    kind: Any = np.int64 if targets == "multi-class" else np.float32
    parts = np.split(np.asarray(y, kind), ends)
    columns = parts if targets == "multi-class" else [part[:, None] for part in parts]
    first, second, third = np.split(np.asarray(x, np.float32), ends)
    return OwnRows(
        targets=targets,
        outputs=outputs,
        x=(first, second, third),
        y=(columns[0], columns[1], columns[2]),
    )


def _numbers(seed: int = 0, *, noise: float = 0.5) -> OwnRows:
    drawn = np.random.default_rng(seed)
    x = drawn.normal(size=(60, 4)).astype(np.float32)
    y = x @ np.array([1.0, -2.0, 0.5, 0.0]) + 3.0 + noise * drawn.normal(size=60)
    return _rows("continuous", y, x, (30, 12, 18))


def _ridge(x: NDArray[Any], y: NDArray[Any], strength: float) -> tuple[NDArray[Any], float]:
    """Return slopes and intercept by the normal equations; the intercept is not penalised."""
    x = x.astype(np.float64)
    centred = x - x.mean(axis=0)
    slopes = np.linalg.solve(
        centred.T @ centred + strength * np.eye(x.shape[1]), centred.T @ (y - y.mean())
    )
    return slopes, float(y.mean() - x.mean(axis=0) @ slopes)


@pytest.mark.parametrize("noise", [0.05, 3.0, 30.0])
def test_the_linear_model_is_the_normal_equations(noise: float) -> None:
    rows = _numbers(noise=noise)
    y = [part[:, 0].astype(np.float64) for part in rows.y]

    def validation_error(strength: float) -> float:
        slopes, middle = _ridge(rows.x[0], y[0], strength)
        return float(np.mean((rows.x[1] @ slopes + middle - y[1]) ** 2))

    best = min(_STRENGTHS, key=validation_error)
    slopes, middle = _ridge(rows.x[0], y[0], best)
    validation, test, *_ = linear.fit(rows)
    np.testing.assert_allclose(validation[:, 0], rows.x[1] @ slopes + middle, rtol=1e-4, atol=1e-4)
    slopes, middle = _ridge(np.concatenate(rows.x[:2]), np.concatenate(y[:2]), best)
    np.testing.assert_allclose(test[:, 0], rows.x[2] @ slopes + middle, rtol=1e-4, atol=1e-4)


def test_a_line_goes_no_further_than_half_the_range_beyond_what_was_seen() -> None:
    x = np.array([[0.0], [1.0], [2.0], [3.0], [0.5], [1.5], [-1000.0], [1000.0]])
    rows = _rows("continuous", 10.0 * x[:, 0], x, (4, 2, 2))
    _, test, *_ = linear.fit(rows)
    assert test[:, 0].tolist() == pytest.approx([-15.0, 45.0])  # seen: 0 to 30


@pytest.mark.long
def test_the_logistic_model_is_the_penalised_likelihoods_greatest() -> None:
    drawn = np.random.default_rng(2)
    x = drawn.normal(size=(80, 3)).astype(np.float32)
    y = (x @ np.array([2.0, -1.0, 0.0]) + drawn.normal(size=80) > 0).astype(np.float32)
    rows = _rows("binary", y, x, (40, 20, 20))

    def stated(strength: float, count: int, part: int) -> NDArray[np.float64]:
        seen_x, seen_y = x[:count].astype(np.float64), 2.0 * y[:count] - 1

        def cost(w: NDArray[np.float64]) -> float:
            margins = seen_y * (seen_x @ w[:3] + w[3])
            return float(strength * np.logaddexp(0, -margins).sum() + 0.5 * w[:3] @ w[:3])

        w = minimize(cost, np.zeros(4), tol=1e-10).x
        return np.asarray(1 / (1 + np.exp(-(rows.x[part] @ w[:3] + w[3]))), np.float64)

    strengths = [float(10**power) for power in range(-3, 3)]
    errors = [np.mean((stated(s, 40, 1) - y[40:60]) ** 2) for s in strengths]
    best = strengths[int(np.argmin(errors))]
    validation, test, *_ = linear.fit(rows)
    np.testing.assert_allclose(validation[:, 0], stated(best, 40, 1), atol=2e-3)
    np.testing.assert_allclose(test[:, 0], stated(best, 60, 2), atol=2e-3)


@pytest.mark.parametrize("name", FITTERS)
@pytest.mark.parametrize("targets", ["continuous", "binary", "multi-class"])
def test_a_home_whose_training_holds_one_value_states_how_often_each_came(
    name: str, targets: Targets
) -> None:
    x = np.random.default_rng(0).normal(size=(12, 2))
    y = [1] * 6 + [1, 1, 1, 0] + [0, 1]
    outputs = 3 if targets == "multi-class" else 1
    validation, test, *_ = FITTERS[name](_rows(targets, y, x, (6, 4, 2), outputs))
    known, later = {
        "continuous": ([1.0], [0.9]),
        "binary": ([1.0], [0.9]),
        "multi-class": ([0.0, 1.0, 0.0], [0.1, 0.9, 0.0]),
    }[targets]
    np.testing.assert_allclose(validation, [known] * 4)
    np.testing.assert_allclose(test, [later] * 2)


@pytest.mark.long
@pytest.mark.parametrize("name", FITTERS)
def test_a_class_that_training_lacks_has_no_probability_and_may_come_later(name: str) -> None:
    """Training holds classes 0 and 2 of four; class 3 comes with the validation rows."""
    x = np.concatenate([np.zeros((10, 1)), np.ones((10, 1)), np.full((4, 1), 2.0), [[0.0], [2.0]]])
    y = [0] * 10 + [2] * 10 + [3] * 4 + [0, 3]
    validation, test, *_ = FITTERS[name](_rows("multi-class", y, x, (20, 4, 2), 4))
    assert (validation[:, [1, 3]] == 0).all()
    np.testing.assert_allclose(validation.sum(axis=1), 1)
    assert (test[:, 1] == 0).all()
    np.testing.assert_allclose(test.sum(axis=1), 1)
    assert test[1, 3] > max(test[0, 3], 0.1)  # known by then


@pytest.mark.long
@pytest.mark.parametrize("name", FITTERS)
def test_two_classes_are_one_probability_of_a_yes(name: str) -> None:
    x = np.concatenate([np.zeros((10, 1)), np.ones((10, 1))] * 2)
    validation, test, *_ = FITTERS[name](_rows("binary", x[:, 0], x, (20, 10, 10)))
    assert validation.shape == test.shape == (10, 1)
    assert (validation < 0.5).all()  # of rows with a zero
    assert (test > 0.5).all()


@pytest.mark.long
def test_trees_learn_what_no_line_can_and_are_the_same_again() -> None:
    drawn = np.random.default_rng(3)
    x = drawn.uniform(-1, 1, size=(400, 2))
    y = np.where(x[:, 0] * x[:, 1] > 0, 1.0, -1.0)
    rows = _rows("continuous", y, x, (280, 60, 60))  # boosted ones are tried as well
    with threadpool_limits(1):
        (validation, test, *_), again = trees.fit(rows), trees.fit(rows)
    assert np.mean((test[:, 0] - y[340:]) ** 2) < 0.25
    assert np.mean((linear.fit(rows)[1][:, 0] - y[340:]) ** 2) > 0.8
    np.testing.assert_array_equal(validation, again[0])
    np.testing.assert_array_equal(test, again[1])


# --- the network


def _settings(**changes: Any) -> PersonaliseSettings:
    plain = {"epochs": 2, "local_epochs": 4, "patience": 2, "rates": [0.5, 1.0], "refit": False}
    return tiny.plan(personalise=plain | changes).personalise


def test_each_tenth_is_stated_by_what_the_others_chose() -> None:
    truth = np.zeros((20, 1))
    good, late = np.full((20, 1), 0.2), np.full((20, 1), 0.1)
    late[18:] = 3.0  # best without the last tenth, and worst with it
    found = by_others([good, late], truth)
    assert found[18:].ravel().tolist() == [3.0, 3.0]
    assert found[:18].ravel().tolist() == [0.2] * 18
    single = by_others([good[:1], late[:1]], truth[:1])
    assert single.tolist() == [[0.1]], "a single row has no others"
    assert by_others([np.full((2, 1), np.nan), good[:2]], truth[:2]).tolist() == [[0.2]] * 2
    assert by_others([good[:0]], truth[:0]).shape == (0, 1)


@pytest.mark.parametrize("name", list(FITTERS))
def test_what_models_are_weighed_by_was_not_chosen_by_its_own_rows(name: str) -> None:
    # Pure noise: who chooses by a row states it too well, who chooses by the others does not.
    drawn = np.random.default_rng(5)
    own, fair = [], []
    for _ in range(20):
        rows = _rows("continuous", drawn.normal(size=42), drawn.normal(size=(42, 6)), (30, 10, 2))
        found = FITTERS[name](rows)
        truth = rows.y[1][:, 0]
        own.append(np.mean((found.validation[:, 0] - truth) ** 2))
        fair.append(np.mean((found.by_others[:, 0] - truth) ** 2))
    assert np.mean(fair) > np.mean(own) * 1.01
    assert all(a >= b - 1e-12 for a, b in zip(fair, own, strict=True))


def test_passes_alone_are_those_that_the_plan_allows() -> None:
    assert passes_of(_settings(local_epochs=4)) == (1, 2, 3)
    assert passes_of(_settings(local_epochs=1)) == (1,)
    assert passes_of(_settings(local_epochs=500)) == PASSES


def test_homes_try_each_size_of_batches_at_each_rate() -> None:
    assert ways_of(_settings()) == (AloneWay(0, 0.5), AloneWay(0, 1.0))  # 0: the plan's
    both = [AloneWay(8, 0.5), AloneWay(8, 1.0), AloneWay(4, 0.5), AloneWay(4, 1.0)]
    assert ways_of(_settings(local_batches=[8, 4])) == tuple(both)


def test_a_trial_alone_begins_with_the_model_that_a_run_begins_with() -> None:
    changes = network.trial(Points([[4, 4, 0], [10, 10, 0]]), _settings())
    assert changes.shape == (2, 2, 3)
    # Home 0 begins 6 away; what is left of that after each pass is 3/4, or half at the whole rate.
    # Of the path the passes count 1; 1/5, 4/5; and 1/15, 4/15, 10/15.
    left = [
        [3 / 4, (3 / 4 + 4 * 9 / 16) / 5, (3 / 4 + 4 * 9 / 16 + 10 * 27 / 64) / 15],
        [1 / 2, (1 / 2 + 4 / 4) / 5, (1 / 2 + 4 / 4 + 10 / 8) / 15],
    ]
    np.testing.assert_allclose(changes[0], np.square(left), rtol=1e-5)
    np.testing.assert_array_equal(changes[1], np.ones((2, 3)))  # nothing to lose is no change


def test_each_home_trains_alone_as_suits_its_own_rows() -> None:
    homes = Points(
        [
            [4, 4, 4],  # nearer with each pass
            [-4, 4, 4],  # 10, 6.5, 4.4, 2.7 at half the rate; 10, 3, 0.2 at the whole one
            [-20, 1, 1],  # 10, 2.5, -2 at half the rate; 10, -5 at the whole one
            [20, 10, 9],  # every pass leads away
        ]
    )
    found = network.own_schedule(homes, _settings())
    assert found.rates.tolist() == [1.0, 0.5, 0.5, 0.5]
    assert found.epochs.tolist() == [4, 2, 1, 0]


def test_each_home_trains_alone_in_batches_that_suit_its_own_rows() -> None:
    """Points take two steps of a pass in batches of 4, and one in batches of 8."""
    settings = _settings(local_batches=[8, 4], rates=[0.5])
    homes = Points(
        [
            [4, 4, 4],  # nearer with each step
            [-20, 1, 1],  # 10, 2.5, -3.1 after a step and two
            [20, 10, 9],  # every step leads away
        ]
    )
    found = network.own_schedule(homes, settings)
    assert found.batches.tolist() == [4, 8, 8]
    assert found.epochs.tolist() == [4, 1, 0]
    assert network.trial(homes, settings).shape == (3, 2, 3)
    few = network.own_schedule(homes, _settings(local_batches=[4], rates=[0.5]))
    both = network.train(homes, found, refit=False).stopped
    alone = network.train(homes, few, refit=False).stopped
    assert both[0] == alone[0]
    assert both[1] == pytest.approx(2.5)
    assert alone[1] != both[1]


@pytest.mark.parametrize(("patience", "epochs"), [(2, 1), (3, 4)])
def test_a_home_stops_when_nothing_got_better_for_a_while(
    patience: int, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = np.array([[[5.0, 4.0, 6.0, np.nan, 1.0]]])
    monkeypatch.setattr(network, "_validation_losses", lambda *_: losses)
    found = network.own_schedule(Points([[0, 0, 0]]), _settings(rates=[1.0], patience=patience))
    assert (found.rates.tolist(), found.epochs.tolist()) == ([1.0], [epochs])


def test_a_loss_that_is_no_number_before_training_is_worse_than_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses = np.array([[[np.nan, np.nan, 9.0, 8.0, np.inf]]])
    monkeypatch.setattr(network, "_validation_losses", lambda *_: losses)
    found = network.own_schedule(Points([[0, 0, 0]]), _settings(rates=[1.0]))
    assert found.epochs.tolist() == [3]


def test_homes_train_as_many_passes_as_their_schedules_say() -> None:
    homes = Points([[4, 8, 0], [-2, 2, 0], [4, 4, 0]])
    schedule = network.AloneSchedule(
        np.array([1.0, 0.5, 1.0]), np.array([2, 1, 0]), np.zeros(3, np.int64)
    )
    trained = network.train(homes, schedule, refit=True)
    # Towards 4, -2; and 6, 0 (the means of training and validation). The third trains not at all.
    # The first goes to 7 and 5.5, or to 8 and 7, and its second pass counts for 4/5.
    np.testing.assert_allclose(trained.stopped[:, 0], [5.8, 7.0, 10.0], rtol=1e-6)
    np.testing.assert_allclose(trained.refitted[:, 0], [7.2, 7.5, 10.0], rtol=1e-6)
    assert {count for _, _, count in homes.trained} == {1}  # each rate's homes, while they go on
    without = network.train(homes, schedule, refit=False)
    assert without.refitted is without.stopped


def test_the_same_once_more_has_another_order_of_batches_and_nothing_else() -> None:
    homes = Points([[4, 8, 0]])
    schedule = network.fleets_schedule(1, 1.0, 2)
    again = network.train_again(homes, schedule, refit=True)
    second = [(part, stream) for part, stream, _ in homes.trained]
    homes.trained.clear()
    first = network.train(homes, schedule, refit=True)
    np.testing.assert_array_equal(again, first.refitted)
    assert {part for part, _ in second} == {"train+validation"}
    assert not {stream for _, stream in second} & {stream for _, stream, _ in homes.trained}
