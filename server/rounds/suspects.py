"""Homes that spoil sums: who is asked while they are searched for, and who is left out.

The search is :mod:`.part_search`, one for each group; parts are dealt from the epoch's seed, once
an epoch, as groups are. What was found so far outlives a kill; who is left out outlives the run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from fedhome.errors import StateError
from fedhome.plan.parts import can_do_without, fewest_in_a_part, parts_in
from fedhome.plan.settings import Plan
from fedhome.run.absent import UNTRIED
from fedhome.run.events import EventLog
from fedhome.secagg.graph import groups
from fedhome.server.rounds.left_out import LeftOut
from fedhome.server.rounds.part_search import PartSearch
from fedhome.store import disk

FOUND = "homes-left-out"
_SEARCH = "search.json"
_DEALT = b"fedhome/parts/1"
_THERE = 0.9  # of the homes that are there now, how many may be expected to answer


class Suspects:
    """Searches for homes that spoil sums.

    Args:
        plan: The plan.
        seed: The epoch's seed.
        names: All homes that can be asked.
        fleet: Homes in the fleet.
        left_out: Homes that are asked nothing more; who is found joins them.
        log: The run's log.
        folder: Where the search is kept; None: in memory.

    Raises:
        StateError: The search that was kept is damaged.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        seed: bytes,
        names: Iterable[str],
        fleet: int,
        left_out: LeftOut,
        log: EventLog,
        folder: Path | None = None,
    ) -> None:
        self._plan, self._seed, self._fleet = plan, seed, fleet
        self._left_out, self._log = left_out, log
        self._named = set(left_out.reasons)
        self._path = None if folder is None else folder / _SEARCH
        dealt = groups(seed, sorted(names), plan.aggregation.groups)
        self._groups = tuple(frozenset(members) for members in dealt)
        self._searches: dict[int, PartSearch] = {}
        self._untried: frozenset[str] = frozenset()
        self.stuck = ""
        """Why nobody can be left out although sums are spoilt, as a sentence; empty otherwise."""
        self._recall()

    @property
    def is_searching(self) -> bool:
        """Whether it may be found out which homes spoil sums: rounds that fail meanwhile may."""
        on = any(search.is_on for search in self._searches.values())
        parted = any(len(search.parts) > 1 for search in self._searches.values())
        return on and not self.stuck and (parted or len(self._groups) > 1)

    @property
    def staying(self) -> frozenset[str]:
        """All homes that are not left out, also those that are not there.

        Raises:
            StateError: The list of those that are cannot be read.
        """
        return frozenset().union(*self._groups).difference(self._left_out.reasons)

    def asked(self, there: Collection[str]) -> set[str]:
        """Return which of the homes that are there are to be asked now.

        Raises:
            StateError: The list of those that are left out cannot be read.
        """
        out = self._named_now()
        untried: frozenset[str] = frozenset()
        for number, search in self._searches.items():
            untried |= self._tried_without(number, search, set(there) - out, out | untried)
        if untried != self._untried:
            self._untried = untried
            self._log.append(UNTRIED, homes=sorted(untried))
        return set(there) - out - untried

    def _named_now(self) -> set[str]:
        """Return who is left out; the log names those of whom sums themselves showed it."""
        reasons = self._left_out.reasons
        for reason in sorted({reasons[home] for home in reasons.keys() - self._named}):
            homes = [one for one in reasons if reasons[one] == reason and one not in self._named]
            self._log.append(FOUND, homes=sorted(homes), reason=reason)
        self._named = set(reasons)
        return set(reasons)

    def _tried_without(
        self, number: int, search: PartSearch, there: set[str], out: set[str]
    ) -> frozenset[str]:
        """Return which homes of a group the next sum is to be without, to find out more."""
        members = self._groups[number]

        def enough_there(homes: frozenset[str]) -> bool:
            count = len((members & there) - homes)
            return self._enough(int(_THERE * count), members)

        for test in (enough_there, self._enough_without(members, out)):
            homes = search.leave_out(test)
            if homes is not None:
                return homes
        return frozenset()  # it is stuck

    def _enough_without(
        self, members: frozenset[str], out: Collection[str]
    ) -> Callable[[frozenset[str]], bool]:
        """Return whether a group's sum can be had without some homes, if all others are there."""
        return lambda homes: self._enough(len(members.difference(out, homes)), members)

    def held(self, group: int, kind: str, homes: Collection[str]) -> None:
        """Take note of a sum that is as honest homes make it.

        Args:
            group: Number of the group.
            kind: What was summed.
            homes: The homes in it.

        Raises:
            StateError: What is found cannot be written.
        """
        if group in self._searches:
            self._searches[group].held(kind, homes)
            self._conclude(group)

    def spoilt(self, group: int, kind: str, homes: Collection[str]) -> None:
        """Take note of a sum beyond what honest homes can add; arguments as of `held`.

        Without homes, it is not known any more who was in it: any of the group.
        """
        members = self._groups[group]
        if group not in self._searches:
            self._searches[group] = self._search_in(members)
        those = homes or members.difference(self._left_out.reasons)
        self._searches[group].spoilt(kind, those)
        self._conclude(group)

    def _conclude(self, number: int) -> None:
        """Leave out who is found, and keep the search."""
        search, self.stuck = self._searches[number], ""
        members = self._groups[number]
        while found := search.found():
            # Of two companies in which a home was, under two directories, one home was in both.
            found = found & self._left_out.suspected or found
            staying = members.difference(self._left_out.reasons, found)
            whole = not self._enough(len(staying), members)
            if whole and not self._others_than(number):
                self.stuck = self._why(members)
                break
            self._leave_out(found)
            if whole:
                others = members.difference(self._left_out.reasons)
                self._leave_out(others, "too few of its group are left for a sum")
            search.forget(members if whole else found)
        if search.leave_out(self._enough_without(members, self._left_out.reasons)) is None:
            self.stuck = self._why(members)
        self._keep()

    def _leave_out(self, homes: frozenset[str], reason: str = "") -> None:
        """Leave homes out until the next directory, and tell the log."""
        if not homes:
            return
        several = len(homes) > 1
        reason = reason or (
            f"sums with {', '.join(sorted(homes)) if several else 'it'} went beyond what homes "
            "that keep to the protocol can add, and none held"
            + (": one of them at least does not keep to it, as far as sums tell" if several else "")
        )
        self._left_out.add(homes, reason, suspected=True)
        self._log.append(FOUND, homes=sorted(homes), reason=reason)
        self._named |= homes

    def _others_than(self, number: int) -> bool:
        """Return whether sums of another group can be had."""
        out = set(self._left_out.reasons)
        return any(
            self._enough(len(members - out), members)
            for other, members in enumerate(self._groups)
            if other != number
        )

    def _enough(self, count: int, members: frozenset[str]) -> bool:
        return can_do_without(self._plan, count, group=len(members), fleet=self._fleet)

    def _search_in(self, members: frozenset[str]) -> PartSearch:
        count = parts_in(self._plan, len(members), fleet=self._fleet)
        seed = hashlib.sha256(_DEALT + self._seed).digest()
        return PartSearch(groups(seed, sorted(members), count))

    def _why(self, members: frozenset[str]) -> str:
        size = len(members)
        least = fewest_in_a_part(self._plan, parts=2, size=size // 2, fleet=self._fleet)
        if parts_in(self._plan, size, fleet=self._fleet) == 1:
            return (
                f"a home sends numbers beyond what homes that keep to the protocol add, and {size} "
                f"homes are too few to find out which: parts of {least} at least are asked apart"
            )
        return (
            "homes send numbers beyond what homes that keep to the protocol add, and more would "
            "have to be left out than a sum can do without: half of the homes at most"
        )

    def _keep(self) -> None:
        if self._path is None:
            return
        on = {n: search.to_plain() for n, search in self._searches.items() if search.is_on}
        record = {"seed": self._hash, "groups": on}
        disk.put(self._path, json.dumps(record).encode())

    def _recall(self) -> None:
        """Go on with a search of this epoch; another epoch's is of other parts."""
        if self._path is None or not self._path.exists():
            return
        try:
            record = json.loads(disk.read(self._path))
            if record["seed"] != self._hash:
                return
            for key, plain in record["groups"].items():
                number = int(key)
                self._searches[number] = self._search_in(self._groups[number])
                self._searches[number].recall(plain)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            raise StateError(
                f"{self._path} is damaged",
                reason="altered",
                hint="remove it: homes that spoil sums are then searched for anew",
            ) from None

    @property
    def _hash(self) -> str:
        return hashlib.sha256(self._seed).hexdigest()
