"""Which part of a group of homes spoils its sums: it is in those that are spoilt and in no other.

Sums of ordinary rounds are tests of the homes in them: one that holds clears its homes, one beyond
what honest homes can add holds a cheat. Parts of the group are left out of a round by turns, half
of those in question at a time, so that each such sum halves them. Nobody is asked twice about one
model, and a sum is over whole parts: whatever sums are combined, what they tell is of a part.

Source: "definite defectives" in Aldridge, Johnson, Scarlett, "Group testing: an information theory
perspective", 2019, section 2.4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable
from typing import Any

_SURE = 2
"""In how many spoilt sums homes must have been: one may come of a fault that passes."""


class PartSearch:
    """What is known of one group's homes.

    Args:
        parts: The group's homes, dealt into parts.
    """

    def __init__(self, parts: Iterable[Collection[str]]) -> None:
        self.parts = tuple(frozenset(part) for part in parts)
        self._spoilt: list[tuple[str, frozenset[str]]] = []
        self._cleared: dict[str, set[str]] = {}

    @property
    def is_on(self) -> bool:
        """Whether there is a spoilt sum that nobody who was found explains."""
        return bool(self._spoilt)

    def held(self, kind: str, homes: Collection[str]) -> None:
        """Take note of a sum that is as honest homes make it.

        Args:
            kind: What was summed: who spoils one kind of sum may leave others alone.
            homes: The homes in it.
        """
        if self.is_on:
            self._cleared.setdefault(kind, set()).update(homes)
            self._tidy()

    def spoilt(self, kind: str, homes: Collection[str]) -> None:
        """Take note of a sum that is beyond what honest homes can add; arguments as of `held`."""
        cleared = self._cleared.setdefault(kind, set())
        if cleared.issuperset(homes):  # one of them has begun since
            cleared.difference_update(homes)
        self._spoilt.append((kind, frozenset(homes)))

    def found(self) -> frozenset[str]:
        """Return homes of one part, one of which cheats; empty where that is not known.

        Of some spoilt sum's homes they alone were in no sum that held, and in two that were spoilt.
        """
        for homes in self._open():
            sums = sum(homes <= others for _, others in self._spoilt)
            if len(self._touched(homes)) == 1 and sums >= _SURE:
                return homes
        return frozenset()

    def forget(self, homes: Collection[str]) -> None:
        """Forget the spoilt sums that homes were in who are left out from now on."""
        self._spoilt = [one for one in self._spoilt if one[1].isdisjoint(homes)]
        self._tidy()

    def leave_out(self, enough: Callable[[frozenset[str]], bool]) -> frozenset[str] | None:
        """Return the homes of the parts that the next sum is to be without.

        Of each spoilt sum a part is left out, of all of them half of those that are in question.

        Args:
            enough: Whether a sum without these homes can be had.

        Returns:
            The homes; None where no sum can be had that could hold.
        """
        open_parts = [self._touched(homes) for homes in self._open()]
        several = [parts for parts in open_parts if len(parts) > 1]
        if not several:  # nothing is in question, or one part, which is asked once more
            return frozenset()
        drawn = self._drawn(frozenset.intersection(*several) or frozenset.union(*several))
        for size in range((len(drawn) + 1) // 2, -1, -1):
            chosen = _hitting(several, drawn[:size])
            homes = frozenset().union(*(self.parts[part] for part in chosen))
            if enough(homes):
                return homes
        return None

    def to_plain(self) -> dict[str, Any]:
        """Return what is known as JSON."""
        return {
            "spoilt": [[kind, sorted(homes)] for kind, homes in self._spoilt],
            "cleared": {kind: sorted(homes) for kind, homes in self._cleared.items()},
        }

    def recall(self, plain: dict[str, Any]) -> None:
        """Go on from what `to_plain` returned.

        Raises:
            ValueError, TypeError, KeyError: From anything else.
        """
        self._spoilt = [(str(kind), frozenset(homes)) for kind, homes in plain["spoilt"]]
        self._cleared = {kind: set(homes) for kind, homes in plain["cleared"].items()}

    def _open(self) -> list[frozenset[str]]:
        """Return of each spoilt sum the homes that no sum has cleared."""
        return [homes - self._cleared.get(kind, set()) for kind, homes in self._spoilt]

    def _touched(self, homes: frozenset[str]) -> frozenset[int]:
        """Return the parts that some homes are of."""
        return frozenset(index for index, part in enumerate(self.parts) if part & homes)

    def _drawn(self, parts: frozenset[int]) -> list[int]:
        """Return parts in an order that is another one after each spoilt sum."""
        salt = f"{len(self._spoilt)}"
        return sorted(parts, key=lambda part: hashlib.sha256(f"{salt}-{part}".encode()).digest())

    def _tidy(self) -> None:
        spoilt = zip(self._spoilt, self._open(), strict=True)
        self._spoilt = [one for one, homes in spoilt if homes]
        if not self._spoilt:
            self._cleared.clear()


def _hitting(sets: list[frozenset[int]], chosen: Iterable[int]) -> set[int]:
    """Return what was chosen and as little more as it takes to have something of each set."""
    hitting = set(chosen)
    while left := [one for one in sets if hitting.isdisjoint(one)]:
        candidates = sorted(frozenset.union(*left))
        hitting.add(max(candidates, key=lambda item: sum(item in one for one in left)))
    return hitting
