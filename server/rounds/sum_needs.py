"""What must be there for a round to have a sum: enough homes of a group, and enough members."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from fedhome.plan.protocol import fewest_there, quorum_of
from fedhome.plan.settings import Plan
from fedhome.secagg.graph import groups

HOMES, MEMBERS = "homes", "members of the committee"


@dataclass(frozen=True, kw_only=True)
class Lack:
    """What is too little for a sum.

    Args:
        what: Of what: `HOMES`, or `MEMBERS`.
        there: How many are there.
        of: Of how many.
        needed: How many it takes.
        missing: Names of those that are not there.
        left_out: Names of those that are asked nothing, and so are no help.
    """

    what: str
    there: int
    of: int
    needed: int
    missing: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SumNeeds:
    """What a round of a fleet needs.

    Args:
        plan: The plan.
        homes: Names of all homes.
        seed: The epoch's, which deals homes into groups.
        members: Names of the committee; empty where sums need none.
        threshold: How many of them open a sum.
    """

    plan: Plan
    homes: tuple[str, ...]
    seed: bytes = b""
    members: tuple[str, ...] = ()
    threshold: int = 0

    def lack(self, there: Collection[str], *, left_out: Collection[str] = ()) -> Lack | None:
        """Return why no round can have a sum now; None where one can.

        Args:
            there: Names of the homes that are connected.
            left_out: Names of homes that are asked nothing, though they may help to open sums.
        """
        able = set(there) - set(left_out)
        counts = [len(able.intersection(group)) for group in self._groups]
        usable = sum(n for n, least in zip(counts, self._needed, strict=True) if n >= least)
        if not usable or usable < quorum_of(self.plan, sum(counts)):
            place = max(range(len(counts)), key=lambda n: self._needed[n] - counts[n])
            group = self._groups[place]
            return self._of(HOMES, group, able, self._needed[place], left_out)
        if len(set(self.members).intersection(there)) < self.threshold:
            return self._of(MEMBERS, self.members, set(there), self.threshold, ())
        return None

    @staticmethod
    def _of(
        what: str, all_: Sequence[str], able: set[str], needed: int, left_out: Collection[str]
    ) -> Lack:
        return Lack(
            what=what,
            there=len(able.intersection(all_)),
            of=len(all_),
            needed=needed,
            missing=tuple(sorted(set(all_) - able - set(left_out))),
            left_out=tuple(sorted(set(all_).intersection(left_out))),
        )

    @cached_property
    def _groups(self) -> tuple[tuple[str, ...], ...]:
        if self.plan.aggregation.mode == "plain":
            return (self.homes,)
        return groups(self.seed, sorted(self.homes), self.plan.aggregation.groups)

    @cached_property
    def _needed(self) -> list[int]:
        fleet = len(self.homes)
        return [fewest_there(self.plan, fleet=fleet, group=len(one)) for one in self._groups]
