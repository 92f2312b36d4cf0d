"""What a sum of several models tells (IFCA): of a model that one home chose, that home's update.

Real homes, a server that keeps to the protocol. All models travel in one vector, so that no single
upload says which one a home learnt; but where one home alone chose a model, the sum of all is what
it learnt of that one, and in a sum without that home there is nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.clients.home import ClientHome
from fedhome.questions.question_table import TRAIN, summed
from fedhome.questions.responses import QuestionContext
from fedhome.wire.layout import Layout
from helpers import tiny
from helpers.wired_fleet import ROWS, WiredFleet, secure_plan

ODD, HOMES = "h03", 7
"""A home that is as the others the other way round; and how many there are."""
_STEP = 5e-5  # of sixteen bits at the first clip, for each of the homes


class Round:
    """One round of a fleet by IFCA: what the server has of it, and what the odd home has learnt.

    Of the two models that it begins with, one suits the odd home and the other one all others, as
    after some rounds.

    Args:
        folder: Where the run is.
        away: Homes that are.
    """

    def __init__(self, folder: Path, away: Collection[str] = ()) -> None:
        plan = secure_plan(method={"name": "ifca"}, rounds={"count": 1, "evaluate_fraction": 0.0})
        fleet = WiredFleet(folder, plan, HOMES)
        usual = fleet.homes[ODD]
        data = replace(tiny.home(ODD, ROWS), y=-tiny.home(ODD, ROWS).y)
        fleet.homes[ODD] = odd = ClientHome.of(
            plan,
            data,
            mode="secure",
            participant=usual.participant,
            real=True,
            states=fleet.states,
        )
        self.layout, start = fleet.learning.layout, _first(fleet.learning.layout)
        fleet.learning.initial = start
        asked = QuestionContext(plan, {"server-round": 1}, "r2")
        params = summed(TRAIN).respond(odd.device, start, asked).params
        assert params is not None
        self.odd_homes = params[0] - start
        fleet.wire.away = set(away)
        with fleet.run() as rounds:
            moved = rounds.run() - start
        self.sum = moved * (HOMES - len(away))  # all have as many rows

    def of_model(self, number: int, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the numbers of one of the models."""
        return values[_of_model(self.layout, number)]


def _of_model(layout: Layout, number: int) -> NDArray[np.bool_]:
    parts = zip(layout.names, layout.sizes, strict=True)
    its = [np.full(size, name.startswith(f"models.{number}.")) for name, size in parts]
    return np.concatenate(its)


def _first(layout: Layout) -> NDArray[np.float32]:
    """Return two models, one of which foretells what the other one does with its sign changed."""
    flat = np.zeros(layout.size, np.float32)
    parts = layout.unflatten(flat)
    for number, sign in ((0, 1.0), (1, -1.0)):
        first = parts[f"models.{number}.0.weight"]
        first[:2] = [[1.0, -0.5, 0.25], [-1.0, 0.5, -0.25]]  # as the homes' targets are made
        parts[f"models.{number}.2.weight"][0, :2] = [sign, -sign]
    return layout.flatten(parts)


@pytest.mark.long
def test_of_a_model_that_one_home_chose_the_sum_is_that_homes_update(tmp_path: Path) -> None:
    """It is in docs/security.md: whoever runs a plan with several models has to know it."""
    learnt = Round(tmp_path)
    shown, own = learnt.of_model(1, learnt.sum), learnt.of_model(1, learnt.odd_homes)
    assert np.abs(own).max() > 0.01
    np.testing.assert_allclose(shown, own, atol=HOMES * _STEP)
    # The control: of the model that the six others chose, no home's update is the sum.
    others = learnt.of_model(0, learnt.sum)
    assert np.abs(learnt.of_model(0, learnt.odd_homes)).max() == 0
    assert np.abs(others).max() > 0.01


@pytest.mark.long
def test_a_sum_without_a_home_tells_that_it_alone_chose_a_model(tmp_path: Path) -> None:
    learnt = Round(tmp_path, away=[ODD])
    assert not learnt.of_model(1, learnt.sum).any(), "nobody else has chosen it"
    assert learnt.of_model(0, learnt.sum).any(), "the control: the others have learnt"
