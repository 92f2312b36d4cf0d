"""By what homes count: what all sums of a run tell of a home's examples, by what the plan says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedhome.errors import PlanError
from fedhome.plan.protocol import lines, policy_of
from fedhome.plan.settings import Plan
from fedhome.plan.told_weights import told_weights, weighed_sums
from fedhome.questions.contributions import evaluate_terms
from fedhome.questions.question_table import CENSUS, EVALUATE, SUMMED, TRAIN, summed
from fedhome.questions.responses import QuestionContext
from fedhome.questions.settings import census_faults
from fedhome.questions.weights import weights_of
from fedhome.secagg.fixedpoint import FixedPoint
from fedhome.secagg.form import Form
from fedhome.secagg.rank import solved
from helpers.wired_fleet import WiredFleet, secure_plan

Counts = NDArray[np.int64]
EXAMPLES = np.array([1, 2, 3, 5, 6, 11, 12, 23, 40, 45, 46, 90])
ROUNDED = [1, 2, 4, 4, 8, 8, 16, 32, 32, 32, 64, 64]  # 3 is nearer to 4 than to 2, as a ratio
CAP = 128


def plan_of(rule: str, **aggregation: Any) -> Plan:
    return Plan.load(aggregation={"mode": "secure", "weights": rule, **aggregation})


def told_by_sums(rule: str, examples: Counts, present: NDArray[np.bool_]) -> Counts:
    """Return what a server opens: the weight of each of many sums over changing sets of homes."""
    plan = plan_of(rule)
    cap = policy_of(plan).most_weight if rule == "equal" else CAP
    form = Form(0, bytes(32), FixedPoint(16, 1.0, "linf", cap), (), len(examples))
    columns = {
        "num-examples": examples,
        "loss": np.ones(len(examples)),
        "score": np.zeros(len(examples)),
    }
    terms = evaluate_terms(columns, None, QuestionContext(plan, {}, "skill"))
    nothing = np.zeros((len(examples), 0))
    sums = [(form.total(None, terms.weights[row], nothing[row], []), row.sum()) for row in present]
    return np.array([form.decode(words, int(homes)).weight for words, homes in sums])


@pytest.fixture
def present() -> NDArray[np.bool_]:
    """Who is in each of 60 sums, when each home is away in one of five."""
    drawn = np.random.default_rng(3)
    rows = np.asarray(drawn.random((60, len(EXAMPLES))) >= 0.2)
    assert solved(rows.astype(np.float64)).all(), "linear algebra finds each home's weight"
    return rows


def worked_out(sums: Counts, present: NDArray[np.bool_]) -> list[int]:
    found = np.linalg.lstsq(present.astype(np.float64), sums.astype(np.float64), rcond=None)[0]
    return [round(one) for one in found]


def test_sums_give_every_homes_number_of_examples(present: NDArray[np.bool_]) -> None:
    """The control: the attack works where homes count by their examples."""
    assert worked_out(told_by_sums("examples", EXAMPLES, present), present) == EXAMPLES.tolist()


def test_of_rounded_weights_sums_give_the_step_alone(present: NDArray[np.bool_]) -> None:
    sums = told_by_sums("rounded", EXAMPLES, present)
    assert worked_out(sums, present) == ROUNDED
    others = np.array([1, 2, 4, 5, 7, 9, 14, 24, 33, 44, 47, 88])  # of the same steps
    assert (told_by_sums("rounded", others, present) == sums).all(), "no sum tells them apart"


def test_of_equal_weights_sums_give_nothing(present: NDArray[np.bool_]) -> None:
    sums = told_by_sums("equal", EXAMPLES, present)
    assert (sums == present.sum(axis=1)).all(), "how many homes there are, which is known"


@given(st.integers(1, 1 << 30))
def test_a_rounded_weight_is_the_nearest_power_of_two(examples: int) -> None:
    (weight,) = weights_of(plan_of("rounded"), np.array([examples])).tolist()
    assert weight.bit_count() == 1
    assert examples**2 <= 2 * weight**2, "above it by a factor of at most the root of two"
    assert weight**2 < 2 * examples**2, "and as much below"


@pytest.mark.parametrize("rule", ["examples", "rounded", "equal"])
def test_a_home_without_examples_has_no_weight(rule: str) -> None:
    assert weights_of(plan_of(rule), np.array([0, 1])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("sets", "faults"),
    [
        ([], []),
        (["aggregation.weight_cap=64"], ["the greatest weight"]),
        (["aggregation.weights=equal"], ["the greatest weight"]),
        (
            ["privacy.mechanism=discrete-gaussian", "privacy.epsilon=4"],
            ["with noise all homes count alike"],
        ),
    ],
)
def test_homes_count_their_examples_only_where_their_plan_leaves_it_open(
    sets: list[str], faults: list[str]
) -> None:
    told = list(census_faults({}, Plan.load(sets=sets)))
    assert len(told) == len(faults)
    assert all(fault in one for fault, one in zip(faults, told, strict=True))


@pytest.mark.long
@pytest.mark.parametrize(
    ("rule", "cap", "expected"),
    [("examples", 64, 6), ("rounded", 64, 8), ("rounded", 4, 4), ("equal", None, 1)],
)
def test_a_real_home_counts_by_its_own_plan(
    rule: str, cap: int | None, expected: int, tmp_path: Path
) -> None:
    fleet = WiredFleet(tmp_path, secure_plan(aggregation={"weights": rule, "weight_cap": cap}))
    asked: list[str] = []
    fleet.wire.mute = lambda _, message: bool(asked.append(message.metadata.message_type))  # type: ignore[func-returns-value]
    with fleet.run() as rounds:
        rounds.run()
    assert EVALUATE in asked
    assert CENSUS not in asked
    words = fleet.parts["h00"].words  # of what it was to mask last: an evaluation on six rows
    assert words is not None
    scalars = SUMMED[EVALUATE].lanes({}, Plan().personalise)
    form = Form(0, bytes(32), FixedPoint(16, 1.0, "linf", cap or 1), scalars, 7)
    assert form.decode(words, 1).weight == expected


@pytest.mark.parametrize(
    ("sets", "fault"),
    [
        ({"weights": "equal", "weight_cap": 8}, "leave it unset"),
        ({"weights": "rounded", "weight_cap": 100}, "set 64 or 128"),
        ({"weights": "equal", "mode": "plain"}, "aggregation.weights belongs to sums"),
        ({"weights": "public"}, "aggregation.weights"),
    ],
)
def test_what_does_not_fit_is_told(sets: dict[str, Any], fault: str) -> None:
    with pytest.raises(PlanError, match=fault):
        Plan.load(aggregation=sets)
    Plan.load(aggregation={"weights": "equal", "weight_cap": 1})


def test_with_noise_there_is_nothing_to_round() -> None:
    privacy = {"mechanism": "discrete-gaussian", "epsilon": 4.0}
    with pytest.raises(PlanError, match=r"count once each: aggregation\.weights"):
        Plan.load(aggregation={"weights": "rounded"}, privacy=privacy)
    Plan.load(aggregation={"weights": "equal"}, privacy=privacy)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("examples", 'with aggregation.weights = "equal" of none, with "rounded" no more than'),
        ("rounded", "each is away from 10% of the 120 sums that tell it, but to the nearest"),
        ("equal", "all homes count alike: the sums tell no number of examples"),
    ],
)
def test_plan_explain_says_what_all_sums_tell(rule: str, said: str) -> None:
    plan = plan_of(rule).change(rounds={"count": 100})
    assert said in dict(lines(plan, 20))["all sums of a run"]


def test_sums_over_validation_rows_are_reckoned_with_those_between_rounds() -> None:
    # Twenty homes and rounds: too few sums of training, but with the tests of the model as it is
    # and as homes adapt it there are enough over validation rows.
    few = plan_of("examples").change(rounds={"count": 20, "judge_every": 1})
    assert weighed_sums(few) == {"training": (20, 0), "validation": (20, 20)}
    said = dict(lines(few, 20))["all sums of a run"]
    away = re.findall(r"number of (\w+) examples of 0 homes .*?, and of (\d+) of 20", said)
    told = {rows: int(homes) for rows, homes in away}
    assert told["training"] < told["validation"] == 20
    untested = few.change(rounds={"judge_every": 0, "evaluate_fraction": 0.0})
    assert "validation" not in dict(lines(untested, 20))["all sums of a run"]


def test_rounds_that_take_a_first_sum_again_are_reckoned_as_none() -> None:
    auto = plan_of("examples").change(train={"rate": "auto"}, strategy={"rate": "auto"})
    assert weighed_sums(auto) == {"training": (36, 0), "validation": (40, 8)}
    assert summed(TRAIN).times(auto) == 36
    assert summed(TRAIN).times(plan_of("examples")) == 40


def test_rounds_over_some_of_the_homes_tell_without_anybody_away() -> None:
    drawn = plan_of("examples").change(rounds={"count": 60, "fraction": 0.5})
    said = dict(lines(drawn, 20))["all sums of a run"]
    assert said.startswith("they tell the number of training examples of 20 homes if nobody is")


def test_with_noise_no_number_of_examples_is_in_a_sum() -> None:
    noisy = Plan.load(privacy={"mechanism": "discrete-gaussian", "epsilon": 4.0})
    assert told_weights(noisy, 20, least=5).startswith("all homes count alike")
