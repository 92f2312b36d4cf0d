"""Which homes had nothing to add: no sum says it, and sums over changing homes do."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.plan.settings import Plan
from fedhome.questions.empty_handed import EMPTY_HANDED, empty_terms
from fedhome.questions.question_table import EVALUATE, SUMMED
from fedhome.secagg.fixedpoint import FixedPoint
from fedhome.secagg.form import Form
from fedhome.secagg.rank import solved
from helpers.secagg_world import LAYOUT

HOMES = 12
EMPTY = (3, 8)  # such as those whose sensors begin today


def told_by_sums(rule: str, present: NDArray[np.bool_]) -> tuple[list[float], list[int]]:
    """Return the flag and the weight of each of many sums, as a server opens them."""
    plan = Plan.load(aggregation={"mode": "secure", "weights": rule})
    scalars = SUMMED[EVALUATE].lanes({}, plan.personalise)
    form = Form(0, LAYOUT, FixedPoint(16, 1.0, "linf", 1), scalars, HOMES)
    empty = empty_terms(1, form)
    values = np.zeros((HOMES, len(scalars)))
    weights = np.ones(HOMES, np.int64)
    for home in EMPTY:
        values[home], weights[home] = empty.values[0], empty.weights[0]
    flags, sums = [], []
    for row in present:
        words = form.encode(None, weights[row], values[row], [bytes(32)] * int(row.sum()))
        total = form.decode(words.sum(axis=0, dtype=words.dtype), int(row.sum()))
        flags.append(float(total.values[EMPTY_HANDED.name]))
        sums.append(total.weight)
    return flags, sums


@pytest.fixture
def present() -> NDArray[np.bool_]:
    """Who is in each of 60 sums, when each home is away in one of five."""
    drawn = np.random.default_rng(3)
    rows = np.asarray(drawn.random((60, HOMES)) >= 0.2)
    assert solved(rows.astype(np.float64)).all()
    return rows


def test_sums_over_changing_homes_tell_which_have_nothing(present: NDArray[np.bool_]) -> None:
    """Also where all homes count alike, so that their weights tell nothing of their examples."""
    flags, weights = told_by_sums("equal", present)
    for sums, of_empty in ((flags, 1), (weights, 0)):
        found = np.linalg.lstsq(present.astype(np.float64), np.array(sums, float), rcond=None)[0]
        named = np.flatnonzero(np.round(found) == of_empty)
        assert tuple(named.tolist()) == EMPTY


def test_sums_over_the_same_homes_tell_how_many(present: NDArray[np.bool_]) -> None:
    same = np.ones_like(present)
    flags, weights = told_by_sums("equal", same)
    assert set(flags) == {len(EMPTY)}
    assert set(weights) == {HOMES - len(EMPTY)}
    assert not solved(same.astype(np.float64)).any(), "any two homes of twelve fit these sums"
