"""A plan's privacy: what does not fit together, and what it comes to."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fedhome.errors import PlanError
from fedhome.plan.privacy_outlook import privacy_lines
from fedhome.plan.private_plan import check_delta, cohort_of, noise_of, private_run
from fedhome.plan.settings import Plan
from fedhome.privacy.accounting import cost_of_sum, epsilon_of

ON = {"mechanism": "discrete-gaussian", "epsilon": 8.0}


def _plan(**sections: Any) -> Plan:
    privacy = {**ON, **sections.pop("privacy", {})}
    return Plan.parse({"privacy": privacy, **sections})


@pytest.mark.parametrize(
    ("sections", "fault"),
    [
        ({"privacy": {"epsilon": None}}, "set privacy.epsilon or privacy.noise_multiplier"),
        ({"privacy": {"noise_multiplier": 2.0}}, "only one of them"),
        (
            {"privacy": {"mechanism": "none"}},
            "privacy.epsilon is set, but privacy.mechanism is none",
        ),
        ({"privacy": {"scores": 0.0}}, "leaves nothing for evaluations"),
        ({"aggregation": {"mode": "plain"}}, "needs sums"),
        ({"aggregation": {"clip": 2.0}}, "privacy.clip bounds updates"),
        ({"aggregation": {"clip_in": "l2"}}, "privacy.clip bounds updates"),
        ({"aggregation": {"weight_cap": 7}}, "count once each"),
        ({"strategy": {"wrap": "dp-client-fixed"}}, "with privacy.mechanism homes do"),
        ({"aggregation": {"bits": 24}, "data": {"homes": 200}}, "wrap"),
        ({"privacy": {"mechanism": "laplace"}}, "privacy.mechanism"),
        ({"privacy": {"delta": 0.5}}, "privacy.delta"),
        ({"privacy": {"delta": 0.02}}, "privacy.delta"),
        ({"privacy": {"delta": 0.0}}, "privacy.delta"),
        ({"privacy": {"delta": 0.01}, "data": {"homes": 100}}, "promises nothing to 100 homes"),
    ],
)
def test_what_does_not_fit_together_is_refused(sections: dict[str, Any], fault: str) -> None:
    with pytest.raises(PlanError, match=fault):
        _plan(**sections)


def test_a_fleets_size_bounds_delta() -> None:
    plan = _plan(privacy={"delta": 1e-3}, data={"homes": 200})
    check_delta(plan, 999)
    for homes in (1000, 5000):
        with pytest.raises(PlanError, match=f"promises nothing to {homes} homes"):
            noise_of(plan, "train", homes, 1.0)
        with pytest.raises(PlanError, match=f"promises nothing to {homes} homes"):
            privacy_lines(plan, homes)
    check_delta(Plan(), 1_000_000)  # no noise, no promise


def test_noise_is_off_by_default() -> None:
    assert Plan().privacy.mechanism == "none"
    assert Plan.parse({"privacy": {"mechanism": "none"}}) == Plan()


def test_the_cost_is_shared_out_and_adds_up() -> None:
    run = private_run(_plan(rounds={"count": 20}))
    assert run.counts == {"train": 20, "evaluate": 20, "evaluate.outcome": 1}
    assert sum(run.costs[kind] * count for kind, count in run.counts.items()) == pytest.approx(
        run.rho
    )
    assert run.costs["train"] * 20 == pytest.approx(0.9 * run.rho)
    assert run.costs["evaluate.outcome"] == pytest.approx(0.05 * run.rho)
    assert run.epsilon == pytest.approx(8.0)


def test_without_scores_updates_have_all_of_it() -> None:
    plan = _plan(rounds={"count": 20, "evaluate_fraction": 0.0}, personalise={"name": "none"})
    run = private_run(plan)
    assert run.counts == {"train": 20}
    assert run.costs["train"] * 20 == pytest.approx(run.rho)
    assert run.noise_multiplier == pytest.approx(math.sqrt(20 / (2 * run.rho)))


def test_epsilon_follows_from_the_noise() -> None:
    plan = _plan(
        privacy={"epsilon": None, "noise_multiplier": 6.0},
        rounds={"count": 100, "evaluate_fraction": 0.0},
        personalise={"name": "none"},
    )
    run = private_run(plan)
    assert run.rho == pytest.approx(100 / 72)
    assert run.epsilon == pytest.approx(epsilon_of(100 / 72, 1e-5))
    assert run.noise_multiplier == pytest.approx(6.0)


@pytest.mark.long
def test_noise_is_made_for_the_fewest_honest_homes() -> None:
    plan = _plan(data={"homes": 1000})
    # Three in ten may vanish; of the 700 left, one in ten of the whole fleet may be corrupt.
    size = cohort_of(plan, "train", 1000)
    assert (size.least, size.honest) == (700, 600)
    run = private_run(plan)
    noise = noise_of(plan, "train", 1000, 32_900.0)
    assert noise.homes == 700
    assert noise.sigma == pytest.approx(32_900 * run.noise_multiplier / math.sqrt(600))
    assert cost_of_sum(32_900.0, noise.sigma, 600, 1000) == pytest.approx(run.costs["train"])


def test_a_plan_without_rounds_of_evaluation_asks_fewer_homes() -> None:
    plan = _plan(rounds={"fraction": 0.6, "evaluate_fraction": 0.9}, aggregation={"groups": 2})
    assert cohort_of(plan, "train", 1000).least == 210
    assert cohort_of(plan, "evaluate", 1000).least == 315
    assert cohort_of(plan, "evaluate.outcome", 1000).least == 350
