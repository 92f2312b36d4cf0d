"""What a home does around sums: it makes one-time keys, and as a member checks shares of others.

All of it is by keys of some hours, which are erased in time.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from fedhome.errors import BundleError, SecAggError
from fedhome.keys.signing import Verify
from fedhome.secagg.directory import Directory, HomeKeys
from fedhome.secagg.row_checks import check_rows
from fedhome.secagg.seals import Seals, make_bundle
from fedhome.secagg.share_checks import CheckRequest, Dispute, key_shown
from fedhome.secagg.share_keys import KeyRing, ShareKey, kept, period_of, with_period
from fedhome.secagg.state import HomeState, Store
from fedhome.secagg.workings import Workings

_HEADS = 1024  # signatures that are remembered to hold, or not


class SealingParty:
    """A home as far as it seals and checks shares; :class:`HomeParty` is all of it.

    Args:
        keys: The home's long-lived keys.
        state: What the store loaded.
        store: Where the state is kept.
        verify: How signatures are checked; another function is for simulations only.
        workings: How what follows from bytes alone is worked out.
    """

    def __init__(
        self,
        keys: HomeKeys,
        *,
        state: HomeState,
        store: Store,
        verify: Verify,
        workings: Workings,
    ) -> None:
        self._keys, self._store, self._verify = keys, store, verify
        self._workings = workings
        # A member reads the head of a bundle twice: as it checks its share, and as it joins.
        self._verify_head = lru_cache(maxsize=_HEADS)(verify)
        self.state = state
        self._directory: Directory | None = None
        self._seals: Seals | None = None
        self._ring: KeyRing | None = None
        self._ring_data = b""

    def __repr__(self) -> str:
        return f"Home({self._keys.home!r}, {self.state!r})"

    def forget(self, now: float) -> None:
        """Erase secrets whose time is over; call it now and then, also where nobody asks.

        Args:
            now: Unix time, s.

        Raises:
            StateError: They cannot be erased: the state cannot be saved.
        """
        periods = kept(self.state.periods, now)
        if periods != self.state.periods:
            self._keep_periods(periods)

    def _keep_periods(self, periods: Mapping[int, bytes]) -> None:
        self._commit(self.state.with_periods(periods))
        if self._seals is not None:
            self._seals.forget()

    def _secret(self, now: float) -> tuple[int, bytes]:
        """Return the present period and this home's secret of it, durable."""
        periods = with_period(self.state.periods, now)
        if periods != self.state.periods:
            self._keep_periods(periods)
        period = period_of(now)
        return period, periods[period]

    def share_key(self, *, now: float) -> bytes:
        """Return the key of this period that homes seal their shares for, where it is a member.

        Args:
            now: Unix time, s.

        Raises:
            BundleError: ``no-directory``, or ``ring``: the home is not on the committee.
        """
        directory, _ = self._epoch(BundleError)
        if self._keys.home not in directory.members:
            raise BundleError(f"{self._keys.home} is not on the committee", reason="ring")
        period, secret = self._secret(now)
        return ShareKey.of(self._keys, directory.hash, period, secret).to_bytes()

    def bundle(self, ring: bytes | None = None, *, now: float) -> bytes:
        """Return a new bundle for the server; its secrets are durable when this returns.

        Args:
            ring: Members' keys to seal for from now on; None: those of the last ring.
            now: Unix time, s.

        Raises:
            WireError: Bytes that are no ring.
            BundleError: ``no-directory``; ``no-ring``: none came in this period; or a reason of
                `KeyRing.check`.
        """
        directory, seals = self._epoch(BundleError)
        _, secret = self._secret(now)
        if ring is not None and ring != self.state.ring:
            KeyRing.from_bytes(ring).check(directory, now, verify=self._verify)
            self._commit(self.state.with_periods(self.state.periods, ring))
        if self._ring_data != self.state.ring:
            self._ring, self._ring_data = KeyRing.from_bytes(self.state.ring), self.state.ring
        if self._ring is None or not self._ring.is_live(now):
            raise BundleError(
                f"{self._keys.home} has no keys of this time's members to seal for",
                reason="no-ring",
            )
        bundle, secrets = make_bundle(
            self._keys,
            directory,
            seals,
            self.state.serial + 1,
            secret=secret,
            ring=self._ring,
            draw=self._workings.draw,
            combine=self._workings.combine,
        )
        self._commit(self.state.with_bundle(secrets))
        return self._workings.write(bundle)

    def check(self, data: bytes, *, now: float) -> bytes:
        """Return what this member finds of its shares of some bundles, ahead of a sum.

        Args:
            data: The server's request.
            now: Unix time, s.

        Raises:
            WireError: Bytes that are no request.
            BundleError: ``no-directory``, or ``check``.
        """
        directory, seals = self._epoch(BundleError)
        self.forget(now)
        found = check_rows(
            self._workings.read(CheckRequest, data),
            self._keys,
            directory,
            seals=seals,
            secrets=self.state.periods,
            verify=self._verify_head,
            once=self._workings.once,
            name_rows=self._workings.name_rows,
            combine=self._workings.combine,
        )
        return self._workings.write(found)

    def show_key(self, data: bytes, *, now: float) -> bytes:
        """Return the key of a share that its member called wrong, so that anybody can see.

        Args:
            data: The dispute, as the server sent it.
            now: Unix time, s.

        Raises:
            WireError: Bytes that are no dispute.
            BundleError: ``no-directory``, or a reason of `share_checks.key_shown`.
        """
        directory, _ = self._epoch(BundleError)
        self.forget(now)
        dispute = Dispute.from_bytes(data)
        shown = key_shown(dispute, self._keys, directory, self.state.periods, verify=self._verify)
        return shown.to_bytes()

    def _commit(self, state: HomeState) -> None:
        self._store.save(state)
        self.state = state

    def _epoch(self, error: type[SecAggError]) -> tuple[Directory, Seals]:
        if self._directory is None or self._seals is None:
            raise error(
                f"{self._keys.home} has no directory yet",
                reason="no-directory",
                hint="fetch the directory of the fleet",
            )
        return self._directory, self._seals

    def _begin(self, directory: Directory) -> None:
        """Work under a directory that the home has accepted."""
        self._directory = directory
        self._seals = self._workings.seals(self._keys, directory)
        self._ring, self._ring_data = None, b""
