"""From the members' shares to the seeds of the masks that are still in a sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from fedhome.secagg.bundle import commitment
from fedhome.secagg.manifest import Manifest
from fedhome.secagg.masks import pair_seed, self_seed
from fedhome.secagg.repair import repair
from fedhome.secagg.shamir import PRIME, combine


@dataclass
class RestoredSecrets:
    """What was restored from the shares.

    Args:
        secrets: Secrets of homes, by index in the roster.
        disputes: Pairs of a home's index and a member's: the member's share of it is wrong.
            Either may be to blame, as the home made the share and the member passed it on.
        lost: Indices of homes whose secret could not be restored.
    """

    secrets: dict[int, bytes] = field(default_factory=dict, repr=False)
    disputes: list[tuple[int, int]] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)


def restore(
    manifest: Manifest,
    present: NDArray[np.bool_],
    indices: Sequence[int],
    shares_by_member: Mapping[int, NDArray[np.uint32]],
    threshold: int,
) -> RestoredSecrets:
    """Return the secrets of homes, checked against what each home committed to.

    Args:
        manifest: The terms of the sum.
        present: Who is in it, bool ``[roster]``.
        indices: Indices in the roster of the homes whose secrets are needed.
        shares_by_member: Shares of all homes by the member's index, uint32 ``[roster, 9]``.
        threshold: How many shares make a secret.
    """
    members = sorted(shares_by_member)
    points = np.array(members, np.int64) + 1
    shares = np.array([shares_by_member[member] for member in members], np.uint32)
    # A member marks a share that did not open with numbers that the field does not have.
    usable: NDArray[np.bool_] = np.asarray((shares < PRIME).all(axis=2))  # [members, roster]
    restored = RestoredSecrets()
    pending = list(indices)
    trusted: NDArray[np.bool_] = np.ones(len(members), np.bool_)
    while pending:
        rows = {
            index: tuple(np.flatnonzero(usable[:, index] & trusted)[:threshold].tolist())
            for index in pending
        }
        failed = _in_batches(manifest, present, rows, points, shares, threshold=threshold)
        restored.secrets.update(failed.secrets)
        if not failed.lost:
            break
        index, *pending = failed.lost
        answered = np.flatnonzero(usable[:, index])
        repaired = repair(
            points[answered], shares[answered, index], threshold, _accept(manifest, present, index)
        )
        if repaired is None:
            restored.lost.append(index)
            continue
        restored.secrets[index] = repaired.secret
        wrong = answered[list(repaired.wrong)]
        if repaired.certain:
            restored.disputes += [(index, members[row]) for row in wrong.tolist()]
        trusted[wrong] = False  # the others' secrets are then tried without them, at once
    return restored


def _in_batches(
    manifest: Manifest,
    present: NDArray[np.bool_],
    rows_of: Mapping[int, tuple[int, ...]],
    points: NDArray[np.int64],
    shares: NDArray[np.uint32],
    *,
    threshold: int,
) -> RestoredSecrets:
    """Combine the given rows of shares for each home; homes with the same rows go together."""
    batches: dict[tuple[int, ...], list[int]] = {}
    restored = RestoredSecrets()
    for index, rows in rows_of.items():
        if len(rows) < threshold:
            restored.lost.append(index)
        else:
            batches.setdefault(rows, []).append(index)
    for rows, batch in batches.items():
        chosen = list(rows)
        flat = shares[chosen][:, batch].reshape(threshold, -1)
        for index, secret in zip(batch, combine(points[chosen], flat), strict=True):
            if secret is not None and _accept(manifest, present, index)(secret):
                restored.secrets[index] = secret
            else:
                restored.lost.append(index)
    return restored


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
