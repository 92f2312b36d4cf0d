"""The parameters that a multilayer perceptron begins with, as torch draws them, without torch.

torch draws a layer's weights and biases evenly from an interval (Glorot and Bengio, "Understanding
the difficulty of training deep feedforward neural networks", AISTATS 2010, as ``nn.Linear`` has it)
by the Mersenne Twister (Matsumoto and Nishimura, 1998), which numpy has too. Of each of its numbers
24 bits are a float32. A test holds both equal, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_SEED_BITS = 0xFFFFFFFF  # what torch's generator takes of a seed
_BITS = 24  # of a float32's fraction


def first_parameters(widths: Sequence[int], seed: int) -> NDArray[np.float32]:
    """Return the parameters of Linear, ReLU, Linear, …, Linear, float32 ``[size]``.

    Layer by layer it is the weight ``[out, in]``, then the bias ``[out]``.

    Args:
        widths: Widths from the input to the output.
        seed: As of ``torch.manual_seed``.
    """
    return drawn_layers(list(pairwise(widths)), seed)


def drawn_layers(layers: Sequence[tuple[int, int]], seed: int) -> NDArray[np.float32]:
    """Return the parameters of linear layers that are made one after the other, float32 ``[size]``.

    Args:
        layers: Inputs and outputs of each.
        seed: As of ``torch.manual_seed``.
    """
    drawn = np.random.RandomState(seed & _SEED_BITS)
    parts = []
    for inputs, outputs in layers:
        gain = math.sqrt(2.0 / (1.0 + 5.0))  # torch's leaky ReLU of slope sqrt(5)
        weights = math.sqrt(3.0) * (gain / math.sqrt(inputs))
        parts.append(_evenly(drawn, inputs * outputs, weights))
        parts.append(_evenly(drawn, outputs, 1.0 / math.sqrt(inputs)))
    return np.concatenate(parts)


def _evenly(drawn: np.random.RandomState, count: int, bound: float) -> NDArray[np.float32]:
    """Return numbers from ``-bound`` up to ``bound``; the bounds are float32 themselves."""
    bits = drawn.randint(0, 1 << 32, size=count, dtype=np.uint32) & np.uint32((1 << _BITS) - 1)
    low, high = float(np.float32(-bound)), float(np.float32(bound))
    return ((bits * 2.0**-_BITS) * (high - low) + low).astype(np.float32)
