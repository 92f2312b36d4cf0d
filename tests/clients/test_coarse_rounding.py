"""Coarse numbers: what rounding that everybody can work out tells of each home, in one sum.

The server keeps to the protocol and knows the plan. Where numbers are a few steps, a home rounds up
where its chance is above what is drawn: so sums at numbers for which one home drew little, and the
others much, show whether that home had anything to add, and how much.
"""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from fedhome.learning.cohort import Training
from fedhome.questions.contributions import rounding_keys
from fedhome.questions.question_table import TRAIN
from fedhome.secagg import FixedPoint
from helpers.cheated_fleet import PLAN, Fleet
from helpers.secagg_attacker import weaken

_HOMES, _NUMBERS, _EMPTY = 10, 5761, 3
_NAMES = [f"home-{place}" for place in range(_HOMES)]


def _shown(keys: list[bytes], known: list[bytes]) -> NDArray[np.float64]:
    """Return how the sum of a round goes with what the server takes each home to have drawn."""
    draw = np.random.default_rng(0)
    common = draw.standard_t(4, size=_NUMBERS)
    sizes, own = draw.uniform(0.5, 1.5, (_HOMES, 1)), draw.standard_t(4, (_HOMES, _NUMBERS))
    updates = (0.01 * sizes * (common + own)).astype(np.float32)
    updates[_EMPTY] = 0
    fixed = FixedPoint(4, 2 * float(np.abs(updates).max()), "linf", 1)  # as a run has it
    assert np.delete(fixed.is_coarse(updates, np.ones(_HOMES, np.int64)), _EMPTY).all()
    rounded = fixed.quantise(updates, np.ones(_HOMES, np.int64), keys)
    drawn = np.array([_drawn(key) for key in known])
    return ((0.5 - drawn) * np.clip(rounded.sum(axis=0), -1, 1)).mean(axis=1)


def _drawn(key: bytes) -> NDArray[np.float64]:
    stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
    words = np.frombuffer(stream.update(bytes(4 * _NUMBERS)), "<u4")
    return (words >> 8) / 2**24


def test_rounding_that_is_known_tells_which_home_has_nothing_to_add() -> None:
    """The control: what homes of the plan's seed told, from one sum."""
    keys = rounding_keys(3, TRAIN, 1, _NAMES)
    shown = _shown(keys, keys)
    others = np.delete(shown, _EMPTY)
    assert shown[_EMPTY] < 0.01
    assert others.min() > 0.015


def test_rounding_that_homes_draw_tells_none() -> None:
    drawn = [np.random.default_rng([7, place]).bytes(32) for place in range(_HOMES)]
    shown = _shown(drawn, rounding_keys(3, TRAIN, 1, _NAMES))
    assert np.abs(shown).max() < 0.01


# --- real homes


def _rounded_as_known(fixed: FixedPoint) -> bool:
    """Return whether a home's numbers are those that the server works out from its update."""
    fleet = Fleet(TRAIN, fixed=fixed)
    home = "h03"
    fleet.ask(home)
    words, form = fleet.parts[home].words, fleet.sum.manifest.form
    assert words is not None
    keys = rounding_keys(PLAN.seed, TRAIN, fleet.sum.manifest.round, [home])
    update, weight = _learnt(fleet, home), np.array([23])
    known = form.fixed.quantise(update, weight, keys)[0]
    sent = np.rint(form.decode(words, 1).mean * weight[0] / form.fixed.step)
    return bool((sent == known).all())


def _learnt(fleet: Fleet, home: str) -> NDArray[np.float32]:
    device = fleet.homes[home].device
    trained = device.train(fleet.start, Training(stream=2, epochs=PLAN.train.epochs, steps=0))
    return np.asarray(trained.params - fleet.start, np.float32)


@pytest.mark.long
@pytest.mark.parametrize(
    "fixed",
    [
        FixedPoint(16, 512.0, "linf", 64),  # as coarse as of few bits, by a clip far too great
        FixedPoint(16, 1.0, "linf", 1 << 16),  # and so by a weight
        FixedPoint(16, 1e-3, "linf", 1 << 16),  # by a weight, where a small clip hides the step
    ],
)
def test_a_real_home_draws_how_it_rounds_where_steps_are_coarse(fixed: FixedPoint) -> None:
    assert not _rounded_as_known(fixed)


@pytest.mark.long
def test_control_a_real_home_rounded_coarse_numbers_as_the_plans_seed_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fixed = FixedPoint(16, 512.0, "linf", 64)
    weaken(monkeypatch, FixedPoint, "is_coarse", "steps < _FEW", "steps < 0")
    assert _rounded_as_known(fixed)


@pytest.mark.long
def test_where_steps_are_fine_a_real_home_rounds_as_a_simulated_one() -> None:
    """So that a fleet ends with the weights of its simulation, bit for bit."""
    assert _rounded_as_known(FixedPoint(16, 1.0, "linf", 64))
