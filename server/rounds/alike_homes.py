"""Over which homes the server sums numbers that are nearly those of a sum about the same model.

Members open no such sum that tells few homes apart from the others (:mod:`fedhome.secagg.alike`).
So where a home went away or came between two such questions, some more are left out of the second:
then what the sums differ by are as many homes as a sum takes at least.

A model that differs from another one in last digits is the same here: what is asked about it is
held against what was asked about that. Members cannot tell; an honest server can.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from fedhome.counted import counted
from fedhome.errors import OpeningError, RoundError
from fedhome.plan.protocol import policy_of
from fedhome.plan.settings import Plan
from fedhome.secagg.alike import fitting
from fedhome.secagg.manifest import alike_to
from fedhome.server.rounds.sum_journal import SumJournal, name_of
from fedhome.wire.layout import model_hash as hash_of

_HINT = "it is asked for again: then the same homes may be there"


class AlikeHomes:
    """Chooses homes for the sums of a run.

    Args:
        plan: The plan.
        journal: Remembers who was in sums.
        fleet: Homes in the fleet.
        asked: Returns the names of homes that may be asked: for others no run waits; None: all.
    """

    def __init__(
        self,
        plan: Plan,
        journal: SumJournal,
        *,
        fleet: int,
        asked: Callable[[], Collection[str]] | None = None,
    ) -> None:
        self._journal, self._fleet, self._groups = journal, fleet, plan.aggregation.groups
        self._policy, self._asked = policy_of(plan), asked
        self._nearly: dict[bytes, tuple[bytes, ...]] = {}

    def next_to(self, model: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a model that differs from one in last digits, ``[size]``.

        From now on sums about it are held against those about that one.

        Raises:
            RoundError: There is a sum about that one of which it is not known who is in it.
        """
        if self._journal.elsewhere(hash_of(model)):
            raise RoundError(
                "homes have helped to open a sum about the run's model that is not among its own: "
                "another server has the keys of this one, its folder was put back, that of a run "
                "before was removed, or another run began with the same model; a second sum beside "
                "that one could tell of single homes",
                hint="let one server run, with the newest copy of its folder, and begin another "
                "run; where that ends so, too: `fedhome server run PLAN --fresh`, with a new model",
            )
        other = np.nextafter(model, np.float32(np.inf))
        before = hash_of(model)
        self._nearly[hash_of(other)] = (*self._nearly.get(before, ()), before)
        return other

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
        kept = fitting([homes for _, homes in before], there, least=least, salt=model_hash)
        others = ", ".join(dict.fromkeys(told for told, _ in before))
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

    def before(
        self, purpose: str, model_hash: bytes, group: int
    ) -> list[tuple[str, frozenset[str]]]:
        """Return who is in sums of nearly the same numbers that members were asked to open.

        Args:
            purpose: What is summed.
            model_hash: SHA-256 of the model.
            group: Number of the group.

        Returns:
            Of each what was summed, in words, and the homes' names: of sums about another model
            those alone that may be asked again.
        """
        same = [
            (repr(other), self._journal.homes_in(name_of(other, model_hash, group)))
            for other in alike_to(purpose)
        ]
        models = self._nearly.get(model_hash, ())
        may = None if self._asked is None or not models else frozenset(self._asked())
        nearly = [
            (f"{other!r} about a model that hardly differs", homes if may is None else homes & may)
            for model in models
            for other in (purpose, *alike_to(purpose))
            for number in range(self._groups)  # a new directory deals them anew
            if (homes := self._journal.homes_in(name_of(other, model, number))) is not None
        ]
        return [(told, homes) for told, homes in (*same, *nearly) if homes]

    def check_share(self, asked: int, *, members: int) -> None:
        """Refuse a sum over less of its group than homes take part in.

        Args:
            asked: Homes that a sum may be over.
            members: Homes in the group.

        Raises:
            OpeningError: ``alike``.
        """
        if asked < self._policy.least_share * members:
            raise OpeningError(
                f"of {members} homes {asked} may be in a sum that tells few apart from others: "
                "homes take part in none over so little of their group",
                reason="alike",
                hint=_HINT,
            )
