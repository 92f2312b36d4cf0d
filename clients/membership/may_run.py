"""Whether a home may run: what ``fedhome client start`` checks, and what its processes check."""

from __future__ import annotations

import os

from fedhome.clients.membership.consent_record import check_consent
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import PlanError, RunError
from fedhome.fleet.state_file import STATE
from fedhome.plan.settings import Plan
from fedhome.store import disk


def check_start(home_folder: HomeFolder) -> None:
    """Refuse to run a home that must not run.

    Raises:
        RunError: There is no home, it has left, nobody agreed to its plan, or the plan names no
            inputs.
        PlanError: This release does not take its plan.
        StateError: ``in-use``: its agent runs already; or a file is missing.
    """
    check_present(home_folder)
    check_consent(home_folder)
    check_named(_plan_of(home_folder), home_folder.settings.home)
    disk.read(home_folder.path / STATE)
    os.close(disk.lock(home_folder.path))


def check_named(plan: Plan, home: str) -> None:
    """Refuse a plan that does not say what its inputs are, such as one of an earlier release.

    Args:
        plan: The home's plan.
        home: The home's name.

    Raises:
        RunError: Its inputs are not named: homes would take different columns for the same.
    """
    if plan.data.inputs is None:
        raise RunError(
            f"the plan of {home} does not name its inputs, so its columns could be taken for "
            "others than in the rest of the fleet",
            hint=_asks_anew(home),
        )


def _plan_of(home_folder: HomeFolder) -> Plan:
    try:
        return Plan.load(home_folder.plan_path)
    except PlanError as error:  # it is the very plan that was agreed to
        raise PlanError(
            error.faults,
            where=str(home_folder.plan_path),
            hint="people agreed to it under an earlier release, which accepted it: "
            f"{_asks_anew(home_folder.settings.home)}",
        ) from None


def _asks_anew(home: str) -> str:
    return (
        f"the fleet's owner asks the home anew: `fedhome fleet invite {home} --again --like FILE`, "
        "then `fedhome client join`"
    )


def check_present(home_folder: HomeFolder) -> None:
    """Refuse a home that has left its fleet.

    Raises:
        RunError: It has, or there is none.
    """
    settings = home_folder.settings
    if home_folder.left:
        raise RunError(
            f"{settings.home} has left its fleet",
            hint="it can join again, with a new invite: `fedhome client join`",
        )


def is_running(home_folder: HomeFolder) -> bool:
    """Return whether a process, such as the agent, holds a home's folder."""
    return disk.is_locked(home_folder.path)
