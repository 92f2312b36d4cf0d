"""The kernel that keeps a home's weights on a GPU's chip for a whole round, in Triton.

Source: Tillet, Kung, Cox, "Triton: An intermediate language and compiler for tiled neural network
computations", MAPL 2019.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedhome.errors import EngineError
from fedhome.learning.compiled import told, why_not_compiled
from fedhome.learning.compiled_modules import mlp_widths
from fedhome.learning.fused.rule import Rule
from fedhome.learning.local import LocalLearning
from fedhome.plan.settings import Precision
from fedhome.simulations.engines.batches import Rows
from fedhome.simulations.engines.compute_device import PROCESSOR, Placement, homes_at_once
from fedhome.simulations.engines.kernel_trial import FAULTS, trial
from fedhome.simulations.engines.onchip.onchip_program import OnChipProgram, Products
from fedhome.simulations.engines.onchip.triton_text import MISSING, function_of, is_installed
from fedhome.simulations.engines.streamed_examples import Examples
from fedhome.simulations.engines.torch_kernels import DeviceKernel
from fedhome.simulations.engines.traced import TracedKernel

MOST_NUMBERS: Final = 40_000
"""Numbers of a home that fit on the chip: about 160 KB of the 256 KB of a processor's registers."""
_FEW_NUMBERS: Final = 13_000  # of a home of four warps: with more, they spill from the registers
_MOST_ROWS: Final = 128  # of a batch: its activations are on the chip too
_PRODUCTS: Final[Mapping[Precision, Products]] = {
    "float32": "tf32x3",
    "tf32": "tf32",
    "bf16": "bf16",
}
_MOST_APART: Final[Mapping[Precision, float]] = {"float32": 1e-4, "tf32": 2e-2, "bf16": 1e-1}
"""How far apart homes may end in a trial, as a share of their way; of Adam the root of it."""
_ROUNDED: Final = 1e-6  # of a parameter
_tried: WeakKeyDictionary[Placement, dict[OnChipProgram, str]] = WeakKeyDictionary()


class OnChipKernel(DeviceKernel):
    """Trains each home by one program, from its first step to its last.

    Args:
        learning: What each home computes.
        placement: Where; a GPU, or the processor where Triton interprets (``TRITON_INTERPRET=1``).
        chunk: Most homes of a chunk.
    """

    orders_there = True

    def __init__(
        self, learning: LocalLearning, placement: Placement = PROCESSOR, *, chunk: int = 1 << 12
    ) -> None:
        self.chunk_homes = chunk
        self.placement = placement
        self._rate = learning.train.learning_rate
        self._program = program_of(learning, placement.precision)

    @classmethod
    def fits(cls, learning: LocalLearning, features: int, placement: Placement = PROCESSOR) -> str:
        """Return why this kernel does not fit; empty where a trial of it on the GPU went well."""
        if not placement.elsewhere:
            return "it is written for a GPU"
        if reason := cls._why_too_much(learning):
            return reason
        if placement.device.type != "cuda" and not os.environ.get("TRITON_INTERPRET"):
            return f"it is written for CUDA, not for {placement.device.type}"
        if not is_installed():
            return MISSING
        tried = _tried.setdefault(placement, {})
        program = program_of(learning, placement.precision)
        if program not in tried:
            tried[program] = cls._why_not_right(learning, features, placement)
        return tried[program]

    @classmethod
    def _why_too_much(cls, learning: LocalLearning) -> str:
        """Return why no program can be written for a learning; empty where one can."""
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
        return ""

    @classmethod
    def _why_not_right(cls, learning: LocalLearning, features: int, placement: Placement) -> str:
        """Return in what a few homes differ that train by it from those that do by torch."""
        whole = copy.copy(placement)
        whole.precision = "float32"
        batch, homes = learning.train.batch_rows, 3
        kernels = (
            partial(TracedKernel, placement=whole, chunk=homes),
            partial(cls, placement=placement, chunk=homes),
        )
        counts = (2 * batch + 1, batch, 1)
        try:
            start, taught = trial(kernels, learning, features, counts=counts, passes=2)
        except EngineError as error:
            return f"a trial of it failed: {error.message}"
        except Exception as error:  # noqa: BLE001 - a compiler may raise anything; it is told
            return f"it does not compile for this GPU ({type(error).__name__})"
        most = _MOST_APART[placement.precision]
        if program_of(learning).rule.corrected:
            most **= 0.5  # it divides by what may be rounding alone
        expected, found = taught
        way, apart, size = (
            np.linalg.norm(expected.params - other, axis=1) for other in (start, found.params, 0)
        )
        off = np.abs(expected.losses - found.losses)
        # What is as small as float32's rounding of a parameter is no difference; a NaN is one.
        same = (apart <= most * way + _ROUNDED * size, off <= most * np.abs(expected.losses).max())
        for fault, of_homes in zip(FAULTS, same, strict=True):
            if not of_homes.all():
                return f"in a trial of it homes {fault}"
        return ""

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
            there = rows.there
            orders = placement.put(np.stack(rows.orders)) if there is None else there.contiguous()
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
                len(orders),
                self._rate,
                **launch_of(self._program),
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


def launch_of(program: OnChipProgram) -> dict[str, Any]:
    """Return what Triton is told of a program's launch.

    Four warps of 32 threads, so that a processor of the GPU has two homes at work, of which one
    computes while the other waits; eight where more would spill from the registers of four. Loads
    are not made ahead: what they would be kept in is wanted for weights.
    """
    warps = 4 if program.numbers <= _FEW_NUMBERS else 8
    return {"num_warps": warps, "num_stages": 1, "enable_fp_fusion": True}


@lru_cache(maxsize=64)
def compiled(program: OnChipProgram) -> Any:
    """Return the program as a function of Triton's, compiled when it is first called."""
    return function_of(program.text(), "train_home", f"on chip {abs(hash(program))}")
