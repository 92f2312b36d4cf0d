"""The server's side of noise: what each sum's form says of it, and what the run has spent.

What is spent is in the log before homes are asked, so that a killed server counts a sum that it
asks for again twice, as homes do.
"""

from __future__ import annotations

import math
from dataclasses import replace

from fedhome.errors import PrivacyBudgetError
from fedhome.plan.privacy_outlook import Outlook
from fedhome.plan.private_plan import check_size, cohort_of, is_private, noise_of, private_run
from fedhome.plan.settings import Plan
from fedhome.privacy.accounting import epsilon_of
from fedhome.questions.private_sums import cost_of, scalars_of, sensitivity
from fedhome.run.events import SPENT, EventLog, read_events
from fedhome.secagg.fixedpoint import FixedPoint
from fedhome.secagg.form import Form
from fedhome.secagg.scalars import Scalar

_TOLERANCE = 1 + 1e-9


class NoiseBudget:
    """What a private run may cost, and what it has.

    Args:
        plan: The plan, whose homes add noise.
        homes: Homes in the fleet.
        parameters: Numbers of an update.
        log: The run's log.

    Raises:
        PlanError: Noise that cannot be made for this fleet or model.
    """

    def __init__(self, plan: Plan, *, homes: int, parameters: int, log: EventLog) -> None:
        check_size(plan, parameters)
        self._plan, self._homes, self._log = plan, homes, log
        self.run = private_run(plan)
        for kind in self.run.counts:
            cohort_of(plan, kind, homes)
        before = [e.data for e in read_events(log.path, skip_torn=True) if e.event == SPENT]
        self.rho = float(str(before[-1]["rho"])) if before else 0.0
        outlook = Outlook.of(plan, homes)
        if not before and outlook.excess(parameters) > 1:
            log.append(
                "note",
                text=f"homes' noise is more than this model can bear: "
                f"{outlook.noise_length(parameters):.2g} clips long in a round's mean, "
                f"{outlook.error_of_the_mean:.2g} in each number. `fedhome privacy plan --homes "
                f"{homes} --epsilon {outlook.epsilon:.3g} --rounds {outlook.rounds} --parameters "
                f"{parameters}` says what would do",
            )

    @classmethod
    def of(cls, plan: Plan, *, homes: int, parameters: int, log: EventLog) -> NoiseBudget | None:
        """Return a plan's budget; None where its homes add no noise; see the class."""
        if not is_private(plan):
            return None
        return cls(plan, homes=homes, parameters=parameters, log=log)

    def form_of(self, kind: str, form: Form) -> Form:
        """Return a sum's form with its noise.

        Args:
            kind: Type of the message.
            form: The form without.

        Raises:
            ManifestError: It is not asked with noise.
            PlanError: Such noise cannot be made.
        """
        fixed = replace(form.fixed, clip=self._plan.privacy.clip, norm="l2", weight_cap=1)
        scalars = scalars_of(kind, form.scalars, fixed.bits)
        bare = replace(form, fixed=fixed, scalars=scalars)
        noise = noise_of(self._plan, kind, self._homes, sensitivity(bare, kind))
        return replace(bare, noise=noise)

    def homes_of_noise(self, kind: str, scalars: tuple[Scalar, ...]) -> float:
        """Return the standard deviation of a count's noise where all homes arrive, in homes.

        Args:
            kind: Type of the message.
            scalars: Its flags, as they are summed without noise.
        """
        fixed = FixedPoint(self._plan.aggregation.bits, self._plan.privacy.clip, "l2", 1)
        form = self.form_of(kind, Form(0, bytes(32), fixed, scalars, self._homes))
        assert form.noise is not None, "it was just given"
        return form.noise.sigma * math.sqrt(self._homes) / form.scalars[0].steps

    def spend(self, kind: str, form: Form, round_number: int) -> None:
        """Count a sum that is about to be asked for.

        Args:
            kind: Type of the message.
            form: Its form.
            round_number: Number of the round.

        Raises:
            PrivacyBudgetError: The run would cost more than its plan says.
        """
        honest = cohort_of(self._plan, kind, self._homes).honest
        rho = self.rho + cost_of(form, kind.rpartition(".")[2], honest)
        if rho > self.run.rho * _TOLERANCE:
            raise PrivacyBudgetError(
                f"another sum for {kind!r} would cost more than the plan's epsilon of "
                f"{self.run.epsilon:.3g}",
                reason="budget",
                hint="sums that were asked for again are paid twice: the run ends here",
            )
        self.rho = rho
        self._log.append(
            SPENT,
            round=round_number,
            stage=kind,
            rho=rho,
            epsilon=epsilon_of(rho, self.run.delta),
            delta=self.run.delta,
            mechanism=self._plan.privacy.mechanism,
            noise_multiplier=self.run.noise_multiplier,
        )
