"""Over which homes the server sums numbers that are nearly those of a sum about the same model.

Members open no such sum that tells few homes apart from the others (:mod:`fedhome.secagg.alike`).
So where a home went away or came between two such questions, some more are left out of the second:
then what the sums differ by are as many homes as a sum takes at least.
"""

from __future__ import annotations

from collections.abc import Collection

from fedhome.counted import counted
from fedhome.errors import OpeningError
from fedhome.plan.protocol import policy_of
from fedhome.plan.settings import Plan
from fedhome.secagg.alike import fitting
from fedhome.secagg.manifest import alike_to
from fedhome.server.rounds.sum_journal import SumJournal, name_of

_HINT = "it is asked for again: then the same homes may be there"


class AlikeHomes:
    """Chooses homes for the sums of a run.

    Args:
        plan: The plan.
        journal: Remembers who was in sums.
        fleet: Homes in the fleet.
    """

    def __init__(self, plan: Plan, journal: SumJournal, *, fleet: int) -> None:
        self._journal, self._fleet, self._groups = journal, fleet, plan.aggregation.groups
        self._policy = policy_of(plan)

    def fitting(
        self,
        homes: Collection[str],
        *,
        purpose: str,
        model_hash: bytes,
        group: int,
        notes: list[str],
    ) -> set[str]:
        """Return which of some homes a sum may be over; tell how many are left out.

        Args:
            homes: Those that are there, or have answered.
            purpose: What is summed.
            model_hash: SHA-256 of the model.
            group: Number of their group.
            notes: Takes what was noticed on the way.

        Raises:
            OpeningError: ``alike``: there are too few of them.
        """
        there, before = set(homes), self.before(purpose, model_hash, group)
        if not before:
            return there
        least = self._policy.least_sum(self._fleet, roster=len(there), groups=self._groups)
        kept = fitting(list(before.values()), there, least=least, salt=model_hash)
        others = ", ".join(map(repr, before))
        about = (
            f"a sum of {purpose!r} would tell fewer than {least} homes apart from that of {others}"
        )
        if len(kept) < least:
            raise OpeningError(
                f"{about}: of {counted(len(there), 'home')} that "
                "are there, too few were in that one, or too many are missing",
                reason="alike",
                hint=_HINT,
            )
        if left := len(there) - len(kept):
            notes.append(f"{about}: {counted(left, 'home')} left out of it")
        return kept

    def before(self, purpose: str, model_hash: bytes, group: int) -> dict[str, frozenset[str]]:
        """Return who is in sums of nearly the same numbers that members were asked to open.

        Args:
            purpose: What is summed.
            model_hash: SHA-256 of the model.
            group: Number of the group.

        Returns:
            The homes' names, by what was summed.
        """
        known = {
            other: self._journal.homes_in(name_of(other, model_hash, group))
            for other in alike_to(purpose)
        }
        return {other: homes for other, homes in known.items() if homes is not None}
