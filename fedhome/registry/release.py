"""A release: a model's payload, and a manifest that the fleet's server signed.

::

    Draft ── Registry.publish ──► Manifest: number, hash of the release before, signature
                                  payload:  the model (fedhome.registry.formats)

Releases form a chain. Each holds the hash of the one before, and its **number** is one higher;
within a run the round rises too. A roll-back is a release like any other: the next number, and
the payload of an older one.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Self

from fedhome.errors import ReleaseError, WireError
from fedhome.registry.container import MOST_PAYLOAD
from fedhome.registry.formats import SHARE, Fidelity, ModelPayload, encode, real, signed
from fedhome.run.model_file import Learnt
from fedhome.secagg.directory import Signed
from fedhome.wire.codec import Digest, Id, Kind, Message, number, octets, several

NONE = bytes(32)  # the hash before the first release
_MAGIC = b"fedhome release\0\1"
_LENGTH_BYTES = 8
_MOST = 1 << 26
_MOST_TIERS, _MOST_LAYERS = 64, 64
_FIELDS_WITHOUT_SLICES = 18  # label, version, and 16 of the manifest
_LATER = ("slices", "scores", "learns")  # the last of these fields are left out where empty


def _change(value: object) -> object:
    if value != "change":
        raise WireError("a model learns something that is not known", reason="range")
    return value


@dataclass(frozen=True, kw_only=True)
class Privacy(Message, label="release-privacy", most=512):
    """What differential privacy a model has.

    Args:
        mechanism: How noise was added, and against whom.
        noise: Noise multiplier.
        epsilon: Spent by this model, everything before it included.
        delta: For which ``epsilon`` holds.
    """

    mechanism: Id
    noise: Annotated[float, real()]
    epsilon: Annotated[float, real()]
    delta: Annotated[float, real(1.0)]


@dataclass(frozen=True, kw_only=True)
class ReleaseTier(Message, label="release-tier", most=512):
    """A kind of devices, and the slice of the model that these trained.

    Args:
        name: What it is called.
        units: Units of the slice's hidden layers.
    """

    name: Id
    units: Annotated[tuple[int, ...], several(number(least=1), most=_MOST_LAYERS)]


@dataclass(frozen=True, kw_only=True)
class ReleaseSlices(Message, label="release-slices", most=1 << 11):
    """In which slices devices trained a model.

    Args:
        rule: How these lie in the model.
        tiers: From the smallest to the largest.
    """

    rule: Id
    tiers: Annotated[tuple[ReleaseTier, ...], several(ReleaseTier.kind(), most=_MOST_TIERS)]

    @property
    def told(self) -> str:
        """The slices in words."""
        told = (f"{one.name} {'-'.join(map(str, one.units))}" for one in self.tiers)
        return f"{', '.join(told)}, by the rule {self.rule}"


@dataclass(frozen=True, kw_only=True)
class TierScore(Message, label="release-tier-score", most=512):
    """What the homes of a tier came to with their slice, on their test rows.

    Args:
        tier: The tier's name.
        homes: How many homes said so, at least as many as a sum of the plan takes.
        score: Their mean score with the slice as the rounds left it.
        tuned: With the slice once it was fine-tuned at home; empty where nobody scored that.
    """

    tier: Id
    homes: Annotated[int, number(least=1)]
    score: Annotated[float, signed()]
    tuned: Annotated[tuple[float, ...], several(signed(), most=1)] = ()


@dataclass(frozen=True, kw_only=True)
class ReleaseScores(Message, label="release-scores", most=1 << 12):
    """What each slice of a model is worth, as homes said.

    Args:
        score: Name of the score; higher is better.
        tiers: Those of which enough homes said so, from the smallest.
    """

    score: Id
    tiers: Annotated[tuple[TierScore, ...], several(TierScore.kind(), most=_MOST_TIERS)]

    @property
    def told(self) -> str:
        """The scores in words."""
        each = (
            f"{one.tier} {one.score:.3f}"
            + "".join(f", tuned {tuned:.3f}" for tuned in one.tuned)
            + f" over {one.homes:,} homes"
            for one in self.tiers
        )
        return f"{self.score}: {'; '.join(each)}"


@dataclass(frozen=True, kw_only=True)
class ReleaseManifest(Message, label="release-manifest", most=1 << 13):
    """What a release is; the version of its form is in its first bytes.

    Args:
        fleet: The fleet's number, 16 bytes.
        number: Position in the chain, from 1.
        previous: Hash of the manifest before; zeros for the first.
        time: Unix time, s, at which it was published.
        run: Name of the run in which the fleet was then.
        run_hash: Tells runs of one name apart: hash of the first event of its log.
        round: Round of that run.
        restores: Number of the release that this one goes back to; 0: none, it is a new model.
        plan: Name of the plan that the model was trained by.
        plan_hash: SHA-256 of the whole plan, as TOML.
        homes: Homes in the sum that made the model.
        layout: Hash of the model's layout, see `fedhome.wire.layout.Layout`.
        storage: Format of the payload.
        fidelity: What that format keeps of the model.
        privacy: Empty where no noise was added.
        payload: SHA-256 of the payload.
        slices: In which slices devices trained the model; empty where each carried all of it.
        scores: What each slice is worth; empty where nobody may know.
        learns: ``change`` where the model states changes of a series; empty where it states levels
            or classes, as all did before there was a choice. Who reads no such field refuses the
            release, and takes no change for a level.
    """

    fleet: Annotated[bytes, octets(16)]
    number: Annotated[int, number(least=1)]
    previous: Digest
    time: Annotated[int, number()]
    run: Id
    run_hash: Digest
    round: Annotated[int, number()]
    restores: Annotated[int, number()]
    plan: Id
    plan_hash: Digest
    homes: Annotated[int, number()]
    layout: Digest
    storage: Id
    fidelity: Annotated[Fidelity, Fidelity.kind()]
    privacy: Annotated[tuple[Privacy, ...], several(Privacy.kind(), most=1)]
    payload: Digest
    slices: Annotated[tuple[ReleaseSlices, ...], several(ReleaseSlices.kind(), most=1)] = ()
    scores: Annotated[tuple[ReleaseScores, ...], several(ReleaseScores.kind(), most=1)] = ()
    learns: Annotated[tuple[str, ...], several(Kind(_change), most=1)] = ()

    @property
    def learnt(self) -> Learnt:
        """What its model states."""
        return "change" if self.learns else "level"

    def _plain(self) -> list[Any]:
        plain = super()._plain()
        while len(plain) > _FIELDS_WITHOUT_SLICES and not plain[-1]:
            plain.pop()  # as it was before models had slices, or slices scores
        return plain

    @classmethod
    def _read(cls, plain: object) -> Self:
        if type(plain) is list and len(plain) >= _FIELDS_WITHOUT_SLICES:
            later = len(plain) - _FIELDS_WITHOUT_SLICES
            if later and plain[-1] == []:
                raise WireError("a manifest is not in its one form", reason="canonical")
            plain = [*plain, *([] for _ in _LATER[later:])]
        return super()._read(plain)

    @cached_property
    def hash(self) -> bytes:
        """SHA-256 of the manifest, 32 bytes: by it the next release names this one."""
        return hashlib.sha256(self.to_bytes()).digest()

    @classmethod
    def of(cls, draft: Draft, *, fleet: bytes, number: int, previous: bytes) -> ReleaseManifest:
        """Return the manifest of a draft at its position in the chain, as of now."""
        return cls(
            fleet=fleet,
            number=number,
            previous=previous,
            time=int(time.time()),
            run=draft.origin.run,
            run_hash=draft.origin.run_hash,
            round=draft.round,
            restores=0,
            plan=draft.origin.plan,
            plan_hash=draft.origin.plan_hash,
            homes=draft.homes,
            layout=draft.layout,
            storage=draft.storage,
            fidelity=draft.fidelity,
            privacy=draft.privacy,
            payload=hashlib.sha256(draft.payload).digest(),
            slices=draft.origin.slices,
            scores=draft.scores,
            learns=() if draft.learnt == "level" else (draft.learnt,),
        )


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a model comes from.

    Args:
        plan: Name of the plan.
        plan_hash: SHA-256 of the plan as TOML, 32 bytes.
        run: Name of the run.
        run_hash: Hash of the first event of the run's log, 32 bytes.
        slices: In which slices its devices trained; empty where each carried the whole model.
    """

    plan: str
    plan_hash: bytes
    run: str
    run_hash: bytes
    slices: tuple[ReleaseSlices, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A model that is ready to be published; `release_of` makes one."""

    origin: Origin
    round: int
    homes: int
    layout: bytes
    storage: str
    fidelity: Fidelity
    privacy: tuple[Privacy, ...]
    payload: bytes
    scores: tuple[ReleaseScores, ...] = ()
    learnt: Learnt = "level"


def release_of(
    model: ModelPayload,
    origin: Origin,
    *,
    round: int,  # noqa: A002 - Flower's word
    homes: int,
    storage: str = "float32",
    share: float = SHARE,
    privacy: Privacy | None = None,
    scores: tuple[ReleaseScores, ...] = (),
    learnt: Learnt = "level",
) -> Draft:
    """Return a round's model as it can be published.

    Args:
        model: The model that the round ended with.
        origin: Run and plan, as `fedhome.registry.run_origin.origin_of` reads them.
        round: Number of the round.
        homes: Homes in its sum.
        storage: ``float32``, ``int8`` or ``sparse-int8``; what it loses is measured here.
        share: Share of the numbers that ``sparse-int8`` keeps.
        privacy: What was spent; None: no noise was added.
        scores: What each slice is worth; empty where nobody may know.
        learnt: What the model states of a series.

    Raises:
        RegistryError: As for `fedhome.registry.formats.encode`.
    """
    payload, fidelity = encode(model, storage, share=share)
    return Draft(
        origin=origin,
        round=round,
        homes=homes,
        layout=bytes.fromhex(model.layout.hash),
        storage=storage,
        fidelity=fidelity,
        privacy=() if privacy is None else (privacy,),
        payload=payload,
        scores=scores,
        learnt=learnt,
    )


@dataclass(frozen=True, kw_only=True)
class Package(Message, label="release", most=_MOST):
    """A release as it travels to homes.

    Args:
        signed: The manifest, and the server's signature of it.
        payload: The model.
    """

    signed: Annotated[Signed, Signed.kind()]
    payload: Annotated[bytes, octets(most=MOST_PAYLOAD)]

    def to_release(self) -> bytes:
        """Return the release as bytes."""
        message = self.to_bytes()
        return _MAGIC + len(message).to_bytes(_LENGTH_BYTES, "big") + message

    @classmethod
    def from_release(cls, data: bytes) -> Package:
        """Parse bytes; nothing in them is verified yet.

        Raises:
            ReleaseError: ``foreign``: no release, ``truncated`` or ``altered``.
        """
        begin = len(_MAGIC) + _LENGTH_BYTES
        if not data.startswith(_MAGIC[: len(data)]):
            raise ReleaseError(
                "these bytes are no release", reason="foreign", hint="name the right file"
            )
        length = int.from_bytes(data[len(_MAGIC) : begin], "big")
        if len(data) < begin or len(data) - begin < length:
            raise ReleaseError(
                "the release ends too early", reason="truncated", hint="fetch it again"
            )
        try:
            package = cls.from_bytes(data[begin:])
        except WireError:
            raise altered_error() from None
        if len(data) - begin != length:
            raise altered_error()
        return package


def altered_error() -> ReleaseError:
    """Return the error for a release whose bytes are not those that were published."""
    return ReleaseError(
        "the release was altered or is damaged", reason="altered", hint="fetch it again"
    )
