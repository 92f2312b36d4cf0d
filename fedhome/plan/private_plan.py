"""What a plan's privacy comes to: how often each question is asked, at what cost, with what noise.

The cost of the whole run is fixed beforehand and shared out: evaluations and the outcome have
``privacy.scores`` of it, updates the rest, every sum of a kind the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedhome.errors import ParameterError, PlanError
from fedhome.plan.aggregation_settings import MOST_BITS
from fedhome.plan.judged_rounds import evaluated_rounds
from fedhome.plan.protocol import least_in_a_sum, policy_of
from fedhome.plan.settings import Plan
from fedhome.privacy.accounting import cost_within, epsilon_between, epsilon_of, sigma_for
from fedhome.privacy.noise import Noise, update_norm
from fedhome.secagg.packing import Packing

TRAIN, EVALUATE, OUTCOME = "train", "evaluate", "evaluate.outcome"  # types of messages
_COARSEST = 0.1  # share of the clip that rounding may add to what one home can move a sum by


@dataclass(frozen=True, kw_only=True)
class PrivateRun:
    """What a run costs each home that takes part in all of it.

    Args:
        rho: The whole cost, of concentrated differential privacy.
        epsilon: The same as epsilon, against a home that adds nothing but its noise.
        delta: For which that holds.
        costs: Cost of one sum, by type of message.
        counts: How many sums there are, by type of message.
    """

    rho: float
    epsilon: float
    delta: float
    costs: dict[str, float]
    counts: dict[str, int]

    @property
    def between(self) -> float:
        """The epsilon between any two things that somebody may believe of a home's readings."""
        return epsilon_between(self.rho, self.delta)

    @property
    def noise_multiplier(self) -> float:
        """Noise that a sum of updates has at least, in clips."""
        return 1 / math.sqrt(2 * self.costs[TRAIN])


@dataclass(frozen=True, kw_only=True)
class SumSize:
    """How many homes a sum surely has.

    Args:
        least: Fewest homes in it.
        honest: Fewest of them that keep their noise to themselves: the others may be corrupt.
    """

    least: int
    honest: int


def is_private(plan: Plan) -> bool:
    """Return whether homes of this plan add noise."""
    return plan.privacy.mechanism != "none"


def private_run(plan: Plan) -> PrivateRun:
    """Return what a private plan's run costs.

    Args:
        plan: A plan without faults whose homes add noise.
    """
    settings, rounds = plan.privacy, plan.rounds
    counts = {TRAIN: rounds.count}
    if rounds.evaluate_fraction > 0:
        counts[EVALUATE] = evaluated_rounds(plan)
    if plan.personalise.name != "none":
        counts[OUTCOME] = 1
    scores = settings.scores if len(counts) > 1 else 0.0
    if settings.noise_multiplier is None:
        assert settings.epsilon is not None, "a private plan names its epsilon or its noise"
        rho = cost_within(settings.epsilon, settings.delta)
    else:
        rho = rounds.count / (2 * settings.noise_multiplier**2) / (1 - scores)
    shares = {TRAIN: 1 - scores} | {kind: scores / (len(counts) - 1) for kind in list(counts)[1:]}
    return PrivateRun(
        rho=rho,
        epsilon=epsilon_of(rho, settings.delta),
        delta=settings.delta,
        costs={kind: rho * shares[kind] / counts[kind] for kind in counts},
        counts=counts,
    )


def cohort_of(plan: Plan, kind: str, homes: int) -> SumSize:
    """Return how many homes a sum surely has, of a fleet of this size.

    Args:
        plan: The plan.
        kind: Type of the message.
        homes: Homes in the fleet.

    Raises:
        PlanError: None need be honest.
    """
    asked = {TRAIN: plan.rounds.fraction, EVALUATE: plan.rounds.evaluate_fraction}.get(kind, 1.0)
    groups = plan.aggregation.groups
    roster = int(homes * asked) // groups
    least = least_in_a_sum(plan, fleet=homes, roster=roster)
    corrupt = policy_of(plan).corrupt_homes(homes, roster=roster, groups=groups)
    if not 1 <= least <= roster:
        raise PlanError(
            [f"{roster} of {homes} homes are asked for {kind!r}, but noise takes {least} at least"],
            hint="take more homes, fewer groups, or a smaller aggregation.corrupt",
        )
    return SumSize(least=least, honest=least - corrupt)


