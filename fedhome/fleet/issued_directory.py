"""A directory that a fleet's owner signed: its committee's numbers, and what it changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedhome.errors import ParameterError
from fedhome.secagg.directory import Directory
from fedhome.secagg.home_entry import HomeEntry
from fedhome.secagg.parameters import Parameters

LEAST_IN_A_SUM = 5
"""Fewest homes in any sum, unless the plan says otherwise."""
DIRECTORY_DAYS = 400
"""How long a directory holds, unless the owner says otherwise: who keeps the key offline signs
once a year."""
_DAY_S = 86_400


@dataclass(frozen=True, kw_only=True)
class IssuedDirectory:
    """A directory that was signed.

    Args:
        directory: What is in it.
        data: As server and homes get it, with the signature.
        changes: What became of each home since the last epoch, for those that changed.
        parameters: Where the committee's numbers come from.
        whole: Whether enough of the owner's keys have signed; else it is a draft.
    """

    directory: Directory
    data: bytes
    changes: dict[str, str]
    parameters: Parameters
    whole: bool = True


def parameters_for(
    entries: Sequence[HomeEntry],
    *,
    corrupt: float,
    dropped: float,
    committee: int | None,
    min_cohort: int | None,
) -> Parameters:
    """Return the committee's numbers for a list of homes.

    Args:
        entries: The homes.
        corrupt: Share of homes that may work for an attacker.
        dropped: Share of homes that may be absent when a sum is opened.
        committee: How many homes serve; None: as many as needed.
        min_cohort: Fewest homes in any sum; None: five.

    Raises:
        ParameterError: Too few homes, or no committee keeps its promises.
    """
    try:
        return Parameters.derive(
            homes=len(entries),
            pool=len(entries),
            eligible=sum(entry.eligible for entry in entries),
            corrupt=corrupt,
            dropped=dropped,
            committee=committee,
            min_cohort=LEAST_IN_A_SUM if min_cohort is None else min_cohort,
        )
    except ParameterError as error:
        hint = error.hint or "add homes with `fedhome fleet invite`, then sign the directory"
        raise ParameterError(error.message, reason=error.reason, hint=hint) from None


def keys_of(entry: HomeEntry) -> tuple[bytes, bytes]:
    """Return both public keys of a home."""
    return entry.identity, entry.share


def changes_between(last: Directory | None, now: Mapping[str, HomeEntry]) -> dict[str, str]:
    """Return what became of each home that changed.

    Args:
        last: The last directory; None: there was none.
        now: The list of homes.
    """
    before = last.entries if last else {}
    changes = {}
    for home in sorted(before.keys() | now.keys()):
        old, new = before.get(home), now.get(home)
        if old is None:
            changes[home] = "new"
        elif new is None:
            changes[home] = "left out"
        elif keys_of(old) != keys_of(new):
            changes[home] = "new keys"
        elif old.eligible != new.eligible:
            changes[home] = "may serve" if new.eligible else "may not serve"
        elif old.tier != new.tier:
            changes[home] = f"carries {new.tier or 'no tier'}, and not {old.tier or 'none'}"
    return changes


def validity_s(last: Directory | None, days: float | None) -> int:
    """Return how long the next directory holds, in s.

    Args:
        last: The last directory; None: there was none.
        days: What the owner says; None: as long as the last one, or `DIRECTORY_DAYS`.
    """
    if days is None and last is not None and last.expires > last.issued:
        return last.expires - last.issued
    return round((DIRECTORY_DAYS if days is None else days) * _DAY_S)
