"""Numbers that no model of the fleet moves are the same in sums about whichever two models.

Of one model a question is opened once; about two models there are two sums. These tests show what
is told of in docs/security.md, under what does not hold: they are no promise.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.questions.question_table import BLEND, OUTCOME
from helpers import tiny
from helpers.cheated_fleet import HOMES, LEARNING, PLAN, Fleet

ANOTHER = -3 * LEARNING.initial + np.float32(0.5)
"""A model that has nothing to do with the first one."""
GONE = "h03"


def _own(fleet: Fleet) -> dict[str, float]:
    """Return what one home alone has added to a sum."""
    words: NDArray[Any] | None = fleet.parts[GONE].words
    assert words is not None
    return dict(fleet.sum.manifest.form.decode(words, 1).values)


@pytest.mark.long
def test_scores_without_the_fleet_are_the_difference_of_two_outcomes() -> None:
    settings = {"bins": 0, **tiny.ending()}
    whole = Fleet(OUTCOME, settings)
    of_all = whole.open().values
    own = _own(whole)
    fewer = Fleet(OUTCOME, settings, ANOTHER, beside=whole).open(without=[GONE]).values
    for model in ("baseline", "seasonal", "linear", "trees", "local", "settings", "alone"):
        name = f"{model}-score"
        assert own[name] > 0
        assert of_all[name] - fewer[name] == pytest.approx(own[name], abs=1e-6), model
    shown = of_all["global-score"] - fewer["global-score"]
    assert abs(shown - own["global-score"]) > 0.1, "the control: what the fleet's model moves"


@pytest.mark.long
def test_errors_without_the_fleet_are_the_difference_of_two_blends() -> None:
    settings = {"rate": 1.0, "epochs": 1}
    whole = Fleet(BLEND, settings)
    of_all = whole.open().values
    own = _own(whole)
    fewer = Fleet(BLEND, settings, ANOTHER, beside=whole).open(without=[GONE]).values
    pairs = list(itertools.combinations_with_replacement(PLAN.personalise.experts, 2))
    shown = {
        pair: of_all[f"errors-{place}"] * HOMES - fewer[f"errors-{place}"] * (HOMES - 1)
        for place, pair in enumerate(pairs)
    }
    alone = {"naive", "linear", "trees"}
    for place, pair in enumerate(pairs):
        if alone.issuperset(pair):
            assert shown[pair] == pytest.approx(own[f"errors-{place}"], abs=1e-5), pair
    place = pairs.index(("global", "global"))
    assert abs(shown["global", "global"] - own[f"errors-{place}"]) > 0.1, "the control"
