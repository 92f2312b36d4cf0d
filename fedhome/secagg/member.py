"""What a committee member checks before it helps to open a sum, and the shares that it returns.

For each home it returns one of two shares, never both: that of the home's own mask if the home
is in the sum, that of its one-time key if it is not. Both together would expose the home.

That alone is not enough. A server that shows each member another set of homes could collect,
for one home, ``threshold`` shares that it is in the sum, and for every other ``threshold`` that
it is out, though each member saw a large set. So members vote first: each for one set of a
manifest, and none returns a share before ``threshold`` members voted for the same set.

Two sums over one model and nearly the same homes would expose a home as well: their difference
is what one of them holds alone. So once a member gave shares, it helps to open no other sum
of that question about that model, and of a question whose numbers are nearly the same none that
tells few homes apart from the others (:mod:`fedhome.secagg.alike`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedhome.counted import counted
from fedhome.errors import ManifestError, OpeningError
from fedhome.keys.signing import Verify
from fedhome.secagg.alike import OpenedSet, faults
from fedhome.secagg.bundle import ROW_BYTES
from fedhome.secagg.directory import Directory
from fedhome.secagg.manifest import Manifest
from fedhome.secagg.policy import Policy
from fedhome.secagg.seals import Seals
from fedhome.secagg.state import HomeState, Opening
from fedhome.secagg.sum_messages import (
    ARRIVAL_BYTES,
    MISSING,
    VOTE_BYTES,
    Request,
    from_bits,
    present_digest,
    upload_statement,
    vote_statement,
)
from fedhome.secagg.workings import Once, each_time


@dataclass(frozen=True, kw_only=True)
class Case:
    """A request that holds: which sum, and who is in it.

    Args:
        manifest: Its terms.
        present: Who is in the sum, bool ``[roster]``.
        digest: Digest of that set.
        homes: The set as it is remembered; None where no other sum is held against it.
    """

    manifest: Manifest
    present: NDArray[np.bool_]
    digest: bytes
    homes: OpenedSet | None = None


def examine(
    request: Request,
    directory: Directory,
    policy: Policy,
    *,
    state: HomeState,
    member: str,
    now: float,
    verify: Verify,
    read: Callable[..., Manifest] = Manifest.verify,
    once: Once = each_time,
) -> Case:
    """Return what a request asks for, or refuse it.

    Args:
        request: The server's.
        directory: The epoch's.
        policy: What this member insists on.
        state: What it remembers: what it has helped to open, and how it voted.
        member: Its name.
        now: Unix time, s.
        verify: How signatures are checked.
        read: How the manifest is read and verified; another function is for simulations only.
        once: How what all members read alike is worked out.

    Raises:
        WireError: The manifest is none.
        OpeningError: ``not-member``; a reason of `Manifest.verify` or `Policy.check`;
            ``expired``; ``arrivals`` (malformed set); ``a-min``; ``isolated`` (a home has too
            few neighbours in the sum); ``opened-before`` (another sum about this model); ``alike``
            (after a sum of nearly the same numbers it would tell few homes).
    """
    if member not in directory.members:
        raise OpeningError(f"{member} is not on the committee", reason="not-member")
    try:
        manifest = read(request.manifest, directory, verify=verify)
        policy.check(manifest, directory)
    except ManifestError as error:
        raise OpeningError(error.message, reason=error.reason, hint=error.hint) from None
    # Who has voted for a sum finishes it also when its time is over: else it could be half opened.
    if now >= manifest.expires and not any(
        one.manifest == manifest.digest for one in state.openings.values()
    ):
        raise OpeningError("the manifest of a sum to open has expired", reason="expired")
    if state.opened.refuses(manifest):
        raise OpeningError(
            f"a sum of {manifest.purpose!r} over this model was opened before",
            reason="opened-before",
            hint="a second one would differ by single homes: go on from the sum that was opened",
        )
    case = once(
        "case",
        (manifest.digest, request.present, len(request.arrivals)),
        lambda: _case_of(request, manifest, directory),
    )
    if case.homes is not None:
        _check_alike(manifest, case.homes, directory, policy, state)
    return case


def _case_of(request: Request, manifest: Manifest, directory: Directory) -> Case:
    """Return who is in a sum, or refuse a set that no home's state makes right."""
    present = from_bits(request.present, len(manifest.names))
    if present is None or len(request.arrivals) != ARRIVAL_BYTES * int(present.sum()):
        raise OpeningError("the homes of a sum are not as they should be", reason="arrivals")
    indices = np.flatnonzero(present)
    if len(indices) < manifest.a_min:
        raise OpeningError(
            f"a sum over {counted(len(indices), 'home')} is not opened, {manifest.a_min} are "
            "needed",
            reason="a-min",
        )
    around = manifest.adjacency(directory)[indices][:, indices].sum(axis=1)
    if int(around.min()) < manifest.tau:
        raise OpeningError(
            f"a home of a sum has fewer than {manifest.tau} neighbours in it", reason="isolated"
        )
    homes = None
    if manifest.alike_subjects:
        homes = OpenedSet.of(manifest, present, directory)
    digest = present_digest(request.present)
    return Case(manifest=manifest, present=present, digest=digest, homes=homes)


