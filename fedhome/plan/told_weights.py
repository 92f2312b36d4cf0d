"""Whose number of examples follows from all sums of a run together, for a plan and a fleet.

The sum of the homes' weights is opened with every sum of a round. By training rows homes count in
training; by validation rows in each test of a model, as it is and adapted. Each of these sums is
an equation in numbers that stay as they are for a run, and has its own homes in it.
"""

from __future__ import annotations

from fedhome.counted import counted
from fedhome.plan.judged_rounds import evaluated_rounds, judged_rounds
from fedhome.plan.settings import Plan
from fedhome.plan.tried_rates import asked_to_train
from fedhome.secagg.rank import MOST_HOMES, solved_in_a_run

_AWAY = 0.1


def weighed_sums(plan: Plan) -> dict[str, tuple[int, ...]]:
    """Return how many sums of a run tell homes' numbers of rows, by what rows.

    Args:
        plan: The plan.

    Returns:
        For ``training`` and ``validation`` how many sums there are over the share of homes that
        the plan asks in a round for it, and over all homes.
    """
    tests = evaluated_rounds(plan) if plan.rounds.evaluate_fraction > 0 else 0
    return {"training": (asked_to_train(plan), 0), "validation": (tests, judged_rounds(plan))}


def sums_line(plan: Plan) -> tuple[str, str]:
    """Return how often homes are asked in rounds, as a row of a table: what, and how often.

    Args:
        plan: The plan.
    """
    sums = weighed_sums(plan)
    tests, judged = sums["validation"]
    text = (
        f"{counted(sums['training'][0], 'time')} to train, "
        f"{counted(tests, 'time')} to test the model as it is"
    )
    if judged:
        text += f", {counted(judged, 'time')} to test it once they have adapted it"
    if tests:
        fewest = evaluated_rounds(plan.change(rounds={"evaluate_every": plan.rounds.count}))
        if fewest < tests:
            text += (
                "; a test takes about as long as a training, and rounds.evaluate_every leaves out "
                f"up to {tests - fewest} of them"
            )
    return "what homes are asked in rounds", text


def told_weights(plan: Plan, homes: int, *, least: int) -> str:
    """Return in words whose number of examples follows from all sums of a run.

    Args:
        plan: The plan.
        homes: Homes in the fleet.
        least: Fewest homes in a sum.
    """
    settings = plan.aggregation
    if settings.greatest_weight == 1 or plan.privacy.mechanism != "none":
        return "all homes count alike: the sums tell no number of examples"
    if homes > MOST_HOMES:
        return (
            f"whose number of examples they tell is not computed for more than {MOST_HOMES} homes"
        )
    coarse = settings.weights == "rounded"
    told = "; ".join(
        f"the number of {rows} examples of {_solved(plan, homes, rows, 0.0, least)} homes if "
        f"nobody is ever away, and of {_solved(plan, homes, rows, _AWAY, least)} of {homes} if "
        f"each is away from {_AWAY:.0%} of the {sum(sums)} sums that tell it"
        for rows, sums in weighed_sums(plan).items()
        if sum(sums)
    )
    return (
        f"they tell {told}"
        + (", but to the nearest power of two alone" if coarse else "")
        + '; with aggregation.weights = "equal" of none'
        + ("" if coarse else ', with "rounded" no more than the nearest power of two')
    )


def _solved(plan: Plan, homes: int, rows: str, away: float, least: int) -> int:
    """Return of how many homes the number of rows follows, each being away from some sums."""
    drawn, of_all = weighed_sums(plan)[rows]
    asked = plan.rounds.fraction if rows == "training" else plan.rounds.evaluate_fraction
    return solved_in_a_run(
        [f"{number}" for number in range(homes)],
        groups=plan.aggregation.groups,
        absent=[1 - (1 - away) * asked] * drawn + [away] * of_all,
        least=least,
    )
