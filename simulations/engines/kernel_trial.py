"""A few homes that train by several kernels, on the GPU at hand, before one of these is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.local import LocalLearning
from fedhome.simulations.engines.batches import Rows
from fedhome.simulations.engines.streamed_examples import Examples
from fedhome.simulations.engines.torch_kernels import DeviceKernel

_SPREAD = 0.1  # of what homes begin with, about the model: none is like another
_LEAST_RATE = 1e-3  # by a smaller one homes move hardly more than what rounding is

FAULTS = ("learnt something else", "told other losses")
"""What homes did of which `Taught` differs, in its order."""


class Taught(NamedTuple):
    """What a kernel did to the homes of a trial.

    Args:
        params: What they ended with, float32 ``[homes, size]``.
        losses: Their mean loss of the last pass, float64 ``[homes]``.
    """

    params: NDArray[np.float32]
    losses: NDArray[np.float64]


def trial(
    kernels: Sequence[Callable[[LocalLearning], DeviceKernel]],
    learning: LocalLearning,
    features: int,
    *,
    counts: Sequence[int],
    passes: int,
) -> tuple[NDArray[np.float32], list[Taught]]:
    """Return what homes began with, float32 ``[homes, size]``, and what each kernel taught them.

    Args:
        kernels: Make kernels on their devices.
        learning: What they compute; at a greater rate where its own is so small that a kernel which
            does nothing would end as near.
        features: Width of the inputs.
        counts: Rows of each home, not rising.
        passes: Over them, each in an order of its own.

    Raises:
        EngineError: The device failed; what else a kernel's compiler raises is not caught either.
    """
    homes, most, rate = len(counts), counts[0], learning.train.learning_rate
    learning = learning.vary(rate=max(1.0, _LEAST_RATE / rate))
    drawn = np.random.default_rng(1)
    spread = _SPREAD * drawn.standard_normal((homes, learning.layout.size))
    start = (learning.initial + spread).astype(np.float32)
    x = drawn.standard_normal((most, features)).astype(np.float32)
    ends = np.arange(most) % 2  # classes, or true and false
    targets = np.repeat(ends[:, None], learning.task.targets, axis=1).astype(np.float32)
    y = ends if learning.loss.labels else targets
    rows = Rows(
        orders=[np.stack([drawn.permutation(most) for _ in counts]) for _ in range(passes)],
        counts=np.array(counts),
        keys=[np.arange(homes, dtype=np.uint64)] * passes,
    )
    found = []
    for kernel in (make(learning) for make in kernels):
        placement = kernel.placement
        there = placement.put(start)
        losses = kernel.train_there(there, Examples(placement.put(x), placement.put(y)), rows)
        found.append(Taught(placement.take(there), losses))
    return start, found
