"""Who masks with whom, who serves on the committee, and how a fleet splits into groups.

All of it follows from the epoch's seed, which the fleet's owner signs: everyone recomputes
it, and the server chooses none of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from fedhome.errors import ParameterError

_COMMITTEE = b"fedhome/committee/1"
_GROUPS = b"fedhome/groups/2"
_GRAPH = b"fedhome/graph/1"
_ROWS = 256  # homes whose edges are drawn at a time: at 10 000 homes 40 MB, not 1.6 GB


def committee(seed: bytes, eligible: Sequence[str], size: int) -> tuple[str, ...]:
    """Return the ``size`` homes that serve in this epoch: those with the lowest hash.

    Raises:
        ParameterError: Fewer homes are eligible.
    """
    if not 0 <= size <= len(eligible):
        raise ParameterError(
            f"{len(eligible)} homes cannot fill a committee of {size}", reason="committee"
        )
    return tuple(_by_hash(_COMMITTEE + seed, eligible)[:size])


def groups(seed: bytes, homes: Sequence[str], count: int) -> tuple[tuple[str, ...], ...]:
    """Split homes into groups that are each summed on their own, for all sums of an epoch.

    Groups that change from sum to sum would give single homes away: the sums of a run would be
    equations in the homes' numbers, and more of them than there are homes.

    Args:
        seed: The epoch's seed.
        homes: All homes.
        count: How many groups; their sizes differ by at most one.

    Returns:
        The groups, each sorted by id.

    Raises:
        ParameterError: No group, or more groups than homes.
    """
    if not 1 <= count <= len(homes):
        raise ParameterError(f"{len(homes)} homes do not make {count} groups", reason="groups")
    if count == 1:
        return (tuple(sorted(homes)),)
    order = _by_hash(_GROUPS + seed, homes)
    cuts = [len(order) * number // count for number in range(count + 1)]
    return tuple(tuple(sorted(order[a:b])) for a, b in pairwise(cuts))


def adjacency(seed: bytes, homes: Sequence[str], degree: int | None) -> NDArray[np.bool_]:
    """Return which homes mask with which.

    Whether two homes do depends on the seed, on the two and on how many homes there are, on
    nothing else: a server that may choose who is in a round cannot look for a round whose
    graph falls apart, as it could if edges came from the order or the number of the round.

    An edge is drawn with AES-256 keyed by the seed's hash, one block for each pair. AES is
    assumed to be a pseudo-random permutation, which on far fewer than 2^64 blocks cannot be
    distinguished from a pseudo-random function; a hash for each of half a million pairs would take
    300 times as long. A pair's block is the first 8 bytes of both ids' SHA-256, the
    lower number first; all numbers are little-endian.

    Args:
        seed: The epoch's seed.
        homes: Homes of the round, none twice.
        degree: Neighbours of a home on average; None: every home masks with every other.

    Returns:
        Read-only bool ``[homes, homes]``, symmetric, False on the diagonal.

    Raises:
        ParameterError: A degree below one.
    """
    return _adjacency(seed, tuple(homes), degree)


@lru_cache(maxsize=8)  # homes simulated in one process ask for the same graph
def _adjacency(seed: bytes, homes: tuple[str, ...], degree: int | None) -> NDArray[np.bool_]:
    count = len(homes)
    if degree is not None and degree < 1:
        raise ParameterError(f"no graph has degree {degree}", reason="degree")
    if degree is None or degree >= count - 1:
        edges = np.ones((count, count), np.bool_)
    else:
        edges = _draw_edges(seed, homes, -((-degree << 64) // (count - 1)))
    np.fill_diagonal(edges, val=False)
    edges.flags.writeable = False
    return edges


def _draw_edges(seed: bytes, homes: tuple[str, ...], limit: int) -> NDArray[np.bool_]:
    """Draw an edge for each pair whose 64 bits are below ``limit``."""
    count = len(homes)
    names = np.frombuffer(
        b"".join(hashlib.sha256(home.encode()).digest()[:8] for home in homes), "<u8"
    )
    key = hashlib.sha256(_GRAPH + seed).digest()
    # A fixed key, each block once: a pseudo-random function of the pair, no encryption of data.
    encryptor = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()  # noqa: S305
    edges = np.zeros((count, count), np.bool_)
    for first in range(0, count, _ROWS):
        rows = names[first : first + _ROWS, None]
        columns = names[None, first:]  # a pair is drawn where its later home is the column
        pairs = np.empty((len(rows), columns.shape[1], 2), "<u8")
        pairs[..., 0] = np.minimum(rows, columns)
        pairs[..., 1] = np.maximum(rows, columns)
        drawn = np.frombuffer(encryptor.update(pairs.tobytes()), "<u8")[::2]
        edges[first : first + _ROWS, first:] = (drawn < np.uint64(limit)).reshape(pairs.shape[:2])
    upper = np.triu(edges)
    return upper | upper.T


def _by_hash(prefix: bytes, homes: Sequence[str]) -> list[str]:
    return sorted(homes, key=lambda home: hashlib.sha256(prefix + home.encode()).digest())
