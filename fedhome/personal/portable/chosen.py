"""What of a home's own model is written: some of its experts, and numbers in one byte."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import RunError
from fedhome.learning.fitted import Perceptron
from fedhome.personal.horizons import OneOutput
from fedhome.personal.model import PersonalModel
from fedhome.personal.own_module import OwnModule
from fedhome.spelling import did_you_mean

STEPS: Final = 127
_MATRIX = 2  # dimensions of a layer's weights; a norm's have one


class Whole(NamedTuple):
    """A matrix as ``values``, int8 ``[units, inputs]``, times a ``scale`` of each unit."""

    values: NDArray[np.int8]
    scale: NDArray[np.float32]


def with_experts(model: PersonalModel, names: Iterable[str] | None) -> PersonalModel:
    """Return a model of some of its experts, whose weights then add up to 1 again.

    Args:
        model: The model.
        names: The experts; None for all that need no Python.

    Raises:
        RunError: It has no such expert, or one is a module of the user's own, which only torch can
            compute.
    """
    foreign = [name for name, one in model.experts.items() if isinstance(one, OwnModule)]
    asked = [name for name in model.weights if name not in foreign] if names is None else [*names]
    if unknown := [name for name in asked if name not in model.weights]:
        raise RunError(
            f"the model of {model.home!r} has no expert {unknown[0]!r}"
            f"{did_you_mean(unknown[0], model.weights)}",
            hint=f"it has: {', '.join(model.weights)}",
        )
    own = [name for name in asked if name in foreign]
    total = sum(model.weights[name] for name in asked)
    if own or not total > 0:
        which = ", ".join(own or foreign or asked)
        raise RunError(
            f"{which} of {model.home!r} cannot be written: "
            + ("a module of your own, which needs PyTorch" if own or foreign else "no weight"),
            hint="choose others with --experts: "
            + (
                ", ".join(name for name in model.weights if name not in foreign) or "there are none"
            ),
        )
    return replace(
        model,
        weights={name: model.weights[name] / total for name in model.weights if name in asked},
        experts={name: one for name, one in model.experts.items() if name in asked},
    )


def own_code_of(model: PersonalModel) -> str:
    """Return which code of somebody's own a model would run to predict; empty: none.

    Args:
        model: The model.
    """
    parts = (*model.experts.values(), model.naive)
    whole = (one.whole if isinstance(one, OneOutput) else one for one in parts)
    return next((one.called for one in whole if isinstance(one, OwnModule)), "")


def in_int8(model: PersonalModel) -> PersonalModel:
    """Return a model whose networks' weights are such as one byte each holds.

    Each unit's weights are whole numbers from -127 to 127 times a scale of the unit. Biases, norms,
    lines and trees stay as they are.

    Args:
        model: The model.
    """
    return replace(
        model,
        experts={
            name: coarse(one) if isinstance(one, Perceptron) else one
            for name, one in model.experts.items()
        },
    )


def coarse(network: Perceptron) -> Perceptron:
    """Return a network whose weights are such as one byte each holds, as of :func:`in_int8`.

    Args:
        network: The network.
    """
    layers = {
        name: _back(whole(values)) if values.ndim == _MATRIX else values
        for name, values in network.layers.items()
    }
    return Perceptron(layers, network.grouped)


def whole(weights: NDArray[np.float32]) -> Whole:
    """Return weights as whole numbers and each unit's scale.

    Args:
        weights: ``[units, inputs]``; those of :func:`in_int8` come back as they are.
    """
    most = np.abs(weights).max(axis=1)
    scale = np.where(most > 0, most / np.float32(STEPS), np.float32(1)).astype(np.float32)
    return Whole(np.rint(weights / scale[:, None]).astype(np.int8), scale)


def _back(made: Whole) -> NDArray[np.float32]:
    return made.values.astype(np.float32) * made.scale[:, None]
