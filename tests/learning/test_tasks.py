"""Scores: against scikit-learn, home by home, though computed for all homes at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics

from fedhome.errors import PlanError
from fedhome.learning.tasks import Segments, Task, task_of
from fedhome.plan.settings import Plan

_COUNTS = np.array([30, 1, 17, 0, 52])


def _task(kind: str, *, horizon: int = 0, classes: tuple[str, ...] = ()) -> Task:
    lags = [1] if horizon else []
    plan = Plan.load(data={"horizon": horizon, "lags": lags}, task={"kind": kind})
    return task_of(plan, classes)


def _each_home(*columns: NDArray[Any]) -> list[tuple[NDArray[Any], ...]]:
    edges = np.cumsum(_COUNTS)[:-1]
    return list(zip(*(np.split(column, edges) for column in columns), strict=True))


def test_regression_as_scikit_learn_scores_it() -> None:
    drawn = np.random.default_rng(1)
    rows = int(_COUNTS.sum())
    y = drawn.normal(size=rows).astype(np.float32)
    predicted = (y + 0.7 * drawn.normal(size=rows)).astype(np.float32)
    naive = (y + drawn.normal(size=rows)).astype(np.float32)
    units = np.array([1.0, 2.0, 0.5, 1.0, 3.0])
    told = _task("regression", horizon=1).measure(
        y[:, None], predicted[:, None], naive, Segments(counts=_COUNTS), units
    )
    for place, (truth, said, before) in enumerate(_each_home(y, predicted, naive)):
        if len(truth) == 0:
            assert all(np.isnan(values[place]) for values in told.values())
            continue
        mse = metrics.mean_squared_error(truth, said)
        mae = metrics.mean_absolute_error(truth, said)
        assert told["mae"][place] == pytest.approx(mae * units[place], rel=1e-6)
        assert told["rmse"][place] == pytest.approx(np.sqrt(mse) * units[place], rel=1e-6)
        skill = 1 - mse / metrics.mean_squared_error(truth, before)
        assert told["skill"][place] == pytest.approx(max(skill, -1), rel=1e-5)
        r2 = metrics.r2_score(truth, said) if len(truth) > 1 else -1.0
        assert told["r2"][place] == pytest.approx(max(r2, -1), rel=1e-5)


def test_a_constant_home_has_a_score_too() -> None:
    task, one = _task("regression"), Segments(counts=np.array([2]))
    y, naive = np.ones((2, 1), np.float32), np.zeros(2, np.float32)
    exact = task.measure(y, y, naive, one, np.ones(1))
    wrong = task.measure(y, y + 1, naive, one, np.ones(1))
    assert (exact["r2"][0], wrong["r2"][0]) == (1.0, -1.0)


def test_binary_as_scikit_learn_scores_it() -> None:
    drawn = np.random.default_rng(2)
    rows = int(_COUNTS.sum())
    y = drawn.integers(0, 2, rows).astype(np.float32)
    logit = (2 * y - 1 + 1.5 * drawn.normal(size=rows)).astype(np.float32)
    told = _task("binary").measure(
        y[:, None], logit[:, None], y, Segments(counts=_COUNTS), np.ones(5)
    )
    for place, (truth, output) in enumerate(_each_home(y, logit)):
        if len(truth) == 0:
            assert all(np.isnan(values[place]) for values in told.values())
            continue
        said, probability = output > 0, 1 / (1 + np.exp(-output.astype(np.float64)))
        assert told["accuracy"][place] == pytest.approx(metrics.accuracy_score(truth, said))
        assert told["brier"][place] == pytest.approx(np.mean((probability - truth) ** 2))
        assert told["f1"][place] == pytest.approx(metrics.f1_score(truth, said, zero_division=0))
        if len(np.unique(truth)) > 1:  # else scikit-learn warns and takes the one class there is
            balanced = metrics.balanced_accuracy_score(truth, said)
            assert told["balanced_accuracy"][place] == pytest.approx(balanced)


def test_a_home_of_one_class_is_scored_on_that_class() -> None:
    logit = np.array([[1.0], [1.0], [-1.0], [1.0]], np.float32)
    for value in (0.0, 1.0):
        y = np.full((4, 1), value, np.float32)
        told = _task("binary").measure(
            y, logit, y[:, 0], Segments(counts=np.array([4])), np.ones(1)
        )
        assert told["balanced_accuracy"][0] == pytest.approx(0.75 if value else 0.25)


def test_multi_class_as_scikit_learn_scores_it() -> None:
    drawn = np.random.default_rng(3)
    rows, classes = int(_COUNTS.sum()), 4
    y = drawn.integers(0, classes, rows)
    output = (np.eye(classes)[y] + 0.8 * drawn.normal(size=(rows, classes))).astype(np.float32)
    told = _task("multi-class", classes=("a", "b", "c", "d")).measure(
        y, output, np.zeros(rows, np.float32), Segments(counts=_COUNTS), np.ones(5)
    )
    for place, (truth, said) in enumerate(_each_home(y, output.argmax(axis=1))):
        if len(truth) == 0:
            assert np.isnan(told["accuracy"][place])
            assert np.isnan(told["macro_f1"][place])
            continue
        assert told["accuracy"][place] == pytest.approx(metrics.accuracy_score(truth, said))
        assert told["macro_f1"][place] == pytest.approx(
            metrics.f1_score(truth, said, average="macro")
        )


def test_one_homes_nan_stays_with_that_home() -> None:
    values = np.array([1.0, 2.0, np.nan, np.inf, 3.0, 4.0])
    sums = Segments(counts=np.array([2, 2, 0, 2])).sum(values)
    assert np.isnan(sums[1])
    np.testing.assert_array_equal(sums[[0, 2, 3]], [3.0, 0.0, 7.0])


@given(st.lists(st.lists(st.floats(-1e6, 1e6), max_size=6), min_size=1, max_size=6))
def test_segments_are_summed_home_by_home(homes: list[list[float]]) -> None:
    segments = Segments(counts=np.array([len(home) for home in homes]))
    values = np.array([value for home in homes for value in home], np.float64)
    np.testing.assert_allclose(
        segments.sum(values), np.array([sum(home) for home in homes]), atol=1e-6
    )
    expected = np.array([np.mean(home) if home else np.nan for home in homes])
    np.testing.assert_allclose(segments.mean(values), expected, atol=1e-6)


def test_the_forecast_without_learning_states_its_class() -> None:
    said = np.array([1.0, 0.0], np.float32)
    assert _task("regression").naive_output(said).tolist() == [[1.0], [0.0]]
    assert np.sign(_task("binary").naive_output(said)).tolist() == [[1.0], [-1.0]]
    three = _task("multi-class", classes=("a", "b", "c")).naive_output(said)
    assert three.argmax(axis=1).tolist() == [1, 0]
    assert three.shape == (2, 3)


def test_kinds_have_their_outputs_losses_and_scores() -> None:
    for task, expected in (
        (_task("regression"), (1, "mse", "r2")),
        (_task("regression", horizon=1), (1, "huber", "skill")),
        (_task("binary"), (1, "bce", "balanced_accuracy")),
        (_task("multi-class", classes=("a", "b", "c")), (3, "cross-entropy", "accuracy")),
    ):
        assert (task.outputs, task.loss, task.score) == expected


def test_the_plans_classes_win_over_the_datas() -> None:
    plan = Plan.load(
        data={"horizon": 0, "lags": []}, task={"kind": "multi-class", "classes": ["x", "y"]}
    )
    assert task_of(plan, ("a", "b", "c")).classes == ("x", "y")


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ({"kind": "multi-class"}, "names no classes"),
        ({"kind": "multi-class", "classes": ["only"]}, "names no classes"),
        ({"score": "accuracy"}, "none of r2"),
        ({"score": "mae"}, "higher if better"),
        ({"kind": "binary", "score": "brier"}, "higher if better"),
    ],
)
def test_a_task_that_cannot_be_scored_is_refused(task: dict[str, object], why: str) -> None:
    with pytest.raises(PlanError, match=why):
        task_of(Plan.load(task=task))


def test_metrics_of_changes_are_those_of_levels() -> None:
    task = task_of(Plan.load(data={"target": "load", "horizon": 1}, task={"kind": "regression"}))
    # Levels 10, 14, 12 and 20 are 5, 9, 12 and 12 and changes of 5, 5, 0 and 8; no change is said
    # but for the last, of which 4 are. R²: 1 - (25 + 25 + 0 + 16) / (16 + 0 + 4 + 36).
    changes = np.array([[5.0], [5.0], [0.0], [8.0]], np.float32)
    said = np.array([[0.0], [0.0], [0.0], [4.0]], np.float32)
    nothing, anchors = np.zeros(4, np.float32), np.array([5.0, 9.0, 12.0, 12.0])
    segments = Segments(counts=np.array([4]))
    found = task.measure(changes, said, nothing, segments, np.array([2.0]), anchors=anchors)
    assert found["r2"] == pytest.approx(1 - 66 / 56)
    assert found["skill"] == pytest.approx(1 - 66 / 114)
    assert found["mae"] == pytest.approx(2.0 * 14 / 4)
    # The level of a counter takes no digits from its changes.
    far = task.measure(changes, said, nothing, segments, np.array([2.0]), anchors=anchors + 1e9)
    assert far["skill"] == pytest.approx(1 - 66 / 114)
