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
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from fedhome.keys.derivation import hkdf_all
from fedhome.keys.keystream import PIECE_BYTES, ROOM_BYTES, aes_keystream, write_first
from fedhome.secagg.masks import add_masks, check_masks, shared_secret
from fedhome.simulations.engines.home_pairs import HomePairs

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


class _Agreed(NamedTuple):
    """What one home has agreed on, for one sum.

    Args:
        place: How many of the process agreed before it.
        plus: Seeds of the streams that it adds: of homes behind it in the roster.
        minus: Of those that it subtracts.
        adding: The pairs of ``plus``, int64 ``[pairs]``.
        subtracting: The pairs of ``minus``, likewise.
    """

    place: int
    plus: list[bytes]
    minus: list[bytes]
    adding: NDArray[np.int64]
    subtracting: NDArray[np.int64]


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
        self._pairs = HomePairs()
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
        full = len(self._pairs) + len(others) > _MOST_PAIRS
        if full and self._pairs.lack(own_pk, others):
            self._begin(HomePairs(), salt)
        elif salt != self._salt:  # of an earlier sum, some of whose homes did not come
            self._begin(self._pairs, salt)
            self._derive(self._pairs.between({own_pk, *others}))
        pairs = self._pairs
        own = pairs.of(sk, own_pk, others, shared_secret)
        behind = pairs.behind(own.numbers, self._turn)
        if len(behind):
            self._derive(behind)
        seeds = [pairs.seeds[place] for place in own.places]
        # A home that has another one twice, which no manifest lists, masks by itself.
        if own_pk not in self._agreed and own.distinct:
            adding, subtracting = own.numbers[before:], own.numbers[:before]
            place = len(self._agreed)
            self._agreed[own_pk] = _Agreed(
                place, seeds[before:], seeds[:before], adding, subtracting
            )
            pairs.adds[adding] = pairs.subtracts[subtracting] = place
        return seeds

    def _begin(self, pairs: HomePairs, salt: bytes) -> None:
        """Begin a sum; one that goes on with other pairs: homes before them mask by themselves."""
        self._pairs, self._salt, self._made, self._turn = pairs, salt, 0, self._turn + 1
        self._agreed.clear()
        self._rows.clear()

    def _derive(self, numbers: NDArray[np.int64]) -> None:
        """Derive what pairs share in this sum."""
        assert self._salt is not None
        salt, hashes = self._salt, _hashes_for(len(numbers))
        derive = hkdf_all if hashes is None else hashes.hkdf
        self._pairs.derive(numbers, self._turn, lambda secrets, infos: derive(secrets, salt, infos))

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
        pairs, agreed = self._pairs, [self._agreed[home] for home in homes]
        # Of each stream between two of them the row that adds it, and the one that subtracts it.
        numbers = np.concatenate([one.adding for one in agreed])
        plus = np.repeat(np.arange(count), [len(one.adding) for one in agreed])
        minus = pairs.subtracts[numbers] - first
        within = (minus >= 0) & (minus < count)
        plus, minus = plus[within], minus[within]
        seeds = [pairs.seeds[number] for number in numbers[within].tolist()]
        compiled = _compiled_for(len(seeds), vector)
        size = vector.size if compiled is None else compiled.whole(vector.size)
        if (self._words.shape, self._words.dtype) != ((count, size), vector.dtype):
            self._words = np.empty((count, size), vector.dtype)
        self._words[:] = 0
        if compiled is not None:
            compiled.add_all(self._words, plus, minus, seeds)
        else:
            starts = np.searchsorted(plus, np.arange(count + 1)).tolist()
            for row, (start, stop) in enumerate(pairwise(starts)):
                some = list(zip(minus[start:stop].tolist(), seeds[start:stop], strict=True))
                self._add_shared(self._words[row, : vector.size], some)
        for row, (home, one) in enumerate(zip(homes, agreed, strict=True)):
            others = (
                self._outside(one.adding, pairs.subtracts, first, count),
                self._outside(one.subtracting, pairs.adds, first, count),
            )
            words = self._words[row, : vector.size]
            self._rows[home] = _Row(words, one.plus, one.minus, others)

    def _outside(
        self, numbers: NDArray[np.int64], ends: NDArray[np.int64], first: int, count: int
    ) -> list[bytes]:
        """Return the seeds of pairs whose other end is none of some homes, by their places."""
        others = ends[numbers] - first
        outside = (others < 0) | (others >= count)
        if not outside.any():  # most often
            return []
        return [self._pairs.seeds[number] for number in numbers[outside].tolist()]

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
