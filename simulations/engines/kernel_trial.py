"""A few homes that train by several kernels, on the GPU at hand, before one of these is used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.local import LocalLearning
from fedhome.simulations.engines.batches import Rows
from fedhome.simulations.engines.streamed_examples import Examples
from fedhome.simulations.engines.torch_kernels import DeviceKernel

_SPREAD = 0.1  # of what homes begin with, about the model: none is like another


def trial(
    kernels: Sequence[DeviceKernel],
    learning: LocalLearning,
    features: int,
    *,
    counts: Sequence[int],
    passes: int,
) -> list[NDArray[np.float32]]:
    """Return what homes began with, and what each kernel taught them: ``[homes, size]`` each.

    Args:
        kernels: On their devices.
        learning: What they compute.
        features: Width of the inputs.
        counts: Rows of each home, not rising.
        passes: Over them, each in an order of its own.

    Raises:
        EngineError: The device failed; what else a kernel's compiler raises is not caught either.
    """
    homes, most = len(counts), counts[0]
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
    found = [start]
    for kernel in kernels:
        placement = kernel.placement
        there = placement.put(start)
        kernel.train_there(there, Examples(placement.put(x), placement.put(y)), rows)
        found.append(placement.take(there))
    return found
