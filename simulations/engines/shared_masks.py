"""Masks of the homes of one process: what both ends of a pair would make is made once for both.

Two homes of a pair agree on one key, and make the same stream of it. Here the first one to agree
leaves the key for the other, and the first one to mask adds the stream to its own vector and, with
the other sign, to a row that waits for the other home: whoever masks later adds one row for all
homes that have masked before it. The words that leave are those of :func:`.add_masks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from fedhome.keys.keystream import PIECE_BYTES, ROOM_BYTES, aes_keystream
from fedhome.secagg.masks import add_masks, check_masks, seed_of, shared_secret

_MOST_PAIRS = 1 << 17  # whose secrets are remembered: 40 MB; a complete graph of 256 has 32 640
_MOST_WAITING_BYTES = 1 << 26  # of rows that wait for their homes
_AT_ONCE, _AT_ONCE_BYTES = 16, 1 << 18  # streams that are made, then added: they stay in the cache
_LINE_BYTES = 64

_Words = NDArray[np.unsignedinteger[Any]]
_Signs = dict[bytes, bool]  # of each seed whether its stream is added, or else subtracted


class SharedMasks:
    """What the homes of a process make of masks for each other, one sum at a time."""

    def __init__(self) -> None:
        self._secrets: dict[tuple[bytes, bytes], bytes] = {}
        self._salt = b""
        self._seeds: dict[bytes, dict[bytes, bytes]] = {}  # by who takes them, and who left them
        self._homes: set[bytes] = set()
        self._masked: set[bytes] = set()
        self._waiting: dict[bytes, tuple[int, _Signs]] = {}  # of each home its row, and of what
        self._rows: _Words = np.zeros((0, 0), np.uint16)
        self._free: list[int] = []
        self._has_rows = False  # for this sum
        self._drawn = np.zeros((0, 0), np.uint8)

    def agree(
        self, sk: X25519PrivateKey, own_pk: bytes, others: Sequence[bytes], salt: bytes
    ) -> list[bytes]:
        """Do what :func:`fedhome.secagg.masks.pair_seeds` does, for both homes of a pair at once.

        X25519 gives both the same. What two keys come to is remembered for as long as homes keep
        their keys, and what follows from it for one sum until both have it.
        """
        if salt != self._salt:  # of an earlier sum, some of whose homes did not come
            self._begin(salt)
        left = self._seeds.pop(own_pk, {})
        found = []
        for other in others:
            seed = left.get(other)
            if seed is None:
                seed = seed_of(self._secret(sk, own_pk, other), own_pk, other, salt)
                self._seeds.setdefault(other, {})[own_pk] = seed
            found.append(seed)
        self._homes.update(others)
        self._homes.add(own_pk)
        return found

    def _secret(self, sk: X25519PrivateKey, own_pk: bytes, other: bytes) -> bytes:
        pair = (own_pk, other) if own_pk < other else (other, own_pk)
        shared = self._secrets.get(pair)
        if shared is None:
            if len(self._secrets) >= _MOST_PAIRS:
                self._secrets.clear()
            shared = self._secrets[pair] = shared_secret(sk, other)
        return shared

    def _begin(self, salt: bytes) -> None:
        self._salt = salt
        for table in (self._seeds, self._homes, self._masked, self._waiting):
            table.clear()
        self._free, self._has_rows = [], False

    def add(
        self,
        vector: _Words,
        signs: _Signs,
        *,
        own_pk: bytes,
        others: Mapping[bytes, bytes],
        salt: bytes,
        workers: Executor | None = None,
    ) -> None:
        """Add and subtract keystreams, in place, and leave rows for the homes at the other ends.

        Args:
            vector: As of :func:`fedhome.secagg.masks.add_masks`.
            signs: Of each seed whether its stream is added, or else subtracted.
            own_pk: The home's one-time public key.
            others: Of each seed of a pair the other home's one-time public key.
            salt: Of the sum for which the home has agreed.
            workers: As of `add_masks`.
        """
        alone, shared = dict(signs), list[tuple[int, bytes]]()
        if salt == self._salt and own_pk not in self._masked and self._has_rows_for(vector):
            for seed in self._take(own_pk, vector, signs):
                del alone[seed]
            self._masked.add(own_pk)
            for seed in [seed for seed in alone if seed in others]:
                waits = self._waiting.get(others[seed]) or self._new_row(others[seed])
                if waits is not None:
                    shared.append((waits[0], seed))
                    waits[1][seed] = not alone.pop(seed)
        for sign in (True, False):
            self._add_shared(vector, [one for one in shared if signs[one[1]] is sign], sign)
        plus, minus = ([seed for seed in alone if alone[seed] is sign] for sign in (True, False))
        add_masks(vector, plus, minus, workers=workers)

    def _take(self, own_pk: bytes, vector: _Words, signs: _Signs) -> _Signs:
        """Add the row that waits for a home, and return what it was made of; maybe of nothing."""
        row, made = self._waiting.pop(own_pk, (-1, {}))
        if row < 0:
            return {}
        self._free.append(row)
        if not made.items() <= signs.items():
            return {}  # not what this home would add: it makes all of it
        np.add(vector, self._rows[row], out=vector)
        return made

    def _has_rows_for(self, vector: _Words) -> bool:
        """Return whether there is room for rows, and a vector is as long as they are."""
        if not self._has_rows:
            count = min(len(self._homes), _MOST_WAITING_BYTES // max(vector.nbytes, 1))
            if len(self._rows) != count or not (count and _alike(self._rows[0], vector)):
                self._rows = np.empty((count, vector.size), vector.dtype)
            self._has_rows = True
            self._free = [*range(count)][::-1]  # homes that follow each other have rows that do
        return len(self._rows) > 0 and _alike(self._rows[0], vector)

    def _new_row(self, home: bytes) -> tuple[int, _Signs] | None:
        """Let a row wait for a home; None where there is no room, or no use for it."""
        if home in self._masked or not self._free:
            return None
        row = self._free.pop()
        self._rows[row] = 0
        waits = self._waiting[home] = row, {}
        return waits

    def _add_shared(self, vector: _Words, some: Sequence[tuple[int, bytes]], sign: bool) -> None:
        """Add streams to a vector, and with the other sign each to a row; ``sign`` False: subtract.

        Args:
            vector: Unsigned ``[words]``.
            some: Pairs of a row and a seed.
            sign: Whether the vector's own is added.
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
                    self._rows[rows, columns] -= made
                    part += _folded(made)
                else:
                    self._rows[rows, columns] += made
                    part -= _folded(made)


class HomeMasks:
    """One home's end of `SharedMasks`.

    Args:
        shared: What the homes of its process share.
    """

    def __init__(self, shared: SharedMasks) -> None:
        self._shared = shared
        self._own_pk = self._salt = b""
        self._others: dict[bytes, bytes] = {}

    def agree(
        self, sk: X25519PrivateKey, own_pk: bytes, others: Sequence[bytes], salt: bytes
    ) -> list[bytes]:
        """Do what :func:`fedhome.secagg.masks.pair_seeds` does."""
        seeds = self._shared.agree(sk, own_pk, others, salt)
        self._own_pk, self._salt = own_pk, salt
        self._others = dict(zip(seeds, others, strict=True))
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
        signs = dict.fromkeys(plus, True) | dict.fromkeys(minus, False)
        if len(signs) < len(plus) + len(minus):  # one seed twice: no homes agree on such
            add_masks(vector, plus, minus, workers=workers)
            return
        check_masks(vector, signs)
        self._shared.add(
            vector,
            signs,
            own_pk=self._own_pk,
            others=self._others,
            salt=self._salt,
            workers=workers,
        )


def _alike(words: _Words, vector: _Words) -> bool:
    return words.shape == vector.shape and words.dtype == vector.dtype


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
