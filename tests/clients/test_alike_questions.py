"""Two questions about one model whose numbers are nearly the same show no home's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.errors import OpeningError
from fedhome.learning.mixture import BOUND, STRENGTHS, upper
from fedhome.plan.judged_rounds import adaptation_of
from fedhome.questions.question_table import ADAPTED, BLEND, EVALUATE, SHRINK, TRAIN
from fedhome.secagg import member as committee_member
from helpers.cheated_fleet import HOMES, LEARNING, PLAN, TRAINED, Fleet
from helpers.secagg_attacker import weaken

_JUDGED: dict[str, Any] = {"server-round": 2, **adaptation_of(PLAN)}


def _of_one_expert() -> tuple[int, dict[str, Any]]:
    """Return the number of an expert's error, and how homes are asked to mix by it alone."""
    experts = PLAN.personalise.experts
    only = np.diag([BOUND] * len(experts))
    place = experts.index("global")
    only[place, place] = 0.0
    pairs = [(one, two) for one in range(len(experts)) for two in range(one, len(experts))]
    return pairs.index((place, place)), {"matrix": upper(only).tolist(), "homes": 1_000_000}


_BLENDED: dict[str, Any] = {"rate": 1.0, "epochs": 1}


@pytest.mark.long
def test_two_questions_about_one_model_show_no_homes_error() -> None:
    """How experts' errors go together, and how a mixture errs that is made of one expert."""
    blended = Fleet(BLEND, _BLENDED)
    blended.open()
    shrunk = Fleet(SHRINK, {**_BLENDED, **_of_one_expert()[1]}, beside=blended)
    with pytest.raises(OpeningError) as refused:
        shrunk.open(without=["h03"])
    assert refused.value.reason == "alike"
    Fleet(TRAIN, TRAINED, beside=blended).open(without=["h03"])  # of other numbers there is a sum


@pytest.mark.long
def test_control_two_questions_about_one_model_showed_a_homes_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weaken(monkeypatch, committee_member, "_case_of", "manifest.alike_subjects")
    number, alone = _of_one_expert()
    blended = Fleet(BLEND, _BLENDED)
    of_all = blended.open()
    words = blended.parts["h03"].words
    assert words is not None
    own = blended.sum.manifest.form.decode(words, 1).values[f"errors-{number}"]
    others = Fleet(SHRINK, {**_BLENDED, **alone}, beside=blended).open(without=["h03"])
    last = f"error-{len(STRENGTHS) - 1}"
    shown = of_all.values[f"errors-{number}"] * HOMES - others.values[last] * (HOMES - 1)
    assert shown == pytest.approx(own, rel=0.02)


@pytest.mark.long
def test_a_test_of_the_model_and_how_experts_err_show_no_homes_score() -> None:
    """The model is an expert: its error is one less the score. No model is made for it."""
    tested = Fleet(EVALUATE, {"server-round": 2})
    tested.open()
    with pytest.raises(OpeningError) as refused:
        Fleet(BLEND, _BLENDED, beside=tested).open(without=["h03"])
    assert refused.value.reason == "alike"


@pytest.mark.long
def test_control_a_test_of_the_model_and_how_experts_err_showed_a_homes_score(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weaken(monkeypatch, committee_member, "_case_of", "manifest.alike_subjects")
    tested = Fleet(EVALUATE, {"server-round": 2})
    of_all = tested.open().values["score"] * HOMES  # all have as many validation rows
    words = tested.parts["h03"].words
    assert words is not None
    own = tested.sum.manifest.form.decode(words, 1).values["score"]
    erring = Fleet(BLEND, _BLENDED, beside=tested).open(without=["h03"]).values
    others = (1 - erring[f"errors-{_of_one_expert()[0]}"]) * (HOMES - 1)
    assert own != 0
    assert of_all - others == pytest.approx(own, abs=1e-6)


@pytest.mark.long
def test_a_model_that_no_adaptation_moves_shows_no_homes_loss() -> None:
    """Adapted as the plan says it is what it was: both questions sum the very same losses."""
    with pytest.raises(OpeningError) as refused:
        _difference(_that_stays(), without="h03")
    assert refused.value.reason == "alike"


@pytest.mark.long
def test_control_a_model_that_no_adaptation_moves_showed_a_homes_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weaken(monkeypatch, committee_member, "_case_of", "manifest.alike_subjects")
    loss, own = _difference(_that_stays(), without="h03")
    assert loss == pytest.approx(own, abs=1e-4)


def _that_stays() -> NDArray[np.float32]:
    """Return a model that no step moves: its slope overflows, and is cut to nothing.

    One hidden unit hands on a reading in tiny numbers, which the last layer makes ordinary again.
    So it predicts as any other model, and a step that is cut to a greatest length has none.
    """
    start = np.zeros_like(LEARNING.initial)
    hidden, inputs = PLAN.model.hidden[0], LEARNING.layout.shapes[0][1]
    tiny_number = np.float32(1e-20)
    start[0] = tiny_number  # of the first reading
    start[hidden * inputs] = 3 * tiny_number  # above zero for all but the least of them
    start[hidden * inputs + hidden] = 1 / tiny_number
    start[-1] = -2.5
    return start


def _difference(start: NDArray[np.float32], without: str) -> tuple[float, float]:
    whole = Fleet(EVALUATE, {"server-round": 2}, start)
    of_all = whole.open()
    others = Fleet(ADAPTED, _JUDGED, start, beside=whole).open(without=[without])
    weight = of_all.weight - others.weight
    loss = (of_all.values["loss"] * of_all.weight - others.values["loss"] * others.weight) / weight
    alone = whole.homes[without].device.evaluate(start, "validation")
    return loss, float(alone.losses[0])
