"""Questions about one model whose numbers are nearly the same: over which homes each may be summed.

A second sum of nearly the same numbers, over the same homes but one, shows that home. So of a model
the sums of such questions tell homes apart in *lots* alone: all homes that are in the same of these
sums are a lot. In each lot there are as many homes as a sum takes at least, or none. Whatever is
added to and subtracted from such sums, each lot's homes count alike in it: it tells of no fewer.

Members remember who was in the sums that they helped to open, and hold the next one against these.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Annotated, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedhome.counted import counted
from fedhome.secagg.directory import Directory
from fedhome.secagg.ledger import Ledger
from fedhome.secagg.manifest import Manifest
from fedhome.wire.codec import Digest, Message, number, octets

MOST_SETS = 256
MOST_BYTES = 1 << 19
_MOST_HOMES_BYTES = 1 << 14

_Home = TypeVar("_Home", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class OpenedSet(Message, label="opened-set", most=1 << 15):
    """Who is in a sum that a member helped to open.

    Args:
        subject: What was summed, about which model.
        group: Of which group of the fleet.
        homes: The homes in it, a bit for each home of the directory in its order, lowest first.
    """

    subject: Digest
    group: Annotated[int, number()]
    homes: Annotated[bytes, octets(most=_MOST_HOMES_BYTES)]

    @classmethod
    def of(cls, manifest: Manifest, present: NDArray[np.bool_], directory: Directory) -> OpenedSet:
        """Return who is in a sum.

        Args:
            manifest: Its terms.
            present: Who of the roster is in it, bool ``[roster]``.
            directory: The epoch's.
        """
        inside = {manifest.names[index] for index in np.flatnonzero(present)}
        bits = np.array([home in inside for home in directory.names], np.bool_)
        packed = np.packbits(bits, bitorder="little").tobytes()
        return cls(subject=manifest.subject, group=manifest.group, homes=packed)

    @property
    def key(self) -> tuple[bytes, int]:
        """What it is found by."""
        return self.subject, self.group

    @property
    def places(self) -> frozenset[int]:
        """Places in the directory of the homes in it."""
        bits = np.unpackbits(np.frombuffer(self.homes, np.uint8), bitorder="little")
        return frozenset(np.flatnonzero(bits).tolist())


def faults(
    manifest: Manifest,
    homes: OpenedSet,
    *,
    opened: Ledger,
    sets: Sequence[OpenedSet],
    least: int,
) -> Iterator[str]:
    """Yield why a sum must not be opened after others of nearly the same numbers.

    Args:
        manifest: Its terms.
        homes: Who is in it.
        opened: What a member has helped to open.
        sets: Who was in these.
        least: Fewest homes in a lot.
    """
    known = {one.key: one for one in sets}
    before = []
    for subject in manifest.alike_subjects:
        entry = opened.entries.get((subject, manifest.group))
        one = known.get((subject, manifest.group))
        if entry is None and not opened.was_earlier(subject):
            continue
        if one is None or entry is None or entry.epoch != manifest.epoch:
            yield "a sum of nearly the same numbers was opened, and who was in it is forgotten"
            return
        before.append(one.places)
    lot = smallest_lot([*before, homes.places]) if before else 0
    if 0 < lot < least:
        yield (
            f"it and another sum about this model tell {counted(lot, 'home')} apart from all "
            f"others, and {least} are the fewest"
        )


def with_set(sets: Sequence[OpenedSet], one: OpenedSet) -> tuple[OpenedSet, ...]:
    """Return sets with one more, the oldest forgotten where there are too many."""
    kept = [*(other for other in sets if other.key != one.key), one][-MOST_SETS:]
    while sum(len(each.homes) for each in kept) > MOST_BYTES:
        del kept[0]
    return tuple(kept)


def smallest_lot(sums: Sequence[AbstractSet[_Home]]) -> int:
    """Return how many homes the smallest lot has that sums tell apart; 0: there is none.

    Args:
        sums: The homes in each sum.
    """
    return min(Counter(_lots(sums).values()).values(), default=0)


def fitting(
    before: Sequence[AbstractSet[str]], homes: Collection[str], *, least: int, salt: bytes = b""
) -> set[str]:
    """Return as many of some homes as a sum may be over, after others: maybe none.

    Args:
        before: The homes in each earlier sum of nearly the same numbers about this model.
        homes: Those that could be in the next one.
        least: Fewest homes in a lot.
        salt: Decides, with their names, which homes of a lot are left out.
    """
    there = set(homes)
    if not before:
        return there
    lots: dict[tuple[bool, ...], set[str]] = {}
    for home, where in _lots([*before, there]).items():
        lots.setdefault(where[:-1], set()).add(home)
    kept: set[str] = set()
    for where, lot in lots.items():
        inside = sorted(lot & there, key=lambda home: hashlib.sha256(salt + home.encode()).digest())
        absent = len(lot) - len(inside) if any(where) else 0  # who never was in one is no lot
        spare = max(0, least - absent) if absent else 0
        if len(inside) - spare >= least:
            kept.update(inside[spare:])
    return kept


def _lots(sums: Sequence[AbstractSet[_Home]]) -> dict[_Home, tuple[bool, ...]]:
    """Return for each home of any sum which of them it is in."""
    return {home: tuple(home in one for one in sums) for home in set().union(*sums)}
