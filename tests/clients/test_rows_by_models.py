"""A server that makes a model for it reads single rows out of one honest sum (docs/security.md).

The attack is that of Fowl et al., "Robbing the Fed" (ICLR 2022): units of the first layer that look
alike but for their bounds. What two neighbours learn differs by the rows between their bounds; of
one row alone, the quotient of two such differences is the row. The plan's network and passes are
the defaults, the sum is over six homes, and each home does all its checks.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.learning.local import LocalLearning
from fedhome.plan.settings import Plan
from fedhome.secagg import FixedPoint
from helpers import cheated_fleet, tiny
from helpers.cheated_fleet import HOMES, PLAN, Fleet

ROWS = (300, 20, 20)
_TRAIN = Plan.load().train
DEFAULT = PLAN.change(model={"hidden": list(Plan.load().model.hidden)}, train=_TRAIN.model_dump())
WIDTH = DEFAULT.model.hidden[0]


def _made(learning: LocalLearning, along: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return a model whose first units are there for rows that lie far out in one direction."""
    parts = {
        name: np.zeros_like(p) for name, p in learning.layout.unflatten(learning.initial).items()
    }
    # Inputs are scaled at home, so their law is roughly known.
    bounds = [NormalDist().inv_cdf(share) for share in np.linspace(0.97, 0.9995, WIDTH)]
    parts["0.weight"][:], parts["0.bias"][:] = along, -np.array(bounds)
    parts["2.weight"][:], parts["2.bias"][:] = 0.0125, 1.0  # always there, and all alike
    parts["4.weight"][:] = 0.1
    parts["4.bias"][:] = -0.1 * parts["4.weight"].size
    return learning.layout.flatten(parts)


def _rows_read(start: NDArray[np.float32] | None, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many rows of all homes a server reads out of one sum, to a fiftieth."""
    learning = tiny.learning(DEFAULT)
    monkeypatch.setattr(cheated_fleet, "LEARNING", learning)
    fixed = FixedPoint(16, 1 / 32, "linf", ROWS[0])  # the plan names neither clip nor weight
    fleet = Fleet(start=start, rows=(ROWS,) * HOMES, plan=DEFAULT, fixed=fixed)
    change = learning.layout.unflatten(fleet.open().mean.astype(np.float32))
    rows = np.concatenate([tiny.home(name, ROWS).x[: ROWS[0]] for name in fleet.world.homes])
    read = set[int]()
    weights, biases = np.diff(change["0.weight"], axis=0), np.diff(change["0.bias"])
    for weight, bias in zip(weights[biases != 0], biases[biases != 0], strict=True):
        off = np.linalg.norm(rows - weight / bias, axis=1) / np.linalg.norm(rows, axis=1)
        if off.min() < 0.02:
            read.add(int(off.argmin()))
    return len(read)


@pytest.mark.long
def test_a_model_made_for_it_shows_single_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    along = np.random.default_rng(0).normal(size=tiny.FEATURES)
    made = _made(tiny.learning(DEFAULT), along / np.linalg.norm(along))
    assert _rows_read(made, monkeypatch) >= 10
    assert _rows_read(None, monkeypatch) == 0, "the control: the model that a run begins with"
