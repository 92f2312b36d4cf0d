"""What a home has answered and, as a member, helped to open: each question about a model once.

Two sums over one model and nearly the same homes differ by the homes that are in one of them
alone. So what may be opened is counted by *subject*, which is what is asked about which model,
whatever else a manifest says: roster, round, settings, run. Members open a subject once for each
group of the fleet; an attempt that nobody opened may be made again, with fresh keys. Any two
quorums of members share an honest one, so no second attempt is opened after a first
(docs/security.md).

A ledger holds the newest :data:`MOST_ENTRIES` entries, and of :data:`MOST_OLDER` before these
what they were about, which is refused. What is older is forgotten: it could be asked again.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np

from fedhome.errors import WireError
from fedhome.secagg.manifest import Manifest

MOST_ENTRIES = 4096
MOST_OLDER = 16_384
"""Of how many earlier entries it is remembered that they were: some months of a fleet's life."""
MOST_ATTEMPTS = 8
"""How often a home takes part in sums about one subject, of which at most one is opened."""
_DAY_S = 86_400
# Subject, group, epoch, digest of the manifest, round, day, attempts, kind in ASCII.
_ENTRY = struct.Struct(">32sHQ32sQIH16s")
# Of a subject. Nobody can make another one that is taken for it but by 2^64 tries, to no gain.
_BEGINNING = 8
# An entry's size is a multiple of 8, and so is a beginning's: what ends with this has some.
_COUNT = struct.Struct(">I")

Key = tuple[bytes, int]


