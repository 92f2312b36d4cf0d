"""Where a server's one-time keys come from: fetched, checked by the committee, and kept till used.

Homes seal the shares of a bundle for keys that members change twice a day. So ahead of the first
sum of each half day the server asks the members for theirs, and gives them to all homes. Members
then check their shares; in a running fleet they do it as they vote on the sum before. A home whose
share is wrong is left out before it can spoil a sum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Protocol

from flwr.app import Message

from fedhome.errors import FedHomeError
from fedhome.flower.messages import AWAY, blobs_of
from fedhome.keys.signing import Verify
from fedhome.secagg import Bundle, Directory, KeyRing, Pool, ShareChecks, ShareKey
from fedhome.secagg.bundle import RingMembers
from fedhome.secagg.share_keys import period_of
from fedhome.secagg.workings import ServerWorkings
from fedhome.wire.names import BUNDLE, HELP

_EACH_TIME = ServerWorkings()
_AGAIN_S = 60.0  # between two attempts to get the keys of members that gave none
_SHARE_KEY: Mapping[str, bytes] = {"share-key": b""}
_NO_RING = "too few members of the committee gave keys to seal shares for"
_NO_MORE = "it checks and opens no more sums of this run"
WRONG_SHARES = "it deals wrong shares"
_MOST_UNSETTLED = 2  # disputes that a home may leave open, as one that was just restarted does


class AskHomes(Protocol):
    """Asks homes, each its own question, and gives what they sent."""

    def __call__(
        self,
        kind: str,
        records: Mapping[str, Mapping[str, bytes]],
        timeout_s: float | None,
        *,
        enough: int | None = None,
    ) -> Iterator[tuple[str, Message]]:
        """Yield each home's name and its reply.

        Args:
            kind: Type of the messages.
            records: What is asked of each home.
            timeout_s: How long replies are waited for.
            enough: How many must answer before the others are not waited for; None: all.
        """


class BundleStock:
    """Bundles that wait for a sum.

    Args:
        directory: The epoch's.
        ask: Asks homes.
        there: Names of the homes that are connected.
        clock: Seconds since 1970.
        verify: How signatures are checked.
        used: Serial of the last bundle that was used of each home.
        workings: How it works out what follows from bytes alone.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        ask: AskHomes,
        there: Callable[[], Collection[str]],
        clock: Callable[[], float],
        verify: Verify,
        used: Mapping[str, int] | None,
        workings: ServerWorkings = _EACH_TIME,
    ) -> None:
        self.pool = Pool(directory, verify=verify, read=workings.read, used=used)
        self.checks = ShareChecks(directory, verify=verify, workings=workings)
        self.left_out: dict[str, str] = {}
        """Homes that are asked nothing more in this run, and why."""
        self._directory, self._verify = directory, verify
        self._ask, self._there, self._clock = ask, there, clock
        self._rings: dict[bytes, KeyRing] = {}
        self._members: dict[bytes, RingMembers] = {}  # by the ring's hash
        self._ring: KeyRing | None = None
        self._period, self._tried_at = -1, 0.0
        self._taken: dict[str, Bundle] = {}
        self._unsettled: Counter[str] = Counter()

    def add(self, home: str, data: bytes) -> None:
        """Keep a bundle that came along with an answer.

        Raises:
            WireError: Bytes that are no bundle.
            BundleError: A reason of `Pool.add`, or ``ring``.
        """
        self.pool.add(home, data)
        bundle = self.pool.waiting(home)[-1]
        ring = self._rings.get(bundle.ring)
        if ring is None:
            self.pool.drop([bundle])  # for keys of an earlier half day: it is asked for anew
            return
        try:
            bundle.check_ring(self._members_of(ring))
        except FedHomeError:
            self.pool.drop([bundle])
            raise

    def _members_of(self, ring: KeyRing) -> RingMembers:
        """Return the members of a ring as its bundles name them."""
        if ring.hash not in self._members:
            places = {member: place for place, member in enumerate(self._directory.members)}
            keys = {places[key.member]: key.key for key in ring.keys}
            self._members[ring.hash] = RingMembers.of(keys, self._directory.committee)
        return self._members[ring.hash]

    def take(self, homes: Iterable[str]) -> dict[str, Bundle]:
        """Return the oldest bundle of each home, for a sum."""
        taken = self.pool.take(homes)
        # Who found a bundle right is of use until its sum is open.
        self.checks.forget([self._taken[home] for home in taken if home in self._taken])
        self._taken |= taken
        return taken

    def ready(
        self,
        homes: Iterable[str],
        timeout_s: float | None,
        notes: list[str],
        *,
        least: int | None = None,
    ) -> tuple[set[str], dict[str, str]]:
        """Fetch what is missing and have it checked.

        Args:
            homes: Homes of which a bundle is needed.
            timeout_s: How long replies are waited for.
            notes: Takes what was noticed on the way.
            least: How many of them it takes before the others are not waited for; None: all.

        Returns:
            Homes that have a bundle for the next sum; and why others have none.
        """
        why = {home: self.left_out[home] for home in homes if home in self.left_out}
        wanted = [home for home in homes if home not in why]
        self._begin_period()
        bare = [home for home in wanted if not self.pool.count(home)]
        if bare:
            ring = self._ring_of_now(timeout_s, notes)
            if ring is None:
                why |= dict.fromkeys(bare, _NO_RING)
            else:
                missing = None if least is None else max(0, least - len(wanted) + len(bare))
                why |= self._fetch(bare, ring, timeout_s, enough=missing)
        waiting = {home: self.pool.waiting(home)[0] for home in wanted if self.pool.count(home)}
        self._check(waiting.values(), timeout_s, notes)
        spoilt = []
        for home, bundle in waiting.items():
            if home in self.left_out:
                why[home] = self.left_out[home]
            elif not self.checks.sound(bundle):
                why[home] = "too few members of the committee have found its shares right"
            else:
                continue
            spoilt.append(bundle)
        self.pool.drop(spoilt)
        self.checks.forget(spoilt)
        return {home for home in waiting if home not in why}, why

    def check_requests(self) -> dict[str, bytes]:
        """Return what members are to check of bundles that wait, as they are asked anyway."""
        bundles = [one for home in self._directory.names for one in self.pool.waiting(home)]
        return self.checks.requests(bundles)

    def _begin_period(self) -> None:
        """Drop what was sealed for the keys of an earlier half day."""
        period = period_of(self._clock())
        if period != self._period:
            self._period, self._ring, self._rings, self._members = period, None, {}, {}
        old = [
            bundle
            for home in self._directory.names
            for bundle in self.pool.waiting(home)
            if bundle.ring not in self._rings
        ]
        self.pool.drop(old)
        self.checks.forget(old)

    def _ring_of_now(self, timeout_s: float | None, notes: list[str]) -> KeyRing | None:
        """Return the members' keys of this half day; None if too few gave theirs."""
        known = {} if self._ring is None else dict(self._ring.by_member)
        there = set(self._there())
        missing = [
            member
            for member in self._directory.members
            if member not in known and member in there and member not in self.checks.liars
        ]
        due = self._ring is None or self._clock() >= self._tried_at + _AGAIN_S
        if missing and due:
            self._tried_at = self._clock()
            asked = dict.fromkeys(missing, _SHARE_KEY)
            enough = max(0, self._directory.threshold - len(known))
            for member, reply in self._ask(HELP, asked, timeout_s, enough=enough):
                try:
                    key = ShareKey.from_bytes(blobs_of(reply).get("share-key", b""))
                    key.check(self._directory, verify=self._verify)
                    if key.member == member:
                        known[member] = key
                except FedHomeError as error:
                    notes.append(no_help(member, reply, "gave no key to seal shares for", error))
        keys = [
            known[member]
            for member in self._directory.members
            if member in known and member not in self.checks.liars
        ]
        if len(keys) < self._directory.threshold:
            return None
        ring = KeyRing(keys=tuple(keys))
        self._ring = self._rings.setdefault(ring.hash, ring)
        return self._ring

    def _fetch(
        self, homes: list[str], ring: KeyRing, timeout_s: float | None, *, enough: int | None
    ) -> dict[str, str]:
        """Ask homes for a bundle each; return why some gave none."""
        why = dict.fromkeys(homes, "it sent no one-time keys in time")
        given = {"ring": ring.to_bytes()}
        asked = dict.fromkeys(homes, given)
        for home, reply in self._ask(BUNDLE, asked, timeout_s, enough=enough):
            try:
                self.add(home, blobs_of(reply).get("bundle", b""))
                del why[home]
            except FedHomeError as error:
                why[home] = error.message
        return why

    def _check(self, bundles: Iterable[Bundle], timeout_s: float | None, notes: list[str]) -> None:
        """Let members check bundles that too few have checked, and settle what they dispute."""
        requests = self.checks.requests(bundles)
        asked = {member: {"check": data} for member, data in requests.items()}
        enough = self._directory.threshold
        for member, reply in self._ask(HELP, asked, timeout_s, enough=enough):
            try:
                self.checks.receive(member, blobs_of(reply).get("checked", b""))
            except FedHomeError as error:
                notes.append(no_help(member, reply, "did not check its shares", error))
        self._settle(timeout_s, notes)

    def _settle(self, timeout_s: float | None, notes: list[str]) -> None:
        """Let homes show whether shares that members called wrong are."""
        for dispute in self.checks.disputes():
            home, member = dispute.bundle.home, dispute.answer.member
            asked = {home: {"dispute": dispute.to_bytes()}}
            shown = b""
            for _, reply in self._ask(HELP, asked, timeout_s):
                try:
                    shown = blobs_of(reply).get("shown-key", b"")
                    self.checks.settle(dispute, shown, self._rings)
                except FedHomeError as error:
                    notes.append(f"{home} shows nothing of what {member} disputes: {error.message}")
            if dispute in self.checks.disputes():
                self._unsettled[home] += 1
                notes.append(
                    f"{member} called its share of {home}'s keys wrong, and {home} did not show "
                    "otherwise: the keys are not used"
                )
                if self._unsettled[home] >= _MOST_UNSETTLED:
                    self.left_out[home] = "it does not show that the shares it makes are right"
            elif home in self.checks.cheats:
                notes.append(f"{home} made a wrong share for {member}, as its key shows: left out")
                self.left_out[home] = WRONG_SHARES
            else:
                notes.append(
                    f"{member} called a right share of {home} wrong, as the key shows that it was "
                    f"sealed with: {_NO_MORE}"
                )

    def judge(self, wrong: Iterable[tuple[str, str]], notes: list[str]) -> None:
        """Say who is to blame for shares of a sum that were not what their homes' proofs foretell.

        Args:
            wrong: Pairs of a home and a member.
            notes: Takes what was found.
        """
        for home, member in wrong:
            taken = self._taken.get(home)
            if taken is None or not self.checks.found_right(home, taken.serial, member):
                notes.append(
                    f"the share that {member} has of {home}'s keys is wrong: one of the two lies"
                )
            elif member not in self.checks.liars:
                self.checks.liars.add(member)
                notes.append(
                    f"{member} gave another share of {home}'s keys than it had found right: "
                    f"{_NO_MORE}"
                )


def no_help(member: str, reply: Message, what: str, error: FedHomeError) -> str:
    """Return a note on a member that did not help; one that is away is told of in one way alone."""
    if reply.has_error() and reply.error.code == AWAY:
        return f"{member} is away: the committee opens sums without it meanwhile"
    return f"{member} {what}: {error.message}"
