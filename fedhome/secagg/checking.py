"""The server's side of the check of shares: who has checked which bundle, and what is disputed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import BundleError
from fedhome.keys.signing import Verify, signature_holds
from fedhome.secagg.bundle import Bundle, rows_of_members
from fedhome.secagg.directory import Directory
from fedhome.secagg.manifest import MOST_ROSTER
from fedhome.secagg.share_checks import (
    ERASED,
    FOUND_BYTES,
    CheckAnswer,
    CheckRequest,
    Dispute,
    NameRows,
    ShownKey,
    all_foretold,
    home_is_right,
    row_hashes,
)
from fedhome.secagg.share_keys import KeyRing

_BundleName = tuple[str, int]


class _Asked(NamedTuple):
    """A bundle that members are asked about.

    Args:
        bundle: The bundle.
        fixed: What fixes its shares.
    """

    bundle: Bundle
    fixed: bytes


class ShareChecks:
    """What members found of bundles that wait for a sum.

    `requests` and `receive` each answer; then `disputes`, and `settle` each with what its home
    shows. A bundle is `sound` once as many members as open a sum have found it so.

    Args:
        directory: The epoch's; with the next one, start anew.
        verify: How signatures are checked.
        name_rows: How members' rows are named; another function is for simulations only.

    Attributes:
        liars: Members that called a right share wrong: shown, not only said.
        cheats: Homes that sealed a wrong share: likewise.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        verify: Verify = signature_holds,
        name_rows: NameRows = row_hashes,
    ) -> None:
        self._directory, self._verify, self._name_rows = directory, verify, name_rows
        self._right: dict[_BundleName, set[str]] = {}
        self._disputes: dict[tuple[_BundleName, str], Dispute] = {}
        self._asked: dict[str, dict[_BundleName, _Asked]] = {}
        self._places: dict[_BundleName, int] = {}  # of bundles in the next one
        self._foretold = np.zeros((directory.committee, 0, FOUND_BYTES), np.uint8)
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
        new = not self._disputes and self._right.keys().isdisjoint(waiting)
        has = np.logical_and.reduce([one.recipients for one in unsound]).tolist()  # [members]
        whole = CheckRequest.of(unsound, 0)
        asked = {}
        for place, member in enumerate(self._directory.members):
            if member in self.liars:
                continue
            if new and has[place]:
                self._asked.setdefault(member, {}).update(waiting)
                (asked[member],) = whole.with_ends([rows[place].tobytes()])
                continue
            own = {
                name: one
                for name, one in waiting.items()
                if one.bundle.recipients[place]
                and member not in self._right.get(name, ())
                and (name, member) not in self._disputes
            }
            if own:
                self._asked.setdefault(member, {}).update(own)
                some = [one.bundle for one in own.values()]
                asked[member] = CheckRequest.of(some, place).to_bytes()
        return asked

    def receive(self, member: str, data: bytes) -> None:
        """Take a member's answer, or refuse it and change nothing.

        Raises:
            WireError: Bytes that are no answer.
            BundleError: ``check``: another member's, not signed, or about what nobody asked.
        """
        answer = CheckAnswer.from_bytes(data)
        answer.check(self._directory, verify=self._verify)
        index = self._directory.members.index(answer.member)
        asked = self._asked.get(member, {})
        rows = [one.bundle.row(index) for one in asked.values()]
        fixed = [one.fixed for one in asked.values()]
        names = _of_rows(answer.asked, self._name_rows(fixed, rows, member), list(asked))
        if answer.member != member or names is None:
            raise BundleError(f"{member} checked what it was not asked about", reason="check")
        foretold = self._foretell({name: asked[name].bundle for name in names}, index)
        told = np.frombuffer(answer.values, np.uint8).reshape(-1, FOUND_BYTES)
        for place, (name, right) in enumerate(
            zip(names, (told == foretold).all(axis=1).tolist(), strict=True)
        ):
            if right:
                self._right.setdefault(name, set()).add(member)
                del asked[name]
            elif answer.value(place) != ERASED:
                dispute = Dispute(bundle=asked[name].bundle, answer=answer, place=place)
                self._disputes[name, member] = dispute

    def _foretell(self, bundles: Mapping[_BundleName, Bundle], member: int) -> NDArray[np.uint8]:
        """Return what a member finds of some bundles if they are right, uint8 ``[bundles, 64]``.

        What is not known yet is worked out for all members at once, which takes little longer.
        """
        new = {name: one for name, one in bundles.items() if name not in self._places}
        if new:
            told = all_foretold(list(new.values()), self._directory)
            self._places |= {name: at for at, name in enumerate(new, len(self._places))}
            self._foretold = np.concatenate([self._foretold, told], axis=1)
        return self._foretold[member, [self._places[name] for name in bundles]]

    def sound(self, bundle: Bundle) -> bool:
        """Return whether enough members found their shares right, and nothing is in dispute."""
        own = _name(bundle)
        disputed = bool(self._disputes) and any(name == own for name, _ in self._disputes)
        right = self._right.get(own, ())
        if disputed or bundle.home in self.cheats:
            return False
        return len(right) >= self._directory.threshold

    def found_right(self, home: str, serial: int, member: str) -> bool:
        """Return whether a member signed that its share of a bundle is right."""
        return member in self._right.get((home, serial), ())

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
            self._right.setdefault(_name(bundle), set()).add(member)
        else:
            self.cheats.add(bundle.home)
        del self._disputes[_name(bundle), member]

    def forget(self, bundles: Iterable[Bundle]) -> None:
        """Forget what was found of bundles that no sum takes any more; of many at once."""
        names = {_name(bundle) for bundle in bundles}
        for name in names:
            self._right.pop(name, None)
        if not self._places.keys().isdisjoint(names):
            kept = {name: at for name, at in self._places.items() if name not in names}
            self._foretold = self._foretold[:, list(kept.values())]
            self._places = {name: at for at, name in enumerate(kept)}
        self._disputes = {key: one for key, one in self._disputes.items() if key[0] not in names}
        for asked in self._asked.values():
            for name in names:
                asked.pop(name, None)


def _name(bundle: Bundle) -> _BundleName:
    return bundle.home, bundle.serial


def _of_rows(
    told: bytes, hashes: list[bytes], bundles: list[_BundleName]
) -> list[_BundleName] | None:
    """Return the bundles that a member names by the hashes of its rows; None: not each of one.

    Args:
        told: The hashes that it names, 32 bytes each.
        hashes: Those of the rows that it was asked about.
        bundles: Of which bundle each of these is.
    """
    if told == b"".join(hashes):
        return bundles
    named = dict(zip(hashes, bundles, strict=True))
    rows = [told[at : at + 32] for at in range(0, len(told), 32)]
    found = [named[row] for row in rows if row in named]
    return found if len(set(rows)) == len(rows) == len(found) else None
