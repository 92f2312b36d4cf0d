"""A home's side: bytes in, bytes out, and what may never happen twice made durable first."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Protocol

import numpy as np

from fedhome.errors import (
    BundleError,
    DirectoryError,
    ManifestError,
    OpeningError,
)
from fedhome.keys.signing import Verify, signature_holds
from fedhome.secagg import member
from fedhome.secagg.bundle import Secrets, commitment
from fedhome.secagg.directory import Directory, HomeKeys
from fedhome.secagg.joined_sum import JoinedSum
from fedhome.secagg.ledger import MOST_ATTEMPTS, LedgerEntry, day_of
from fedhome.secagg.manifest import Manifest
from fedhome.secagg.masks import self_seed
from fedhome.secagg.policy import Policy
from fedhome.secagg.sealing_party import SealingParty
from fedhome.secagg.state import HomeState, Store
from fedhome.secagg.sum_messages import (
    Answer,
    Request,
    Vote,
    vote_statement,
)
from fedhome.secagg.workings import Workings

_EACH_TIME = Workings()


class Budget(Protocol):
    """What a home lets sums cost it in privacy."""

    def spend(self, manifest: Manifest, honest: int) -> None:
        """Count a sum durably before the home takes part, or raise; ``honest`` homes add noise."""

    @property
    def spent(self) -> int:
        """What all sums have cost so far, in units of the budget's own."""


