"""One named stream of random numbers for each purpose (seed, home, round).

A stream depends only on its own names, never on the order of calls or on how many homes
there are: so a home draws the same batches on a device, in the vector engine and on a
Ray worker. Secrets never come from here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""What streams, steps and rows are apart in what is mixed: 2⁶⁴ by the golden ratio, and odd."""
_ROW_BITS = 24  # a home may hold up to 16.7 million rows
ROW_MASK = np.uint64((1 << _ROW_BITS) - 1)
"""The bits of what is sorted that say which row it is."""


def key(seed: int, purpose: str, *names: str | int) -> int:
    """Return the 64-bit key of the stream that these names have."""
    text = "\x1f".join([str(seed), purpose, *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def generator(seed: int, purpose: str, *names: str | int) -> np.random.Generator:
    """Return numpy's counter-based generator (Philox) for the stream of these names."""
    return np.random.Generator(np.random.Philox(key=key(seed, purpose, *names)))


def home_keys(seed: int, homes: Sequence[str]) -> NDArray[np.uint64]:
    """Return each home's own key for its batches, uint64 ``[homes]``."""
    return np.array([key(seed, "batches", home) for home in homes], dtype=np.uint64)


def mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit numbers, elementwise and one to one.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
    OOPSLA 2014 (SplitMix64's finaliser).
    """
    with np.errstate(over="ignore"):
        mixed: NDArray[np.uint64] = value ^ (value >> np.uint64(30))
        mixed *= np.uint64(0xBF58476D1CE4E5B9)  # in place: what is new each time is paid for twice
        mixed ^= mixed >> np.uint64(27)
        mixed *= np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
        return mixed


def epoch_keys(keys: NDArray[np.uint64], stream: int, epoch: int) -> NDArray[np.uint64]:
    """Return each home's key for one epoch of one stream (a round, say), uint64 ``[homes]``."""
    with np.errstate(over="ignore"):
        turn = mix(np.array([stream], np.uint64) * GOLDEN + np.uint64(epoch) + np.uint64(1))
        return mix(keys ^ turn)


def step_keys(keys: NDArray[np.uint64], step: int) -> NDArray[np.int64]:
    """Return a 32-bit key for one step of an epoch, from the epoch's keys, int64 ``[homes]``."""
    with np.errstate(over="ignore"):
        return (mix(keys ^ (np.uint64(step + 1) * GOLDEN)) >> np.uint64(32)).astype(np.int64)


def shuffles(keys: NDArray[np.uint64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a random order of each home's rows.

    Args:
        keys: One key a home (of one epoch), uint64 ``[homes]``.
        counts: Rows of each home, int64 ``[homes]``.

    Returns:
        int64 ``[homes, max(counts)]``: row ``h`` begins with a permutation of
        ``range(counts[h])``; what follows is padding.
    """
    width = int(counts.max(initial=0))
    rows = np.arange(width, dtype=np.uint64)
    with np.errstate(over="ignore"):
        drawn = mix(keys[:, None] + rows[None, :] * GOLDEN)  # [homes, rows]
    # The row number rides in the low bits of what is sorted: one plain sort, no argsort.
    packed = drawn
    packed &= ~ROW_MASK
    packed |= rows[None, :]
    if int(counts.min(initial=width)) < width:
        packed[rows[None, :] >= counts[:, None].astype(np.uint64)] = ~np.uint64(0)
    packed.sort(axis=1)
    packed &= ROW_MASK
    return packed.view(np.int64)


def endless_shuffles(
    keys: NDArray[np.uint64], counts: NDArray[np.int64], *, stream: int, rows: int
) -> NDArray[np.int64]:
    """Return as many of each home's rows, pass after pass, each in a random order of its own.

    Args:
        keys: One key a home, uint64 ``[homes]``.
        counts: Rows of each home, int64 ``[homes]``, at least one.
        stream: Which stream (a round, say).
        rows: How many rows.

    Returns:
        int64 ``[homes, rows]``, each in ``range(counts[home])``.
    """
    found = np.zeros((len(keys), rows), np.int64)
    for number in range(-(-rows // max(int(counts.min(initial=rows)), 1))):
        some = np.flatnonzero(number * counts < rows)
        order = shuffles(epoch_keys(keys[some], stream, number), counts[some])
        inside = np.arange(order.shape[1]) < counts[some, None]
        at = number * counts[some, None] + np.arange(order.shape[1])
        inside &= at < rows
        home = np.broadcast_to(some[:, None], at.shape)
        found[home[inside], at[inside]] = order[inside]
    return found


@contextmanager
def pinned_globals(seed: int, *names: str | int) -> Iterator[None]:
    """Seed the global generators of ``random`` and numpy, and put them back afterwards.

    Flower's strategies sample homes and draw noise from the global generators.
    """
    import random  # noqa: PLC0415 - nothing else here may use it

    kept, kept_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    drawn = key(seed, "strategy", *names)
    random.seed(drawn)
    np.random.seed(drawn & 0xFFFF_FFFF)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(kept)
        np.random.set_state(kept_numpy)  # noqa: NPY002
