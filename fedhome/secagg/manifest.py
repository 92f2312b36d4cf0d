"""What a round is: everything that the homes of one sum must agree on, signed by the server.

Every mask is salted with the manifest's digest. Homes that were sent different manifests
(another model, another setting, another roster) therefore have masks that do not cancel, and
nothing can be read of either. A home acts on nothing that came with a question and is not in
its manifest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import ManifestError, WireError
from fedhome.keys.signing import ServerKeys, Verify, signature_holds
from fedhome.secagg import graph
from fedhome.secagg.bundle import Bundle, BundleHead
from fedhome.secagg.directory import Directory, Signed
from fedhome.secagg.form import Form
from fedhome.wire.codec import Digest, Id, Kind, Message, number, octets, several, text

MOST_ROSTER = 16_384
SUM_NUMBER_BITS = 24
_HEAD_BYTES = 32 + 32 + 32 + 64
_SUBJECT, _NO_MODEL = b"fedhome/subject/2\0", b"no model\0"
_SMALL = number(MOST_ROSTER)

ALIKE: tuple[tuple[str, ...], ...] = (("evaluate", "adapted", "blend", "shrink"),)
"""Purposes of sums whose numbers are nearly the same: losses and scores of a model on validation
rows, as it is and once adapted; errors of experts on them, and of their mixtures. A score is one
less the error of the expert that the model is."""


def alike_to(purpose: str) -> tuple[str, ...]:
    """Return the other purposes whose numbers are nearly those of one."""
    return tuple(one for some in ALIKE if purpose in some for one in some if one != purpose)


@dataclass(frozen=True, kw_only=True)
class Manifest(Message, label="manifest/3", most=1 << 23):
    """The terms of one sum.

    Args:
        directory: Hash of the directory that is in force.
        epoch: Its epoch, so that a home knows whether it lacks one.
        run: Number of the run, 16 bytes.
        turn: Number of the sum: it rises with every sum in which a home takes part.
        round: Number of the round, Flower's.
        purpose: What is summed, as the message that carries the manifest says too.
        plan: Hash of what of a plan binds homes (:func:`fedhome.plan.protocol.terms_hash`).
        settings: Hash of the settings that came with the question
            (:func:`fedhome.questions.settings.settings_hash`).
        model_hash: SHA-256 of the model that the homes start from; zeros where there is none.
        form: How an update becomes words.
        n_min: Fewest homes in the roster.
        a_min: Fewest homes in the sum.
        degree: Neighbours of a home on average; 0: all others.
        tau: Fewest neighbours of a home in the sum.
        groups: Into how many groups the fleet is split.
        group: Which of them this is.
        names: The roster: homes sorted by name.
        serials: Which bundle of each home is used.
        heads: Public key, commitment, hash of shares and signature of each bundle.
        expires: Unix time, s, from which on nobody takes part or opens.
        release: Number of the newest release of the server; 0 before the first.
        release_hash: Hash of that release's manifest; zeros before the first. With the directory,
            this is what the homes of a sum agree on to be the newest.
    """

    directory: Digest
    epoch: Annotated[int, number()]
    run: Annotated[bytes, octets(16)]
    turn: Annotated[int, number((1 << SUM_NUMBER_BITS) - 1, least=1)]
    round: Annotated[int, number()]
    purpose: Id
    plan: Digest
    settings: Digest
    model_hash: Digest
    form: Annotated[Form, Kind(Form.from_plain, Form.to_plain)]
    n_min: Annotated[int, _SMALL]
    a_min: Annotated[int, _SMALL]
    degree: Annotated[int, _SMALL]
    tau: Annotated[int, _SMALL]
    groups: Annotated[int, number(MOST_ROSTER, least=1)]
    group: Annotated[int, _SMALL]
    names: Annotated[tuple[str, ...], several(text(), most=MOST_ROSTER)]
    serials: Annotated[tuple[int, ...], several(number(least=1), most=MOST_ROSTER)]
    heads: Annotated[bytes, octets(most=MOST_ROSTER * _HEAD_BYTES)]
    expires: Annotated[int, number()]
    release: Annotated[int, number()] = 0
    release_hash: Digest = bytes(32)

    def __post_init__(self) -> None:
        count = len(self.names)
        if len(self.serials) != count or len(self.heads) != _HEAD_BYTES * count:
            raise WireError("the columns of a roster differ in length", reason="roster")

    @classmethod
    def of(
        cls,
        directory: Directory,
        bundles: Iterable[Bundle],
        *,
        run: bytes,
        turn: int,
        round: int,  # noqa: A002 - Flower's word
        purpose: str,
        plan: bytes,
        settings: bytes,
        model_hash: bytes,
        form: Form,
        n_min: int,
        a_min: int,
        degree: int,
        tau: int,
        expires: int,
        groups: int = 1,
        group: int = 0,
        release: int = 0,
        release_hash: bytes = bytes(32),
    ) -> Manifest:
        """Return the manifest of a sum of the homes whose bundles these are; see the class."""
        heads = [bundle.head for bundle in sorted(bundles, key=lambda bundle: bundle.home)]
        return cls(
            directory=directory.hash,
            epoch=directory.epoch,
            run=run,
            turn=turn,
            round=round,
            purpose=purpose,
            plan=plan,
            settings=settings,
            model_hash=model_hash,
            form=form,
            n_min=n_min,
            a_min=a_min,
            degree=degree,
            tau=tau,
            groups=groups,
            group=group,
            names=tuple(head.home for head in heads),
            serials=tuple(head.serial for head in heads),
            heads=b"".join(
                part
                for head in heads
                for part in (head.public, head.commitment, head.sealed, head.signature)
            ),
            expires=expires,
            release=release,
            release_hash=release_hash,
        )

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of what the server signs, 32 bytes: the salt of every mask."""
        return hashlib.sha256(self.to_bytes()).digest()

    @cached_property
    def subject(self) -> bytes:
        """What is asked about which model, 32 bytes: of one subject, one sum is ever opened.

        Roster, round, settings and run are no part of it. A question that is about no model is
        asked once in an epoch.
        """
        return self._subject_of(self.purpose)

    @cached_property
    def alike_subjects(self) -> tuple[bytes, ...]:
        """Subjects of other sums about this model whose numbers are nearly the same."""
        return tuple(map(self._subject_of, alike_to(self.purpose)))

    def _subject_of(self, purpose: str) -> bytes:
        about = self.model_hash if any(self.model_hash) else _NO_MODEL + self.directory
        return hashlib.sha256(_SUBJECT + hashlib.sha256(purpose.encode()).digest() + about).digest()

    @cached_property
    def indices(self) -> dict[str, int]:
        """Index of each home in the roster."""
        return {home: index for index, home in enumerate(self.names)}

    def public(self, index: int) -> bytes:
        """Return the one-time public key of the home at an index of the roster."""
        start = index * _HEAD_BYTES
        return self.heads[start : start + 32]

    def commitment(self, index: int) -> bytes:
        """Return the commitment of the home at an index of the roster."""
        start = index * _HEAD_BYTES + 32
        return self.heads[start : start + 32]

    def head(self, index: int) -> BundleHead:
        """Return the bundle's head of the home at an index of the roster."""
        row = self.heads[index * _HEAD_BYTES : (index + 1) * _HEAD_BYTES]
        return BundleHead(
            home=self.names[index],
            serial=self.serials[index],
            public=row[:32],
            commitment=row[32:64],
            sealed=row[64:96],
            signature=row[96:],
        )

    @cached_property
    def publics(self) -> list[bytes]:
        """Of each home its one-time public key."""
        return list(map(self.public, range(len(self.names))))

    @cached_property
    def signed_heads(self) -> list[tuple[BundleHead, bytes]]:
        """Of each home its bundle's head, and what of it the home must have signed."""
        heads = map(self.head, range(len(self.names)))
        return [(head, head.statement(self.directory)) for head in heads]

    @cached_property
    def bounds(self) -> list[tuple[str, bytes] | None]:
        """Of each home its name, and what the shares of its bundle are bound to."""
        return [(head.home, head.associated_data(self.directory)) for head, _ in self.signed_heads]

    def adjacency(self, directory: Directory) -> NDArray[np.bool_]:
        """Return who masks with whom, bool ``[roster, roster]``."""
        return graph.adjacency(directory.seed, self.names, self.degree or None)

    def sign(self, keys: ServerKeys) -> bytes:
        """Return the manifest as homes accept it: with the server's signature."""
        body = self.to_bytes()
        return Signed(body=body, signature=keys.sign(body)).to_bytes()

    @classmethod
    def verify(
        cls, data: bytes, directory: Directory, *, verify: Verify = signature_holds
    ) -> Manifest:
        """Return a manifest that the directory's server signed.

        Raises:
            WireError: Bytes that are no manifest.
            ManifestError: ``signature``, or ``other-directory``.
        """
        signed = Signed.from_bytes(data, most=cls.MOST + 128)
        if not verify(directory.server, signed.signature, signed.body):
            raise ManifestError("a manifest is not signed by the server", reason="signature")
        manifest = cls.from_bytes(signed.body)
        if manifest.directory != directory.hash:
            raise ManifestError(
                f"a manifest is for another directory: epoch {manifest.epoch}, and here "
                f"epoch {directory.epoch} is in force",
                reason="other-directory",
                hint="fetch the directory of the fleet anew",
            )
        return manifest
