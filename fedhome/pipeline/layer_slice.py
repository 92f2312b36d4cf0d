"""Consecutive layers of a multilayer perceptron in numpy: forward, back, and a step of descent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import LayoutError, ModelError

Floats = NDArray[np.float32]
Layer = tuple[Floats, Floats]
"""Weight ``[outputs, inputs]`` and bias ``[outputs]``."""


class LayerSlice:
    """Some layers, with ReLU after each but the network's last.

    Args:
        layers: Weight and bias of each; they are changed in place when it trains.
        last: Whether the network's last layer is among them.
    """

    def __init__(self, layers: Sequence[Layer], *, last: bool) -> None:
        self.layers = [(np.array(w, np.float32), np.array(b, np.float32)) for w, b in layers]
        self._last = last
        self._between: list[Floats] = []  # what each layer was given, of the last rows

    def forward(self, x: Floats) -> Floats:
        """Return what the layers make of rows ``[rows, inputs]``, and remember them to go back.

        Raises:
            ModelError: Rows of another width.
        """
        if x.ndim != 2 or x.shape[1] != self.layers[0][0].shape[1]:  # noqa: PLR2004 - rows, columns
            raise ModelError(
                f"rows of shape {list(x.shape)} came, and the first layer of this part reads "
                f"{self.layers[0][0].shape[1]} numbers a row"
            )
        self._between = [x]
        for number, (weight, bias) in enumerate(self.layers):
            x = x @ weight.T + bias
            if not (self._last and number == len(self.layers) - 1):
                x = np.maximum(x, 0)
            self._between.append(x)
        return x

    def backward(self, slope: Floats, rate: float) -> Floats:
        """Go back through the rows of the last `forward`, and take one step against the gradient.

        Args:
            slope: Gradient by what `forward` returned, ``[rows, outputs]``.
            rate: Size of the step.

        Returns:
            Gradient by what `forward` was given, ``[rows, inputs]``.

        Raises:
            ModelError: There were no rows, or others.
        """
        if not self._between or slope.shape != self._between[-1].shape:
            raise ModelError(f"a gradient of shape {list(slope.shape)} came for other rows")
        for number in reversed(range(len(self.layers))):
            weight, bias = self.layers[number]
            given, made = self._between[number], self._between[number + 1]
            if not (self._last and number == len(self.layers) - 1):
                slope = slope * (made > 0)
            before = slope @ weight
            weight -= np.float32(rate) * (slope.T @ given)
            bias -= np.float32(rate) * slope.sum(axis=0)
            slope = before
        self._between = []
        return slope


def layers_of(parameters: Mapping[str, Floats]) -> list[Layer]:
    """Return the layers of a plain multilayer perceptron, in their order.

    Args:
        parameters: Arrays by name, weight and bias of a layer after each other, as
            :func:`fedhome.models.mlp` names them.

    Raises:
        LayoutError: They are those of another kind of model.
    """
    arrays = list(parameters.values())
    layers = list(zip(arrays[::2], arrays[1::2], strict=False))
    fits = len(arrays) % 2 == 0 and bool(layers)
    fits = fits and all(w.ndim == 2 and b.shape == w.shape[:1] for w, b in layers)  # noqa: PLR2004
    fits = fits and all(a[0].shape[0] == b[0].shape[1] for a, b in pairwise(layers))
    if not fits:
        raise LayoutError(
            "this model is no plain multilayer perceptron: its layers do not follow one another",
            hint="of a sliced model cut a slice first: `fedhome model slice`",
        )
    return layers


def widths_of(layers: Sequence[Layer]) -> tuple[int, ...]:
    """Return the width of the input and of each layer."""
    return (layers[0][0].shape[1], *(weight.shape[0] for weight, _ in layers))
