"""What honest sums tell of a home that differs from all others: no promise (docs/security.md).

Each sum here is over six homes, opened once, of a plan and models that nobody made for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.clients.home import ClientHome
from fedhome.data.series.examples import HomeExamples
from fedhome.learning.local import LocalLearning
from fedhome.learning.own_state import StatesInMemory
from fedhome.plan.settings import Plan
from fedhome.questions.question_table import OUTCOME, TRAIN
from fedhome.secagg import FixedPoint
from helpers import cheated_fleet, tiny
from helpers.cheated_fleet import HOMES, PLAN, Fleet

LONE, ONLY = "h03", 2
ROWS = (60, 6, 7)

Change = Callable[[str, HomeExamples], HomeExamples]


def _fleet(change: Change, plan: Plan = PLAN, clip: float = 1.0) -> Fleet:
    fixed = FixedPoint(16, clip, "linf", 64)
    fleet = Fleet(TRAIN, rows=(ROWS,) * HOMES, plan=plan, fixed=fixed)
    for name, part in fleet.parts.items():
        data = change(name, tiny.home(name, ROWS))
        fleet.homes[name] = ClientHome.of(
            plan, data, mode="secure", participant=part, real=True, states=StatesInMemory()
        )
    return fleet


def _own(fleet: Fleet) -> NDArray[np.float64]:
    words = fleet.parts[LONE].words
    assert words is not None
    return fleet.sum.manifest.form.decode(words, 1).mean


def _first_layer(learning: LocalLearning, flat: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return a change of the first layer, float32 ``[units, inputs]``."""
    return learning.layout.unflatten(flat.astype(np.float32))["0.weight"]


@pytest.mark.long
def test_an_input_that_moves_in_one_home_alone_shows_its_share_of_the_update() -> None:
    """As of solar panels that one home has: the others' readings are constant, and scaled to 0."""

    def without(name: str, data: HomeExamples) -> HomeExamples:
        x = data.x.copy()
        if name != LONE:
            x[:, ONLY] = 0.0
        return replace(data, x=x)

    fleet = _fleet(without)
    opened = _first_layer(cheated_fleet.LEARNING, fleet.open().mean * HOMES)
    own = _first_layer(cheated_fleet.LEARNING, _own(fleet))
    assert np.abs(own[:, ONLY]).min() > 0
    np.testing.assert_allclose(opened[:, ONLY], own[:, ONLY], rtol=1e-5)
    others = np.abs(opened - own)[:, :ONLY]
    assert others.max() > np.abs(own[:, ONLY]).max(), "the control: an input that all homes have"


@pytest.mark.long
def test_a_row_for_which_alone_a_hidden_unit_is_there_can_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wide layer over few inputs, whole batches and one step: extreme rows, to a twentieth."""
    wide, usual = (_rows_read(monkeypatch, width, rate) for width, rate in ((2000, 0.5), (8, 0.5)))
    assert wide >= 4
    assert usual == 0, "the control: a narrow layer"


def _rows_read(monkeypatch: pytest.MonkeyPatch, width: int, rate: float) -> int:
    """Return how many rows a quotient of two numbers of the sum gives."""
    train = {"steps": 1, "learning_rate": rate, "batch_size": ROWS[0]}
    plan = PLAN.change(model={"hidden": [width]}, train=train)
    learning = tiny.learning(plan)
    monkeypatch.setattr(cheated_fleet, "LEARNING", learning)
    rows = (12, *ROWS[1:])

    def few(_: str, data: HomeExamples) -> HomeExamples:
        kept = np.r_[0 : rows[0], ROWS[0] : sum(ROWS)]
        return replace(data, x=data.x[kept], y=data.y[kept], naive=data.naive[kept], counts=rows)

    fleet = _fleet(few, plan, clip=1 / 64)
    x = np.concatenate([few("", tiny.home(name, ROWS)).x[: rows[0]] for name in fleet.world.homes])
    first = learning.layout.unflatten(learning.initial)
    active = x @ first["0.weight"].T + first["0.bias"] > 0  # which only a test knows
    opened = fleet.open().mean
    change = learning.layout.unflatten(opened.astype(np.float32))
    read = set()
    for unit in np.flatnonzero(active.sum(axis=0) == 1):
        row = x[active[:, unit].argmax()]
        if change["0.bias"][unit]:
            told = change["0.weight"][unit] / change["0.bias"][unit]
            if np.linalg.norm(told - row) < 0.05 * np.linalg.norm(row):
                read.add(int(active[:, unit].argmax()))
    return len(read)


@pytest.mark.long
def test_what_all_homes_have_in_common_is_no_secret_of_any() -> None:
    """A count that is none or all tells each home's flag: of six homes with one law nearly each."""
    told = Fleet(OUTCOME, {"bins": 0, **tiny.ending()}).open().values
    flags = [name for name in told if name.startswith(("expert-", "best-")) or _verdict(name)]
    alike = [name for name in flags if told[name] in (0, HOMES)]
    assert told["expert-linear"] == HOMES, "the server knows what weighs most in each home"
    assert len(alike) >= len(flags) - 4
    assert len(alike) < len(flags), "the control: a flag that some homes have"


def _verdict(name: str) -> bool:
    return name.endswith(("-hurt", "-helped"))
