"""What all homes of a simulation read alike, read once for those that share a process.

A home checks every byte itself. A thousand homes in one process would check the same bytes a
thousand times, so what held for one is taken to hold for the next: for the very same bytes, and
only where no home's own state has a say. A refusal is not remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedhome.keys.keystream import Keystream, aes_keystream
from fedhome.secagg import Directory, HomeKeys, Manifest, Policy, Verify, signature_holds
from fedhome.secagg.masks import seed_of, shared_secret

_MOST_PAIRS = 1 << 17  # whose secrets are remembered: 40 MB; a complete graph of 256 has 32 640
_MOST_SIGNATURES = 1 << 14  # of each of two generations
_MOST_STREAM_BYTES = 1 << 26  # of streams that wait for their other home

_Worked = TypeVar("_Worked")


class Reading:
    """How the homes of a process read, to be given to each of them.

    Args:
        policy: What they insist on.
    """

    def __init__(self, policy: Policy) -> None:
        self.verify = KnownSignatures()
        self.streams = SharedStreams()
        self._secrets: dict[tuple[bytes, bytes], bytes] = {}
        self._seeds: dict[tuple[bytes, bytes], bytes] = {}
        self._salt = b""
        self._worked: dict[str, tuple[Hashable, Any]] = {}
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

    def once(self, what: str, given: Hashable, work: Callable[[], _Worked]) -> _Worked:
        """Do what :func:`fedhome.secagg.workings.each_time` does, once for the same bytes.

        Of each kind what was worked out last is remembered: homes ask one after the other.
        """
        known = self._worked.get(what)
        if known is None or known[0] != given:
            known = self._worked[what] = given, work()
        worked: _Worked = known[1]
        return worked

    def pair_seed(self, sk: X25519PrivateKey, own_pk: bytes, other_pk: bytes, salt: bytes) -> bytes:
        """Do what :func:`fedhome.secagg.masks.pair_seed` does, for both homes of a pair at once.

        The first one agrees with the other, which finds the key here: X25519 gives both the same.
        What two keys come to is remembered for as long as homes keep their keys.
        """
        if salt != self._salt:  # of an earlier sum, some of whose homes did not come
            self._seeds, self._salt = {}, salt
            self.streams.begin()
        pair = (own_pk, other_pk) if own_pk < other_pk else (other_pk, own_pk)
        found = self._seeds.pop(pair, None)
        if found is None:
            shared = self._secrets.get(pair)
            if shared is None:
                if len(self._secrets) >= _MOST_PAIRS:
                    self._secrets.clear()
                shared = self._secrets[pair] = shared_secret(sk, other_pk)
            found = self._seeds[pair] = seed_of(shared, *pair, salt)
        return found


class KnownSignatures:
    """A check of signatures that remembers: in one process all parties check the same.

    A signature that was made here needs no check: for the very same key, bytes and signature.
    """

    def __init__(self) -> None:
        self._newer: set[tuple[bytes, bytes, bytes]] = set()
        self._older: set[tuple[bytes, bytes, bytes]] = set()

    def __call__(self, key: bytes, signature: bytes, message: bytes) -> bool:
        """Return whether a signature is valid; see :data:`fedhome.secagg.Verify`."""
        one = (key, signature, message)
        if one in self._newer:
            return True
        if one not in self._older and not signature_holds(key, signature, message):
            return False
        self.made(*one)
        return True

    def made(self, key: bytes, signature: bytes, message: bytes) -> None:
        """Know a signature that was made in this process."""
        if len(self._newer) >= _MOST_SIGNATURES:
            self._older, self._newer = self._newer, set()
        self._newer.add((key, signature, message))


class KnownKeys(HomeKeys):
    """A simulated home's keys: what they sign, the other parties of the process know.

    Args:
        home: The home's name.
        identity: Ed25519 private key, 32 bytes.
        share: X25519 private key, 32 bytes.

    Attributes:
        known: Where signatures become known; None: nowhere.
    """

    def __init__(self, home: str, identity: bytes, share: bytes) -> None:
        super().__init__(home, identity, share)
        self.known: KnownSignatures | None = None

    def sign(self, message: bytes) -> bytes:
        """Return a signature of the home, 64 bytes."""
        signature = super().sign(message)
        if self.known is not None:
            self.known.made(self._identity.public, signature, message)
        return signature


class SharedStreams:
    """Streams of masks: what one home of a pair has made is kept until the other one takes it."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[bytes, int], bytearray] = {}
        self._free: list[bytearray] = []  # places of one size: new memory costs more than a copy
        self._held = 0

    def __call__(self, key: bytes) -> Keystream:
        """Return the stream of a key; see :func:`fedhome.keys.keystream.aes_keystream`."""
        return _SharedStream(self, key)

    def begin(self) -> None:
        """Forget what is waited for: another sum begins."""
        self._free += self._waiting.values()
        self._waiting.clear()
        self._held = 0

    def take(self, key: bytes, number: int, place: memoryview) -> bool:
        """Write the beginning of a piece that waits, and then waits no more; False: none does."""
        piece = self._waiting.pop((key, number), None)
        if piece is None:
            return False
        self._held -= len(piece)
        if len(piece) != len(place):
            return False
        place[:] = piece
        self._free.append(piece)
        return True

    def keep(self, key: bytes, number: int, piece: memoryview) -> None:
        """Keep the beginning of a piece, where there is room."""
        size = len(piece)
        if self._held + size > _MOST_STREAM_BYTES:
            return
        if self._free and len(self._free[-1]) != size:
            self._free.clear()
        place = self._free.pop() if self._free else bytearray(size)
        place[:] = piece
        self._waiting[key, number] = place
        self._held += size


class _SharedStream:
    def __init__(self, streams: SharedStreams, key: bytes) -> None:
        self._streams, self._key = streams, key

    def write(self, number: int, zeros: memoryview, room: memoryview) -> None:
        place = room[: len(zeros)]
        if not self._streams.take(self._key, number, place):
            aes_keystream(self._key).write(number, zeros, room)
            self._streams.keep(self._key, number, place)


@dataclass(frozen=True, kw_only=True)
class _Once(Policy):
    """A policy that checks one manifest once: its terms are the same for all homes."""

    passed: list[Manifest | Directory] = field(default_factory=list, compare=False, repr=False)

    def check(self, manifest: Manifest, directory: Directory) -> None:
        if not _same(self.passed, [manifest, directory]):
            super().check(manifest, directory)
            self.passed[:] = manifest, directory


def _same(some: list[Manifest | Directory], others: list[Manifest | Directory]) -> bool:
    return [*map(id, some)] == [*map(id, others)]  # held in the list, so no other has their place
