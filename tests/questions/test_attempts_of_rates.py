"""What sums over homes but one show, where models hardly differ: of attempts, and of rounds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.clients.membership.consent import Invitation, consent_text
from fedhome.learning.at_home import device_of
from fedhome.learning.cohort import Training
from fedhome.plan.settings import Plan
from fedhome.plan.tried_rates import server_rates, train_rates
from fedhome.server.rounds.rate_trials import are_near
from helpers import tiny

AWAY = 5
_AUTO = Plan.load(train={"rate": "auto"}, strategy={"rate": "auto"})
_SLOWLY = 0.1
"""A multiple of the plan's rate at which a model hardly changes in a round."""


class _Fleet:
    """Ten homes, and what the sums of their updates show of one that is in some of them alone."""

    def __init__(self) -> None:
        plan = tiny.plan()
        self.first = tiny.learning(plan).initial
        self.homes = tiny.homes([(60, 8, 7)] * 10)
        self._devices = [device_of(plan, home) for home in self.homes]

    def updates(self, start: NDArray[np.float32], number: int, rate: float) -> NDArray[np.float32]:
        """Return homes' updates ``[homes, size]`` from a model in a round, at a rate."""
        trained = [
            one.train(start, Training(stream=number, epochs=1, rate=rate)).params[0]
            for one in self._devices
        ]
        return np.stack(trained) - start

    def losses(self, model: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return each home's mean squared error on its validation rows ``[homes]``."""
        told = []
        for home, device in zip(self.homes, self._devices, strict=True):
            errors = device.predict(model, "validation") - home.y[home.rows("validation")]
            told.append(float(np.mean(errors**2)))
        return np.array(told)

    def rounds(self, rate: float, count: int) -> tuple[NDArray[np.float32], ...]:
        """Return the models from which homes train in successive rounds, and the last one's."""
        models = [self.first]
        for number in range(1, count + 1):
            step = self.updates(models[-1], number, rate).mean(axis=0)
            models.append((models[-1] + step).astype(np.float32))
        return tuple(models)


def _shown(
    whole: NDArray[np.float32], again: NDArray[np.float32], rate: float = 1.0, other: float = 1.0
) -> float:
    """Return how far a home's update is from what two sums show, as a share of its length.

    Args:
        whole: Updates of all homes ``[homes, size]``.
        again: Those of the second sum, in which one home is not.
        rate: Rate of the first, by which the server divides.
        other: Rate of the second.
    """
    shown = whole.sum(axis=0) / rate - np.delete(again, AWAY, axis=0).sum(axis=0) / other
    own = whole[AWAY] / rate
    return float(np.linalg.norm(shown - own) / np.linalg.norm(own))


@pytest.fixture(scope="module")
def fleet() -> _Fleet:
    return _Fleet()


@pytest.mark.long
def test_control_two_attempts_from_one_beginning_show_a_home_that_was_in_one_alone(
    fleet: _Fleet,
) -> None:
    """So attempts began: each with the first model, but for its last digits."""
    later = np.nextafter(fleet.first, np.float32(np.inf))
    assert _shown(fleet.updates(fleet.first, 1, 1.0), fleet.updates(later, 6, 1.0)) < 0.5
    # At a small rate the way of homes is straight, so another rate of theirs hides nothing either.
    slow = fleet.updates(fleet.first, 1, _SLOWLY)
    slower = fleet.updates(later, 6, 0.3 * _SLOWLY)
    assert _shown(slow, slower, _SLOWLY, 0.3 * _SLOWLY) < 0.5


def _seconds(fleet: _Fleet, asked: Sequence[tuple[float, float]]) -> list[NDArray[np.float32]]:
    """Return what homes add in the second round of attempts, by homes' rate and how far it went."""
    step = fleet.updates(fleet.first, 1, 1.0).mean(axis=0)
    return [
        fleet.updates((fleet.first + further * step).astype(np.float32), 2 + 5 * number, rate)
        for number, (rate, further) in enumerate(asked)
    ]


@pytest.mark.long
def test_attempts_at_the_servers_rates_that_take_the_first_sum_again_show_no_home(
    fleet: _Fleet,
) -> None:
    """Each asks homes from its second round on, from a model on the line of the first step."""
    asked = [(1.0, further) for further in server_rates(_AUTO)]
    sums = [fleet.updates(fleet.first, 1, 1.0), *_seconds(fleet, asked)]
    found = [_shown(*pair) for pair in permutations(sums, 2)]
    assert min(found) > 1.0, found


@pytest.mark.long
def test_attempts_at_homes_rates_may_pass_by_nearly_one_model_as_the_docs_say(
    fleet: _Fleet,
) -> None:
    """A slow attempt has in its second round been about as far as a fast one's first goes."""
    slow = min(train_rates(_AUTO))
    (second,) = _seconds(fleet, [(slow, slow)])
    assert _shown(fleet.updates(fleet.first, 1, 1.0), second, 1.0, slow) < 0.5


@pytest.mark.long
@pytest.mark.parametrize(("floor", "eta", "shows"), [(1e-6, 0.1, True), (1e-3, 0.1, False)])
def test_adam_may_not_go_equally_far_in_attempts_at_homes_rates(
    fleet: _Fleet, floor: float, eta: float, shows: bool
) -> None:
    """With hardly any floor it does, so such attempts would show a home: they are not made."""
    step = fleet.updates(fleet.first, 1, _SLOWLY).mean(axis=0)
    rates, models, sums = train_rates(_AUTO), [], []
    for number, rate in enumerate(rates):
        moved = eta * rate * step / (np.abs(rate * step) + 10 * floor)  # Adam's first, but for eta
        models.append((fleet.first + moved).astype(np.float32))
        sums.append((fleet.updates(models[-1], 2 + 5 * number, rate * _SLOWLY), rate))
    near = [are_near(fleet.first, *pair) for pair in combinations(models, 2)]
    assert near == [shows] * 3
    found = [
        _shown(one, other, its, others) for (one, its), (other, others) in permutations(sums, 2)
    ]
    assert max(found) < 0.5 if shows else min(found) > 0.6, found


@pytest.mark.long
def test_two_rounds_in_a_row_show_a_home_that_is_in_one_where_the_model_hardly_changes(
    fleet: _Fleet,
) -> None:
    """It is open, in any run, as the docs and the consent say; where it changes, it does not."""

    def told(rate: float) -> float:
        models = fleet.rounds(rate, 2)
        return _shown(*(fleet.updates(models[at], at + 1, rate) for at in range(2)))

    assert told(_SLOWLY) < 0.5
    assert told(1.0) > 1.0


@pytest.mark.long
def test_two_rounds_in_a_row_show_the_loss_of_a_home_where_the_model_hardly_changes(
    fleet: _Fleet,
) -> None:
    def off(models: Sequence[NDArray[np.float32]]) -> float:
        before, after = map(fleet.losses, models[-2:])
        shown = before.sum() - np.delete(after, AWAY).sum()
        return float(abs(shown - before[AWAY]) / before[AWAY])

    assert off(fleet.rounds(_SLOWLY, 2)) < 0.3
    assert off(fleet.rounds(1.0, 2)) > 0.5


def test_people_are_told_before_they_agree() -> None:
    told = consent_text(
        Invitation(
            home="oak",
            fleet=bytes(16),
            server="a:1",
            plan=Plan.load(aggregation={"mode": "secure"}),
        )
    )
    words = "from two rounds whose models hardly differ, of which it is in one"
    assert words in " ".join(told.split())
