"""A server that wants one home's update, and copies of the code with one check taken out.

::

    eve = Eve(world, signed, bundles)         # signs what she likes: she is the server
    eve.take(place, upload)                   # what a home sent her
    eve.ask({0, 1, 2})                        # members vote and give shares, or refuse
    eve.bare(0)                               # the home's words without masks, if she can

An attack proves that a check stops it only if it works without that check: `weaken` takes
exactly one condition out of one function.
"""

from __future__ import annotations

import hashlib
import inspect
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedhome.errors import SecAggError
from fedhome.secagg import Bundle, JoinedSum, Manifest, ServerKeys
from fedhome.secagg.bundle import commitment
from fedhome.secagg.directory import Signed
from fedhome.secagg.masks import add_masks, pair_seeds, self_seed
from fedhome.secagg.seals import Seals
from fedhome.secagg.shamir import LIMBS, combine
from fedhome.secagg.sharing import SHARE_BYTES, Dealing
from fedhome.secagg.sum_messages import (
    MISSING,
    Answer,
    Request,
    Upload,
    Vote,
    present_digest,
    to_bits,
    upload_statement,
)
from helpers.secagg_world import LAYOUT, NOW, SETTINGS, Words, World

Loot = dict[tuple[bytes, bool], dict[int, bytes]]
"""Shares by member, of the bundle with a public key: of its own mask (True) or of its key."""


def refused(error: type[SecAggError], reason: str, call: Callable[[], object]) -> None:
    """Assert that a call raises an error of a kind with a reason."""
    with pytest.raises(error) as caught:
        call()
    assert caught.value.reason == reason, caught.value


def weaken(
    patch: pytest.MonkeyPatch, owner: Any, name: str, check: str, instead: str = "False"
) -> None:
    """Replace a function by a copy in which one piece of its source, found once, is another.

    Args:
        patch: Puts it back.
        owner: Its class or module.
        name: The function's.
        check: The piece, such as a condition.
        instead: What stands there in the copy.
    """
    found = inspect.getattr_static(owner, name)
    function = getattr(found, "__func__", found)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(check) == 1, f"{name} does not check this once: {check}"
    source = "from __future__ import annotations\n" + source.replace(check, instead)
    made: dict[str, Any] = {}
    exec(source, function.__globals__, made)  # noqa: S102 - our own source, but for one check
    patch.setattr(owner, name, made[name])


def cheat(
    world: World,
    home: str,
    *,
    dealing: Callable[[Dealing], Dealing] | None = None,
    shares: Callable[[Any], Any] | None = None,
    rows: Callable[[bytes], bytes] | None = None,
    proof: Callable[[bytes], bytes] | None = None,
) -> Bundle:
    """Return a bundle of a home that deals as it likes, and signs it as if nothing were wrong.

    Args:
        world: The fleet.
        home: The home.
        dealing: Changes the polynomials.
        shares: Changes all members' shares, uint32 ``[members, secrets, 13]``.
        rows: Changes them once they are sealed.
        proof: Changes the proof.
    """
    ring = world.ring().to_bytes()
    with pytest.MonkeyPatch.context() as patch:
        for owner, name, change in (
            (Dealing, "of", dealing),
            (Dealing, "shares", shares),
            (Seals, "seal", rows),
            (Dealing, "proof", proof),
        ):
            if change is not None:
                patch.setattr(owner, name, _then(getattr(owner, name), change))
        return Bundle.from_bytes(world.homes[home].bundle(ring, now=NOW))


