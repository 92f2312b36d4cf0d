"""Where a server stores homes' bundles until a sum takes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from fedhome.errors import BundleError
from fedhome.keys.signing import Verify, signature_holds
from fedhome.secagg.bundle import Bundle
from fedhome.secagg.directory import Directory
from fedhome.secagg.state import MOST_LIVE
from fedhome.secagg.workings import Read, read_anew


class Pool:
    """Bundles that wait for a round, of each home the oldest first.

    Args:
        directory: The epoch's; with the next one, start a new pool.
        verify: How signatures are checked.
        read: How a bundle is read; another function is for simulations only.
        used: Serial of the last bundle that an earlier pool of this epoch gave of each home. One
            home that was set back would else fail every sum: members open no bundle that is
            older than the last.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        verify: Verify = signature_holds,
        read: Read = read_anew,
        used: Mapping[str, int] | None = None,
    ) -> None:
        self._directory, self._verify, self._read = directory, verify, read
        self._waiting: dict[str, deque[Bundle]] = {}
        self._newest = dict(used or {})
        self._makers: dict[bytes, str] = {}  # of each public key that waits

    def add(self, home: str, data: bytes) -> None:
        """Store a bundle.

        Args:
            home: Whose message it came in.
            data: As `HomeParty.bundle` returned it.

        Raises:
            WireError: Bytes that are no bundle.
            BundleError: ``other-home``, a reason of `Bundle.check`; ``replayed``: not newer than
                the home's last one (members open a home's bundles in rising order only); or
                ``copied``: with a key that waits in another home's bundle. Members see keys that
                wait, and homes refuse a roster that has one twice: so one member could stop all.
        """
        bundle = self._read(Bundle, data)
        if bundle.home != home:
            raise BundleError(f"a bundle came from {home} that is not its own", reason="other-home")
        bundle.check(self._directory, verify=self._verify)
        if bundle.serial <= self._newest.get(bundle.home, 0):
            raise BundleError(
                f"a bundle of {bundle.home} is older than its last one: two run with its keys, or "
                "its state was set back",
                reason="replayed",
            )
        maker = self._makers.get(bundle.public)
        if maker is not None:
            raise BundleError(
                f"a bundle of {home} has the key of one that {maker} has sent: a roster with both "
                "would be refused by all homes",
                reason="copied",
            )
        self._newest[bundle.home] = bundle.serial
        waiting = self._waiting.setdefault(home, deque())
        waiting.append(bundle)
        self._makers[bundle.public] = home
        if len(waiting) > MOST_LIVE:  # the home forgets its oldest bundles at the same number
            self._forget(waiting.popleft())

    def waiting(self, home: str) -> list[Bundle]:
        """Return the bundles of a home that wait, the oldest first."""
        return list(self._waiting.get(home, ()))

    def drop(self, bundles: Iterable[Bundle]) -> None:
        """Forget bundles that are of no use; their serials stay used."""
        for bundle in bundles:
            waiting = self._waiting.get(bundle.home)
            if waiting is not None and bundle in waiting:
                waiting.remove(bundle)
                self._forget(bundle)

    def count(self, home: str) -> int:
        """Return how many bundles of a home wait."""
        return len(self._waiting.get(home, ()))

    def take(self, homes: Iterable[str]) -> dict[str, Bundle]:
        """Return the oldest bundle of each of some homes, and forget these.

        Raises:
            BundleError: ``none``: a home has none, and nothing was taken. Ask it for one first.
        """
        names = sorted(set(homes))
        missing = [home for home in names if not self.count(home)]
        if missing:
            raise BundleError(f"no bundle waits of {', '.join(missing)}", reason="none")
        taken = {home: self._waiting[home].popleft() for home in names}
        for bundle in taken.values():
            self._forget(bundle)
        return taken

    def _forget(self, bundle: Bundle) -> None:
        self._makers.pop(bundle.public, None)
