"""Shares that were sealed in this process are known there: their members need not open them.

For the very same bytes of a row, and a member that still has the key it is sealed for. Any other
row is opened as a device opens it, and what does not open is not remembered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.secagg import Directory, HomeKeys
from fedhome.secagg.bundle import (
    KEY_NAME_BYTES,
    NONCE_BYTES,
    ROW_BYTES,
    SEALED_BYTES,
    BundleHead,
)
from fedhome.secagg.opening import hashes_told
from fedhome.secagg.seals import OpenedRows, Seals, key_of
from fedhome.secagg.share_keys import KeyRing, sealing_key
from fedhome.secagg.sharing import (
    HASH_BYTES,
    HASHES_BYTES,
    SECRETS,
    SHARE_BYTES,
    SHARE_NUMBERS,
    hashes_of,
)

if TYPE_CHECKING:
    from fedhome.simulations.engines.row_seals import RowKeys, RowSeals

_MOST_BYTES = 1 << 26  # of rows, their shares and hashes
_MANY_ROWS = 1 << 12  # of a sum: to seal them some times takes as long as to compile what does it
_TABLES = 4  # members ask of the same bundles one after the other, in a check and in a sum

Bounds = Sequence[tuple[str, bytes] | None]


class _Sealed(NamedTuple):
    """What one home sealed, for all members.

    Args:
        nonce: Of all rows.
        rows: Of each member, one after the other.
        shares: Of each member, uint32 ``[members, secrets, 13]``.
        hashes: Of each member's shares.
        keys: Of each member the key for which its row is sealed; None: it has none.
    """

    nonce: bytes
    rows: bytes
    shares: NDArray[np.uint32]
    hashes: bytes
    keys: tuple[bytes | None, ...]

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return len(self.rows) + self.shares.nbytes + len(self.hashes)


class _Ring(NamedTuple):
    """The members' keys that a home seals for.

    Args:
        of: The home's secret from which its own follow, and the ring's hash.
        keys: Of each member its key; None: it has none.
        compiled: What seals for all of them at once; None: the library does, one by one.
    """

    of: tuple[bytes, bytes]
    keys: tuple[bytes | None, ...]
    compiled: _Compiled | None


class _Compiled(NamedTuple):
    """What seals for all members of a ring at once.

    Args:
        seals: The compiled functions.
        keys: What keys between the home and each member come to.
        starts: How each member's row starts, uint8 ``[members, 36]``.
        names: The members' names, uint8 ``[members, bytes]``.
    """

    seals: RowSeals
    keys: RowKeys
    starts: NDArray[np.uint8]
    names: NDArray[np.uint8]


class _Table(NamedTuple):
    """What was sealed in the bundles that members are asked about, those of this process alone.

    Args:
        places: Which of the bundles these are, int64 ``[known]``.
        rows: Of each member its rows, uint8 ``[members, known, bytes]``.
        shares: uint32 ``[known, members, secrets, 13]``.
        hashes: uint8 ``[known, members, bytes]``.
        rings: Each set of keys for which some are sealed.
        ring_of: Which of these each is sealed for, int64 ``[known]``.
    """

    places: NDArray[np.int64]
    rows: NDArray[np.uint8]
    shares: NDArray[np.uint32]
    hashes: NDArray[np.uint8]
    rings: list[tuple[bytes | None, ...]]
    ring_of: NDArray[np.int64]


class SharedSeals:
    """What the homes of a process have sealed."""

    def __init__(self) -> None:
        self._sealed: dict[bytes, _Sealed] = {}  # by what a bundle's shares are bound to
        self._held = 0
        self._tables: list[tuple[tuple[tuple[str, bytes] | None, ...], _Table | None]] = []

    def keep(self, bound: bytes, sealed: _Sealed) -> None:
        """Know what a home sealed, and forget what was sealed longest ago where room is short."""
        before = self._sealed.pop(bound, None)
        self._sealed[bound] = sealed
        self._held += sealed.size - (0 if before is None else before.size)
        # What knew all its bundles still does, unless one is sealed anew: it has its own copy.
        self._tables = [
            (bounds, table)
            for bounds, table in self._tables
            if before is None and table is not None and len(table.places) == len(bounds)
        ]
        while self._held > _MOST_BYTES:
            self._held -= self._sealed.pop(next(iter(self._sealed))).size

    def table(self, bounds: Bounds) -> _Table | None:
        """Return what is known of some bundles; None: nothing."""
        asked = tuple(bounds)
        for of, table in self._tables:
            if of == asked:
                return table
        table = self._table_of(bounds)
        self._tables = [*self._tables[1 - _TABLES :], (asked, table)]
        return table

    def hashes_told(
        self, bounds: Bounds, member: int, secrets: Sequence[int], shares: bytes
    ) -> bytes:
        """Do what :func:`fedhome.secagg.opening.hashes_told` does."""
        table = self.table(bounds)
        if table is None or len(table.places) < len(bounds):
            return hashes_told(bounds, member, secrets, shares)
        which = np.arange(len(bounds)), member, secrets
        if table.shares[which].astype("<u4", copy=False).tobytes() != shares:
            return hashes_told(bounds, member, secrets, shares)
        count, members = table.hashes.shape[:2]
        return table.hashes.reshape(count, members, SECRETS, HASH_BYTES)[which].tobytes()

    def _table_of(self, bounds: Bounds) -> _Table | None:
        found = [
            (place, self._sealed[bound[1]])
            for place, bound in enumerate(bounds)
            if bound is not None and bound[1] in self._sealed
        ]
        if not found:
            return None
        some = [one for _, one in found]
        rings = list(dict.fromkeys(one.keys for one in some))
        count = len(some)
        shares = np.stack([one.shares for one in some])
        shares.flags.writeable = False  # all members are given parts of it
        sealed = np.frombuffer(b"".join([one.rows for one in some]), np.uint8)
        rows = np.empty((shares.shape[1], count, ROW_BYTES), np.uint8)
        rows[:, :, NONCE_BYTES:] = np.moveaxis(sealed.reshape(count, -1, SEALED_BYTES), 1, 0)
        nonces = np.frombuffer(b"".join([one.nonce for one in some]), np.uint8)
        rows[:, :, :NONCE_BYTES] = nonces.reshape(count, NONCE_BYTES)
        return _Table(
            places=np.array([place for place, _ in found]),
            rows=rows,
            shares=shares,
            hashes=np.frombuffer(b"".join([one.hashes for one in some]), np.uint8).reshape(
                count, -1, HASHES_BYTES
            ),
            rings=rings,
            ring_of=np.array([rings.index(one.keys) for one in some]),
        )


class KnownSeals(Seals):
    """A simulated home's seals: what it seals, the members of the process know.

    Args:
        keys: The home's.
        directory: The epoch's.
        shared: Where what is sealed becomes known.
    """

    def __init__(self, keys: HomeKeys, directory: Directory, shared: SharedSeals) -> None:
        super().__init__(keys, directory)
        self._shared = shared
        members = directory.members
        self._member = members.index(keys.home) if keys.home in members else None
        self._hashed: tuple[NDArray[np.uint32], bytes] | None = None
        self._ring: _Ring | None = None

    def forget(self) -> None:
        """Forget all keys; see :meth:`fedhome.secagg.seals.Seals.forget`."""
        super().forget()
        self._ring = None

    def seal(
        self,
        secret: bytes,
        ring: KeyRing,
        head: BundleHead,
        nonce: bytes,
        shares: NDArray[np.uint32],
    ) -> bytes:
        """Return every member's row; see :meth:`fedhome.secagg.seals.Seals.seal`."""
        if self._ring is None or self._ring.of != (secret, ring.hash):
            self._ring = self._ring_of(secret, ring)
        bound, compiled = head.associated_data(self._directory.hash), self._ring.compiled
        if compiled is None:
            rows = super().seal(secret, ring, head, nonce, shares)
        else:
            rows = compiled.seals.seal(
                compiled.keys,
                compiled.starts,
                compiled.names,
                nonce=nonce,
                bound=bound,
                plain=shares.astype("<u4", copy=False).tobytes(),
            )
        if self._hashed is None or self._hashed[0] is not shares:  # a home deals the same again
            self._hashed = shares, hashes_of(shares)
        self._shared.keep(bound, _Sealed(nonce, rows, shares, self._hashed[1], self._ring.keys))
        return rows

    def _ring_of(self, secret: bytes, ring: KeyRing) -> _Ring:
        named = [ring.by_member.get(member) for member in self._directory.members]
        keys = tuple(None if one is None else one.key for one in named)
        return _Ring((secret, ring.hash), keys, self._compiled_for(secret, keys))

    def _compiled_for(self, secret: bytes, keys: Sequence[bytes | None]) -> _Compiled | None:
        """Return what seals for all members at once; None: it is not worth it, or there is none."""
        directory, members = self._directory, self._directory.members
        names = [member.encode() for member in members]
        if len(names) * len(directory.names) < _MANY_ROWS or len({*map(len, names)}) > 1:
            return None
        from fedhome.simulations.engines.row_seals import (  # noqa: PLC0415 - LLVM takes a while
            row_seals_if_any,
        )

        seals = row_seals_if_any(SECRETS * SHARE_BYTES)
        if seals is None:
            return None
        starts, between = [], []
        for member, key in zip(members, keys, strict=True):
            if key is None:  # its row is zeros
                return None
            own = sealing_key(secret, directory.hash, member)
            public = own.public_key().public_bytes_raw()
            starts.append(key[:KEY_NAME_BYTES] + public)
            between.append(key_of(own, key, self._between(self._keys.home, member, public, key)))
        told = (np.frombuffer(b"".join(some), np.uint8) for some in (starts, names))
        rows = (some.reshape(len(members), -1) for some in told)
        return _Compiled(seals, seals.keys(between), *rows)

    def open_all(
        self,
        secrets: Mapping[int, bytes],
        bounds: Bounds,
        rows: bytes,
        *,
        keep: bool = False,
    ) -> OpenedRows:
        """Return this member's shares; see :meth:`fedhome.secagg.seals.Seals.open_all`."""
        table = self._shared.table(bounds)
        if table is None or self._member is None or len(rows) != ROW_BYTES * len(bounds):
            return super().open_all(secrets, bounds, rows, keep=keep)
        held = {self._member_key(secret)[1] for secret in secrets.values()}
        open_to_it = [ring[self._member] in held for ring in table.rings]
        told = np.frombuffer(rows, np.uint8).reshape(-1, ROW_BYTES)
        shares, known = table.shares[:, self._member], table.rows[self._member]
        complete = len(known) == len(bounds) and all(open_to_it)
        if complete and rows == known.tobytes():  # at once: row by row takes five times as long
            return OpenedRows(shares, [None] * len(bounds), table.hashes[:, self._member])
        same = (told[table.places] == known).all(axis=1) & np.array(open_to_it)[table.ring_of]
        places = table.places[same]
        others = np.setdiff1d(np.arange(len(bounds)), places)
        opened = super().open_all(
            secrets,
            [bounds[place] for place in others.tolist()],
            b"".join([rows[at * ROW_BYTES : (at + 1) * ROW_BYTES] for at in others.tolist()]),
            keep=keep,
        )
        whole = np.empty((len(bounds), SECRETS, SHARE_NUMBERS), np.uint32)
        whole[places], whole[others] = shares[same], opened.shares
        why = dict(zip(others.tolist(), opened.why, strict=True))
        return OpenedRows(whole, [why.get(place) for place in range(len(bounds))])
