"""The kernel that keeps a home's weights on a GPU's chip for a whole round, in Triton.

Source: Tillet, Kung, Cox, "Triton: An intermediate language and compiler for tiled neural network
computations", MAPL 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedhome.learning.compiled import told, why_not_compiled
from fedhome.learning.compiled_modules import mlp_widths
from fedhome.learning.fused.rule import Rule
from fedhome.learning.local import LocalLearning
from fedhome.plan.settings import Precision
from fedhome.simulations.engines.batches import Rows
from fedhome.simulations.engines.compute_device import PROCESSOR, Placement, homes_at_once
from fedhome.simulations.engines.onchip.onchip_program import OnChipProgram, Products
from fedhome.simulations.engines.onchip.triton_text import MISSING, function_of, is_installed
from fedhome.simulations.engines.streamed_examples import Examples
from fedhome.simulations.engines.torch_kernels import DeviceKernel

MOST_NUMBERS: Final = 40_000
"""Numbers of a home that fit on the chip: about 160 KB of the 256 KB of a processor's registers."""
WARPS: Final = 8
"""Of 32 threads each: with four, numbers of the default network spill from the registers."""
_MOST_ROWS: Final = 128  # of a batch: its activations are on the chip too
_PRODUCTS: Final[Mapping[Precision, Products]] = {
    "float32": "tf32x3",
    "tf32": "tf32",
    "bf16": "bf16",
}


class OnChipKernel(DeviceKernel):
    """Trains each home by one program, from its first step to its last.

    Args:
        learning: What each home computes.
        placement: Where; a GPU, or the processor where Triton interprets (``TRITON_INTERPRET=1``).
        chunk: Most homes of a chunk.
    """

    def __init__(
        self, learning: LocalLearning, placement: Placement = PROCESSOR, *, chunk: int = 1 << 12
    ) -> None:
        self.chunk_homes = chunk
        self.placement = placement
        self._rate = learning.train.learning_rate
        self._program = program_of(learning, placement.precision)

    @classmethod
    def fits(cls, learning: LocalLearning, features: int, placement: Placement = PROCESSOR) -> str:
        """Return why this kernel does not fit; empty where it does."""
        del features
        if not placement.elsewhere:
            return "it is written for a GPU"
        if type(learning) is not LocalLearning:
            return f"its steps are not plain ones: {type(learning).__name__}"
        if reason := why_not_compiled(learning, mlp_widths(learning.model)):
            return reason
        numbers, rows = program_of(learning).numbers, learning.train.batch_rows
        if numbers > MOST_NUMBERS:
            return (
                f"a home's {numbers:,} padded numbers are more than the {MOST_NUMBERS:,} on a chip"
            )
        if rows > _MOST_ROWS:
            return f"a batch of {rows} rows is more than the {_MOST_ROWS} on a chip"
        return "" if is_installed() else MISSING

    @classmethod
    def passed_over(cls, learning: LocalLearning, features: int) -> str:
        """Say that it is taken by name only: it has run in Triton's interpreter alone."""
        del learning, features
        return 'it was not measured on a GPU yet: engine.kernel = "onchip" takes it'

    @classmethod
    def of(
        cls, learning: LocalLearning, features: int, placement: Placement = PROCESSOR
    ) -> OnChipKernel:
        """Return the kernel for what fits."""
        return cls(learning, placement, chunk=homes_at_once(learning, features))

    def train_there(
        self,
        params: Tensor,
        examples: Examples,
        rows: Rows,
        *,
        towards: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float64]:
        """Train all homes of a chunk by one call, a program each."""
        placement = self.placement
        losses = np.zeros(len(params), np.float32)
        if not len(params) or not rows.counts.any():
            return losses.astype(np.float64)
        with placement.explained():
            lost = placement.put(losses)
            anchor = params if towards is None else placement.put(np.ascontiguousarray(towards))
            orders = placement.put(np.stack(rows.orders))
            compiled(self._program)[(len(params),)](
                params,
                anchor,
                anchor.shape[-1] if anchor.ndim > 1 else 0,
                *examples,
                orders,
                placement.put(np.ascontiguousarray(rows.counts)),
                lost,
                len(params),
                orders.shape[2],
                len(rows.orders),
                self._rate,
                num_warps=WARPS,
            )
            return placement.take(lost).astype(np.float64)


def program_of(learning: LocalLearning, precision: Precision = "float32") -> OnChipProgram:
    """Return the program for what is to be learnt, its products as coarse as a plan wants them."""
    settings: dict[str, Any] = told(learning)
    loss = settings.pop("loss")
    return OnChipProgram(
        widths=mlp_widths(learning.model),
        batch_size=learning.train.batch_rows,
        loss=loss,
        rule=Rule(**settings),
        precision=_PRODUCTS[precision],
    )


@lru_cache(maxsize=64)
def compiled(program: OnChipProgram) -> Any:
    """Return the program as a function of Triton's, compiled when it is first called."""
    return function_of(program.text(), "train_home", f"on chip {abs(hash(program))}")
