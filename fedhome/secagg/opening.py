"""From the members' shares to the seeds of the masks that are still in a sum."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from fedhome.secagg.bundle import Bundle, commitment
from fedhome.secagg.directory import Directory
from fedhome.secagg.manifest import Manifest
from fedhome.secagg.masks import pair_seeds, self_seed
from fedhome.secagg.shamir import LIMBS, PRIME, combine
from fedhome.secagg.sharing import (
    CHECKS,
    HASH_BYTES,
    SECRETS,
    expected_of,
    factors_of,
    same_rows,
    share_hashes,
    values_of,
)

HashShares = Callable[[Sequence["tuple[str, bytes] | None"], int, Sequence[int], bytes], bytes]
"""Hashes what a member told of a sum's homes: as `hashes_told`."""


def hashes_told(
    bounds: Sequence[tuple[str, bytes] | None], member: int, secrets: Sequence[int], shares: bytes
) -> bytes:
    """Return the hashes of a member's shares, 16 bytes each, as of `share_hashes`.

    Args:
        bounds: Of each home as of `Manifest.bounds`; they change nothing.
        member: The member's index in the committee; likewise.
        secrets: Of each share which secret it is of, 0 or 1.
        shares: One after the other, 52 bytes each.
    """
    del bounds, member
    return share_hashes(secrets, shares)


class ShareProofs:
    """What members' shares of a sum must be, by the hashes and proofs of its homes' bundles.

    A share that has its hash is the one that the home dealt. Whether all that a home dealt belong
    together shows as the secret comes out of them: only where it does not are shares held to the
    home's proof.

    Args:
        manifest: The terms of the sum.
        present: Who is in it, bool ``[roster]``: of these the blind's shares are asked, of the
            others the key's.
        bundles: Of each home of the roster.
        directory: The epoch's.
        hash_shares: How shares are hashed; another function is for simulations only.
    """

    def __init__(
        self,
        manifest: Manifest,
        present: NDArray[np.bool_],
        bundles: Sequence[Bundle],
        directory: Directory,
        *,
        hash_shares: HashShares = hashes_told,
    ) -> None:
        self._hash_shares = hash_shares
        half = present.astype(np.int64)
        told = np.frombuffer(b"".join(bundle.hashes for bundle in bundles), np.uint8)
        by_home = told.reshape(len(bundles), directory.committee, SECRETS, HASH_BYTES)
        self._hashes = by_home[np.arange(len(bundles)), :, half]  # [roster, committee, bytes]
        self._half = half.tolist()
        self._manifest, self._present = manifest, present
        self._bundles, self._directory = bundles, directory

    def bound(self, member: int, shares: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Return which shares of a member have the hashes that the homes told, bool ``[roster]``.

        Args:
            member: Its index in the committee.
            shares: uint32 ``[roster, 13]``.
        """
        told = shares.astype("<u4").tobytes()
        found = self._hash_shares(self._manifest.bounds, member, self._half, told)
        return same_rows(found, self._hashes[:, member])

    def secrets(
        self,
        indices: Sequence[int],
        shares: Mapping[int, NDArray[np.uint32]],
        right: Mapping[int, NDArray[np.bool_]],
        least: int,
    ) -> dict[int, bytes | None]:
        """Return the secret of each home as `restore` does, by no share that does not fit.

        Args:
            indices: As of `restore`.
            shares: As of `restore`.
            right: As of `restore`; a share that turns out not to fit is marked **in place**, and
                of its home there may be fewer than ``least`` left.
            least: How many shares make a secret.
        """
        found = restore(self._manifest, self._present, indices, shares, right)
        again = []
        for home in [index for index, secret in found.items() if secret is None]:
            unfit = [one for one in self._unfit(home, shares) if right[one][home]]
            for member in unfit:
                right[member][home] = False
            if unfit and sum(bool(row[home]) for row in right.values()) >= least:
                again.append(home)
        return found | restore(self._manifest, self._present, again, shares, right)

    def _unfit(self, home: int, shares: Mapping[int, NDArray[np.uint32]]) -> list[int]:
        """Return the members whose shares of a home do not fit its proof."""
        bundle, half, members = self._bundles[home], self._half[home], sorted(shares)
        statement = bundle.head.dealt_statement(self._manifest.directory, bundle.dealt)
        factors = np.broadcast_to(factors_of(statement)[half], (len(members), CHECKS, LIMBS))
        rows = np.stack([shares[member][home] for member in members])
        expected = expected_of([bundle.proof], self._directory.committee)[members, 0, half]
        fits = np.all(values_of(rows, factors) == expected, axis=1)
        return [member for member, fit in zip(members, fits.tolist(), strict=True) if not fit]


def told(shares: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Return which shares a member gave at all, bool ``[roster]``: the others did not open."""
    given: NDArray[np.bool_] = np.all(shares < PRIME, axis=1)
    return given


def restore(
    manifest: Manifest,
    present: NDArray[np.bool_],
    indices: Sequence[int],
    shares: Mapping[int, NDArray[np.uint32]],
    right: Mapping[int, NDArray[np.bool_]],
) -> dict[int, bytes | None]:
    """Return the secret of each home, by its index in the roster, from right shares alone.

    None stands for a home whose shares, right as they are, give another secret than it committed
    to: nobody but the home itself can have done that.

    Args:
        manifest: The terms of the sum.
        present: Who is in it, bool ``[roster]``.
        indices: Indices in the roster of the homes whose secrets are needed.
        shares: Shares of all homes by the member's index, uint32 ``[roster, 13]``.
        right: Which of them are right, bool ``[roster]``; as many of each as make a secret.
    """
    members = sorted(shares)
    points = np.array(members, np.int64) + 1
    numbers = np.array([shares[member] for member in members], np.uint32)
    rights = np.array([right[member] for member in members])
    batches: dict[tuple[int, ...], list[int]] = {}
    for index in indices:
        batches.setdefault(tuple(np.flatnonzero(rights[:, index]).tolist()), []).append(index)
    secrets: dict[int, bytes | None] = {}
    for rows, batch in batches.items():
        chosen = list(rows)
        flat = numbers[chosen][:, batch, :LIMBS].reshape(len(chosen), -1)
        for index, secret in zip(batch, combine(points[chosen], flat), strict=True):
            held = secret is not None and _accept(manifest, present, index)(secret)
            secrets[index] = secret if held else None
    return secrets


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
        neighbours = np.flatnonzero(adjacency[index] & present).tolist()
        seeds = pair_seeds(key, public, [manifest.public(one) for one in neighbours], salt)
        before = bisect_left(neighbours, index)  # in the roster: these added this mask
        minus += seeds[:before]
        plus += seeds[before:]
    return plus, minus
