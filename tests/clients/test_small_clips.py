"""A clip far too small: what a server learns of each home from one sum, by a model of the fleet."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.questions.question_table import TRAIN
from fedhome.secagg import FixedPoint, fixedpoint
from helpers.cheated_fleet import Fleet
from helpers.secagg_attacker import weaken

_ROWS = [(rows, 6, 7) for rows in (23, 31, 47, 59, 12, 38)]
_WEIGHTS = np.array([rows[0] for rows in _ROWS])
_FIXED = FixedPoint(16, 1e-12, "linf", 64)
"""Homes' plan names no clip: so they take any up to a greatest one."""


def _signs(total: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which signs of all homes' numbers are nearest to each sum, ``[numbers, homes]``."""
    tried = np.array(list(itertools.product((-1, 0, 1), repeat=len(_WEIGHTS))))
    sums = tried @ _WEIGHTS * _FIXED.most / _FIXED.weight_cap
    return tried[np.abs(sums - total[:, None]).argmin(axis=1)]


def _found() -> float:
    """Return of how many of all homes' numbers the server finds the sign, as a share."""
    fleet = Fleet(TRAIN, rows=_ROWS, fixed=_FIXED)
    opened, form = fleet.open(), fleet.sum.manifest.form
    own = []
    for part in fleet.parts.values():
        assert part.words is not None
        own.append(form.decode(part.words, 1).mean)
    signs = np.sign(own).T
    assert (signs != 0).mean() > 0.9
    return float((_signs(opened.mean * opened.weight / _FIXED.step) == signs).mean())


@pytest.mark.long
def test_a_clip_far_too_small_tells_no_homes_signs() -> None:
    """Updates are shortened as a whole: a sum of them hides what each adds."""
    assert _found() < 0.6, "half of them are right by chance"


@pytest.mark.long
def test_control_a_clip_far_too_small_told_each_homes_signs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Were each number cut by itself, a home would add its weight, or take it away."""
    weaken(monkeypatch, fixedpoint.FixedPoint, "scales", "plain * shrink", "plain")
    assert _found() > 0.9
