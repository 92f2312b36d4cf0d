"""What a home tells of its loss is at most four times that of a model that says nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.data.series.examples import HomeExamples
from fedhome.learning.at_home import device_of
from fedhome.learning.cohort import Training
from fedhome.learning.one_home import OneHome
from fedhome.learning.personalise import personaliser
from fedhome.plan.judged_rounds import adaptation_of
from fedhome.plan.settings import Plan
from fedhome.questions import responses
from fedhome.questions.responses import LOUDEST, QuestionContext
from helpers import tiny

PLAN = tiny.plan(personalise={"name": "fine-tune"})
LEARNING = tiny.learning(PLAN)
FAR = LEARNING.initial.copy()
FAR[-1] = 1e5  # a last bias that no reading makes up for


def _given(plan: Plan = PLAN) -> QuestionContext:
    config = {"server-round": 1, **adaptation_of(plan)}
    return QuestionContext(plan, config, tiny.learning(plan).task.score, personaliser("fine-tune"))


def _of_nothing(device: OneHome) -> float:
    """Return the loss of a model whose outputs are all zero, by hand: twice Huber's."""
    y = np.abs(device.rows("validation").y[:, 0].astype(np.float64))
    return float(np.where(y < 1, y**2, 2 * y - 1).mean())


def test_a_loss_beyond_that_of_a_model_that_says_nothing_is_told_as_four_of_it() -> None:
    device = device_of(PLAN, tiny.home("oak", (23, 6, 7)))
    (told,) = responses.evaluate(device, FAR, _given()).columns["loss"]
    assert told == pytest.approx(LOUDEST * _of_nothing(device), rel=1e-5)
    (raw,) = device.evaluate(FAR, "validation").losses
    assert raw > 1000 * told, "the control: so much it was"


def test_an_ordinary_loss_is_told_as_it_is() -> None:
    device = device_of(PLAN, tiny.home("oak", (23, 6, 7)))
    told = responses.evaluate(device, LEARNING.initial, _given()).columns["loss"]
    np.testing.assert_array_equal(told, device.evaluate(LEARNING.initial, "validation").losses)


@pytest.mark.parametrize("wrong", [np.inf, np.nan])
def test_a_model_that_gives_no_numbers_counts_as_the_worst(wrong: float) -> None:
    device = device_of(PLAN, tiny.home("oak", (23, 6, 7)))
    broken = np.full_like(LEARNING.initial, wrong)
    for answer in (responses.evaluate, responses.adapted):
        (told,) = answer(device, broken, _given()).columns["loss"]
        assert told == pytest.approx(LOUDEST * _of_nothing(device), rel=1e-5)


@pytest.mark.parametrize("kind", ["binary", "multi-class"])
def test_of_classes_it_is_four_times_that_of_not_knowing(kind: str) -> None:
    plan = tiny.plan(task={"kind": kind})
    data = tiny.home("oak", (23, 6, 7), kind=kind)
    classes = tiny.CLASSES if kind == "multi-class" else ()
    device = device_of(plan, data, classes)
    far = tiny.learning(plan).initial * np.float32(1e4)
    (told,) = responses.evaluate(device, far, _given(plan)).columns["loss"]
    assert told <= LOUDEST * np.log(max(2, len(classes))) * (1 + 1e-6)


def _fleet() -> list[HomeExamples]:
    """Return eleven homes, of which one has readings that went wrong."""
    homes = tiny.homes([(23, 6, 7)] * 11)
    x = homes[-1].x.copy()
    x[23:29] *= 1e4  # of its validation rows alone
    return [*homes[:-1], replace(homes[-1], x=x)]


def _models() -> list[NDArray[np.float32]]:
    """Return a model before training, and after each of some passes over another home's rows."""
    params = LEARNING.initial
    found = [params]
    elsewhere = device_of(PLAN, tiny.home("ash", (200, 60, 7)))
    for number in range(3):
        params = elsewhere.train(params, Training(stream=number, epochs=4)).params[0]
        found.append(params)
    return found


def test_readings_of_one_home_that_went_wrong_choose_no_round() -> None:
    devices = [device_of(PLAN, home) for home in _fleet()]
    models = _models()
    raw = np.array([[one.evaluate(m, "validation").losses[0] for one in devices] for m in models])
    told = np.array(
        [
            [responses.evaluate(one, m, _given()).columns["loss"][0] for one in devices]
            for m in models
        ]
    )
    best = int(np.argmin(raw[:, :-1].mean(axis=1)))  # as the ten homes have it
    assert best > 0
    assert int(np.argmin(told.mean(axis=1))) == best
    assert int(np.argmin(raw.mean(axis=1))) == 0, "the control: the one home chose it"
