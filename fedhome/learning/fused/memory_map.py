"""What a program is written for, and where everything lies in its workspace."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from fedhome.learning.fused.emit import Tile
from fedhome.learning.fused.linear_layer import Linear
from fedhome.learning.fused.optimiser_code import NUMBERS
from fedhome.learning.fused.rule import LossName, Rule

_LINE = 16  # floats in a cache line
_SKEW = 128  # rows of weights a multiple of this apart would share few sets of the cache


@dataclass(frozen=True)
class ProgramShape:
    """What a program is written for.

    Args:
        sizes: Widths from the input to the output.
        loss: Name of the loss.
        rule: How parameters follow their gradients.
        capacity: Rows of a batch at most, a multiple of the tile's panel.
        tile: Register block of the processor.
    """

    sizes: tuple[int, ...]
    loss: LossName
    rule: Rule
    capacity: int
    tile: Tile


class MemoryMap:
    """Places in the workspace, in floats from its start, each on a cache line of its own.

    The copies of the parameters come first (``Rule.copies``), ``size`` floats each.

    Args:
        plan: What the program is written for.

    Attributes:
        linears: The layers, with their offsets in a copy of the parameters.
        size: Floats in one padded copy of the parameters.
        numbers: Learning rate and the like, as they change from step to step.
        activations: Per width, [panel][feature][rows of the batch].
        transposed: Per layer's input, [panel][row][features].
        targets: The batch's targets, laid out as the outputs, or its class numbers as int32.
        total: Floats in the workspace.
    """

    def __init__(self, plan: ProgramShape) -> None:
        tile, capacity = plan.tile, plan.capacity
        self.total = 0
        self.linears: list[Linear] = []
        size = 0
        for inputs, outputs in pairwise(plan.sizes):
            stride = tile.padded(inputs)
            stride += _LINE if stride % _SKEW == 0 else 0
            bias = size + outputs * stride
            self.linears.append(Linear(inputs, outputs, stride, size, bias))
            size = bias + tile.padded(outputs)
        self.size = _lines(size)
        for _ in plan.rule.copies:
            self._take(self.size)
        self.numbers = self._take(NUMBERS)
        self.activations = [self._take(tile.padded(width) * capacity) for width in plan.sizes]
        self.transposed = [
            self._take(tile.panels(width) * tile.panel * capacity) for width in plan.sizes[:-1]
        ]
        self.targets = self._take(tile.padded(plan.sizes[-1]) * capacity)

    def _take(self, floats: int) -> int:
        offset = self.total
        self.total += _lines(floats)
        return offset


def _lines(floats: int) -> int:
    return -(-floats // _LINE) * _LINE
