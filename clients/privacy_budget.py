"""What a home lets sums cost it: its people's ceiling, held against its ledger before each sum.

The cost is worked out from the manifest that the home accepted, not from what a plan or a server
says of it: with less noise, or with fewer homes in the sum, the same sum costs more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from fedhome.errors import PrivacyBudgetError, RunError
from fedhome.plan.private_plan import is_private, private_run
from fedhome.plan.settings import Plan
from fedhome.privacy.accounting import epsilon_between, epsilon_of
from fedhome.privacy.privacy_ledger import PrivacyLedger
from fedhome.secagg.manifest import Manifest

if TYPE_CHECKING:
    from fedhome.clients.membership.home_folder import HomeFolder


class HomeBudget:
    """A home's budget.

    Args:
        ledger: What it has spent.
        ceiling: Returns the greatest epsilon, of all runs together, that its people allow.
        delta: For which that is meant.
    """

    def __init__(
        self, ledger: PrivacyLedger, *, ceiling: Callable[[], float], delta: float
    ) -> None:
        self.ledger = ledger
        self._ceiling, self._delta = ceiling, delta

    @property
    def spent(self) -> int:
        """What all sums have cost so far, in units of the ledger's."""
        return self.ledger.units

    @classmethod
    def of(cls, home_folder: HomeFolder, plan: Plan) -> HomeBudget | None:
        """Return the budget of the home in a folder; None where its plan has no noise.

        Args:
            home_folder: The home's folder.
            plan: Its plan.

        Raises:
            StateError: The ledger is damaged.
        """
        if not is_private(plan):
            return None
        return cls(
            PrivacyLedger(home_folder.path),
            ceiling=lambda: ceiling_of(home_folder, plan),
            delta=plan.privacy.delta,
        )

    def spend(self, manifest: Manifest, honest: int) -> None:
        """Count a sum that the home is about to take part in, or refuse it.

        Args:
            manifest: Its terms, which the home accepts otherwise.
            honest: Homes in it that surely add their noise and keep it to themselves.

        Raises:
            PrivacyBudgetError: ``noise``: the sum has none. ``budget``: it would cost too much.
            ManifestError: ``noise``: it is not asked with noise.
            ParameterError: Noise that hides nothing.
            StateError: The ledger cannot be written.
        """
        from fedhome.questions.private_sums import cost_of  # noqa: PLC0415 - for private plans alone

        if manifest.form.noise is None:
            raise PrivacyBudgetError(
                "a sum without noise was asked for, but this home's plan is to add it",
                reason="noise",
                hint="home and server must run the same plan",
            )
        cost = cost_of(manifest.form, manifest.purpose, honest)
        self.ledger.spend(manifest.run, cost, ceiling=self._ceiling(), delta=self._delta)


def ceiling_of(home_folder: HomeFolder, plan: Plan) -> float:
    """Return the greatest epsilon of all runs together that a home's people allow.

    Args:
        home_folder: The home's folder.
        plan: Its plan, whose own epsilon holds where its people set none.

    Raises:
        RunError: The folder's settings cannot be used.
    """
    own = _epsilon(home_folder.settings.privacy_ceiling, home_folder)
    return own or private_run(plan).epsilon


def set_ceiling(home_folder: HomeFolder, ceiling: float) -> None:
    """Set the greatest epsilon of all runs together; also while the home's agent runs.

    Args:
        home_folder: The home's folder.
        ceiling: The epsilon; 0: the plan's own.

    Raises:
        RunError: It is no epsilon, or the folder's settings cannot be used.
        StateError: The folder cannot be written.
    """
    settings = replace(home_folder.settings, privacy_ceiling=_epsilon(ceiling, home_folder))
    home_folder.change_settings(settings)


def _epsilon(given: float, home_folder: HomeFolder) -> float:
    if not (math.isfinite(given) and given >= 0):
        raise RunError(
            f"a privacy ceiling of {given!r} for {home_folder.path} is no epsilon",
            hint=f"set one: `fedhome client privacy {home_folder.path} --ceiling 4`",
        )
    return given


def statement_of(home_folder: HomeFolder) -> list[str]:
    """Return what a home has spent and may spend, in sentences for its people.

    Args:
        home_folder: The home's folder.

    Raises:
        RunError: Its settings cannot be used.
        StateError: Its ledger is damaged.
    """
    plan, ledger = Plan.load(home_folder.plan_path), PrivacyLedger(home_folder.path)
    delta = plan.privacy.delta
    lines = [
        f"run {entry.run.hex()[:12]}: {entry.sums} sums, epsilon {epsilon_of(entry.rho, delta):.3g}"
        for entry in ledger.runs
    ]
    spent = epsilon_of(ledger.rho, delta)
    if not is_private(plan):
        return [
            *lines,
            "this home's plan has no noise: what sums tell of it has no bound in privacy",
        ]
    ceiling = ceiling_of(home_folder, plan)
    between = epsilon_between(ledger.rho, delta)
    own = "set here" if home_folder.settings.privacy_ceiling else "the plan's own"
    return [
        *lines,
        f"spent over all runs: epsilon {spent:.3g} of {ceiling:.3g} ({own}), delta {delta:g}",
        f"between any two contents of its readings: epsilon {between:.3g}",
        "at the ceiling this home refuses every sum; `--ceiling` changes it",
    ]