def _then(real: Callable[..., Any], change: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda *arguments: change(real(*arguments))


def join(world: World, home: str, signed: bytes, *, model: bytes | None = None) -> JoinedSum:
    """Let a home join what is signed, with the model that it got."""
    if model is None:
        model = Manifest.from_bytes(Signed.from_bytes(signed).body).model_hash
    return world.homes[home].join(
        signed,
        now=NOW,
        purpose="train",
        settings=SETTINGS,
        model_hash=model,
        layout=LAYOUT,
    )


class Eve:
    """A server that asks of members what she likes.

    Args:
        world: The fleet, of which she is the server.
        signed: The terms of a sum.
        bundles: Of each entry of the roster.
        loot: What she got in another sum.
    """

    def __init__(
        self, world: World, signed: bytes, bundles: Sequence[Bundle], loot: Loot | None = None
    ) -> None:
        self.world, self.signed, self.bundles = world, signed, list(bundles)
        self.manifest = Manifest.from_bytes(Signed.from_bytes(signed).body)
        self.loot: Loot = {} if loot is None else loot
        self.keys: dict[int, bytes] = {}  # one-time keys that she knows without asking
        self.uploads: dict[int, Upload] = {}
        self.arrivals: dict[int, bytes] = {}
        self._sets: dict[bytes, set[int]] = {}

    def take(self, place: int, data: bytes) -> None:
        """Keep a home's upload."""
        self.uploads[place] = upload = Upload.from_bytes(data)
        self.arrivals[place] = hashlib.sha256(upload.vector).digest() + upload.signature

    def play(self, place: int, keys: Any) -> None:
        """Let a home that works for her, or nobody with a key, sign for an upload of zeros."""
        digest = bytes(32)
        self.arrivals[place] = digest + keys.sign(upload_statement(self.manifest.digest, digest))

    def ask(self, shown: Collection[int] | Mapping[str, Collection[int]]) -> None:
        """Let members vote, and then give their shares, for sums over the places shown to each.

        Raises:
            SecAggError: The first that a member raised; what others gave is kept.
        """
        members = self.world.directory.members
        sets = shown if isinstance(shown, Mapping) else dict.fromkeys(members, shown)
        errors: list[SecAggError] = []
        votes = b""
        for number, member in enumerate(members):
            if member in sets:
                try:
                    reply = self._answer(member, sets[member], b"")
                except SecAggError as error:
                    errors.append(error)
                else:
                    votes += number.to_bytes(4, "big") + Vote.from_bytes(reply).signature
        for number, member in enumerate(members):
            if member in sets and votes:
                try:
                    self._keep(number, Answer.from_bytes(self._answer(member, sets[member], votes)))
                except SecAggError as error:
                    errors.append(error)
        if errors:
            raise errors[0]

    def _answer(self, member: str, shown: Collection[int], votes: bytes) -> bytes:
        number = self.world.directory.members.index(member)
        request = Request(
            manifest=self.signed,
            present=self._bits(shown),
            arrivals=b"".join(self.arrivals[place] for place in sorted(shown)),
            votes=votes,
            sealed=b"".join(b.row(number) for b in self.bundles) if votes else b"",
        )
        self._sets[present_digest(request.present)] = set(shown)
        return self.world.homes[member].answer(request.to_bytes(), now=NOW)

    def _bits(self, shown: Collection[int]) -> bytes:
        present = np.zeros(len(self.manifest.names), np.bool_)
        present[list(shown)] = True
        return to_bits(present)

    def _keep(self, number: int, answer: Answer) -> None:
        shown = self._sets[answer.present]
        for place in range(len(self.manifest.names)):
            share = answer.shares[place * SHARE_BYTES : (place + 1) * SHARE_BYTES]
            if share != MISSING:
                kind = (self.manifest.public(place), place in shown)
                self.loot.setdefault(kind, {})[number] = share

    def secret(self, place: int, *, own_mask: bool) -> bytes | None:
        """Return a secret of a home of which she has enough shares.

        Args:
            place: The home's in the roster.
            own_mask: That of its own mask; else its one-time key.
        """
        if not own_mask and place in self.keys:
            return self.keys[place]
        public = self.manifest.public(place)
        shares = sorted(self.loot.get((public, own_mask), {}).items())
        shares = shares[: self.world.directory.threshold]
        if not shares:
            return None
        points = np.array([number + 1 for number, _ in shares])
        rows = np.array([np.frombuffer(share, "<u4")[:LIMBS] for _, share in shares], np.uint32)
        found = combine(points, rows)[0]
        if found is None:
            return None
        if own_mask:
            return found if commitment(found) == self.manifest.commitment(place) else None
        made = X25519PrivateKey.from_private_bytes(found).public_key().public_bytes_raw()
        return found if made == public else None

    def bare(self, place: int) -> Words | None:
        """Return what a home added up, if she can take every mask off its upload."""
        manifest, salt = self.manifest, self.manifest.digest
        blind = self.secret(place, own_mask=True)
        if blind is None:
            return None
        plus, minus = list[bytes](), [self_seed(blind, salt)]
        own = self.secret(place, own_mask=False)
        for other in np.flatnonzero(manifest.adjacency(self.world.directory)[place]).tolist():
            key = own or self.secret(other, own_mask=False)
            if key is None:
                return None
            mine, theirs = (place, other) if own else (other, place)
            (seed,) = pair_seeds(
                X25519PrivateKey.from_private_bytes(key),
                manifest.public(mine),
                [manifest.public(theirs)],
                salt,
            )
            (minus if place < other else plus).append(seed)
        words = self.words(place)
        add_masks(words, plus, minus)
        return words

    def has(self, place: int, words: Words) -> bool:
        """Return whether she has a home's words."""
        found = self.bare(place)
        return found is not None and np.array_equal(found, words)

    def words(self, place: int) -> Words:
        """Return the masked words that a home sent."""
        dtype = self.manifest.form.packing.dtype.newbyteorder("<")
        return np.frombuffer(self.uploads[place].vector, dtype).astype(dtype.newbyteorder("="))


def eve_of(world: World, *, turn: int = 1, **changes: Any) -> Eve:
    """Return a server that takes one bundle of every home and signs the terms of a sum."""
    world.turn = turn
    bundles = world.pool.take(world.homes)
    signed = world.manifest(bundles, **changes).sign(world.server)
    return Eve(world, signed, list(bundles.values()))


def send(eve: Eve, homes: Collection[int], seed: int = 0) -> dict[int, Words]:
    """Let homes join and send random words; return the words by place."""
    sent = {}
    for place in sorted(homes):
        sent[place] = words_of(eve.manifest, seed + place)
        joined = join(eve.world, eve.manifest.names[place], eve.signed)
        eve.take(place, joined.upload(sent[place].copy()))
    return sent


def words_of(manifest: Manifest, seed: int) -> Words:
    """Return what a home encoded: an update drawn from a seed."""
    form = manifest.form
    update = np.random.default_rng(seed).normal(0, 0.2, (1, form.elements)).astype(np.float32)
    row: Words = form.encode(update, np.array([9]), np.array([[1.0]]), [bytes(32)])[0]
    return row


def stranger() -> ServerKeys:
    """Return keys of somebody who is not the server."""
    return ServerKeys.create()
