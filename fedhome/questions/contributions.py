"""What homes add up in secret, question by question: bounded numbers, and the update itself.

Both ends build the same forms from here, so a home knows beforehand what a sum may ask of it:
a server that asks for anything else is refused. Every number has a range and is clipped to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgpack
import numpy as np
from numpy.typing import NDArray

from fedhome.errors import WireError
from fedhome.learning.alone.pass_counts import passes_of, ways_of
from fedhome.plan.settings import PersonaliseSettings
from fedhome.plugins import look_up
from fedhome.questions.responses import Columns, QuestionContext
from fedhome.questions.train_config import TrainConfig
from fedhome.questions.weights import weights_of
from fedhome.secagg.fixedpoint import greatest, lengths
from fedhome.secagg.form import Form
from fedhome.secagg.scalars import Scalar
from fedhome.wire.names import EXAMPLES

NOT_FINITE = "what it learnt or measured holds numbers that are not finite"

LOSS_RANGE = 1024.0
SIZES = tuple(range(-16, 9))
"""Exponents of two between which the sizes of updates are counted."""
COUNTS = tuple(range(25))
"""Exponents of two up to which the numbers of examples are counted."""


class Terms(NamedTuple):
    """What some homes put into a sum.

    Args:
        weights: Weight of each home, int64 ``[homes]``, at least 0.
        values: Bounded numbers, float64 ``[homes, scalars]``.
    """

    weights: NDArray[np.int64]
    values: NDArray[np.float64]


def _loss(name: str) -> Scalar:
    return Scalar(name, 0.0, LOSS_RANGE, weighted=True)


def flag_of(name: str) -> Scalar:
    """Return a number that is 0 or 1, summed as a count."""
    return Scalar(name, 0.0, 1.0, weighted=False, bits=1)


def train_scalars(
    config: Mapping[str, Any], personalise: PersonaliseSettings
) -> tuple[Scalar, ...]:
    """Return what travels beside an update: its loss, and how large it was, by powers of two.

    Args:
        config: The settings that came with the question.
        personalise: The plan's settings of personalisation.

    Raises:
        UpdateError: Settings that cannot be.
    """
    del personalise
    asked = TrainConfig.of(config)
    if asked.shell:  # the first shell's sum says it of all homes
        return ()
    clipped = map(flag_of, asked.clipping.flags)
    return (_loss("train_loss"), *clipped, *(flag_of(f"size-{e}") for e in SIZES))


def evaluate_scalars(
    config: Mapping[str, Any], personalise: PersonaliseSettings
) -> tuple[Scalar, ...]:
    """Return the loss and the score of the fleet's model; arguments as of `train_scalars`."""
    del config, personalise
    return (_loss("loss"), Scalar("score", -1.0, 1.0, weighted=True))


def trial_scalars(
    config: Mapping[str, Any], personalise: PersonaliseSettings
) -> tuple[Scalar, ...]:
    """Return one factor for each way to train; arguments as of `train_scalars`.

    First those of adapting the fleet's model, then those of training alone.
    """
    del config
    adapting, alone = trial_sizes(personalise)
    return (
        *(Scalar(f"change-{n}", 0.0, 2.0, weighted=True) for n in range(adapting)),
        *(Scalar(f"alone-{n}", 0.0, 2.0, weighted=True) for n in range(alone)),
    )


def trial_sizes(personalise: PersonaliseSettings) -> tuple[int, int]:
    """Return how many ways there are to adapt the fleet's model, and to train alone."""
    adapting = len(personalise.rates) * (1 + personalise.epochs)
    if "settings" not in personalise.opponents:
        return adapting, 0
    return adapting, len(ways_of(personalise)) * len(passes_of(personalise))


def census_scalars(
    config: Mapping[str, Any], personalise: PersonaliseSettings
) -> tuple[Scalar, ...]:
    """Return a flag for each power of two; arguments as of `train_scalars`."""
    del config, personalise
    return tuple(flag_of(f"examples-{exponent}") for exponent in COUNTS)


def train_terms(
    columns: Columns, update: NDArray[np.float32] | None, given: QuestionContext
) -> Terms:
    """Return what homes add up after training.

    Args:
        columns: What each home says of its training.
        update: What each learnt, float32 ``[homes, size]``.
        given: What they were asked with.
    """
    assert update is not None, "training gives an update"
    asked = TrainConfig.of(given.config)
    sizes = sizes_of(update, given.plan.aggregation.clip_in)
    counted = {**columns, EXAMPLES: _weights(columns, given)}
    return train_numbers(counted, sizes, asked)


