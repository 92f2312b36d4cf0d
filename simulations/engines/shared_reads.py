"""What all homes of a simulation read alike, read once for those that share a process.

A home checks every byte itself. A thousand homes in one process would check the same bytes a
thousand times, so what held for one is taken to hold for the next: for the very same bytes, and
only where no home's own state has a say. A refusal is not remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedhome.secagg import Directory, HomeKeys, Manifest, Policy, Verify, signature_holds
from fedhome.secagg.masks import one_time_key
from fedhome.secagg.share_checks import row_hashes
from fedhome.secagg.sharing import combined
from fedhome.secagg.workings import ServerWorkings
from fedhome.simulations.engines.shared_masks import SharedMasks
from fedhome.simulations.engines.shared_seals import KnownSeals, SharedSeals
from fedhome.wire.codec import Message

_MOST_KEYS = 1024
_MOST_WRITTEN_BYTES = 1 << 26  # of messages that no server has read
_MOST_SIGNATURES = 1 << 14  # of each of two generations
_MANY_ROWS = 1 << 15  # to name: it takes as long as to compile what does it
_MANY_NUMBERS = 1 << 21  # of shares: to multiply them takes as long as to compile what does it

_Numbers = NDArray[np.int64]
_Worked = TypeVar("_Worked")
_Read = TypeVar("_Read", bound=Message)


class Reading:
    """How the homes of a process read, to be given to each of them.

    Args:
        policy: What they insist on.
    """

    def __init__(self, policy: Policy) -> None:
        self.verify = KnownSignatures()
        self.masks = SharedMasks()
        self._seals = SharedSeals()
        # A home keeps its one-time key while it stays in sums, and a key is costly to make.
        self.key = lru_cache(maxsize=_MOST_KEYS)(one_time_key)
        self._written: KnownMessages | None = None
        self._worked: dict[str, tuple[Hashable, Any]] = {}
        self._read: dict[type[Message], tuple[bytes, Any]] = {}
        self._named: dict[str, tuple[bytes, list[bytes], bytes]] = {}  # by member
        self._numbers = self._rows = 0
        self.policy: Policy = _Once(**vars(policy))
        self._directory: tuple[tuple[bytes, bytes, object], Directory] | None = None
        self._manifest: tuple[tuple[bytes, bytes], Manifest] | None = None

    @cached_property
    def of_server(self) -> ServerWorkings:
        """How a server in this process works things out.

        Messages are kept for it from the first time that this is asked for: in a process of homes
        alone nobody would ever read them.
        """
        self._written = KnownMessages()
        return ServerWorkings(
            read=self._written.read,
            name_rows=self.name_rows,
            hash_shares=self._seals.hashes_told,
        )

    def write(self, message: Message) -> bytes:
        """Do what :meth:`fedhome.wire.codec.Message.to_bytes` does."""
        return message.to_bytes() if self._written is None else self._written.written(message)

    def seals(self, keys: HomeKeys, directory: Directory) -> KnownSeals:
        """Return seals of a home of this process."""
        return KnownSeals(keys, directory, self._seals)

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

    def message(self, kind: type[_Read], data: bytes, *, most: int | None = None) -> _Read:
        """Do what :func:`fedhome.secagg.workings.read_anew` does.

        What members are asked differs in its end: the rest is read once.
        """
        before = self._read.get(kind)
        found: _Read | None = None
        if before is not None and most is None:
            found = before[1].with_end_of(before[0], data)
        if found is None:
            found = kind.from_bytes(data, most=most)
            self._read[kind] = data, found
        return found

    def name_rows(self, statements: Sequence[bytes], rows: bytes, member: str) -> bytes:
        """Do what :func:`fedhome.secagg.share_checks.row_hashes` does, once for member and server.

        Of each member what it was asked last is remembered.
        """
        known = self._named.get(member)
        if known is None or known[0] != rows or known[1] != statements:
            names = self._row_hashes(statements, rows, member)
            known = self._named[member] = rows, [*statements], names
        return known[2]

    def _row_hashes(self, statements: Sequence[bytes], rows: bytes, member: str) -> bytes:
        """Do what :func:`fedhome.secagg.share_checks.row_hashes` does; after many, compiled."""
        self._rows += len(statements)
        names: bytes | None = None
        if self._rows > _MANY_ROWS:
            from fedhome.simulations.engines.row_names import (  # noqa: PLC0415 - LLVM takes a while
                row_names_if_any,
            )

            compiled = row_names_if_any()
            names = None if compiled is None else compiled.hashes(statements, rows, member)
        return row_hashes(statements, rows, member) if names is None else names

    def combine(self, numbers: _Numbers, factors: _Numbers) -> _Numbers:
        """Do what :func:`fedhome.secagg.sharing.combined` does; after many, compiled."""
        self._numbers += numbers.size
        if self._numbers < _MANY_NUMBERS:
            return combined(numbers, factors)
        from fedhome.simulations.engines.share_products import (  # noqa: PLC0415 - LLVM takes a while
            share_products_if_any,
        )

        compiled = share_products_if_any()
        return (combined if compiled is None else compiled.combined)(numbers, factors)


class KnownMessages:
    """Messages that were written in this process: a server there need not read them again.

    For the very same bytes object, which nobody can change, and once. Of those that no server
    reads, as of homes whose answers are lost, the oldest are forgotten where room is short.
    """

    def __init__(self) -> None:
        self._written: dict[int, tuple[bytes, Message]] = {}  # by identity, which a held object has
        self._held = 0

    def written(self, message: Message) -> bytes:
        """Do what :meth:`fedhome.wire.codec.Message.to_bytes` does."""
        data = message.to_bytes()
        self._written[id(data)] = data, message
        self._held += len(data)
        while self._held > _MOST_WRITTEN_BYTES:
            self._take(next(iter(self._written)))
        return data

    def read(self, kind: type[_Read], data: bytes, *, most: int | None = None) -> _Read:
        """Do what :func:`fedhome.secagg.workings.read_anew` does."""
        found = self._take(id(data))
        fits = len(data) <= (kind.MOST if most is None else most)
        return found if fits and type(found) is kind else kind.from_bytes(data, most=most)

    def _take(self, place: int) -> Message | None:
        data, message = self._written.pop(place, (b"", None))
        self._held -= len(data)
        return message


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
