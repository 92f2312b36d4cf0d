"""What all homes of a simulation read alike, read once for those that share a process.

A home checks every byte itself. A thousand homes in one process would check the same bytes a
thousand times, so what held for one is taken to hold for the next: for the very same bytes, and
only where no home's own state has a say. A refusal is not remembered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedhome.secagg import Directory, Manifest, Policy, Verify, signature_holds
from fedhome.secagg.masks import pair_seed


class Reading:
    """How the homes of a process read, to be given to each of them.

    Args:
        policy: What they insist on.
    """

    def __init__(self, policy: Policy) -> None:
        self.verify = remembering()
        self._seeds: dict[tuple[bytes, bytes], bytes] = {}
        self._salt = b""
        self.policy: Policy = _Once(**vars(policy))
        self._directory: tuple[tuple[bytes, bytes, object], Directory] | None = None
        self._manifest: tuple[tuple[bytes, bytes], Manifest] | None = None

    def directory(
        self, data: bytes, authority: bytes, *, last: tuple[int, bytes] | None, verify: Verify
    ) -> Directory:
        """Do what :meth:`fedhome.secagg.Directory.verify` does."""
        key = (data, authority, last)
        if self._directory is None or self._directory[0] != key:
            found = Directory.verify(data, authority, last=last, verify=verify)
            self._directory = key, found
        return self._directory[1]

    def manifest(self, data: bytes, directory: Directory, *, verify: Verify) -> Manifest:
        """Do what :meth:`fedhome.secagg.Manifest.verify` does."""
        key = (data, directory.hash)
        if self._manifest is None or self._manifest[0] != key:
            self._manifest = key, Manifest.verify(data, directory, verify=verify)
        return self._manifest[1]

    def pair_seed(self, sk: X25519PrivateKey, own_pk: bytes, other_pk: bytes, salt: bytes) -> bytes:
        """Do what :func:`fedhome.secagg.masks.pair_seed` does, for both homes of a pair at once.

        The first one agrees with the other, which finds the key here: X25519 gives both the same.
        """
        if salt != self._salt:  # of an earlier sum, some of whose homes did not come
            self._seeds, self._salt = {}, salt
        pair = (own_pk, other_pk) if own_pk < other_pk else (other_pk, own_pk)
        found = self._seeds.pop(pair, None)
        if found is None:
            found = self._seeds[pair] = pair_seed(sk, own_pk, other_pk, salt)
        return found


@dataclass(frozen=True, kw_only=True)
class _Once(Policy):
    """A policy that checks one manifest once: its terms are the same for all homes."""

    passed: list[Manifest | Directory] = field(default_factory=list, compare=False, repr=False)

    def check(self, manifest: Manifest, directory: Directory) -> None:
        if not _same(self.passed, [manifest, directory]):
            super().check(manifest, directory)
            self.passed[:] = manifest, directory


def remembering() -> Verify:
    """Return a check of signatures that remembers: in one process all parties check the same."""
    return lru_cache(maxsize=1 << 16)(signature_holds)


def _same(some: list[Manifest | Directory], others: list[Manifest | Directory]) -> bool:
    return [*map(id, some)] == [*map(id, others)]  # held in the list, so no other has their place