class HomeParty(SealingParty):
    """One home: takes part in sums, and serves on the committee if the epoch chose it.

    Use it from one thread at a time. Every method either returns bytes to send, or raises
    `SecAggError` and nothing is to be sent.

    Args:
        keys: The home's long-lived keys.
        authority: Public key of the fleet's authority, from the enrolment.
        state: What the store loaded.
        store: Where the state is kept.
        policy: What the home insists on.
        budget: What it lets sums cost it in privacy; None: it adds no noise.
        verify: How signatures are checked; another function is for simulations only.
        read_directory: How a directory is read and verified; as above.
        read_manifest: How a manifest is read and verified; as above.
        workings: How what follows from bytes alone is worked out; as above.
    """

    def __init__(
        self,
        keys: HomeKeys,
        authority: bytes,
        *,
        state: HomeState,
        store: Store,
        policy: Policy | None = None,
        budget: Budget | None = None,
        verify: Verify = signature_holds,
        read_directory: Callable[..., Directory] = Directory.verify,
        read_manifest: Callable[..., Manifest] = Manifest.verify,
        workings: Workings = _EACH_TIME,
    ) -> None:
        super().__init__(keys, state=state, store=store, verify=verify, workings=workings)
        self._authority, self._budget = authority, budget
        self._read_directory, self._read_manifest = read_directory, read_manifest
        self.policy = policy or Policy()

    def renew(self, data: bytes) -> None:
        """Accept a directory; also after a restart, as the state holds only its hash.

        Args:
            data: As `Authority.issue` wrote it.

        Raises:
            WireError: Bytes that are no directory.
            DirectoryError: A reason of `Directory.verify` or `Policy.check_committee`, or
                ``not-listed``: the home, with these keys, is not (or no longer) of the fleet.
        """
        last = self.state.last
        directory = self._read_directory(data, self._authority, last=last, verify=self._verify)
        entry = directory.entries.get(self._keys.home)
        own = self._keys.entry()
        if entry is None or (entry.identity, entry.share) != (own.identity, own.share):
            raise DirectoryError(
                f"{self._keys.home} is not in the directory of epoch {directory.epoch}",
                reason="not-listed",
                hint="the fleet's owner left this home out, or knows other keys of it",
            )
        self.policy.check_committee(directory)
        if last is None or directory.epoch > last[0]:
            self._commit(self.state.with_directory(directory))
        self._begin(directory)

    def join(
        self,
        data: bytes,
        *,
        now: float,
        purpose: str,
        settings: bytes,
        model_hash: bytes,
        layout: bytes,
    ) -> JoinedSum:
        """Take part in a sum: from here on its bundle is gone from the state, whatever happens.

        It is counted too, by what is asked about which model, and by day.

        Args:
            data: The manifest, signed by the server.
            now: Unix time, s.
            purpose: What this home expects to be summed.
            settings: Hash of the settings that came with the question.
            model_hash: SHA-256 of the model that it got; zeros where none came.
            layout: Hash of the layout of what it sends, 32 bytes.

        Raises:
            WireError: Bytes that are no manifest.
            ManifestError: ``no-directory``; a reason of `Manifest.verify` or `Policy.check`;
                ``purpose``, ``settings``, ``replayed``, ``expired``, ``expires-late``, ``model``,
                ``layout``, ``noise``, ``budget``; ``asked-before`` (too often about one model),
                ``asked-too-often`` (on one day); ``not-listed`` (the home is not in the roster),
                ``bundle-used`` (or unknown), ``own-bundle`` (altered), ``neighbour-signature``
                or ``public-key``.
        """
        directory, _ = self._epoch(ManifestError)
        self.forget(now)
        manifest = self._read_manifest(data, directory, verify=self._verify)
        for reason, fault, message in (
            ("purpose", manifest.purpose != purpose, "another purpose than the server's message"),
            ("settings", manifest.settings != settings, "other settings than those that came"),
            ("replayed", manifest.turn <= self.state.sum_number, "a sum that has passed"),
            ("expired", now >= manifest.expires, "a time that is over"),
            (
                "expires-late",
                manifest.expires > now + self.policy.longest_s,
                f"an expiry more than {self.policy.longest_s} s ahead",
            ),
            ("model", manifest.model_hash != model_hash, "another model than the one that came"),
            ("layout", manifest.form.layout != layout, "another layout than the home's model"),
        ):
            if fault:
                raise ManifestError(f"a manifest asks for {message}", reason=reason)
        self.policy.check(manifest, directory)
        day = day_of(now)
        self._check_ledger(manifest, day)
        index, secrets = self._own_bundle(manifest)
        seeds = self._seeds(manifest, directory, index, secrets)
        workings = self._workings
        joined = JoinedSum(manifest, self._keys, *seeds, mask=workings.mask, write=workings.write)
        spent = self._spend(manifest, directory)
        # Before anything leaves: a home that crashes from here on can only be absent.
        entry = _entry(manifest, day)
        serial = manifest.serials[index]
        self._commit(self.state.with_sum(manifest.turn, serial, entry, spent=spent))
        return joined

    def _spend(self, manifest: Manifest, directory: Directory) -> int:
        """Let a sum cost its privacy, and return what all have cost; 0 where none costs any."""
        if self._budget is None:
            return 0
        if self._budget.spent < self.state.spent:
            raise ManifestError(
                "what this home knows of the privacy that it has spent is less than it was",
                reason="budget",
                hint="its `privacy.fh` is lost or of an earlier day: bring the newest one back, or "
                "enrol the home anew, and count what was spent as lost",
            )
        self._budget.spend(manifest, self.policy.least_honest(manifest, directory))
        return self._budget.spent

    def _check_ledger(self, manifest: Manifest, day: int) -> None:
        """Refuse what was asked too often: about one model, or on one day."""
        if self.state.opened.refuses(manifest):
            raise ManifestError(
                f"a sum of {manifest.purpose!r} over this model was opened before",
                reason="opened-before",
                hint="a second one would differ by single homes: go on from the first",
            )
        if self.state.answered.in_another_epoch(manifest):
            raise ManifestError(
                f"{manifest.purpose!r} was asked about this model under another directory",
                reason="asked-before",
                hint="go on from another model: homes answer about one in one epoch alone",
            )
        attempts = self.state.answered.attempts(manifest.subject)
        if attempts >= MOST_ATTEMPTS:
            raise ManifestError(
                f"{manifest.purpose!r} was asked {attempts} times about this model",
                reason="asked-before",
                hint="`fedhome client ledger` lists what this home has answered",
            )
        most = self.policy.most_a_day
        if self.state.joined_on(day) >= most:
            raise ManifestError(
                f"this home takes part in no more than {most} sums a day",
                reason="asked-too-often",
                hint="that is three runs of the plan; `fedhome client ledger` lists them",
            )

    def answer(self, data: bytes, *, now: float) -> bytes:
        """Return a committee member's answer: first its vote on who is in a sum, then its shares.

        The vote fixes how this member opens every bundle of the roster; it is durable before
        the vote leaves. Shares are given once ``threshold`` members have voted for the same set.

        Args:
            data: The server's request: without votes it asks for one.
            now: Unix time, s.

        Raises:
            WireError: Bytes that are no request.
            OpeningError: ``no-directory``, or a reason of `member.examine`,
                `member.record`, `member.check_arrivals`, `member.check_votes` or `member.shares`.
        """
        directory, seals = self._epoch(OpeningError)
        self.forget(now)
        once = self._workings.once
        request = self._workings.read(Request, data)
        case = member.examine(
            request,
            directory,
            self.policy,
            state=self.state,
            member=self._keys.home,
            now=now,
            verify=self._verify,
            read=self._read_manifest,
            once=once,
        )
        manifest, shares = case.manifest.digest, b""
        openings = member.record(case, self.state, once)
        new = not openings.items() <= self.state.openings.items()
        if new:  # otherwise all of it was checked before this was recorded
            once(
                "arrivals",
                (manifest, case.digest, request.arrivals),
                lambda: member.check_arrivals(
                    request.arrivals, case, directory, verify=self._verify
                ),
            )
        if request.votes:
            once(
                "votes",
                (manifest, case.digest, request.votes),
                lambda: member.check_votes(request.votes, case, directory, verify=self._verify),
            )
            shares = member.shares(case, request.sealed, seals, self.state.periods)
        opened = _entry(case.manifest, day_of(now)) if request.votes else None
        if opened is not None and opened.key not in self.state.opened.entries:
            self._check_opened_today(opened.day)
        if new or (opened is not None and opened.key not in self.state.opened.entries):
            homes = None if opened is None else case.homes
            self._commit(self.state.with_openings(openings, opened, homes))
        if not request.votes:
            signature = self._keys.sign(vote_statement(manifest, case.digest))
            vote = Vote(manifest=manifest, present=case.digest, signature=signature)
            return self._workings.write(vote)
        bare = Answer(manifest=manifest, present=case.digest, shares=shares, signature=bytes(64))
        return self._workings.write(bare.signed_with(self._keys.sign(bare.statement)))

    def _check_opened_today(self, day: int) -> None:
        """Refuse to help open more sums on a day than a plan has: the ledger is not endless."""
        most = self.policy.most_a_day * self.policy.groups
        if self.state.opened.on(day) >= most:
            raise OpeningError(
                f"this home helps to open no more than {most} sums a day",
                reason="asked-too-often",
                hint="those are three runs of the plan; `fedhome client ledger` lists them",
            )

    def _own_bundle(self, manifest: Manifest) -> tuple[int, Secrets]:
        """Return the home's index in the roster, and the secrets of the bundle listed there."""
        index = manifest.indices.get(self._keys.home)
        if index is None:
            raise ManifestError(
                f"{self._keys.home} is not in the roster of a manifest", reason="not-listed"
            )
        secrets = self.state.live.get(manifest.serials[index])
        if secrets is None:
            raise ManifestError(
                f"bundle {manifest.serials[index]} of {self._keys.home} was used, or never made",
                reason="bundle-used",
                hint="the server must take each bundle once, oldest first",
            )
        if manifest.commitment(index) != commitment(secrets.blind):
            raise ManifestError("a manifest lists this home with altered keys", reason="own-bundle")
        return index, secrets

    def _seeds(
        self, manifest: Manifest, directory: Directory, index: int, secrets: Secrets
    ) -> tuple[list[bytes], list[bytes]]:
        """Return the seeds of masks that this home adds, and of those that it subtracts."""
        key, public = self._workings.key(secrets.key)
        if manifest.public(index) != public:
            raise ManifestError("a manifest lists this home with altered keys", reason="own-bundle")
        salt = manifest.digest
        neighbours = np.flatnonzero(manifest.adjacency(directory)[index]).tolist()
        signed = self._workings.once("signed heads", salt, set[int])
        heads = manifest.signed_heads
        for neighbour in sorted(set(neighbours).difference(signed)):
            head, statement = heads[neighbour]
            identity = directory.entries[head.home].identity
            if not self._verify_head(identity, head.signature, statement):
                raise ManifestError(
                    f"the keys that a manifest lists for {head.home} are not signed by it",
                    reason="neighbour-signature",
                )
            signed.add(neighbour)
        publics = manifest.publics
        others = [publics[neighbour] for neighbour in neighbours]
        before = bisect_left(neighbours, index)  # in the roster: a home adds what those subtract
        try:
            seeds = self._workings.agree(key, public, others, salt, before)
        except BundleError as error:
            raise ManifestError(error.message, reason=error.reason) from None
        return [self_seed(secrets.blind, salt), *seeds[before:]], seeds[:before]


def _entry(manifest: Manifest, day: int) -> LedgerEntry:
    return LedgerEntry(
        subject=manifest.subject,
        group=manifest.group,
        epoch=manifest.epoch,
        manifest=manifest.digest,
        round=manifest.round,
        day=day,
        kind=manifest.purpose[:16],
    )
