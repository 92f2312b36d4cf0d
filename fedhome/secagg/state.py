"""What a home must never forget, and what it must forget in time.

It is saved **before** anything that depends on it leaves the home. A home that crashes then
has, at worst, one bundle less; it never uses one twice, and never opens one sum in two ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol, Self

from fedhome.errors import StateError, WireError
from fedhome.secagg.alike import MOST_SETS, OpenedSet, with_set
from fedhome.secagg.bundle import Secrets
from fedhome.secagg.directory import MOST_HOMES, Directory
from fedhome.secagg.ledger import Ledger, LedgerEntry
from fedhome.wire.codec import Digest, Flag, Id, Key, Message, number, octets, several

MOST_LIVE = 16  # bundles that wait for a round; a server that asks for more burns the oldest


@dataclass(frozen=True, kw_only=True)
class Opening(Message, label="opened", most=512):
    """How a member last opened a bundle of a home.

    Args:
        home: Whose bundle.
        serial: Which. No lower one is opened any more, and this one only in the same way.
        manifest: Digest of the manifest under which it was opened.
        arrived: True: the share of the home's own mask was given; False: that of its key.
    """

    home: Id
    serial: Annotated[int, number()]
    manifest: Digest
    arrived: Flag


@dataclass(frozen=True, kw_only=True)
class _Live(Message, label="live", most=512):
    serial: Annotated[int, number(least=1)]
    key: Key = field(repr=False)
    blind: Key = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class _Period(Message, label="period", most=128):
    period: Annotated[int, number()]
    secret: Key = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class _Stored(Message, label="state/5", most=1 << 25):
    version: Annotated[int, number()]
    epoch: Annotated[int, number()]
    directory: Annotated[bytes, octets(most=32)]
    turn: Annotated[int, number()]  # the sum's number
    serial: Annotated[int, number()]
    live: Annotated[tuple[_Live, ...], several(_Live.kind(), most=MOST_LIVE)] = field(repr=False)
    openings: Annotated[tuple[Opening, ...], several(Opening.kind(), most=MOST_HOMES)]
    day: Annotated[int, number()]
    today: Annotated[int, number()]
    answered: Annotated[bytes, octets(most=1 << 20)]
    opened: Annotated[bytes, octets(most=1 << 20)]
    periods: Annotated[tuple[_Period, ...], several(_Period.kind(), most=3)] = field(repr=False)
    ring: Annotated[bytes, octets(most=1 << 20)]
    sets: Annotated[tuple[OpenedSet, ...], several(OpenedSet.kind(), most=MOST_SETS)]
    spent: Annotated[int, number()]


@dataclass(frozen=True, kw_only=True)
class HomeState:
    """A home's state; changing it returns the next one. It prints without its secrets.

    Args:
        version: Counts every change: a store that knows the last one notices a restored
            backup.
        epoch: Epoch of the last directory that was accepted.
        directory: Its hash; empty before the first.
        sum_number: Highest sum of this epoch that the home took part in.
        serial: Number of its last bundle; never used again, whatever the epoch.
        live: Secrets of bundles that no sum has used, by serial.
        openings: As a member: the last opening of each home's bundles.
        day: Days since 1970 of the last sum that it took part in.
        today: In how many it took part on that day.
        answered: What it answered, over all epochs.
        opened: As a member: what it helped to open, over all epochs.
        periods: Secrets from which keys of some hours follow, by period.
        ring: The ring of members' keys that the home seals for; empty before the first.
        sets: As a member: who was in sums of this epoch that it helped to open, of questions
            whose numbers are nearly another's.
        spent: What all sums have cost it in privacy, as its budget counts it: a budget that says
            less was set back.
    """

    version: int = 0
    epoch: int = 0
    directory: bytes = b""
    sum_number: int = 0
    serial: int = 0
    live: dict[int, Secrets] = field(default_factory=dict, repr=False)
    openings: dict[str, Opening] = field(default_factory=dict, repr=False)
    day: int = 0
    today: int = 0
    answered: Ledger = field(default_factory=Ledger, repr=False)
    opened: Ledger = field(default_factory=Ledger, repr=False)
    periods: Mapping[int, bytes] = field(default_factory=dict, repr=False)
    ring: bytes = field(default=b"", repr=False)
    sets: tuple[OpenedSet, ...] = field(default=(), repr=False)
    spent: int = 0

    @property
    def last(self) -> tuple[int, bytes] | None:
        """Epoch and hash of the last directory."""
        return (self.epoch, self.directory) if self.directory else None

    def with_directory(self, directory: Directory) -> HomeState:
        """Return the state in a new epoch.

        Bundles, openings, share keys and ring of the old one go: they are bound to its directory,
        and no manifest of that is accepted again. What was answered and opened is remembered.
        """
        return self._next(
            epoch=directory.epoch,
            directory=directory.hash,
            sum_number=0,
            live={},
            openings={},
            periods={},
            ring=b"",
            sets=(),
        )

    def with_periods(self, periods: Mapping[int, bytes], ring: bytes | None = None) -> HomeState:
        """Return the state with these secrets of periods alone, and maybe another ring."""
        return self._next(periods=periods, ring=self.ring if ring is None else ring)

    def with_bundle(self, secrets: Secrets) -> HomeState:
        """Return the state with one more bundle, and the oldest forgotten if there are many."""
        live = {**self.live, self.serial + 1: secrets}
        newest = dict(sorted(live.items())[-MOST_LIVE:])
        return self._next(serial=self.serial + 1, live=newest)

    def without_bundles(self) -> HomeState:
        """Return the state without the secrets of bundles that wait; their numbers stay used."""
        return self._next(live={})

    def with_sum(
        self, sum_number: int, serial: int, entry: LedgerEntry, *, spent: int = 0
    ) -> HomeState:
        """Return the state after a sum was joined: that bundle, and all older ones, are gone."""
        live = {number: secrets for number, secrets in self.live.items() if number > serial}
        counted = self._next(
            day=max(self.day, entry.day),
            today=self.joined_on(entry.day) + 1,
            answered=self.answered.with_entry(entry),
        )
        spent = max(self.spent, spent)
        return counted._with(sum_number=sum_number, live=live, spent=spent)  # noqa: SLF001 - a state

    def joined_on(self, day: int) -> int:
        """Return in how many sums the home took part on a day; a clock set back counts on."""
        return self.today if day <= self.day else 0

    def with_openings(
        self,
        openings: dict[str, Opening],
        opened: LedgerEntry | None = None,
        homes: OpenedSet | None = None,
    ) -> HomeState:
        """Return the state with these openings, which replace older ones of the same homes.

        Args:
            openings: How each bundle of a roster is opened.
            opened: The sum, if shares for it are given; None for a vote.
            homes: Who is in it, if another sum may be held against it.
        """
        ledger = self.opened if opened is None else self.opened.with_entry(opened)
        sets = self.sets if homes is None else with_set(self.sets, homes)
        openings = {**self.openings, **openings}
        return self._next(openings=openings, opened=ledger, sets=sets)

    def _next(self, **changes: Any) -> HomeState:
        return self._with(version=self.version + 1, **changes)

    def _with(self, **changes: Any) -> HomeState:
        """Do what `dataclasses.replace` does: that takes five times as long, some times a sum."""
        state = object.__new__(HomeState)
        vars(state).update(vars(self), **changes)
        return state

    def to_bytes(self) -> bytes:
        """Return the state, secrets and all; **store it encrypted**."""
        return _Stored(
            version=self.version,
            epoch=self.epoch,
            directory=self.directory,
            turn=self.sum_number,
            serial=self.serial,
            live=tuple(
                _Live(serial=serial, key=secrets.key, blind=secrets.blind)
                for serial, secrets in sorted(self.live.items())
            ),
            openings=tuple(opening for _, opening in sorted(self.openings.items())),
            day=self.day,
            today=self.today,
            answered=self.answered.to_bytes(),
            opened=self.opened.to_bytes(),
            periods=tuple(
                _Period(period=period, secret=secret)
                for period, secret in sorted(self.periods.items())
            ),
            ring=self.ring,
            sets=self.sets,
            spent=self.spent,
        ).to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the state that `to_bytes` wrote.

        Raises:
            StateError: ``damaged``: any other bytes.
        """
        try:
            stored = _Stored.from_bytes(data)
            answered = Ledger.from_bytes(stored.answered)
            opened = Ledger.from_bytes(stored.opened)
        except WireError as error:
            raise StateError(
                f"the home's secret state is damaged: {error.message}",
                reason="damaged",
                hint="enrol the home anew: an older copy could use a key twice",
            ) from None
        state = cls(
            version=stored.version,
            epoch=stored.epoch,
            directory=stored.directory,
            sum_number=stored.turn,
            serial=stored.serial,
            live={entry.serial: Secrets(key=entry.key, blind=entry.blind) for entry in stored.live},
            openings={opening.home: opening for opening in stored.openings},
            day=stored.day,
            today=stored.today,
            answered=answered,
            opened=opened,
            periods={one.period: one.secret for one in stored.periods},
            ring=stored.ring,
            sets=stored.sets,
            spent=stored.spent,
        )
        if state.to_bytes() != stored.to_bytes():  # unsorted, or an entry twice
            raise StateError(
                "the home's secret state is damaged: its entries are out of order",
                reason="damaged",
                hint="enrol the home anew: an older copy could use a key twice",
            )
        return state


class Store(Protocol):
    """Where a home's state outlives a crash."""

    def save(self, state: HomeState) -> None:
        """Make the state durable; when this returns, a power cut loses nothing of it."""


class MemoryStore:
    """A store in memory, for tests and simulations: it survives no crash."""

    def __init__(self) -> None:
        self.data = HomeState().to_bytes()

    def save(self, state: HomeState) -> None:
        """Store the state's bytes."""
        self.data = state.to_bytes()

    def load(self) -> HomeState:
        """Return the state that was saved last."""
        return HomeState.from_bytes(self.data)
