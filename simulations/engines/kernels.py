"""What trains a chunk of homes: the fused kernel, the traced step, or the plain vmapped step.

Every kernel computes what :class:`fedhome.learning.device.Device` computes, to float32
rounding; a test says so.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import EngineError
from fedhome.learning.compiled_modules import compiled_of, why_torch
from fedhome.learning.local import LocalLearning
from fedhome.plugins import look_up
from fedhome.simulations.engines.batches import Rows
from fedhome.simulations.engines.compute_device import PROCESSOR, Placement
from fedhome.simulations.engines.onchip import OnChipKernel
from fedhome.simulations.engines.stacked_homes import StackedHomes
from fedhome.simulations.engines.torch_kernels import EagerKernel, Kernel, SummingKernel
from fedhome.simulations.engines.traced import CapturedKernel, TracedKernel


class FusedKernel(SummingKernel):
    """The compiled kernel of :mod:`fedhome.learning.fused`: plain MLPs, and nested slices of one.

    Args:
        learning: What each home computes.

    Raises:
        EngineError: It does not fit; ask :meth:`fits` beforehand.
    """

    chunk_homes = 32

    def __init__(self, learning: LocalLearning) -> None:
        self._train = learning.train
        self._terms = learning.method.fused()
        self._mlp = compiled_of(learning)

    @classmethod
    def fits(cls, learning: LocalLearning, features: int, placement: Placement = PROCESSOR) -> str:
        """Return why this kernel does not fit; empty where it does."""
        del features
        if placement.elsewhere:
            return f"it is compiled for the processor, not for {placement.device}"
        return why_torch(learning)

    @classmethod
    def of(
        cls, learning: LocalLearning, features: int, placement: Placement = PROCESSOR
    ) -> FusedKernel:
        """Return the kernel for what fits."""
        del features, placement
        return cls(learning)

    def train(
        self,
        params: NDArray[np.float32],
        fleet: StackedHomes,
        rows: Rows,
        *,
        towards: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float64]:
        """Train home after home, each with its weights in the cache.

        Raises:
            EngineError: A pull ``towards`` anything but where training began is not compiled.
        """
        if towards is not None and self._terms:
            raise EngineError(
                "the compiled kernel pulls towards where training began, and nowhere else",
                hint='set engine.kernel = "auto"',
            )
        return self._mlp.train(
            params,
            fleet.x,
            fleet.y,
            _in_one_row(rows),
            rows.counts,
            batch_size=self._train.batch_rows,
            epochs=len(rows.orders),
            learning_rate=self._train.learning_rate,
        )

    def train_sum(
        self,
        start: NDArray[np.float32],
        shares: NDArray[np.float32],
        fleet: StackedHomes,
        rows: Rows,
        *,
        each: int,
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Train home after home, and add each to a sum while it is in the cache."""
        return self._mlp.train_sum(
            start,
            fleet.x,
            fleet.y,
            _in_one_row(rows),
            rows.counts,
            shares=shares,
            each=each,
            batch_size=self._train.batch_rows,
            epochs=len(rows.orders),
            learning_rate=self._train.learning_rate,
        )


def _in_one_row(rows: Rows) -> NDArray[np.int64]:
    """Return each home's rows of all passes, one home after the other."""
    width = rows.orders[0].shape[1]
    if len(rows.orders) == 1 and int(rows.counts.min(initial=width)) == width:
        return rows.orders[0].ravel()
    own = np.arange(width) < rows.counts[:, None]
    passes = np.stack(rows.orders, axis=1)  # [homes, passes, rows]
    order: NDArray[np.int64] = passes[np.broadcast_to(own[:, None], passes.shape)]
    return order


KERNELS: dict[str, type[Kernel]] = {
    "fused": FusedKernel,
    "onchip": OnChipKernel,
    "captured": CapturedKernel,
    "traced": TracedKernel,
    "eager": EagerKernel,
}
"""Every kernel by its name, the fastest first."""


def kernel_of(
    learning: LocalLearning,
    wanted: str,
    features: int,
    notice: Callable[[str], None],
    placement: Placement = PROCESSOR,
) -> Kernel:
    """Return the fastest kernel that fits, or the wanted one.

    Args:
        learning: What is to be trained.
        wanted: "auto", or the name of a kernel.
        features: Width of the inputs.
        notice: Called with a sentence when "auto" takes another one than the compiled kernel.
        placement: Where it is to be trained.

    Raises:
        EngineError: The wanted kernel does not fit, or none does.
        PluginError: There is no kernel of that name.
    """
    if wanted != "auto":
        return wanted_kernel(learning, wanted, features, placement).of(
            learning, features, placement
        )
    reasons: list[str] = []
    told: list[str] = []
    for name, kernel in KERNELS.items():
        if reason := (
            kernel.passed_over(learning, features) or kernel.fits(learning, features, placement)
        ):
            reasons.append(reason)
            told.append(f"{name}: {reason}")
            continue
        if placement.elsewhere:
            others = f" ({'; '.join(told)})" if told else ""
            notice(f"homes train on {placement.device} by the kernel {name!r}{others}")
        elif kernel.slow:
            notice(f"the slow kernel trains, one operation at a time: {reasons[-1]}")
        elif reasons:  # the first is the compiled kernel's
            notice(
                f"homes are trained by torch (the kernel {name!r}): the compiled kernel does not "
                f"fit: {reasons[0]}"
            )
        return kernel.of(learning, features, placement)
    raise EngineError(
        f"no kernel fits: {'; '.join(reasons)}",
        hint='set engine.name = "sequential": it trains home after home',
    )


def wanted_kernel(
    learning: LocalLearning, wanted: str, features: int, placement: Placement
) -> type[Kernel]:
    """Return the kernel that a plan names; arguments as of `kernel_of`.

    Raises:
        EngineError: It does not fit.
        PluginError: There is no kernel of that name.
    """
    kernel = look_up(KERNELS, wanted, "kernel")
    if reason := kernel.fits(learning, features, placement):
        raise EngineError(
            f"engine.kernel = {wanted} does not fit: {reason}",
            hint='set engine.kernel = "auto"',
        )
    return kernel
