"""Rates that a fleet chooses itself: what it tries, for how long, and what a home is asked for.

Homes learn in rounds at ``train.rate`` times the plan's learning rate, and the server goes
``strategy.rate`` times as far as its strategy says. Where one of them is "auto" the first rounds
try those of a list: each from where the run began, for as many rounds as lie between two that are
judged. The rates are kept whose model is best in validation once homes have adapted it.

The first round of each attempt is one and the same sum, taken as far as the attempt's rates say
(:mod:`fedhome.server.rounds.rate_trials`). So where a strategy takes means, attempts go on from
models on one line. They must not be nearly the same: homes would be asked twice for nearly the same
update. What other strategies make of the sum is looked at as it is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

from fedhome.plan.judged_rounds import judged_every
from fedhome.plan.settings import AUTO, Plan, StrategySettings, TrainSettings

_APART = 1.5
"""How many times as far the first step of one attempt is to be as that of another, at least."""

_CUT_AT_HOME = ("dp-client-fixed", "dp-client-adaptive")


class Rates(NamedTuple):
    """At what rates a fleet learns in a round: homes' and the server's, both as multiples."""

    train: float
    server: float


def searches(plan: Plan) -> bool:
    """Return whether a plan leaves a rate to its fleet."""
    return AUTO in (plan.train.rate, plan.strategy.rate)


def train_rates(plan: Plan) -> tuple[float, ...]:
    """Return the multiples of its learning rate at which a home of a plan may be asked to train."""
    return _of(plan.train)


def server_rates(plan: Plan) -> tuple[float, ...]:
    """Return how far a server may go, as multiples of what its strategy says."""
    return _of(plan.strategy)


def first_rates(plan: Plan) -> Rates:
    """Return the rates that a run begins with, and keeps where nothing is chosen."""
    return Rates(train_rates(plan)[0], server_rates(plan)[0])


def attempts(plan: Plan) -> int:
    """Return how many pairs of rates are tried: homes' first, then the server's at the best."""
    return len(train_rates(plan)) + len(server_rates(plan)) - 1 if searches(plan) else 0


def asked_to_train(plan: Plan) -> int:
    """Return in how many rounds of a whole run homes are asked to train.

    The first round of each attempt but one takes the first sum again.
    """
    return plan.rounds.count - max(0, attempts(plan) - 1)


def rounds_of_search(plan: Plan) -> int:
    """Return how many rounds the attempts take together."""
    return attempts(plan) * judged_every(plan)


def faults_of(plan: Plan) -> Iterator[str]:
    """Yield what of a plan's rates does not fit together, or not to its rounds."""
    for section, settings in (("train", plan.train), ("strategy", plan.strategy)):
        default = type(settings).model_fields["rates"].default
        if settings.rate != AUTO and settings.rates != default:
            yield (
                f'{section}.rates are what {section}.rate = "auto" tries, but it is '
                f"{settings.rate:g}"
            )
        if len(set(settings.rates)) < len(settings.rates):
            yield f"{section}.rates names one twice: {list(settings.rates)}"
    if not searches(plan):
        return
    yield from _near_faults(plan)
    if plan.train.rate == AUTO and plan.strategy.wrap.lower() in _CUT_AT_HOME:
        yield (
            f'train.rate = "auto" does not go with strategy.wrap = "{plan.strategy.wrap}": homes '
            "cut their updates off before they are added up, so the first sum, which serves all "
            "attempts, does not say what it would be at another rate: name train.rate"
        )
    which = " and ".join(
        f'{section}.rate = "auto"'
        for section, settings in (("train", plan.train), ("strategy", plan.strategy))
        if settings.rate == AUTO
    )
    if not judged_every(plan):
        yield (
            f"{which}: rates are chosen by rounds that homes judge, and here they judge none: set "
            "rounds.judge_every to 1 or more, which needs homes that personalise and add no noise; "
            "or name the rate"
        )
    elif (needed := rounds_of_search(plan)) >= plan.rounds.count:
        yield (
            f"{which} takes {needed} rounds ({attempts(plan)} attempts of {judged_every(plan)}, "
            f"rounds.judge_every), and rounds.count is {plan.rounds.count}: allow more rounds, or "
            "name fewer rates"
        )
    elif judged_every(plan) == 1 and plan.train.rate == AUTO:
        yield (
            'train.rate = "auto" needs attempts of two rounds or more, since the first of each '
            "takes the first sum again and asks homes for nothing: set rounds.judge_every to 2 or "
            "more"
        )


def _near_faults(plan: Plan) -> Iterator[str]:
    """Yield which attempts would go on from nearly one model."""
    homes, servers = train_rates(plan), server_rates(plan)
    first = [Rates(rate, servers[0]) for rate in homes]
    told: set[tuple[Rates, Rates]] = set()
    for best in homes:
        for one, other in combinations([*first, *(Rates(best, far) for far in servers[1:])], 2):
            near, far = sorted((one.train * one.server, other.train * other.server))
            if far < _APART * near and one != other and (one, other) not in told:
                told.add((one, other))
                yield (
                    f"attempts at {one.train:g} times train.learning_rate and {one.server:g} times "
                    f"the strategy's step, and at {other.train:g} and {other.server:g}, would go "
                    "on from nearly one model, and their sums could show a single home's update: "
                    f"choose rates whose products are {_APART:g} times apart or more"
                )


def _of(settings: TrainSettings | StrategySettings) -> tuple[float, ...]:
    return settings.rates if settings.rate == AUTO else (settings.rate,)