def train_numbers(columns: Columns, sizes: NDArray[np.float64], asked: TrainConfig) -> Terms:
    """Return what homes add up after training.

    Args:
        columns: What each home says of its training; its number of examples is its weight.
        sizes: The size of each update, float64 ``[homes]``.
        asked: How they were asked to train.
    """
    weights, clipping = columns[EXAMPLES].astype(np.int64), asked.clipping
    if asked.shell:
        # No later shell's sum has the loss: it says alone whether the home has something to add.
        return Terms(weights, columns["train_loss"].astype(np.float64)[:, None])
    shortened = [columns[name].astype(np.float64)[:, None] for name in clipping.flags]
    steps = one_hot(_exponents(sizes), SIZES)
    values = np.concatenate([columns["train_loss"][:, None], *shortened, steps], axis=1)
    return Terms(weights, values)


def sizes_of(updates: NDArray[np.float32], size_in: str) -> NDArray[np.float64]:
    """Return the size of each update, float64 ``[homes]``."""
    return look_up(_NORMS, size_in, "norm of an update")(updates)


_NORMS: Mapping[str, Callable[[NDArray[np.float32]], NDArray[np.float64]]] = {
    "linf": lambda updates: greatest(updates).astype(np.float64),
    "l2": lengths,
}


def evaluate_terms(
    columns: Columns, update: NDArray[np.float32] | None, given: QuestionContext
) -> Terms:
    """Return what homes add up of an evaluation; arguments as of `train_terms`."""
    del update
    score = np.nan_to_num(columns["score"], nan=-1.0)  # the worst there is
    values = np.stack([columns["loss"], score], axis=1)
    return Terms(_weights(columns, given), values)


def trial_terms(
    columns: Columns, update: NDArray[np.float32] | None, given: QuestionContext
) -> Terms:
    """Return what homes add up of a trial; arguments as of `train_terms`."""
    del update, given
    return Terms(columns[EXAMPLES].astype(np.int64), columns["changes"])


def census_terms(
    columns: Columns, update: NDArray[np.float32] | None, given: QuestionContext
) -> Terms:
    """Return how many examples homes have, by powers of two; arguments as of `train_terms`."""
    del update, given
    counts = columns["examples"]
    exponents = np.ceil(np.log2(np.maximum(counts, 1))).astype(np.int64)
    return Terms(np.ones(len(counts), np.int64), one_hot(exponents, COUNTS))


def _weights(columns: Columns, given: QuestionContext) -> NDArray[np.int64]:
    return weights_of(given.plan, columns[EXAMPLES].astype(np.int64))


def _exponents(sizes: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the smallest exponent of two that covers each size."""
    _, exponents = np.frexp(sizes)  # size = m * 2^e with m in [0.5, 1)
    exact = np.ldexp(1.0, exponents - 1) == sizes
    return np.where(exact, exponents - 1, exponents).astype(np.int64)


def one_hot(places: NDArray[Any], names: Sequence[int]) -> NDArray[np.float64]:
    """Return flags ``[homes, names]``; a place beyond the ends counts at the end."""
    at = np.clip(places, names[0], names[-1]) - names[0]
    flags = np.zeros((len(at), len(names)))
    flags[np.arange(len(at)), at] = 1.0
    return flags


def form_bytes(form: Form) -> bytes:
    """Return a form as bytes, for a message of an ideal sum."""
    packed: bytes = msgpack.packb(form.to_plain())
    return packed


def form_of(data: bytes) -> Form:
    """Return the form that :func:`form_bytes` wrote.

    Raises:
        WireError: Any other bytes.
    """
    try:
        plain = msgpack.unpackb(data)
    except (ValueError, msgpack.UnpackException):
        raise WireError("a form came that cannot be read", reason="form") from None
    return Form.from_plain(plain)


def rounding_keys(seed: int, kind: str, round_number: int, homes: Sequence[str]) -> list[bytes]:
    """Return each home's key for the rounding of one sum, 32 bytes each.

    They are no secret: they decide only which way a number is rounded, so that a simulation and
    a deployment of the same plan round alike. Where a step is coarse that would tell of single
    homes (:meth:`fedhome.secagg.FixedPoint.is_coarse`): there real homes draw other keys.
    """
    return _keys("rounding", seed, kind, round_number, homes)


def simulated_noise_keys(
    seed: int, kind: str, round_number: int, homes: Sequence[str]
) -> list[bytes]:
    """Return each simulated home's key for the noise of one sum, 32 bytes each.

    **They hide nothing**: whoever knows the plan can make them. They make a simulation's sums the
    same with and without masks; a real home draws its key from the operating system.
    """
    return _keys("noise", seed, kind, round_number, homes)


def _keys(
    purpose: str, seed: int, kind: str, round_number: int, homes: Sequence[str]
) -> list[bytes]:
    return [
        hashlib.sha256(
            f"{purpose}\x1f{seed}\x1f{kind}\x1f{round_number}\x1f{home}".encode()
        ).digest()
        for home in homes
    ]