def check_delta(plan: Plan, homes: int) -> None:
    """Refuse a chance that is as large as one home's share of a fleet.

    With it a run that shows one home whole, drawn among all, would keep what it promises (Dwork and
    Roth, The Algorithmic Foundations of Differential Privacy, 2014, section 2.3).

    Args:
        plan: The plan.
        homes: Homes in the fleet.

    Raises:
        PlanError: It is, and homes add noise.
    """
    delta = plan.privacy.delta
    if is_private(plan) and delta * homes >= 1:
        fault = (
            f"privacy.delta = {delta:g} promises nothing to {homes} homes: a run that shows "
            "everything of one in that many would keep it"
        )
        raise PlanError(
            [fault],
            hint=f"set it far below 1 / {homes}, such as privacy.delta = {0.01 / homes:.0e}",
        )


def noise_of(plan: Plan, kind: str, homes: int, sensitivity: float) -> Noise:
    """Return the noise that each home adds in a sum.

    Args:
        plan: The plan, whose homes add noise.
        kind: Type of the message.
        homes: Homes in the fleet.
        sensitivity: Greatest L2 norm of what one home adds, in steps.

    Raises:
        PlanError: Such noise cannot be made, or sums with it would wrap.
    """
    check_delta(plan, homes)
    cohort, cost = cohort_of(plan, kind, homes), private_run(plan).costs[kind]
    bits = plan.aggregation.bits
    try:
        noise = Noise(sigma_for(sensitivity, cost, cohort.honest), cohort.least)
        Packing.of(noise.bits((1 << (bits - 1)) - 1), homes)
    except ParameterError as error:
        raise PlanError(
            [f"noise in sums for {kind!r} over {homes} homes: {error.message}"],
            hint="lower aggregation.bits, or raise privacy.epsilon",
        ) from None
    return noise


def check_size(plan: Plan, parameters: int) -> None:
    """Refuse a model so large that rounding alone could move a sum by a good part of the clip.

    Args:
        plan: The plan.
        parameters: Numbers of an update.

    Raises:
        PlanError: It is, with these bits.
    """
    bits = plan.aggregation.bits
    if not _too_coarse(bits, parameters):
        return
    longer = math.sqrt(parameters) / _steps(bits)
    enough = next((n for n in range(bits, MOST_BITS + 1) if not _too_coarse(n, parameters)), 0)
    fault = (
        f"aggregation.bits = {bits} is too coarse for noise: rounding {parameters} numbers may "
        f"lengthen an update by {longer:.0%} of the clip"
    )
    raise PlanError(
        [fault],
        hint=f"set aggregation.bits = {enough} or more"
        if enough
        else f"take a smaller model: {MOST_BITS} bits, the most there are, are too coarse for it",
    )


def _steps(bits: int) -> int:
    """Return how many steps the clip is."""
    return (1 << (bits - 1)) - 1


def _too_coarse(bits: int, parameters: int) -> bool:
    return update_norm(_steps(bits), parameters) > (1 + _COARSEST) * _steps(bits)


def faults_of(plan: Plan) -> list[str]:
    """Return what does not fit together about a plan's privacy, one plain sentence each."""
    settings = plan.privacy
    given = [n for n in ("epsilon", "noise_multiplier") if getattr(settings, n) is not None]
    if not is_private(plan):
        return [
            f"privacy.{name} is set, but privacy.mechanism is none: no home adds noise"
            for name in given
        ]
    aggregation = plan.aggregation
    scored = plan.rounds.evaluate_fraction > 0 or plan.personalise.name != "none"
    checks = {
        "with noise, set privacy.epsilon or privacy.noise_multiplier, and only one of them": len(
            given
        )
        != 1,
        'privacy.mechanism needs sums, but aggregation.mode is "plain"': aggregation.mode
        == "plain",
        "with noise, privacy.clip bounds updates: leave aggregation.clip and clip_in unset": (
            aggregation.clip is not None or aggregation.clip_in != "linf"
        ),
        "with noise, homes count once each: leave aggregation.weight_cap unset": (
            aggregation.weight_cap not in {None, 1}
        ),
        'with noise, homes count once each: aggregation.weights = "rounded" does not fit': (
            aggregation.weights == "rounded"
        ),
        "strategy.wrap adds noise or clips at the server; with privacy.mechanism homes do": bool(
            plan.strategy.wrap
        ),
        "privacy.scores = 0 leaves nothing for evaluations and the outcome: raise it, or set "
        'rounds.evaluate_fraction = 0 and personalise.name = "none"': scored
        and settings.scores == 0,
    }
    faults = [fault for fault, found in checks.items() if found]
    homes = plan.data.homes
    if not faults and homes is not None:
        most = (1 << (aggregation.bits - 1)) - 1
        try:
            check_delta(plan, homes)
            for kind in private_run(plan).counts:
                noise_of(plan, kind, homes, most)
        except PlanError as error:
            faults += error.faults
    return faults
