"""A server that makes a model for it reads single rows out of one honest sum (docs/security.md).

The attack is that of Fowl et al., "Robbing the Fed" (ICLR 2022): units of the first layer that look
alike but for their bounds. What two neighbours learn differs by the rows between their bounds; of
one row alone, the quotient of two such differences is the row. The plan's network and passes are
the defaults, the sum is over six homes, and each home does all its checks.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.learning.local import LocalLearning
from fedhome.plan.private_plan import noise_of
from fedhome.plan.settings import Plan
from fedhome.questions.private_sums import sensitivity
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


def _all_rows(fleet: Fleet) -> NDArray[np.float32]:
    return np.concatenate([tiny.home(name, ROWS).x[: ROWS[0]] for name in fleet.world.homes])


def _asked(start: NDArray[np.float32] | None, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setattr(cheated_fleet, "LEARNING", tiny.learning(DEFAULT))
    fixed = FixedPoint(16, 1 / 32, "linf", ROWS[0])  # the plan names neither clip nor weight
    return Fleet(start=start, rows=(ROWS,) * HOMES, plan=DEFAULT, fixed=fixed)


def _rows_read(start: NDArray[np.float32] | None, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many rows of all homes a server reads out of one sum, to a fiftieth."""
    fleet = _asked(start, monkeypatch)
    change = cheated_fleet.LEARNING.layout.unflatten(fleet.open().mean.astype(np.float32))
    rows = _all_rows(fleet)
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


# --- with noise

SUMS = 40  # for which noise is drawn anew


def _for_one_row(rows: NDArray[np.float32], along: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return a model that the row farthest out in a direction moves, and no other one."""
    learning = tiny.learning(DEFAULT)
    parts = {
        name: np.zeros_like(p) for name, p in learning.layout.unflatten(learning.initial).items()
    }
    second, first = np.sort(rows @ along)[-2:]
    parts["0.weight"][:], parts["0.bias"][:] = along, -(first + second) / 2
    parts["2.weight"][:] = 0.1
    parts["4.weight"][:] = 1.0
    return learning.layout.flatten(parts)


def _told(fleet: Fleet, epsilon: float | None) -> NDArray[np.float64]:
    """Return what sums tell of the inputs of the row that moves the model, ``[SUMS, inputs + 1]``.

    The last number is by what the others are to be divided. One sum has all that its homes spend,
    and the update is as large as the clip lets it be.
    """
    form = fleet.sum.manifest.form
    words = [part.words for part in fleet.parts.values()]
    own = np.stack([form.decode(one, 1).mean for one in words if one is not None])
    bare = replace(form, fixed=FixedPoint(16, 0.3, "l2", 1), scalars=())
    noisy = bare
    if epsilon is not None:
        private = DEFAULT.change(
            privacy={"mechanism": "discrete-gaussian", "epsilon": epsilon, "clip": 0.3},
            rounds={"count": 1, "evaluate_fraction": 0.0},
            personalise={"name": "none"},
        )
        noise = noise_of(private, "train", HOMES, sensitivity(bare, "train"))
        noisy = replace(bare, noise=noise)
    drawn, told = np.random.default_rng(0), []
    for _ in range(SUMS):
        keys, noise_keys = ([drawn.bytes(32) for _ in range(HOMES)] for _ in range(2))
        updates = (100 * own).astype(np.float32)
        given = (updates, np.ones(HOMES, np.int64), np.zeros((HOMES, 0)), keys)
        total = noisy.total(*given, noise_keys if epsilon is not None else ())
        change = cheated_fleet.LEARNING.layout.unflatten(
            noisy.decode(total, HOMES).mean.astype(np.float32)
        )
        # All units are alike: their mean is what is best known.
        told.append(np.append(change["0.weight"].mean(axis=0), change["0.bias"].mean()))
    return np.array(told)


@pytest.mark.long
@pytest.mark.parametrize(("epsilon", "place"), [(None, 0), (8.0, 200), (1.0, 600)])
def test_noise_leaves_nothing_of_a_row_that_moves_a_model_alone(
    epsilon: float | None, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server even knows between which two rows its bound has to lie. None is the control."""
    along = np.random.default_rng(0).normal(size=tiny.FEATURES)
    along /= np.linalg.norm(along)
    monkeypatch.setattr(cheated_fleet, "LEARNING", tiny.learning(DEFAULT))
    rows = _all_rows(Fleet(rows=(ROWS,) * HOMES, plan=DEFAULT))
    fleet = _asked(_for_one_row(rows, along), monkeypatch)
    for home in fleet.world.homes:
        fleet.ask(home)
    told, true = _told(fleet, epsilon), int((rows @ along).argmax())
    shown = told[:, :-1] / told[:, -1:]
    off = np.linalg.norm(shown - rows[true], axis=1) / np.linalg.norm(rows[true])
    lines = np.append(rows, np.ones((len(rows), 1)), axis=1)
    near = np.abs(told @ lines.T) / np.linalg.norm(lines, axis=1)  # [sums, rows]
    before = np.median((near > near[:, [true]]).sum(axis=1))
    if epsilon is None:
        assert off.max() < 0.001
        assert before == 0, "no row fits better"
        return
    assert (off < 0.2).sum() == 0
    assert np.median(off) > 0.8, "as far off as no row at all is"
    assert before >= place, "of 1800 rows; 900 by chance"
