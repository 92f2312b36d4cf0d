"""The server's side of the check of shares: who has checked which bundle, and what is disputed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import BundleError
from fedhome.keys.signing import Verify, signature_holds
from fedhome.secagg.bundle import Bundle, rows_of_member, rows_of_members
from fedhome.secagg.directory import Directory
from fedhome.secagg.manifest import MOST_ROSTER
from fedhome.secagg.share_checks import (
    ERASED,
    FOUND_BYTES,
    CheckAnswer,
    CheckRequest,
    Dispute,
    ShownKey,
    all_foretold,
    home_is_right,
)
from fedhome.secagg.share_keys import KeyRing
from fedhome.secagg.sharing import same_rows
from fedhome.secagg.workings import ServerWorkings

_EACH_TIME = ServerWorkings()
_BundleName = tuple[str, int]


class _Asked(NamedTuple):
    """A bundle that members are asked about.

    Args:
        bundle: The bundle.
        fixed: What fixes its shares.
    """

    bundle: Bundle
    fixed: bytes


@dataclass(kw_only=True)
class _Question:
    """What members are asked that are all asked the same.

    Args:
        bundles: About which bundles.
        fixed: Of each what fixes its shares.
        rows: Each member's rows of them, uint8 ``[members, bundles, 168]``: those of one member lie
            together, while reading them bundle by bundle takes as long as all of its signature.
        places: Where they stand in what is foretold, once that is known.
    """

    bundles: Mapping[_BundleName, _Asked]
    fixed: list[bytes]
    rows: NDArray[np.uint8]
    places: NDArray[np.int64] | None = None


class ShareChecks:
    """What members found of bundles that wait for a sum.

    `requests` and `receive` each answer; then `disputes`, and `settle` each with what its home
    shows. A bundle is `sound` once as many members as open a sum have found it so.

    Args:
        directory: The epoch's; with the next one, start anew.
        verify: How signatures are checked.
        workings: How answers are read and rows named; others are for simulations only.

    Attributes:
        liars: Members that called a right share wrong: shown, not only said.
        cheats: Homes that sealed a wrong share: likewise.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        verify: Verify = signature_holds,
        workings: ServerWorkings = _EACH_TIME,
    ) -> None:
        self._directory, self._verify, self._workings = directory, verify, workings
        self._disputes: dict[tuple[_BundleName, str], Dispute] = {}
        # By member; several have the same one, which is replaced and never changed.
        self._asked: dict[str, Mapping[_BundleName, _Asked]] = {}
        self._question: _Question | None = None
        self._places: dict[_BundleName, int] = {}  # of bundles in the next two
        self._foretold = np.zeros((directory.committee, 0, FOUND_BYTES), np.uint8)
        self._right = np.zeros((directory.committee, 0), np.bool_)
        self._counts: list[int] | None = None  # of members that found each right, once asked for
        self.liars: set[str] = set()
        self.cheats: set[str] = set()

    def requests(self, bundles: Iterable[Bundle]) -> dict[str, bytes]:
        """Return what to ask each member about bundles that too few have checked; maybe nobody.

        Args:
            bundles: Bundles that wait; of more than one request may hold, the first ones.
        """
        directory = self._directory.hash
        unsound = list(islice((one for one in bundles if not self.sound(one)), MOST_ROSTER))
        if not unsound:
            return {}
        rows = rows_of_members(unsound)
        waiting = {
            _name(one): _Asked(one, one.head.dealt_statement(directory, one.dealt))
            for one in unsound
        }
        # Most often nobody has checked any of them, and all members are asked the same.
        new = not self._disputes and not any(map(self._count, waiting))
        has = np.logical_and.reduce([one.recipients for one in unsound]).tolist()  # [members]
        alike = [place for place, one in enumerate(has) if new and one]
        ends = CheckRequest.of(unsound, 0).with_ends(rows[place].tobytes() for place in alike)
        whole = dict(zip(alike, ends, strict=True))
        fixed = [one.fixed for one in waiting.values()]
        self._question = _Question(bundles=waiting, fixed=fixed, rows=rows) if whole else None
        asked = {}
        for place, member in enumerate(self._directory.members):
            if member in self.liars:
                continue
            if place in whole:
                self._ask(member, waiting)
                asked[member] = whole[place]
                continue
            own = {
                name: one
                for name, one in waiting.items()
                if one.bundle.recipients[place]
                and not self._holds(place, name)
                and (name, member) not in self._disputes
            }
            if own:
                self._ask(member, own)
                some = [one.bundle for one in own.values()]
                asked[member] = CheckRequest.of(some, place).to_bytes()
        return asked

    def receive(self, member: str, data: bytes) -> None:
        """Take a member's answer, or refuse it and change nothing.

        Raises:
            WireError: Bytes that are no answer.
            BundleError: ``check``: another member's, not signed, or about what nobody asked.
        """
        answer = self._workings.read(CheckAnswer, data)
        answer.check(self._directory, verify=self._verify)
        index = self._directory.members.index(answer.member)
        asked = self._asked.get(member, {})
        alike = self._question
        if alike is not None and alike.bundles is asked:
            fixed, rows = alike.fixed, alike.rows[index].tobytes()
        else:  # it was asked something of its own
            alike, fixed = None, [one.fixed for one in asked.values()]
            rows = rows_of_member([one.bundle for one in asked.values()], index)
        every = list(asked)
        names = _of_rows(answer.asked, self._workings.name_rows(fixed, rows, member), every)
        if answer.member != member or names is None:
            raise BundleError(f"{member} checked what it was not asked about", reason="check")
        if alike is None or names is not every:
            places = self._places_of(names, asked)
        else:
            if alike.places is None:
                alike.places = self._places_of(names, asked)
            places = alike.places
        right = same_rows(answer.values, self._foretold[index, places])
        self._right[index, places] |= right
        self._counts = None
        if names is every and right.all():
            self._asked[member] = {}
            return
        found = {name for name, one in zip(names, right.tolist(), strict=True) if one}
        self._asked[member] = {name: one for name, one in asked.items() if name not in found}
        for place in np.flatnonzero(~right).tolist():
            if answer.value(place) != ERASED:
                name = names[place]
                dispute = Dispute(bundle=asked[name].bundle, answer=answer, place=place)
                self._disputes[name, member] = dispute

    def _ask(self, member: str, bundles: Mapping[_BundleName, _Asked]) -> None:
        """Expect a member's answer about bundles, beside those that it still owes one about."""
        before = self._asked.get(member)
        self._asked[member] = {**before, **bundles} if before else bundles

    def _places_of(
        self, names: Sequence[_BundleName], asked: Mapping[_BundleName, _Asked]
    ) -> NDArray[np.int64]:
        """Return where bundles stand in what is foretold and was found, int64 ``[bundles]``.

        What members find of those that are not there yet is worked out for all members at once,
        which takes little longer.
        """
        new = [name for name in names if name not in self._places]
        if new:
            told = all_foretold([asked[name].bundle for name in new], self._directory)
            self._places |= {name: at for at, name in enumerate(new, len(self._places))}
            self._foretold = np.concatenate([self._foretold, told], axis=1)
            nobody = np.zeros((self._directory.committee, len(new)), np.bool_)
            self._right = np.concatenate([self._right, nobody], axis=1)
        return np.array([self._places[name] for name in names], np.int64)

    def _holds(self, member: int, name: _BundleName) -> bool:
        """Return whether the member at an index of the committee found its share right."""
        place = self._places.get(name)
        return place is not None and bool(self._right[member, place])

    def _count(self, name: _BundleName) -> int:
        """Return how many members found their shares of a bundle right."""
        if self._counts is None:
            self._counts = self._right.sum(axis=0).tolist()
        place = self._places.get(name)
        return 0 if place is None else self._counts[place]

    def sound(self, bundle: Bundle) -> bool:
        """Return whether enough members found their shares right, and nothing is in dispute."""
        own = _name(bundle)
        disputed = bool(self._disputes) and any(name == own for name, _ in self._disputes)
        if disputed or bundle.home in self.cheats:
            return False
        return self._count(own) >= self._directory.threshold

    def found_right(self, home: str, serial: int, member: str) -> bool:
        """Return whether a member signed that its share of a bundle is right."""
        members = self._directory.members
        return member in members and self._holds(members.index(member), (home, serial))

    def disputes(self) -> list[Dispute]:
        """Return what is in dispute: `Dispute.to_bytes` goes to its home."""
        return list(self._disputes.values())

    def settle(self, dispute: Dispute, data: bytes, rings: Mapping[bytes, KeyRing]) -> None:
        """Take what a home shows of a disputed share: home or member is proven wrong by it.

        Args:
            dispute: The dispute.
            data: As the home sent it.
            rings: Rings that were given out, by their hash.

        Raises:
            WireError: Bytes that show nothing.
            BundleError: ``ring``: the bundle is sealed for a ring that nobody gave out.
        """
        member, bundle = dispute.answer.member, dispute.bundle
        shown = ShownKey.from_bytes(data)
        ring = rings.get(bundle.ring)
        key = None if ring is None else ring.by_member.get(member)
        if key is None:
            raise BundleError(f"{member} is in no ring that {bundle.home} was given", reason="ring")
        if home_is_right(dispute, shown, self._directory, key):
            self.liars.add(member)
            index = self._directory.members.index(member)
            self._right[index, self._places[_name(bundle)]], self._counts = True, None
        else:
            self.cheats.add(bundle.home)
        del self._disputes[_name(bundle), member]

    def forget(self, bundles: Iterable[Bundle]) -> None:
        """Forget what was found of bundles that no sum takes any more; of many at once."""
        names = {_name(bundle) for bundle in bundles}
        if not names:
            return
        if not self._places.keys().isdisjoint(names):
            kept = {name: at for name, at in self._places.items() if name not in names}
            places = list(kept.values())
            self._foretold, self._right = self._foretold[:, places], self._right[:, places]
            self._places, self._counts = {name: at for at, name in enumerate(kept)}, None
            if self._question is not None:
                self._question.places = None
        if self._question is not None and not self._question.bundles.keys().isdisjoint(names):
            self._question = None
        self._disputes = {key: one for key, one in self._disputes.items() if key[0] not in names}
        kept_of = dict[int, Mapping[_BundleName, _Asked]]()  # many owe answers about the same
        for asked in self._asked.values():
            if id(asked) not in kept_of:
                other = asked.keys().isdisjoint(names)
                left = asked if other else {key: asked[key] for key in asked if key not in names}
                kept_of[id(asked)] = left
        self._asked = {member: kept_of[id(asked)] for member, asked in self._asked.items()}


def _name(bundle: Bundle) -> _BundleName:
    return bundle.home, bundle.serial


def _of_rows(told: bytes, hashes: bytes, bundles: list[_BundleName]) -> list[_BundleName] | None:
    """Return the bundles that a member names by the hashes of its rows; None: not each of one.

    Args:
        told: The hashes that it names, 32 bytes each.
        hashes: Those of the rows that it was asked about, likewise.
        bundles: Of which bundle each of these is.
    """
    if told == hashes:
        return bundles
    named = dict(zip(_each(hashes), bundles, strict=True))
    rows = _each(told)
    found = [named[row] for row in rows if row in named]
    return found if len(set(rows)) == len(rows) == len(found) else None


def _each(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + 32] for at in range(0, len(hashes), 32)]
