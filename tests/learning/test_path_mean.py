"""The mean of a training's path, against its weights written out, in each engine."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.data.series.examples import Part
from fedhome.learning.alone import network
from fedhome.learning.cohort import Cohort, Training
from fedhome.learning.device import Device
from fedhome.learning.path_mean import path_mean
from fedhome.learning.personalise import fine_tune, fine_tune_head
from fedhome.plan.settings import PersonaliseSettings
from fedhome.simulations.engines.by_name import ENGINES
from helpers import tiny

_RATE, _PASSES = 0.5, 5


def _written_out(path: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Return a path's mean by the weights that polynomial decay comes to, t (t + 1) (t + 2)."""
    weights = np.array([t * (t + 1) * (t + 2) for t in range(1, len(path) + 1)], np.float64)
    passes = np.stack([params.astype(np.float64) for params in path])
    return np.asarray(np.einsum("t,thp->hp", weights / weights.sum(), passes), np.float64)


def _mean_of(path: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    mean = np.full_like(path[0], np.nan)  # what was before the first pass counts for nothing
    for number, params in enumerate(path, 1):
        mean = path_mean(mean, params, number)
    return mean


@pytest.mark.parametrize("passes", [1, 2, 3, 30])
def test_each_pass_counts_by_its_number(passes: int) -> None:
    drawn = np.random.default_rng(passes)
    path = [drawn.normal(size=(2, 3)).astype(np.float32) for _ in range(passes)]
    before = [params.copy() for params in path]
    np.testing.assert_allclose(_mean_of(path), _written_out(path), rtol=2e-5, atol=2e-6)
    np.testing.assert_array_equal(path, before)  # training goes on from what it is given


def test_one_pass_is_itself_to_the_bit_and_by_hand_the_second_counts_four_fifths() -> None:
    first = np.array([[0.1, 3e38]], np.float32)
    np.testing.assert_array_equal(_mean_of([first]), first)
    one, two = np.array([[10.0]], np.float32), np.array([[20.0]], np.float32)
    assert _mean_of([one, two])[0, 0] == pytest.approx(18)
    assert _mean_of([one, two, two * 2])[0, 0] == pytest.approx(18 + 22 * 4 / 6)


def test_a_path_that_explodes_has_no_mean_and_warns_of_nothing() -> None:
    far = np.array([[3e38, 1.0]], np.float32)
    mean = _mean_of([far, -far, far])
    assert not np.isfinite(mean[0, 0])
    assert mean[0, 1] == pytest.approx(1 - 2 * 0.8 + (2 - 0.4) * 4 / 6)


def _path(
    cohort: Cohort, start: NDArray[np.float32], streams: range, part: Part = "train"
) -> list[NDArray[np.float32]]:
    path, params = [], start
    for stream in streams:
        params = cohort.train(
            params, Training(stream=stream, epochs=1, rate=_RATE, part=part)
        ).params
        path.append(params)
    return path


@pytest.mark.parametrize("engine", ["vector", "sequential"])
def test_networks_of_homes_are_means_of_their_paths_in_each_engine(engine: str) -> None:
    plan = tiny.plan(
        engine={"name": engine},
        personalise={"epochs": _PASSES, "local_epochs": _PASSES, "rates": [_RATE]},
    )
    fleet = tiny.homes([(20, 6, 5), (9, 4, 4), (14, 5, 3)])
    learning = tiny.learning(plan)
    if engine == "vector":
        with ENGINES["vector"](tiny.world(plan, fleet)) as grid:
            (cohort,) = grid.within
            _check(cohort, plan.personalise)
        return
    for home in fleet:
        _check(Device(learning, home, plan.seed), plan.personalise)


def _check(cohort: Cohort, settings: PersonaliseSettings) -> None:
    start = cohort.learning.initial
    schedule = network.fleets_schedule(len(cohort.homes), _RATE, _PASSES)
    alone = network.train(cohort, schedule, refit=False).stopped
    by_itself = _path(cohort, start, range(1 << 40, (1 << 40) + _PASSES))
    np.testing.assert_allclose(alone, _written_out(by_itself), rtol=1e-4, atol=1e-6)
    assert not np.allclose(alone, by_itself[-1], atol=1e-4)  # the last pass is another model
    first = fine_tune.adapt(cohort, start, rate=_RATE, epochs=1, part="train")
    path = _path(cohort, start, range(2 << 40, (2 << 40) + _PASSES))
    np.testing.assert_array_equal(first, path[0])
    own = fine_tune.adapt(cohort, start, rate=_RATE, epochs=_PASSES, part="train")
    np.testing.assert_allclose(own, _written_out(path), rtol=1e-4, atol=1e-6)
    refit = range(3 << 40, (3 << 40) + _PASSES)
    both = _path(cohort, start, refit, part="train+validation")
    refitted = fine_tune.adapt(cohort, start, rate=_RATE, epochs=_PASSES, part="train+validation")
    np.testing.assert_allclose(refitted, _written_out(both), rtol=1e-4, atol=1e-6)
    # What is chosen by is the loss of what a home would have: the mean after so many passes.
    changes = fine_tune.trial(cohort, start, settings)
    alone_changes = network.trial(cohort, settings)
    before = cohort.evaluate(start, "validation").losses
    for passes in range(1, _PASSES + 1):
        mean = _written_out(path[:passes]).astype(np.float32)
        factor = cohort.evaluate(mean, "validation").losses / before
        np.testing.assert_allclose(changes[:, 0, passes], np.minimum(factor, 2), rtol=1e-4)
    mean = _written_out(by_itself[:3]).astype(np.float32)
    factor = cohort.evaluate(mean, "validation").losses / before
    np.testing.assert_allclose(alone_changes[:, 0, 2], np.minimum(factor, 2), rtol=1e-4)
    head = fine_tune_head.adapt(cohort, start, rate=_RATE, epochs=_PASSES, part="train")
    still = np.isclose(head, np.broadcast_to(start, head.shape), atol=0).all(axis=0)
    assert 0 < still.sum() < len(start)  # the layers below stay the fleet's, in a mean too
