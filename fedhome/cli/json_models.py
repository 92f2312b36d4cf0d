"""What ``fedhome model list | show | verify`` print with `--json`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from fedhome.registry import ModelPayload, Release
    from fedhome.registry.release import TierScore


@dataclass(frozen=True, kw_only=True)
class ReleaseEntry:
    """A release.

    Args:
        number: Its position in the chain, from 1.
        hash: Its hash, hexadecimal.
        time: When it was published, Unix time in s.
        run: Name of the run that made its model.
        round: The round.
        homes: Homes in the sum that made it.
        storage: Format in which it is stored.
        bytes: Bytes of that.
        rmse: What was lost in storage: root of the mean squared difference from float32.
        restores: Number of the release whose model it gives again; null: a new model.
        pinned: Whether its model stays, however old it gets.
        kept: Whether its model is still there.
    """

    number: int
    hash: str
    time: int
    run: str
    round: int
    homes: int
    storage: str
    bytes: int
    rmse: float
    restores: int | None
    pinned: bool
    kept: bool


@dataclass(frozen=True, kw_only=True)
class ReleasePrivacy:
    """What privacy a model has.

    Args:
        mechanism: How noise was added, and against whom.
        noise: Noise multiplier.
        epsilon: Spent by this model, everything before it included.
        delta: For which that holds.
    """

    mechanism: str
    noise: float
    epsilon: float
    delta: float


@dataclass(frozen=True, kw_only=True)
class ParameterEntry:
    """A parameter of a model.

    Args:
        name: Its name.
        shape: Its shape.
    """

    name: str
    shape: list[int]


@dataclass(frozen=True, kw_only=True)
class ReleaseSlice:
    """The slice of a model that a kind of devices trained.

    Args:
        tier: What these are called.
        hidden: Units of its hidden layers.
        rule: How slices lie in the model.
        score: Mean score on the test rows of the tier's homes, with the slice as the rounds left
            it; null where the release may not tell it: under masks nobody knows it by tier, and a
            tier of few homes has none.
        tuned: The same with the slice once fine-tuned at home; null where that is not known.
        homes: How many homes said so; null where there is no score.
    """

    tier: str
    hidden: list[int]
    rule: str
    score: float | None
    tuned: float | None
    homes: int | None


@dataclass(frozen=True, kw_only=True)
class ReleaseShown(ReleaseEntry):
    """All that a release says.

    Args:
        fleet: The fleet's number, hexadecimal.
        previous: Hash of the release before, hexadecimal; null for the first.
        run_hash: Tells runs of one name apart, hexadecimal.
        plan: Name of the plan.
        plan_hash: SHA-256 of the plan, hexadecimal.
        bytes_whole: Bytes of the model in float32.
        max_error: Largest difference from float32.
        share: Share of the parameters that is kept.
        privacy: What noise was added; null: none.
        slices: In which slices devices trained it, from the smallest; empty: each had all of it.
        learnt: What it states of a series: "change" or "level"; of classes "level".
        payload: SHA-256 of what is stored, hexadecimal.
        layout: Hash of the model's layout, hexadecimal.
        parameters: Its parameters; null where the model was removed.
    """

    fleet: str
    previous: str | None
    run_hash: str
    plan: str
    plan_hash: str
    bytes_whole: int
    max_error: float
    share: float
    privacy: ReleasePrivacy | None
    slices: list[ReleaseSlice]
    learnt: str
    payload: str
    layout: str
    parameters: list[ParameterEntry] | None


@dataclass(frozen=True, kw_only=True)
class ChainShown:
    """What a check of the whole chain found; the command ends with status 1 where it has faults.

    Args:
        releases: How many releases there are.
        models: How many models were read.
        faults: What is wrong, a sentence each.
        leftovers: Files that a crash left, and that are no release.
    """

    releases: int
    models: int
    faults: list[str]
    leftovers: list[str]


@dataclass(frozen=True, kw_only=True)
class SliceEntry:
    """A slice of a model.

    Args:
        hidden: Units of its hidden layers; empty of a module of your own.
        width: Share of the whole model's units in the last of them; of a module of your own what
            its tier says.
        depth: How many layers those are, or what the tier says.
        parameters: How many numbers it has.
        bytes: Bytes of these in float32.
        bytes_int8: Bytes of these in one byte each, with a scale for each parameter.
        microseconds: Time of one prediction on this machine, in µs, by numpy; of a module of your
            own by torch.
        tier: The tier that trained it; null where that is not known.
        score: Mean score on the test rows of the tier's homes, with the slice as the rounds left
            it; null where it is not known.
        tuned: The same with the slice once fine-tuned at home; null where that is not known.
        homes: How many homes said so; null where there is no score.
    """

    hidden: list[int]
    width: float
    depth: int
    parameters: int
    bytes: int
    bytes_int8: int
    microseconds: float
    tier: str | None
    score: float | None
    tuned: float | None
    homes: int | None


def entry_of(release: Release) -> ReleaseEntry:
    """Return what a list says of a release."""
    one = release.manifest
    return ReleaseEntry(
        number=one.number,
        hash=one.hash.hex(),
        time=one.time,
        run=one.run,
        round=one.round,
        homes=one.homes,
        storage=one.storage,
        bytes=one.fidelity.size,
        rmse=one.fidelity.rmse,
        restores=one.restores or None,
        pinned=release.pinned,
        kept=release.kept,
    )


def release_shown(release: Release, model: ModelPayload | None) -> ReleaseShown:
    """Return all that a release says.

    Args:
        release: The release.
        model: Its model; None where that was removed.
    """
    one = release.manifest
    scored = {score.tier: score for said in one.scores for score in said.tiers}
    privacy = [
        ReleasePrivacy(
            mechanism=given.mechanism, noise=given.noise, epsilon=given.epsilon, delta=given.delta
        )
        for given in one.privacy
    ]
    return ReleaseShown(
        **vars(entry_of(release)),
        fleet=one.fleet.hex(),
        previous=one.previous.hex() if one.number > 1 else None,
        run_hash=one.run_hash.hex(),
        plan=one.plan,
        plan_hash=one.plan_hash.hex(),
        bytes_whole=one.fidelity.whole,
        max_error=one.fidelity.max_error,
        share=one.fidelity.share,
        privacy=privacy[0] if privacy else None,
        slices=[
            ReleaseSlice(
                tier=tier.name,
                hidden=list(tier.units),
                rule=said.rule,
                **score_told(scored.get(tier.name)),
            )
            for said in one.slices
            for tier in said.tiers
        ],
        learnt=one.learnt,
        payload=one.payload.hex(),
        layout=one.layout.hex(),
        parameters=None if model is None else list(_parameters(model)),
    )


class ScoreTold(TypedDict):
    """What is told of a slice's score; each null where it is not known."""

    score: float | None
    tuned: float | None
    homes: int | None


def score_told(score: TierScore | None) -> ScoreTold:
    """Return what is told of a slice's score.

    Args:
        score: The score; None: it is not known.
    """
    if score is None:
        return ScoreTold(score=None, tuned=None, homes=None)
    tuned = next(iter(score.tuned), None)
    return ScoreTold(score=score.score, tuned=tuned, homes=score.homes)


def _parameters(model: ModelPayload) -> Iterable[ParameterEntry]:
    for name, shape in zip(model.layout.names, model.layout.shapes, strict=True):
        yield ParameterEntry(name=name, shape=list(shape))
