"""The server's side of one sum: it adds up masked vectors, and opens what they add up to.

Nothing here has to be trusted for a home's update to stay hidden: what homes and members
check, they check themselves. The server checks so that one bad party does not spoil a sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.counted import counted
from fedhome.errors import OpeningError, UploadError, WireError
from fedhome.keys.signing import Verify, signature_holds
from fedhome.secagg.bundle import Bundle, rows_of_members
from fedhome.secagg.directory import Directory
from fedhome.secagg.manifest import Manifest
from fedhome.secagg.masks import add_masks
from fedhome.secagg.opening import ShareProofs, mask_seeds, needed, told
from fedhome.secagg.sharing import SHARE_BYTES
from fedhome.secagg.sum_messages import (
    ARRIVAL_BYTES,
    UPLOAD_OVERHEAD,
    VOTE_BYTES,
    Answer,
    ClosedSum,
    Request,
    Upload,
    Vote,
    from_bits,
    present_digest,
    to_bits,
    vote_statement,
)
from fedhome.secagg.workings import ServerWorkings

_EACH_TIME = ServerWorkings()


@dataclass(frozen=True, kw_only=True)
class OpenedSum:
    """The opened sum.

    Args:
        words: Exact wrapping sum of what the homes in it encoded, unsigned ``[words]``.
        homes: The homes in it.
    """

    words: NDArray[np.unsignedinteger[Any]] = field(repr=False)
    homes: tuple[str, ...]


class Aggregator:
    """One sum of one group of homes, in the memory of one vector.

    `receive` each upload; send `polls` and `receive_vote` each reply until `elected`; send
    `requests` and `receive_opening` each reply until `enough`; then `open`.

    Args:
        manifest: Signed, as it went to the homes.
        directory: The epoch's.
        bundles: Of each home of the roster, the one that the manifest lists.
        verify: How signatures are checked.
        workings: How messages are read and shares hashed; others are for simulations only.
    """

    def __init__(
        self,
        manifest: bytes,
        directory: Directory,
        bundles: Mapping[str, Bundle],
        *,
        verify: Verify = signature_holds,
        workings: ServerWorkings = _EACH_TIME,
    ) -> None:
        self._workings = workings
        self.manifest = Manifest.verify(manifest, directory, verify=verify)
        self._signed, self._directory, self._verify = manifest, directory, verify
        self._bundles = [bundles[home] for home in self.manifest.names]
        form = self.manifest.form
        self._dtype = form.packing.dtype.newbyteorder("<")
        self._total = np.zeros(form.words, form.packing.dtype)
        self._arrivals: dict[int, bytes] = {}
        self._closed = False
        self._digest = b""  # of who is in the sum, once that is known
        self._votes: dict[int, bytes] = {}
        self._shares: dict[int, NDArray[np.uint32]] = {}
        self._right: dict[int, NDArray[np.bool_]] = {}
        self._proofs: ShareProofs | None = None
        self._needed: list[int] = []
        self._secrets: dict[int, bytes | None] = {}  # of the homes whose shares suffice
        self._opened = False
        self.false: tuple[str, ...] = ()
        """Homes whose shares, all of them right, give another secret than they committed to."""

    @property
    def arrived(self) -> tuple[str, ...]:
        """Homes whose upload is in the sum, in the roster's order."""
        return tuple(self.manifest.names[index] for index in sorted(self._arrivals))

    def receive(self, home: str, data: bytes) -> None:
        """Add an upload to the sum, or leave the sum as it is.

        Args:
            home: Whose message it came in.
            data: As `JoinedSum.upload` returned it.

        Raises:
            UploadError: ``closed``, ``not-listed``, ``format``, ``other-home``,
                ``other-manifest``, ``size``, ``duplicate`` or ``signature``.
        """
        index = self.manifest.indices.get(home)
        if self._closed:
            raise UploadError(f"the update of {home} came too late", reason="closed")
        if index is None:
            raise UploadError("an update came from no home of the roster", reason="not-listed")
        size = self._total.nbytes
        try:
            upload = self._workings.read(Upload, data, most=size + UPLOAD_OVERHEAD)
        except WireError as error:
            raise UploadError(
                f"the update of {home} is none: {error.message}", reason="format"
            ) from None
        for reason, fault in (
            ("other-home", upload.home != home),
            ("other-manifest", upload.manifest != self.manifest.digest),
            ("size", len(upload.vector) != size),
            ("duplicate", index in self._arrivals),
        ):
            if fault:
                raise UploadError(f"the update of {home} is refused: {reason}", reason=reason)
        identity = self._directory.entries[home].identity
        if not self._verify(identity, upload.signature, upload.statement):
            raise UploadError(f"the update of {home} is not signed by it", reason="signature")
        self._total += np.frombuffer(upload.vector, self._dtype)
        self._arrivals[index] = upload.vector_hash + upload.signature

    def polls(self) -> dict[str, bytes]:
        """Close the sum and return the request to each member for its vote, by member.

        Raises:
            OpeningError: ``a-min`` or ``isolated``.
        """
        self._close()
        return dict.fromkeys(self._directory.members, self._request().to_bytes())

    def receive_vote(self, member: str, data: bytes) -> None:
        """Count a member's vote, or refuse it and change nothing.

        Raises:
            OpeningError: ``not-asked``, ``not-member``, ``format``, ``other-sum`` or
                ``signature``.
        """
        index = self._member_index(member)
        try:
            vote = self._workings.read(Vote, data)
        except WireError as error:
            raise OpeningError(f"the vote of {member}: {error.message}", reason="format") from None
        self._check_sum(member, vote)
        self._check_signed(member, vote.signature, vote_statement(vote.manifest, vote.present))
        self._votes[index] = vote.signature

    @property
    def elected(self) -> bool:
        """Whether enough members voted: then they open the sum."""
        return len(self._votes) >= self._directory.threshold

    def requests(self) -> dict[str, bytes]:
        """Close the sum and return the request to each member for its shares, by member.

        Raises:
            OpeningError: ``a-min``, ``isolated``, or ``votes``: too few came.
        """
        self._close()
        if not self.elected:
            raise OpeningError(
                f"{counted(len(self._votes), 'member')} voted, {self._directory.threshold} are "
                "needed",
                reason="votes",
            )
        chosen = sorted(self._votes)[: self._directory.threshold]
        votes = b"".join(index.to_bytes(4, "big") + self._votes[index] for index in chosen)
        request = replace(self._request(), votes=votes)
        rows = rows_of_members(self._bundles)
        ends = request.with_ends(row.tobytes() for row in rows)
        return dict(zip(self._directory.members, ends, strict=True))

    def snapshot(self) -> bytes:
        """Return a sum that members have voted for, as `resume` takes it.

        Keep it before any of them is asked for shares: else a crash could leave a sum that nobody
        can open any more, as members help to open no other one about this model.
        """
        dtype = self._dtype
        return ClosedSum(
            manifest=self._signed,
            total=self._total.astype(dtype, copy=False).tobytes(),
            present=to_bits(self._present()),
            arrivals=b"".join(self._arrivals[index] for index in sorted(self._arrivals)),
            votes=b"".join(i.to_bytes(4, "big") + self._votes[i] for i in sorted(self._votes)),
            bundles=tuple(self._bundles),
        ).to_bytes()

    @classmethod
    def resume(
        cls,
        data: bytes,
        directory: Directory,
        *,
        verify: Verify = signature_holds,
        workings: ServerWorkings = _EACH_TIME,
    ) -> Aggregator:
        """Return a sum as `snapshot` left it: what follows is `requests`.

        Args:
            data: What `snapshot` returned.
            directory: The epoch's.
            verify: As of the class.
            workings: As of the class.

        Raises:
            WireError: Other bytes.
            ManifestError: ``other-directory``: another epoch has begun; or ``signature``.
        """
        kept = ClosedSum.from_bytes(data)
        bundles = {bundle.home: bundle for bundle in kept.bundles}
        resumed = cls(kept.manifest, directory, bundles, verify=verify, workings=workings)
        present = from_bits(kept.present, len(resumed.manifest.names))
        if present is None or len(kept.arrivals) != ARRIVAL_BYTES * int(present.sum()):
            raise WireError("a sum was not kept as it was", reason="arrivals")
        for row, index in enumerate(np.flatnonzero(present).tolist()):
            part = kept.arrivals[row * ARRIVAL_BYTES : (row + 1) * ARRIVAL_BYTES]
            resumed._arrivals[index] = part
        for start in range(0, len(kept.votes), VOTE_BYTES):
            member = int.from_bytes(kept.votes[start : start + 4], "big")
            resumed._votes[member] = kept.votes[start + 4 : start + VOTE_BYTES]
        resumed._total = np.frombuffer(kept.total, resumed._dtype).astype(resumed._total.dtype)
        resumed._closed, resumed._digest = True, present_digest(kept.present)
        return resumed

    def receive_opening(self, member: str, data: bytes) -> None:
        """Keep a member's shares, or refuse them and change nothing.

        Raises:
            OpeningError: ``not-asked``, ``not-member``, ``format``, ``other-sum``, ``size``,
                ``duplicate`` or ``signature``.
        """
        index = self._member_index(member)
        try:
            answer = self._workings.read(Answer, data)
        except WireError as error:
            raise OpeningError(
                f"the answer of {member}: {error.message}", reason="format"
            ) from None
        self._check_sum(member, answer)
        roster = len(self.manifest.names)
        if len(answer.shares) != SHARE_BYTES * roster:
            raise OpeningError(f"the answer of {member} has another size", reason="size")
        if index in self._shares:
            raise OpeningError(f"the answer of {member} came before", reason="duplicate")
        self._check_signed(member, answer.signature, answer.statement)
        shares = np.frombuffer(answer.shares, "<u4").astype(np.uint32).reshape(roster, -1)
        if self._proofs is None:
            present = self._present()
            self._needed = needed(present, self.manifest.adjacency(self._directory))
            self._proofs = ShareProofs(
                self.manifest,
                present,
                self._bundles,
                self._directory,
                hash_shares=self._workings.hash_shares,
            )
        self._right[index] = self._proofs.bound(index, shares)
        self._shares[index] = shares
        if self.enough:
            least = self._directory.threshold
            self._secrets = self._proofs.secrets(self._needed, self._shares, self._right, least)

    @property
    def enough(self) -> bool:
        """Whether enough right shares came to open the sum."""
        return len(self._shares) >= self._directory.threshold and not self.lost

    @property
    def asked_all(self) -> bool:
        """Whether every member has answered: nothing more will come."""
        return len(self._shares) == self._directory.committee

    @property
    def lost(self) -> tuple[str, ...]:
        """Homes of whose secret too few right shares came so far."""
        count = np.sum(list(self._right.values()), axis=0) if self._right else self._present() * 0
        lost = (index for index in self._needed if count[index] < self._directory.threshold)
        return tuple(self.manifest.names[index] for index in lost)

    @property
    def wrong(self) -> tuple[tuple[str, str], ...]:
        """Pairs of a home and a member: the share that came is not what the home's proof foretells.

        Had the member found it right before, it lied; else one of the two is to blame.
        """
        members, names = self._directory.members, self.manifest.names
        return tuple(
            (names[home], members[member])
            for member, shares in sorted(self._shares.items())
            for home in np.flatnonzero(told(shares) & ~self._right[member]).tolist()
        )

    def open(self, *, workers: Executor | None = None) -> OpenedSum:
        """Take the masks off the sum. After a failure, more answers may be received.

        Args:
            workers: Threads that share the work on a long vector.

        Raises:
            OpeningError: ``answers`` (too few), ``shares`` (too few right ones; `lost` names the
                homes concerned), ``false`` (`false` names homes that dealt another secret than
                they committed to: leave them out of the next roster) or ``opened``.
        """
        if self._opened:
            raise OpeningError("the sum was opened before", reason="opened")
        if len(self._shares) < self._directory.threshold:
            raise OpeningError(
                f"{counted(len(self._shares), 'member')} answered, {self._directory.threshold} are "
                "needed",
                reason="answers",
            )
        if lost := self.lost:
            raise OpeningError(
                f"too few right shares came for {', '.join(lost)}",
                reason="shares",
                hint="wait for more answers",
            )
        manifest, present, secrets = self.manifest, self._present(), self._secrets
        self.false = tuple(manifest.names[i] for i, secret in secrets.items() if secret is None)
        if self.false:
            raise OpeningError(
                f"{', '.join(self.false)} dealt other secrets than committed to",
                reason="false",
                hint="leave these homes out of the next round",
            )
        found = {index: secret for index, secret in secrets.items() if secret is not None}
        adjacency = manifest.adjacency(self._directory)
        seeds = mask_seeds(manifest, present, adjacency, found)
        add_masks(self._total, *seeds, workers=workers)
        self._opened = True
        return OpenedSum(words=self._total, homes=self.arrived)

    def _present(self) -> NDArray[np.bool_]:
        present = np.zeros(len(self.manifest.names), np.bool_)
        present[list(self._arrivals)] = True
        return present

    def _close(self) -> None:
        """Accept no further upload, if the sum of those that arrived may be opened."""
        manifest, present = self.manifest, self._present()
        if len(self._arrivals) < manifest.a_min:
            raise OpeningError(
                f"{counted(len(self._arrivals), 'home')} sent an update, {manifest.a_min} are "
                "needed",
                reason="a-min",
            )
        around = manifest.adjacency(self._directory)[present][:, present].sum(axis=1)
        if int(around.min()) < manifest.tau:
            raise OpeningError(
                f"a home has fewer than {manifest.tau} neighbours in the sum", reason="isolated"
            )
        self._closed, self._digest = True, present_digest(to_bits(present))

    def _request(self) -> Request:
        return Request(
            manifest=self._signed,
            present=to_bits(self._present()),
            arrivals=b"".join(self._arrivals[index] for index in sorted(self._arrivals)),
            votes=b"",
            sealed=b"",
        )

    def _member_index(self, member: str) -> int:
        if not self._closed or self._opened:
            raise OpeningError(f"{member} was not asked", reason="not-asked")
        if member not in self._directory.members:
            raise OpeningError(f"{member} is not on the committee", reason="not-member")
        return self._directory.members.index(member)

    def _check_sum(self, member: str, reply: Vote | Answer) -> None:
        if (reply.manifest, reply.present) != (self.manifest.digest, self._digest):
            raise OpeningError(f"{member} replied about another sum", reason="other-sum")

    def _check_signed(self, member: str, signature: bytes, message: bytes) -> None:
        if not self._verify(self._directory.entries[member].identity, signature, message):
            raise OpeningError(f"the reply of {member} is not signed by it", reason="signature")
