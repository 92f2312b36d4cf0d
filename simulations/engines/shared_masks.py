"""Masks of the homes of one process: what both ends of a pair would make is made once for both.

Two homes of a pair agree on one key, and make the same stream of it. Here the first one to agree
leaves the key for the other, and the first one to mask makes the masks of all homes that have
agreed by then, pair after pair: a row for each, to which every stream between two of them is added
with the one sign and with the other. A home adds its row, and the streams that it has with others.
The words that leave are those of :func:`.add_masks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from fedhome.keys.keystream import PIECE_BYTES, ROOM_BYTES, aes_keystream
from fedhome.secagg.masks import add_masks, check_masks, seeds_of, shared_secret

_MOST_PAIRS = 1 << 17  # whose secrets are remembered: 40 MB; a complete graph of 256 has 32 640
_MOST_ROW_BYTES = 1 << 28  # of the homes that are masked together
_AT_ONCE, _AT_ONCE_BYTES = 16, 1 << 18  # streams that are made, then added: they stay in the cache
_LINE_BYTES = 64

_Words = NDArray[np.unsignedinteger[Any]]


class _Agreed(NamedTuple):
    """What one home has agreed on, for one sum.

    Args:
        place: How many of the process agreed before it.
        plus: Of each home behind it in the roster the key that both share, by its public key.
        minus: Of each home before it, whose streams it subtracts.
        adding: Of homes that agreed before it and subtract what it adds, place and key.
        subtracting: Of those that add what it subtracts.
    """

    place: int
    plus: dict[bytes, bytes]
    minus: dict[bytes, bytes]
    adding: list[tuple[int, bytes]]
    subtracting: list[tuple[int, bytes]]


class _Row(NamedTuple):
    """Masks that are made for a home.

    Args:
        words: Their sum, unsigned ``[words]``.
        plus: Seeds of all pairs whose streams the home adds.
        minus: Of those that it subtracts.
        others: Seeds of ``plus`` and of ``minus`` that are not in the sum.
    """

    words: _Words
    plus: list[bytes]
    minus: list[bytes]
    others: Sequence[list[bytes]]


class SharedMasks:
    """What the homes of a process make of masks for each other, one sum at a time."""

    def __init__(self) -> None:
        self._secrets: dict[
            bytes, dict[bytes, bytes]
        ] = {}  # by both ends, the first to agree first
        self._pairs = 0
        self._salt = b""
        self._agreed: dict[bytes, _Agreed] = {}
        self._rows: dict[bytes, _Row] = {}
        self._made = 0  # homes that had their turn to have rows made, in the order of agreement
        self._words: _Words = np.zeros((0, 0), np.uint16)
        self._drawn = np.zeros((0, 0), np.uint8)

    def agree(
        self,
        sk: X25519PrivateKey,
        own_pk: bytes,
        others: Sequence[bytes],
        salt: bytes,
        before: int,
    ) -> list[bytes]:
        """Do what :func:`fedhome.secagg.masks.pair_seeds` does, for both homes of a pair at once.

        X25519 gives both the same. What two keys come to is remembered for as long as homes keep
        their keys, and what follows from it for one sum.
        """
        if salt != self._salt:  # of an earlier sum, some of whose homes did not come
            self._salt, self._made = salt, 0
            self._agreed.clear()
            self._rows.clear()
        agreed = self._agreed
        found, new = list[bytes | None](), list[bytes]()
        adding, subtracting = list[tuple[int, bytes]](), list[tuple[int, bytes]]()
        for adds, shared in ((False, subtracting), (True, adding)):
            for other in others[before:] if adds else others[:before]:
                theirs, seed = agreed.get(other), None
                if theirs is not None:
                    plus, minus = theirs.plus, theirs.minus
                    opposite, same = (minus, plus) if adds else (plus, minus)
                    seed = opposite.get(own_pk)
                    if seed is not None:  # both ends hold the same, with opposite signs
                        shared.append((theirs.place, seed))
                    else:
                        seed = same.get(own_pk)
                if seed is None:
                    new.append(other)
                found.append(seed)
        made = iter(seeds_of(self._secrets_with(sk, own_pk, new), own_pk, new, salt))
        seeds = [next(made) if seed is None else seed for seed in found]
        # A home that has another one twice, which no manifest lists, masks by itself.
        if own_pk not in agreed and len(set(others)) == len(others):
            pairs = list(zip(others, seeds, strict=True))
            plus, minus = dict(pairs[before:]), dict(pairs[:before])
            agreed[own_pk] = _Agreed(len(agreed), plus, minus, adding, subtracting)
        return seeds

    def _secrets_with(
        self, sk: X25519PrivateKey, own_pk: bytes, others: Sequence[bytes]
    ) -> list[bytes]:
        """Return the secret that a home shares with each of some others."""
        own, known, nothing = self._secrets.get(own_pk, {}), self._secrets.get, dict[bytes, bytes]()
        found = []
        for other in others:
            shared = own.get(other) or known(other, nothing).get(own_pk)
            if shared is None:
                if self._pairs >= _MOST_PAIRS:
                    self._secrets.clear()
                    self._pairs = 0
                shared = shared_secret(sk, other)
                own = self._secrets.setdefault(own_pk, {})
                own[other] = shared
                self._pairs += 1
            found.append(shared)
        return found

    def add(
        self,
        vector: _Words,
        plus: Sequence[bytes],
        minus: Sequence[bytes],
        *,
        own_pk: bytes,
        salt: bytes,
        workers: Executor | None = None,
    ) -> None:
        """Do what :func:`fedhome.secagg.masks.add_masks` does.

        Args:
            vector: As of `add_masks`.
            plus: As of `add_masks`; the pairs' in the order in which the home agreed, and last.
            minus: As of `add_masks`; in the order in which the home agreed.
            own_pk: The home's one-time public key.
            salt: Of the sum for which the home has agreed.
            workers: As of `add_masks`.
        """
        check_masks(vector, (*plus, *minus))
        row = self._row(own_pk, vector) if salt == self._salt else None
        if row is not None:
            own = len(plus) - len(row.plus)
            # A row is of use only to a home that would add just what it was made of.
            if own >= 0 and minus == row.minus and plus[own:] == row.plus:
                np.add(vector, row.words, out=vector)
                plus, minus = [*plus[:own], *row.others[0]], row.others[1]
        add_masks(vector, plus, minus, workers=workers)

    def _row(self, own_pk: bytes, vector: _Words) -> _Row | None:
        """Return the masks that are made for a home; None: it makes its own."""
        agreed = self._agreed.get(own_pk)
        if agreed is not None and agreed.place >= self._made:
            self._make_rows(agreed.place, vector)
        row = self._rows.get(own_pk)
        alike = row is not None and (row.words.shape, row.words.dtype) == (
            vector.shape,
            vector.dtype,
        )
        return row if alike else None

    def _make_rows(self, place: int, vector: _Words) -> None:
        """Make the masks of as many homes as there is room for, in the order of agreement.

        Args:
            place: One of these homes.
            vector: One that is as long as all of theirs.
        """
        first, room = self._made, _MOST_ROW_BYTES // max(vector.nbytes, 1)
        if place >= first + room:  # those before it will make their own
            first = place
        count = min(len(self._agreed) - first, room)
        homes = list(self._agreed)[first : first + count]
        self._made = max(first + count, first + 1)
        self._rows.clear()  # of homes that have had theirs, or will make their own
        if count < 2:  # noqa: PLR2004 - a pair
            return
        if (self._words.shape, self._words.dtype) != ((count, vector.size), vector.dtype):
            self._words = np.empty((count, vector.size), vector.dtype)
        self._words[:] = 0
        shared = [0] * count
        for row, home in enumerate(homes):
            agreed = self._agreed[home]
            for sign, pairs in ((True, agreed.adding), (False, agreed.subtracting)):
                some = [(place - first, seed) for place, seed in pairs if place >= first]
                self._add_shared(self._words[row], some, sign)
                shared[row] += len(some)
                for other, _ in some:
                    shared[other] += 1
        for row, home in enumerate(homes):
            agreed = self._agreed[home]
            others: Sequence[list[bytes]] = ([], [])
            if shared[row] < len(agreed.plus) + len(agreed.minus):
                others = self._others_of(home, range(first, first + count))
            seeds = [*agreed.plus.values()], [*agreed.minus.values()]
            self._rows[home] = _Row(self._words[row], *seeds, others)

    def _others_of(self, home: bytes, places: range) -> Sequence[list[bytes]]:
        """Return the seeds, to be added and to be subtracted, that are in no row of a home's sum.

        Args:
            home: The home.
            places: Homes that have rows, by their places.
        """
        found = []
        agreed = self._agreed[home]
        for sign, seeds in ((True, agreed.plus), (False, agreed.minus)):
            rest = list[bytes]()
            for other, seed in seeds.items():
                theirs = self._agreed.get(other)
                has = theirs is not None and theirs.place in places
                if theirs is None or not has or _other_sign(theirs, sign).get(home) != seed:
                    rest.append(seed)
            found.append(rest)
        return found

    def _add_shared(self, vector: _Words, some: Sequence[tuple[int, bytes]], sign: bool) -> None:
        """Add streams to a row, and with the other sign each to another; ``sign`` False: subtract.

        Args:
            vector: Unsigned ``[words]``.
            some: Pairs of a row's number and a seed.
            sign: Whether they are added to ``vector``.
        """
        step = max(1, min(PIECE_BYTES, vector.nbytes) // vector.itemsize)
        zeros = memoryview(bytes(step * vector.itemsize))
        most = max(1, min(_AT_ONCE, _AT_ONCE_BYTES // len(zeros)))
        width = -(-(len(zeros) + ROOM_BYTES) // _LINE_BYTES) * _LINE_BYTES
        if self._drawn.shape != (most, width):
            self._drawn = np.empty((most, width), np.uint8)
        rooms = [row.data for row in self._drawn]
        masks = self._drawn[:, : len(zeros)].view(vector.dtype.newbyteorder("<"))
        for at in range(0, len(some), most):
            streams = [aes_keystream(seed) for _, seed in some[at : at + most]]
            rows = _run_of([row for row, _ in some[at : at + most]])
            for number, start in enumerate(range(0, vector.size, step)):
                columns = slice(start, start + step)
                part = vector[columns]
                blank = zeros[: part.nbytes]
                for stream, room in zip(streams, rooms, strict=False):
                    stream.write(number, blank, room[: part.nbytes + ROOM_BYTES])
                made = masks[: len(streams), : part.size]
                if sign:
                    self._words[rows, columns] -= made
                    part += _folded(made)
                else:
                    self._words[rows, columns] += made
                    part -= _folded(made)


class HomeMasks:
    """One home's end of `SharedMasks`.

    Args:
        shared: What the homes of its process share.
    """

    def __init__(self, shared: SharedMasks) -> None:
        self._shared = shared
        self._own_pk = self._salt = b""

    def agree(
        self,
        sk: X25519PrivateKey,
        own_pk: bytes,
        others: Sequence[bytes],
        salt: bytes,
        before: int = 0,
    ) -> list[bytes]:
        """Do what :func:`fedhome.secagg.masks.pair_seeds` does."""
        seeds = self._shared.agree(sk, own_pk, others, salt, before)
        self._own_pk, self._salt = own_pk, salt
        return seeds

    def add(
        self,
        vector: _Words,
        plus: Sequence[bytes],
        minus: Sequence[bytes],
        *,
        workers: Executor | None = None,
    ) -> None:
        """Do what :func:`fedhome.secagg.masks.add_masks` does."""
        self._shared.add(vector, plus, minus, own_pk=self._own_pk, salt=self._salt, workers=workers)


def _other_sign(agreed: _Agreed, sign: bool) -> dict[bytes, bytes]:
    return agreed.minus if sign else agreed.plus


def _run_of(rows: list[int]) -> slice | list[int]:
    """Return rows as a slice where they follow each other: then nothing is copied."""
    first, last = rows[0], rows[-1] + 1
    return slice(first, last) if rows == [*range(first, last)] else rows


def _folded(rows: _Words) -> _Words:
    """Return the sum of rows; they are changed: halves are added, as one row alone is short."""
    count = len(rows)
    while count > 1:
        half = count // 2
        rows[:half] += rows[count - half : count]
        count -= half
    first: _Words = rows[0]
    return first
