"""From the members' shares to the seeds of the masks that are still in a sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from fedhome.secagg.bundle import Bundle, commitment
from fedhome.secagg.directory import Directory
from fedhome.secagg.manifest import Manifest
from fedhome.secagg.masks import pair_seed, self_seed
from fedhome.secagg.shamir import LIMBS, PRIME, combine
from fedhome.secagg.sharing import expected_of, factors_of, values_of


@dataclass
class RestoredSecrets:
    """What was restored from the shares.

    Args:
        secrets: Secrets of homes, by index in the roster.
        wrong: Pairs of a home's index and a member's: the share does not fit the home's proof.
        lost: Indices of homes of whose secret too few right shares came.
        false: Indices of homes whose shares all fit, and give another secret than they committed
            to: nobody but the home itself can have done that.
    """

    secrets: dict[int, bytes] = field(default_factory=dict, repr=False)
    wrong: list[tuple[int, int]] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    false: list[int] = field(default_factory=list)


def restore(
    manifest: Manifest,
    present: NDArray[np.bool_],
    indices: Sequence[int],
    shares_by_member: Mapping[int, NDArray[np.uint32]],
    *,
    bundles: Sequence[Bundle],
    directory: Directory,
) -> RestoredSecrets:
    """Return the secrets of homes, from shares that fit what each home committed to.

    Args:
        manifest: The terms of the sum.
        present: Who is in it, bool ``[roster]``.
        indices: Indices in the roster of the homes whose secrets are needed.
        shares_by_member: Shares of all homes by the member's index, uint32 ``[roster, 13]``.
        bundles: Of each home of the roster.
        directory: The epoch's.
    """
    threshold = directory.threshold
    members = sorted(shares_by_member)
    points = np.array(members, np.int64) + 1
    shares = np.array([shares_by_member[member] for member in members], np.uint32)
    expected = expected_of([bundle.proof for bundle in bundles], directory.committee)[members]
    fits = _fits(manifest, present, bundles, shares, expected)
    # A member marks a share that did not open with numbers that the field does not have.
    told: NDArray[np.bool_] = np.all(shares < PRIME, axis=2)
    restored, batches = RestoredSecrets(), dict[tuple[int, ...], list[int]]()
    for index in indices:
        wrong = np.flatnonzero(told[:, index] & ~fits[:, index])
        restored.wrong += [(index, members[row]) for row in wrong.tolist()]
        rows = tuple(np.flatnonzero(fits[:, index])[:threshold].tolist())
        if len(rows) < threshold:
            restored.lost.append(index)
        else:
            batches.setdefault(rows, []).append(index)
    for rows, batch in batches.items():
        chosen = list(rows)
        flat = shares[chosen][:, batch, :LIMBS].reshape(threshold, -1)
        for index, secret in zip(batch, combine(points[chosen], flat), strict=True):
            if secret is not None and _accept(manifest, present, index)(secret):
                restored.secrets[index] = secret
            else:
                restored.false.append(index)
    return restored


def _fits(
    manifest: Manifest,
    present: NDArray[np.bool_],
    bundles: Sequence[Bundle],
    shares: NDArray[np.uint32],
    expected: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Return which shares are what each home's proof foretells, bool ``[members, roster]``."""
    half = present.astype(np.int64)  # shares of the blind of who is in the sum, else of the key
    rows = np.arange(len(bundles))
    statements = (
        manifest.head(index).dealt_statement(manifest.directory, bundle.dealt)
        for index, bundle in enumerate(bundles)
    )
    factors = np.array([factors_of(statement) for statement in statements])[rows, half]
    found = np.array([values_of(some, factors) for some in shares])
    same: NDArray[np.bool_] = np.all(found == expected[:, rows, half], axis=2)
    usable: NDArray[np.bool_] = np.all(shares < PRIME, axis=2)
    return np.logical_and(same, usable)


def _accept(manifest: Manifest, present: NDArray[np.bool_], index: int) -> Callable[[bytes], bool]:
    """Return the check of a home's secret: the hash of its blind, or its public key."""
    if present[index]:
        expected = manifest.commitment(index)
        return lambda secret: commitment(secret) == expected
    public = manifest.public(index)
    return lambda secret: _public(secret) == public


def _public(secret: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def needed(present: NDArray[np.bool_], adjacency: NDArray[np.bool_]) -> list[int]:
    """Return whose secrets open the sum: homes in it, and absent ones that mask with them."""
    masked = adjacency[present].any(axis=0)
    return [int(index) for index in np.flatnonzero(present | masked)]


def mask_seeds(
    manifest: Manifest,
    present: NDArray[np.bool_],
    adjacency: NDArray[np.bool_],
    secrets: Mapping[int, bytes],
) -> tuple[list[bytes], list[bytes]]:
    """Return the seeds of masks to add to a sum, and to subtract from it, so that it opens.

    Args:
        manifest: The terms of the sum.
        present: Who is in it, bool ``[roster]``.
        adjacency: Who masks with whom, bool ``[roster, roster]``.
        secrets: Of each home in the sum its blind, of each absent one its one-time key.
    """
    salt = manifest.digest
    plus: list[bytes] = []
    minus: list[bytes] = []
    for index, secret in secrets.items():
        if present[index]:
            minus.append(self_seed(secret, salt))
            continue
        key, public = X25519PrivateKey.from_private_bytes(secret), manifest.public(index)
        for neighbour in np.flatnonzero(adjacency[index] & present).tolist():
            seed = pair_seed(key, public, manifest.public(neighbour), salt)
            # The home in the sum added this mask if it comes first in the roster.
            (minus if neighbour < index else plus).append(seed)
    return plus, minus
