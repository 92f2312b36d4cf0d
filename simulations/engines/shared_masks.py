"""Masks of the homes of one process: what both ends of a pair would make is made once for both.

Two homes of a pair agree on one key, and make the same stream of it. Here the first one to agree
leaves the key for the other, and the first one to mask makes the masks of all homes that have
agreed by then, pair after pair: a row for each, to which every stream between two of them is added
with the one sign and with the other. A home adds its row, and the streams that it has with others.
The words that leave are those of :func:`.add_masks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from fedhome.keys.derivation import hkdf_all
from fedhome.keys.keystream import PIECE_BYTES, ROOM_BYTES, aes_keystream, write_first
from fedhome.secagg.masks import add_masks, check_masks, pair_info, shared_secret

if TYPE_CHECKING:
    from fedhome.simulations.engines.hash_lanes import HashLanes
    from fedhome.simulations.engines.pair_streams import PairStreams

_MOST_PAIRS = 1 << 17  # that are remembered: 70 MB; a complete graph of 256 has 32 640
_MOST_ROW_BYTES = 1 << 28  # of the homes that are masked together
_AT_ONCE, _AT_ONCE_BYTES = 16, 1 << 18  # streams that are made, then added: they stay in the cache
_LINE_BYTES = 64
_STREAM_BYTES = 1 << 12  # a stream of no words takes as long as that many bytes of one
_MANY_SEEDS = 1 << 11  # to derive them a few times takes as long as to compile what does it faster
_WORTH_BYTES = 1 << 24  # of streams: making them takes as long as to compile what makes them faster

_Words = NDArray[np.unsignedinteger[Any]]


@dataclass(slots=True)
class _Pair:
    """Two homes that keep their one-time keys, and what they share in one sum.

    Args:
        secret: What their keys come to.
        info: Names the pair where a seed is derived.
        turn: The last sum in which one of them agreed.
        seed: Their seed in it.
        adds: Which of the homes that agreed in it adds their stream; -1: none so far.
        subtracts: Which of them subtracts it.
    """

    secret: bytes = field(repr=False)
    info: bytes
    turn: int = 0
    seed: bytes = field(default=b"", repr=False)
    adds: int = -1
    subtracts: int = -1


class _Agreed(NamedTuple):
    """What one home has agreed on, for one sum.

    Args:
        place: How many of the process agreed before it.
        plus: Seeds of the streams that it adds: of homes behind it in the roster.
        minus: Of those that it subtracts.
        adding: The pairs of ``plus``.
        subtracting: The pairs of ``minus``.
    """

    place: int
    plus: list[bytes]
    minus: list[bytes]
    adding: list[_Pair]
    subtracting: list[_Pair]


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


class _Desk(NamedTuple):
    """Where streams are made, some at a time.

    Args:
        zeros: As many as bytes of a stream are made.
        rooms: Where each is written to.
        masks: The same as words, unsigned ``[streams, words]``.
    """

    zeros: memoryview
    rooms: list[memoryview]
    masks: _Words


class SharedMasks:
    """What the homes of a process make of masks for each other, one sum at a time."""

    def __init__(self) -> None:
        self._pairs: dict[bytes, dict[bytes, _Pair]] = {}  # each pair by both ends
        self._known = 0
        self._salt: bytes | None = None
        self._turn = 0
        self._agreed: dict[bytes, _Agreed] = {}
        self._rows: dict[bytes, _Row] = {}
        self._made = 0  # homes that had their turn to have rows made, in the order of agreement
        self._words: _Words = np.zeros((0, 0), np.uint16)
        self._desk = _Desk(memoryview(b""), [], np.zeros((0, 0), np.uint16))

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
            self._salt, self._made, self._turn = salt, 0, self._turn + 1
            self._agreed.clear()
            self._rows.clear()
            self._derive(self._known_between({own_pk, *others}))
        pairs = self._pairs_with(sk, own_pk, others)
        self._derive([pair for pair in pairs if pair.turn != self._turn])
        seeds = [pair.seed for pair in pairs]
        # A home that has another one twice, which no manifest lists, masks by itself.
        if own_pk not in self._agreed and len(set(others)) == len(others):
            place = len(self._agreed)
            agreed = _Agreed(place, seeds[before:], seeds[:before], pairs[before:], pairs[:before])
            for pair in agreed.adding:
                pair.adds = place
            for pair in agreed.subtracting:
                pair.subtracts = place
            self._agreed[own_pk] = agreed
        return seeds

    def _known_between(self, homes: AbstractSet[bytes]) -> list[_Pair]:
        """Return the pairs of some homes that have agreed in an earlier sum."""
        return [
            pair
            for home in homes
            for other, pair in self._pairs.get(home, {}).items()
            if home < other and other in homes
        ]

    def _derive(self, pairs: Sequence[_Pair]) -> None:
        """Derive what pairs share in this sum."""
        assert self._salt is not None
        secrets, infos = [pair.secret for pair in pairs], [pair.info for pair in pairs]
        hashes = _hashes_for(len(pairs))
        derive = hkdf_all if hashes is None else hashes.hkdf
        for pair, seed in zip(pairs, derive(secrets, self._salt, infos), strict=True):
            pair.turn, pair.seed, pair.adds, pair.subtracts = self._turn, seed, -1, -1

    def _pairs_with(
        self, sk: X25519PrivateKey, own_pk: bytes, others: Sequence[bytes]
    ) -> list[_Pair]:
        """Return the pairs of a home and each of some others."""
        own = self._pairs.setdefault(own_pk, {})
        found = [own.get(other) for other in others]
        if None in found:
            if self._known + len(others) > _MOST_PAIRS:
                self._pairs, self._known, own = {own_pk: {}}, 0, {}
            own = self._pairs[own_pk]
            for other in others:
                if other not in own:
                    pair = _Pair(shared_secret(sk, other), pair_info(own_pk, other))
                    own[other] = self._pairs.setdefault(other, {})[own_pk] = pair
                    self._known += 1
        return [own[other] for other in others]

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
        end = first + count
        shared = [
            [
                (pair.subtracts - first, pair.seed)
                for pair in self._agreed[home].adding
                if first <= pair.subtracts < end
            ]
            for home in homes
        ]
        compiled = _compiled_for(sum(map(len, shared)), vector)
        size = vector.size if compiled is None else compiled.whole(vector.size)
        if (self._words.shape, self._words.dtype) != ((count, size), vector.dtype):
            self._words = np.empty((count, size), vector.dtype)
        self._words[:] = 0
        if compiled is not None:
            compiled.add_all(self._words, shared)
        for row, home in enumerate(homes):
            agreed, words = self._agreed[home], self._words[row, : vector.size]
            if compiled is None:
                self._add_shared(words, shared[row])
            others: Sequence[list[bytes]] = (
                [pair.seed for pair in agreed.adding if not first <= pair.subtracts < end],
                [pair.seed for pair in agreed.subtracting if not first <= pair.adds < end],
            )
            self._rows[home] = _Row(words, agreed.plus, agreed.minus, others)

    def _add_shared(self, vector: _Words, some: Sequence[tuple[int, bytes]]) -> None:
        """Add streams to a row, and subtract each from another.

        Args:
            vector: Unsigned ``[words]``.
            some: Pairs of a row's number and a seed.
        """
        desk = self._desk_for(vector)
        most, step = desk.masks.shape
        for at in range(0, len(some), most):
            rows = _run_of([row for row, _ in some[at : at + most]])
            seeds = [seed for _, seed in some[at : at + most]]
            masks = desk.masks[: len(seeds)]
            if vector.size <= step:
                write_first(seeds, desk.zeros, desk.rooms)
                self._add_made(vector, rows, slice(vector.size), masks)
                continue
            streams = [aes_keystream(seed) for seed in seeds]
            for number, start in enumerate(range(0, vector.size, step)):
                columns = slice(start, start + step)
                size = vector[columns].nbytes
                for stream, room in zip(streams, desk.rooms, strict=False):
                    stream.write(number, desk.zeros[:size], room[: size + ROOM_BYTES])
                self._add_made(vector, rows, columns, masks)

    def _add_made(
        self, vector: _Words, rows: slice | list[int], columns: slice, masks: _Words
    ) -> None:
        part = vector[columns]
        made = masks[:, : part.size]
        self._words[rows, columns] -= made
        part += np.add.reduce(made, axis=0, dtype=made.dtype)

    def _desk_for(self, vector: _Words) -> _Desk:
        step = max(1, min(PIECE_BYTES, vector.nbytes) // vector.itemsize)
        size, dtype = step * vector.itemsize, vector.dtype.newbyteorder("<")
        most = max(1, min(_AT_ONCE, _AT_ONCE_BYTES // size))
        masks = self._desk.masks
        if (masks.shape, masks.dtype) != ((most, step), dtype):
            drawn = np.empty((most, -(-(size + ROOM_BYTES) // _LINE_BYTES) * _LINE_BYTES), np.uint8)
            rooms = [row.data[: size + ROOM_BYTES] for row in drawn]
            self._desk = _Desk(memoryview(bytes(size)), rooms, drawn[:, :size].view(dtype))
        return self._desk


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


def _hashes_for(seeds: int) -> HashLanes | None:
    """Return what derives seeds at once; None: so few are not worth it, or there is none.

    Args:
        seeds: How many there are.
    """
    if seeds < _MANY_SEEDS:
        return None
    from fedhome.simulations.engines.hash_lanes import (  # noqa: PLC0415 - LLVM takes a while
        hash_lanes_if_any,
    )

    return hash_lanes_if_any()


def _compiled_for(streams: int, vector: _Words) -> PairStreams | None:
    """Return what adds all streams of a sum at once; None: it is not worth it, or there is none.

    Args:
        streams: How many there are.
        vector: One that is as long as each.
    """
    if streams * (vector.nbytes + _STREAM_BYTES) < _WORTH_BYTES:
        return None
    from fedhome.simulations.engines.pair_streams import (  # noqa: PLC0415 - LLVM takes a while
        pair_streams_if_any,
    )

    return pair_streams_if_any(vector.itemsize)


def _run_of(rows: list[int]) -> slice | list[int]:
    """Return rows as a slice where they follow each other: then nothing is copied."""
    first, last = rows[0], rows[-1] + 1
    return slice(first, last) if rows == [*range(first, last)] else rows
