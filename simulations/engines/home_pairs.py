"""Pairs of homes that mask together, numbered: what both ends share is kept once, in tables.

A pair is known for as long as both of its homes keep their keys. What it shares in one sum is
worked out for many pairs at once, and looked up for a home by the numbers of its pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from fedhome.secagg.masks import pair_info

SharedSecret = Callable[[X25519PrivateKey, bytes], bytes]
Derive = Callable[[Sequence[bytes], Sequence[bytes]], Sequence[bytes]]
_LEAST_ROOM = 64

_Numbers = NDArray[np.int64]


class OwnPairs(NamedTuple):
    """The pairs of a home and of others, in their order.

    Args:
        others: Keys of the others.
        numbers: Of each its pair's number, int64 ``[others]``.
        places: The same.
        distinct: Whether no other home is in it twice.
    """

    others: list[bytes]
    numbers: _Numbers
    places: list[int]
    distinct: bool


@dataclass
class HomePairs:
    """All pairs of the homes of a process.

    Attributes:
        seeds: Of each pair its seed in the last sum in which one of its homes agreed.
        adds: In that sum, which of the homes that agreed adds their stream; -1: none so far.
        subtracts: Which of them subtracts it.
    """

    seeds: list[bytes] = field(default_factory=list, repr=False)
    adds: _Numbers = field(default_factory=lambda: np.empty(0, np.int64), repr=False)
    subtracts: _Numbers = field(default_factory=lambda: np.empty(0, np.int64), repr=False)
    _turns: _Numbers = field(default_factory=lambda: np.empty(0, np.int64), repr=False)
    _secrets: list[bytes] = field(default_factory=list, repr=False)
    _infos: list[bytes] = field(default_factory=list, repr=False)
    _by_home: dict[bytes, dict[bytes, int]] = field(default_factory=dict, repr=False)
    _own: dict[bytes, OwnPairs] = field(default_factory=dict, repr=False)
    _between: tuple[AbstractSet[bytes], int, _Numbers] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.seeds)

    def between(self, homes: AbstractSet[bytes]) -> _Numbers:
        """Return the pairs of some homes that are known, int64 ``[pairs]``."""
        known = self._between
        if known is None or known[:2] != (homes, len(self)):
            numbers = [
                number
                for home in homes
                for other, number in self._by_home.get(home, {}).items()
                if home < other and other in homes
            ]
            known = self._between = homes, len(self), np.array(numbers, np.int64)
        return known[2]

    def lack(self, own_pk: bytes, others: Sequence[bytes]) -> bool:
        """Return whether some pairs of a home are not known yet."""
        known = self._own.get(own_pk)
        if known is not None and known.others == others:
            return False
        return not self._by_home.get(own_pk, {}).keys() >= set(others)

    def of(
        self, sk: X25519PrivateKey, own_pk: bytes, others: Sequence[bytes], agree: SharedSecret
    ) -> OwnPairs:
        """Return the pairs of a home and of each of some others; what is not known is agreed on.

        Args:
            sk: The home's private key.
            own_pk: Its public key.
            others: Those of the others.
            agree: What two keys come to.
        """
        known = self._own.get(own_pk)
        if known is None or known.others != others:
            numbers = self._by_home.setdefault(own_pk, {})
            for other in others:
                if other not in numbers:
                    number = self._add(agree(sk, other), pair_info(own_pk, other))
                    numbers[other] = self._by_home.setdefault(other, {})[own_pk] = number
            places = [numbers[other] for other in others]
            distinct = len(set(others)) == len(places)
            known = OwnPairs([*others], np.array(places, np.int64), places, distinct)
            self._own[own_pk] = known
        return known

    def behind(self, numbers: _Numbers, turn: int) -> _Numbers:
        """Return those of some pairs of which nothing was derived in a turn."""
        found: _Numbers = numbers[self._turns[numbers] != turn]
        return found

    def derive(self, numbers: _Numbers, turn: int, derive: Derive) -> None:
        """Derive what pairs share in a sum.

        Args:
            numbers: The pairs.
            turn: Number of the sum.
            derive: Derives seeds from secrets, and from what names the pairs.
        """
        places = numbers.tolist()
        secrets, infos = self._secrets, self._infos
        made = derive([secrets[one] for one in places], [infos[one] for one in places])
        for place, seed in zip(places, made, strict=True):
            self.seeds[place] = seed
        self._turns[numbers] = turn
        self.adds[numbers] = self.subtracts[numbers] = -1

    def _add(self, secret: bytes, info: bytes) -> int:
        """Add a pair, and return its number."""
        number = len(self)
        self._secrets.append(secret)
        self._infos.append(info)
        self.seeds.append(b"")
        if number == len(self._turns):
            more = max(_LEAST_ROOM, number)
            self._turns = np.concatenate([self._turns, np.zeros(more, np.int64)])
            self.adds = np.concatenate([self.adds, np.full(more, -1, np.int64)])
            self.subtracts = np.concatenate([self.subtracts, np.full(more, -1, np.int64)])
        return number
