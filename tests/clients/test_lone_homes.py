"""Sums over many homes in which one stands out: by what others have not, by weight, by what waits.

These tests show what is told of in docs/security.md, under what does not hold: they are no promise.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.clients.home import ClientHome
from fedhome.plan.settings import Plan
from fedhome.questions.question_table import TRAIN
from fedhome.questions.stages import stages_of
from fedhome.secagg import FixedPoint
from helpers import tiny
from helpers.cheated_fleet import HOMES, LEARNING, PLAN, ROWS, Fleet

LONE = "h03"


def _own(fleet: Fleet) -> NDArray[np.float64]:
    """Return what the home has added, before masks: its mean alone is its update."""
    words = fleet.parts[LONE].words
    assert words is not None
    return fleet.sum.manifest.form.decode(words, 1).mean


@pytest.mark.long
def test_where_all_others_have_nothing_to_add_the_sum_is_one_homes_update() -> None:
    """A server that keeps to the protocol uses no such sum; it has opened it all the same."""
    fleet = Fleet(TRAIN)
    for name, part in fleet.parts.items():
        if name != LONE:
            data = tiny.home(name, ROWS)
            broken = replace(data, x=np.full_like(data.x, 3e38))
            fleet.homes[name] = ClientHome.of(
                PLAN, broken, mode="secure", participant=part, real=True
            )
    opened = fleet.open()
    assert opened.values["empty-handed"] == HOMES - 1
    np.testing.assert_array_equal(opened.mean, _own(fleet))


def _likeness(plan: Plan) -> float:
    """Return how like the mean update is to that of a home with forty times as many rows."""
    rows = [ROWS] * HOMES
    rows[3] = (40 * ROWS[0], *ROWS[1:])
    cap = 1024 if plan.aggregation.weights == "examples" else 1
    fleet = Fleet(TRAIN, rows=rows, plan=plan, fixed=FixedPoint(16, 1.0, "linf", cap))
    opened = fleet.open().mean
    return float(np.corrcoef(opened, _own(fleet))[0, 1])


@pytest.mark.long
def test_a_home_with_many_more_examples_is_nearly_all_of_the_mean() -> None:
    equal = PLAN.change(aggregation={"weights": "equal"})
    by_examples, alike = _likeness(PLAN), _likeness(equal)
    assert by_examples > 0.99
    assert alike < 0.9, "the control: where all homes count alike it is one of six"


def _dead(last: float) -> NDArray[np.float32]:
    """Return a model whose hidden units are dead in all homes: they learn its last number alone."""
    layout = LEARNING.layout
    parts = {
        name: np.zeros_like(values)
        for name, values in layout.unflatten(np.zeros(layout.size, np.float32)).items()
    }
    parts["0.bias"][:] = -100
    parts["2.bias"][:] = last
    return layout.flatten(parts)


@pytest.mark.long
def test_what_waits_at_a_home_is_a_sum_alone_once_the_others_have_sent_theirs() -> None:
    """Three sums, of which none is over fewer homes than the plan says."""
    plan = PLAN.change(transfer={"stages": ["random-k"], "share": 0.5})
    first = Fleet(TRAIN, {"server-round": 1}, plan=plan)
    first.open()
    states = first.homes[LONE].device.states
    assert states is not None
    kept = states.read(LONE)
    assert kept is not None
    waits = (
        plan.transfer.feedback
        * kept.arrays["not-sent"][stages_of(plan, LEARNING.layout.size)[0].places(2)]
    )
    Fleet(TRAIN, {"server-round": 2}, _dead(0.1), first, plan=plan).open(without=[LONE])
    shown = Fleet(TRAIN, {"server-round": 2}, _dead(0.2), first, plan=plan).open().mean * HOMES
    assert np.abs(waits).max() > 0.05
    # But for the last number, which all homes have learnt, and rounding at each home.
    step = HOMES * FixedPoint(16, 1.0, "linf", 64).step / ROWS[0]
    assert np.abs(shown - waits)[:-1].max() < step