class _Index(NamedTuple):
    """What a ledger is asked: it is long, and a home looks it up for each sum.

    Args:
        by_subject: Keys of the entries about each subject.
        by_day: How many entries are of each day.
    """

    by_subject: Mapping[bytes, tuple[Key, ...]]
    by_day: Mapping[int, int]


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """A question that was answered, or whose sum was opened.

    Args:
        subject: What was asked, and about which model: :attr:`.Manifest.subject`.
        group: Of which group of the fleet.
        epoch: Of which directory.
        manifest: Digest of the last manifest.
        round: Number of its round.
        day: Days since 1970 when that was.
        attempts: How many manifests were answered.
        kind: What was summed, at most 16 characters of it.
    """

    subject: bytes
    group: int
    epoch: int
    manifest: bytes
    round: int
    day: int
    attempts: int = 1
    kind: str = ""

    @property
    def key(self) -> Key:
        """What the entry is found by."""
        return self.subject, self.group

    def to_bytes(self) -> bytes:
        """Return the entry, 104 bytes."""
        return _ENTRY.pack(
            self.subject,
            self.group,
            self.epoch,
            self.manifest,
            self.round,
            self.day,
            self.attempts,
            self.kind.encode("ascii", "replace")[:16],
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the entry that `to_bytes` wrote.

        Raises:
            WireError: Any other bytes.
        """
        subject, group, epoch, manifest, number, day, attempts, kind = _ENTRY.unpack(data)
        entry = cls(
            subject=subject,
            group=group,
            epoch=epoch,
            manifest=manifest,
            round=number,
            day=day,
            attempts=attempts,
            kind=kind.rstrip(b"\0").decode("ascii", "replace"),
        )
        if entry.to_bytes() != data:
            raise WireError("an entry of a ledger is not as it is written", reason="ledger")
        return entry


@dataclass(frozen=True)
class Ledger:
    """Entries by subject and group, the oldest first; changing it returns the next one.

    Args:
        entries: The entries.
        older: The subjects of earlier ones, of each the first 8 bytes, the oldest first.
    """

    entries: Mapping[Key, LedgerEntry] = field(default_factory=dict)
    older: bytes = b""

    def __iter__(self) -> Iterator[LedgerEntry]:
        return iter(self.entries.values())

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def _index(self) -> _Index:
        by_subject: dict[bytes, tuple[Key, ...]] = {}
        for key in self.entries:
            by_subject[key[0]] = (*by_subject.get(key[0], ()), key)
        return _Index(by_subject, Counter(entry.day for entry in self))

    def _about(self, subject: bytes) -> list[LedgerEntry]:
        """Return the entries about a subject, whatever the group."""
        return [self.entries[key] for key in self._index.by_subject.get(subject, ())]

    def attempts(self, subject: bytes) -> int:
        """Return in how many sums about a subject a home took part, whatever the group."""
        if self.was_earlier(subject):
            return MOST_ATTEMPTS
        return sum(entry.attempts for entry in self._about(subject))

    def in_another_epoch(self, manifest: Manifest) -> bool:
        """Return whether what a manifest is about is listed for another epoch.

        The next epoch's members need not know what was opened in this one: homes may have joined
        the fleet, or have new keys. So a home answers about one subject in one epoch alone, and
        about what is alike (:mod:`fedhome.secagg.alike`) in the same one.
        """
        subjects = {manifest.subject, *manifest.alike_subjects}
        return any(map(self.was_earlier, manifest.alike_subjects)) or any(
            entry.epoch != manifest.epoch for subject in subjects for entry in self._about(subject)
        )

    def on(self, day: int) -> int:
        """Return how many entries are of a day."""
        return self._index.by_day.get(day, 0)

    def refuses(self, manifest: Manifest) -> bool:
        """Return whether a sum must not be opened after those that are listed here.

        What was opened once may be opened again in the same way: an answer may have been lost. The
        next epoch deals the groups anew, so no group of it follows one of an earlier epoch.
        """
        if self.was_earlier(manifest.subject):
            return True
        listed = (self.entries.get((manifest.subject, group)) for group in range(manifest.groups))
        return any(
            entry.epoch != manifest.epoch
            or (entry.group == manifest.group and entry.manifest != manifest.digest)
            for entry in listed
            if entry is not None
        )

    def with_entry(self, entry: LedgerEntry) -> Ledger:
        """Return the ledger with an entry; an attempt after others counts with them."""
        entries = dict(self.entries)
        by_subject, by_day = dict(self._index.by_subject), dict(self._index.by_day)
        earlier = entries.pop(entry.key, None)
        if earlier is not None:
            attempts = earlier.attempts + (earlier.manifest != entry.manifest)
            entry = replace(entry, attempts=attempts)
            _count_less(by_day, earlier.day)
        else:
            by_subject[entry.subject] = (*by_subject.get(entry.subject, ()), entry.key)
        entries[entry.key] = entry
        by_day[entry.day] = by_day.get(entry.day, 0) + 1
        older = self.older
        while len(entries) > MOST_ENTRIES:
            oldest = next(iter(entries))
            _count_less(by_day, entries.pop(oldest).day)
            by_subject[oldest[0]] = tuple(key for key in by_subject[oldest[0]] if key != oldest)
            if not by_subject[oldest[0]]:
                del by_subject[oldest[0]]
            older += oldest[0][:_BEGINNING]
        ledger = Ledger(entries, older[-_BEGINNING * MOST_OLDER :])
        vars(ledger)["_index"] = _Index(by_subject, by_day)
        return ledger

    def was_earlier(self, subject: bytes) -> bool:
        """Return whether a subject is one of those that are not listed any more."""
        if not self.older:
            return False
        beginnings = np.frombuffer(self.older, f">u{_BEGINNING}")
        return bool((beginnings == int.from_bytes(subject[:_BEGINNING])).any())

    def to_bytes(self) -> bytes:
        """Return the ledger as bytes."""
        ends = self.older + _COUNT.pack(len(self.older) // _BEGINNING) if self.older else b""
        return b"".join(entry.to_bytes() for entry in self) + ends

    @classmethod
    def from_bytes(cls, data: bytes) -> Ledger:
        """Return the ledger that `to_bytes` wrote.

        Raises:
            WireError: Any other bytes.
        """
        older = b""
        if len(data) % _BEGINNING == _COUNT.size:
            (beginnings,) = _COUNT.unpack(data[-_COUNT.size :])
            begin = len(data) - _COUNT.size - beginnings * _BEGINNING
            if not 0 < beginnings <= MOST_OLDER or begin < 0:
                raise WireError("a ledger is not as it is written", reason="ledger")
            data, older = data[:begin], data[begin : -_COUNT.size]
        count, rest = divmod(len(data), _ENTRY.size)
        rows = (data[n * _ENTRY.size : (n + 1) * _ENTRY.size] for n in range(count))
        entries = {entry.key: entry for entry in map(LedgerEntry.from_bytes, rows)}
        if rest or len(entries) != count or count > MOST_ENTRIES:
            raise WireError("a ledger is not as it is written", reason="ledger")
        return cls(entries, older)


def _count_less(by_day: dict[int, int], day: int) -> None:
    by_day[day] -= 1
    if not by_day[day]:
        del by_day[day]


def day_of(now: float) -> int:
    """Return the number of days since 1970 at a Unix time in s."""
    return max(0, int(now // _DAY_S))
