"""What homes add up in the end comes back as what a table of homes would say."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from fedhome.errors import UpdateError
from fedhome.plan.settings import Plan
from fedhome.questions.outcomes import (
    CALLED,
    FLAGS_SET,
    flags_alone,
    meaning_of,
    outcome_scalars,
    outcome_terms,
    score_counts,
)
from fedhome.questions.responses import QuestionContext
from fedhome.run.compared_models import ALONE, EXPERTS, FEDERATED, MODELS
from fedhome.run.results import counted_summary

_HOMES = 40
_PERSONALISE = Plan().personalise


def _columns() -> dict[str, Any]:
    draw = np.random.default_rng(5)
    columns: dict[str, Any] = {f"{model}.skill": draw.uniform(-1, 1, _HOMES) for model in MODELS}
    columns |= {f"verdict.{model}": draw.integers(-1, 2, _HOMES) for model in FEDERATED}
    weights = draw.dirichlet(np.ones(len(EXPERTS)), _HOMES)
    columns |= {f"weight.{name}": weights[:, place] for place, name in enumerate(EXPERTS)}
    columns["expert"] = weights.argmax(axis=1)
    columns["best"] = draw.integers(0, len(ALONE), _HOMES)
    columns["null"] = draw.integers(-1, 2, _HOMES)
    return columns


def _flags(bins: int) -> int:
    """Return how many flags an outcome has; they come first."""
    return len(flags_alone(outcome_scalars({"bins": bins}, _PERSONALISE)))


def _summed(bins: int) -> np.ndarray:
    asked = QuestionContext(Plan(), {"bins": bins}, "skill")
    terms = outcome_terms(_columns(), None, asked)
    assert terms.weights.tolist() == [1] * _HOMES
    assert terms.values.shape[1] == len(outcome_scalars({"bins": bins}, _PERSONALISE))
    for scalar, column in zip(
        outcome_scalars({"bins": bins}, _PERSONALISE), terms.values.T, strict=True
    ):
        assert scalar.low <= column.min() <= column.max() <= scalar.high, scalar.name
    return np.asarray(terms.values.sum(axis=0))


@pytest.mark.parametrize("bins", [0, 8, 80])
def test_counts_say_what_a_table_of_homes_would(bins: int) -> None:
    columns, counted = _columns(), score_counts(_summed(bins), bins)
    assert counted["homes"] == _HOMES
    assert counted["experts"] == {
        name: int(np.sum(columns["expert"] == place)) for place, name in enumerate(EXPERTS)
    }
    assert counted["best"] == {
        name: int(np.sum(columns["best"] == place)) for place, name in enumerate(ALONE)
    }
    weights = {name: float(columns[f"weight.{name}"].mean()) for name in EXPERTS}
    assert counted["weights"] == pytest.approx(weights)
    null = columns["null"]
    assert counted["null"] == {"hurt": np.mean(null < 0), "helped": np.mean(null > 0)}
    for model in MODELS:
        told, scores = counted["models"][model], columns[f"{model}.skill"]
        assert told["mean"] == pytest.approx(scores.mean())
        if bins:
            ordered, step = np.sort(scores), 2 / bins
            assert ordered[18] - step <= told["median"] <= ordered[21] + step
            assert ordered[2] - step <= told["p10"] <= ordered[5] + step
        else:
            assert told["median"] is told["p10"] is None
        assert ("hurt" in told) == (model in FEDERATED)
        if model in FEDERATED:
            verdicts = columns[f"verdict.{model}"]
            assert told["hurt"] == np.mean(verdicts < 0)
            assert told["helped"] == np.mean(verdicts > 0)
    rows = {row.model: row for row in counted_summary(counted)}
    assert tuple(rows) == MODELS
    gain = columns["personalised.skill"].mean() - columns["alone.skill"].mean()
    assert rows["personalised"].gain == pytest.approx(gain)
    assert np.isnan([rows["personalised"].gain_low, rows["local"].gain, rows["local"].hurt]).all()
    assert (rows["personalised"].compared, rows["linear"].compared) == (_HOMES, 0)


def test_with_noise_the_flags_alone_say_it_as_far_as_they_can() -> None:
    flags = _summed(8)[: _flags(8)]
    noisy = flags + np.random.default_rng(0).normal(0, 3, len(flags))
    counted = score_counts(noisy, 8)
    assert set(counted["weights"].values()) == {None}
    assert counted["homes"] == pytest.approx(_HOMES, abs=20)
    for told in (counted["null"], *(counted["models"][model] for model in FEDERATED)):
        assert 0 <= told["hurt"] <= 1
        assert 0 <= told["helped"] <= 1
    assert all(number >= 0 for number in (*counted["experts"].values(), *counted["best"].values()))
    for told in counted["models"].values():
        assert -1 <= told["p10"] <= told["median"] <= 1


def test_a_home_sets_as_many_flags_as_it_is_said_to() -> None:
    asked = QuestionContext(Plan(), {"bins": 8}, "skill")
    columns = _columns() | {"null": np.ones(_HOMES), "verdict.tuned": -np.ones(_HOMES)}
    columns |= {"verdict.global": np.ones(_HOMES), "verdict.personalised": np.ones(_HOMES)}
    flags = outcome_terms(columns, None, asked).values[:, : _flags(8)]
    assert flags.sum(axis=1).tolist() == [FLAGS_SET] * _HOMES


def test_of_an_opponent_that_a_plan_leaves_out_nothing_is_told() -> None:
    plan = Plan.load(personalise={"experts": ["tuned"], "opponents": ["seasonal"]})
    scalars = outcome_scalars({"bins": 8}, plan.personalise)
    assert not {"linear", "trees", "local", "settings", "null"} & {
        scalar.name.partition("-")[0] for scalar in scalars
    }
    terms = outcome_terms(_columns(), None, QuestionContext(plan, {"bins": 8}, "skill"))
    assert terms.values.shape == (_HOMES, len(scalars))
    counted = score_counts(terms.values.sum(axis=0), 8, ["seasonal"])
    assert tuple(counted["models"]) == ("baseline", "seasonal", "alone", *FEDERATED)
    assert "null" not in counted
    assert counted["models"]["tuned"]["mean"] == pytest.approx(_columns()["tuned.skill"].mean())


def test_every_number_has_a_meaning_of_its_own_in_plain_words() -> None:
    names = [scalar.name for scalar in outcome_scalars({"bins": 2}, _PERSONALISE)]
    meanings = {name: meaning_of(name) for name in names if not name.endswith("-1")}
    assert len(set(meanings.values())) == len(meanings)
    assert set(CALLED) == {*MODELS, *EXPERTS}
    assert CALLED["naive"] == CALLED["seasonal"], "the expert is that model, and no baseline"
    assert meanings["expert-trees"] == "whether a model of trees weighs most in the home's mixture"
    assert meanings["tuned-helped"] == (
        "whether the fleet's model adapted to this home is surely better than the best model "
        "alone on its test rows"
    )
    assert meanings["null-hurt"].endswith(
        "is surely worse than itself after other batches, on its test rows"
    )
    assert not any("{" in said for said in meanings.values())


@pytest.mark.parametrize(
    "number",
    ["chosen-local", "tuned-mean", "tuned", "expert-oracle", "best-", "oracle-3", "null-score-1"],
)
def test_a_number_that_there_is_not_has_no_meaning(number: str) -> None:
    with pytest.raises(UpdateError, match=re.escape(repr(number))):
        meaning_of(number)