def _check_alike(
    manifest: Manifest, homes: OpenedSet, directory: Directory, policy: Policy, state: HomeState
) -> None:
    fleet, roster = len(directory.names), len(manifest.names)
    least = policy.least_sum(fleet, roster=roster, groups=manifest.groups)
    for fault in faults(manifest, homes, opened=state.opened, sets=state.sets, least=least):
        raise OpeningError(
            f"a sum of {manifest.purpose!r} is not opened: {fault}",
            reason="alike",
            hint="ask when the same homes are there again, or leave out more of them",
        )


def check_arrivals(arrivals: bytes, case: Case, directory: Directory, *, verify: Verify) -> None:
    """Refuse a set with a home that did not sign for its vector under this manifest.

    Raises:
        OpeningError: ``arrival-signature``.
    """
    manifest = case.manifest
    for row, index in enumerate(np.flatnonzero(case.present).tolist()):
        arrival = arrivals[row * ARRIVAL_BYTES : (row + 1) * ARRIVAL_BYTES]
        signed = upload_statement(manifest.digest, arrival[:32])
        home = manifest.names[index]
        if not verify(directory.entries[home].identity, arrival[32:], signed):
            raise OpeningError(
                f"{home} is said to be in a sum, but did not sign for it",
                reason="arrival-signature",
            )


def check_votes(votes: bytes, case: Case, directory: Directory, *, verify: Verify) -> None:
    """Refuse to open a set of homes on which too few members agree.

    Any two quorums of ``threshold`` members share an honest one, which votes only once: so at
    most one set of homes of a manifest is ever opened.

    Raises:
        OpeningError: ``votes``.
    """
    signed = vote_statement(case.manifest.digest, case.digest)
    previous = -1
    count, rest = divmod(len(votes), VOTE_BYTES)
    for start in range(0, count * VOTE_BYTES, VOTE_BYTES):
        index = int.from_bytes(votes[start : start + 4], "big")
        if not previous < index < directory.committee:
            raise OpeningError("votes on a sum are not in order", reason="votes")
        previous, signature = index, votes[start + 4 : start + VOTE_BYTES]
        identity = directory.entries[directory.members[index]].identity
        if not verify(identity, signature, signed):
            raise OpeningError("a vote on a sum is not signed by its member", reason="votes")
    if rest or count < directory.threshold:
        raise OpeningError(
            f"{counted(count, 'member')} voted for this sum, {directory.threshold} are needed",
            reason="votes",
        )


def record(case: Case, state: HomeState, once: Once = each_time) -> dict[str, Opening]:
    """Return what must be durable before the member answers: how each bundle is opened.

    Args:
        case: The sum.
        state: What the member remembers.
        once: How what all members read alike is worked out.

    Raises:
        OpeningError: ``conflict``: a bundle was opened in another way, or a later one of its
            home was.
    """
    openings = once("openings", (case.manifest.digest, case.digest), lambda: _openings_of(case))
    if openings.items() <= state.openings.items():  # those that are on record
        return openings
    for home, opening in openings.items():
        earlier, serial = state.openings.get(home), opening.serial
        if earlier is not None and earlier.serial >= serial and earlier != opening:
            raise OpeningError(
                f"a bundle of {home} was opened in another way, or a later one was",
                reason="conflict",
            )
    return openings


def _openings_of(case: Case) -> dict[str, Opening]:
    manifest = case.manifest
    return {
        home: Opening(home=home, serial=serial, manifest=manifest.digest, arrived=arrived)
        for home, serial, arrived in zip(
            manifest.names, manifest.serials, case.present.tolist(), strict=True
        )
    }


def shares(case: Case, sealed: bytes, seals: Seals, secrets: Mapping[int, bytes]) -> bytes:
    """Return this member's share for each home of the roster, 52 bytes each.

    Args:
        case: The sum.
        sealed: This member's row of each home.
        seals: Of this member.
        secrets: The member's, by period.

    Raises:
        OpeningError: ``sealed``: not one sealed share for each.
    """
    manifest = case.manifest
    if len(sealed) != ROW_BYTES * len(manifest.names):
        raise OpeningError("a request has not one share for each home", reason="sealed")
    opened = seals.open_all(secrets, manifest.bounds, sealed)
    half = opened.shares[np.arange(len(opened.why)), case.present.astype(np.int64)]
    told = half.astype("<u4").view(np.uint8)  # [roster, bytes]
    if any(opened.why):
        told[[why is not None for why in opened.why]] = np.frombuffer(MISSING, np.uint8)
    return told.tobytes()
