"""What noise is realistic: how large it is beside what homes learn, and for how large a model.

Two measures, both of the mean update of one round: the noise in each number, and the length of all
of it, in clips. docs/privacy.md has the runs that their bounds are read off; up to them a model
loses a few hundredths of its skill at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedhome.counted import chance_in_words
from fedhome.errors import PlanError
from fedhome.plan.private_plan import TRAIN, check_delta, cohort_of, is_private, private_run
from fedhome.plan.settings import Plan

LONGEST_NOISE = 1.0
"""Length of a round's noise, in clips, up to which a model loses little."""
MOST_ERROR = 0.05
"""Noise in each number of a round's mean, in clips, up to which a model loses little."""
_MOST_HOMES = 1 << 24


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a private plan comes to in a fleet.

    Args:
        homes: Homes in the fleet, all of which arrive.
        honest: Homes whose noise alone is counted on.
        rounds: Rounds.
        epsilon: Of the whole run, against a home that adds nothing but its noise.
        delta: For which that holds.
        between: The epsilon between any two contents of a home's readings.
        noise_multiplier: Noise of those homes' sum of updates, in clips.
    """

    homes: int
    honest: int
    rounds: int
    epsilon: float
    delta: float
    between: float
    noise_multiplier: float

    @classmethod
    def of(cls, plan: Plan, homes: int) -> Outlook:
        """Return what a private plan comes to.

        Args:
            plan: The plan, whose homes add noise.
            homes: Homes in the fleet.

        Raises:
            PlanError: No sum over so few homes is opened.
        """
        run = private_run(plan)
        return cls(
            homes=homes,
            honest=cohort_of(plan, TRAIN, homes).honest,
            rounds=plan.rounds.count,
            epsilon=run.epsilon,
            delta=run.delta,
            between=run.between,
            noise_multiplier=run.noise_multiplier,
        )

    @property
    def noise_of_a_home(self) -> float:
        """Standard deviation of each home's noise, in clips."""
        return self.noise_multiplier / math.sqrt(self.honest)

    @property
    def error_of_the_mean(self) -> float:
        """Standard deviation of the noise in each number of the mean update, in clips."""
        return self.noise_of_a_home / math.sqrt(self.homes)

    @property
    def largest_model(self) -> int:
        """How many numbers an update may have for the noise to be no longer than a clip.

        0 where the noise in a single number is too much for a model of any size.
        """
        if self.error_of_the_mean > MOST_ERROR:
            return 0
        return math.floor((LONGEST_NOISE / self.error_of_the_mean) ** 2)

    @property
    def largest_in_words(self) -> str:
        """The largest model, and why."""
        if not self.largest_model:
            return (
                f"none: {self.error_of_the_mean:.2g} clips of noise in each number of a round's "
                f"mean, and above {MOST_ERROR:g} a model of any size loses skill"
            )
        return (
            f"about {self.largest_model:,} parameters: the noise in a round's mean is then one "
            "clip long"
        )

    def noise_length(self, parameters: int) -> float:
        """Return the length of the noise in the mean update of a round, in clips."""
        return self.error_of_the_mean * math.sqrt(parameters)

    def excess(self, parameters: int) -> float:
        """Return how many times the noise is as large as a model of this size bears."""
        length = self.noise_length(parameters) / LONGEST_NOISE
        return max(length, self.error_of_the_mean / MOST_ERROR)


def ways_out(plan: Plan, homes: int, parameters: int) -> list[str]:
    """Return what would make a model of this size realistic, one change at a time, in sentences.

    Args:
        plan: The plan, whose homes add noise.
        homes: Homes in the fleet.
        parameters: Numbers of an update.
    """
    now = Outlook.of(plan, homes)
    excess = now.excess(parameters)
    if excess <= 1:
        return []
    largest = now.largest_model
    ways = [f"a model of at most {largest:,} parameters"] if largest else []
    enough = homes
    while enough < _MOST_HOMES and Outlook.of(plan, enough).largest_model < parameters:
        enough = math.ceil(1.05 * enough)
    if enough < _MOST_HOMES:
        ways.append(f"about {_rounded(enough):,} homes")
    rounds = math.floor(now.rounds / excess**2)
    if rounds >= 1:
        ways.append(f"{rounds} {'round' if rounds == 1 else 'rounds'} in place of {now.rounds}")
    needed = _epsilon_for(plan, homes, parameters)
    if needed is not None:
        ways.append(f"epsilon {needed:.2g}, which promises {'less' if needed < 20 else 'little'}")  # noqa: PLR2004
    return ways


def privacy_lines(plan: Plan, homes: int) -> list[tuple[str, str]]:
    """Return what a plan promises of each home's privacy, as rows of a table: what, and how much.

    Args:
        plan: The plan.
        homes: Homes in the fleet.

    Raises:
        PlanError: The plan has noise, and no sum over so few homes is opened.
    """
    if not is_private(plan):
        return [("noise", "none: what sums tell of a home has no bound (privacy.mechanism)")]
    check_delta(plan, homes)
    outlook = Outlook.of(plan, homes)
    return [
        (
            "noise",
            (
                f"{outlook.noise_of_a_home:.3g} clips from each home in each number, so that "
                f"{outlook.honest} of them make {outlook.noise_multiplier:.3g}"
            ),
        ),
        (
            "privacy",
            (
                f"a run costs a home epsilon {outlook.epsilon:.3g} at most, but for a chance of "
                f"{chance_in_words(outlook.delta)}; the home counts that itself, over all runs"
            ),
        ),
        ("largest model", outlook.largest_in_words),
    ]


def with_noise(plan: Plan, *, epsilon: float, delta: float, rounds: int) -> Plan:
    """Return a plan with noise for this privacy.

    Args:
        plan: The plan.
        epsilon: Of the whole run.
        delta: For which that holds.
        rounds: Rounds.

    Raises:
        PlanError: It does not hold.
    """
    privacy = {
        "mechanism": "discrete-gaussian",
        "epsilon": epsilon,
        "delta": delta,
        "noise_multiplier": None,
    }
    return plan.change(rounds={"count": rounds}, privacy=privacy)


def _epsilon_for(plan: Plan, homes: int, parameters: int) -> float | None:
    """Return the least epsilon, of a few, under which a model is realistic; None: of none."""
    for epsilon in (*range(1, 20), *range(20, 105, 5)):
        try:
            tried = with_noise(
                plan,
                epsilon=float(epsilon),
                delta=plan.privacy.delta,
                rounds=plan.rounds.count,
            )
        except PlanError:
            continue
        if Outlook.of(tried, homes).largest_model >= parameters:
            return float(epsilon)
    return None


def _rounded(number: int) -> int:
    """Return a number with two significant digits, rounded up."""
    unit = int(f"1{'0' * max(0, len(str(number)) - 2)}")
    return -(-number // unit) * unit
