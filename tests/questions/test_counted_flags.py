"""A home counts once: flags of which each home sets one are as many as there are homes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.errors import SumError
from fedhome.plan.settings import Plan
from fedhome.questions.contributions import COUNTS, SIZES, one_hot
from fedhome.questions.counted_flags import check_counts
from fedhome.questions.empty_handed import EMPTY_HANDED, empty_terms
from fedhome.questions.question_table import CENSUS, OUTCOME, SUMMED, TRAIN
from fedhome.secagg.fixedpoint import FixedPoint
from fedhome.secagg.form import Form, Total
from fedhome.server.rounds.sum_scale import Scale
from helpers.secagg_world import LAYOUT

HOMES = 6
PLAN = Plan.load(aggregation={"mode": "secure"})


def _form(kind: str, settings: dict[str, Any]) -> Form:
    scalars = SUMMED[kind].lanes(settings, PLAN.personalise)
    return Form(0, LAYOUT, FixedPoint(16, 1.0, "linf", 1), scalars, HOMES)


def _census(claims: NDArray[np.float64]) -> Total:
    """Return a census in which each home has set these flags, ``[homes, flags]``."""
    form = _form(CENSUS, {})
    values = np.concatenate([claims, np.zeros((len(claims), 1))], axis=1)
    ones = np.ones(len(claims), np.int64)
    words = form.encode(None, ones, values, [bytes(32)] * len(claims))
    return form.decode(words.sum(axis=0, dtype=words.dtype), len(claims))


HONEST = one_hot(np.array([5, 5, 6, 6, 7, 5]), COUNTS)


def test_a_home_that_sets_flags_for_others_spoils_the_sum() -> None:
    _check(CENSUS, _census(HONEST))
    cheat = HONEST.copy()
    cheat[-1] = 0.0
    cheat[-1, 18:22] = 1.0  # four claims, each within what all homes may count
    with pytest.raises(SumError, match="'examples' of an opened sum were set 9 times, and 6 homes"):
        _check(CENSUS, _census(cheat))
    scale = Scale(PLAN.aggregation)
    scale.count([_census(cheat)])
    assert scale.weight_cap >= 2**18, "the control: its claims would be the fleet's scale"


def test_a_home_that_sets_none_without_saying_so_is_noticed() -> None:
    silent = HONEST.copy()
    silent[0] = 0.0
    with pytest.raises(SumError, match="were set 5 times"):
        _check(CENSUS, _census(silent))


def test_homes_that_have_nothing_to_add_set_none() -> None:
    form = _form(CENSUS, {})
    terms = empty_terms(1, form)
    values = np.concatenate([np.pad(HONEST[:5], ((0, 0), (0, 1))), terms.values])
    weights = np.array([1, 1, 1, 1, 1, 0])
    words = form.encode(None, weights, values, [bytes(32)] * HOMES)
    total = form.decode(words.sum(axis=0, dtype=words.dtype), HOMES)
    assert total.values[EMPTY_HANDED.name] == 1
    check_counts(SUMMED[CENSUS].one_of, form, total, HOMES - 1)


def _claimed(claims: list[int]) -> int:
    """Return by how much a home may count at most, as these claims have it."""
    scale = Scale(PLAN.aggregation)
    scale.count([_census(one_hot(np.array(claims), COUNTS))])
    assert scale.weight_cap is not None
    return scale.weight_cap


def test_one_claim_in_a_small_fleet_does_not_choose_the_scale() -> None:
    """Of fewer than ten homes a tenth is none, but one is always reckoned to cheat."""
    assert _claimed([5, 5, 6, 6, 7, 24]) == 2**10, "eight times the next, and not 2^24"
    assert _claimed([5, 5, 6, 6, 7, 10]) == 2**10, "an honest home of eight times as many examples"
    assert _claimed([5, 5, 6, 6, 7, 9]) == 2**9
    assert _claimed([5, 5, 6, 24]) == 2**24, "of four homes none is reckoned with"


def test_one_update_of_a_small_fleet_does_not_choose_how_far_updates_are_clipped() -> None:
    flags = one_hot(np.array([-3, -3, -4, -3, -3, 8]), SIZES).sum(axis=0)
    total = Total(6, {f"size-{e}": n for e, n in zip(SIZES, flags, strict=True)}, np.zeros(0))
    scale = Scale(PLAN.aggregation)
    scale.learn([total])
    assert scale.clip == 2.0 * 2.0**0


@pytest.mark.parametrize(
    ("kind", "settings", "families"),
    [
        (CENSUS, {}, {"examples": len(COUNTS)}),
        (TRAIN, {"server-round": 1}, {"size": len(SIZES)}),
        (OUTCOME, {"bins": 7}, {"expert": 5, "best": 5, "global": 7, "alone": 7}),
    ],
)
def test_what_each_home_sets_once_is_all_of_a_kind(
    kind: str, settings: dict[str, Any], families: dict[str, int]
) -> None:
    form = _form(kind, settings)
    for stem, count in families.items():
        assert stem in SUMMED[kind].one_of
        flags = [s.name for s in form.scalars if s.name.startswith(f"{stem}-") and s.bits == 1]
        counted = [name for name in flags if not name.endswith(("-hurt", "-helped"))]
        assert len(counted) == count
        values = {scalar.name: 0.0 for scalar in form.scalars} | {counted[0]: float(HOMES)}
        check_counts([stem], form, Total(1, values, np.zeros(0)), HOMES)
        values[counted[-1]] += 1.0
        with pytest.raises(SumError, match="were set 7 times"):
            check_counts([stem], form, Total(1, values, np.zeros(0)), HOMES)


def _check(kind: str, total: Total) -> None:
    check_counts(SUMMED[kind].one_of, _form(kind, {}), total, HOMES)
