"""What a program is written for, and where everything lies in its workspace."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from fedhome.learning.fused.emit import Tile
from fedhome.learning.fused.first_layer import MOST_INPUTS, FirstLayer
from fedhome.learning.fused.linear_layer import Linear
from fedhome.learning.fused.nesting import Nesting, Path
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
        slices: As of :class:`fedhome.learning.fused.nesting.Nesting`.
    """

    sizes: tuple[int, ...]
    loss: LossName
    rule: Rule
    capacity: int
    tile: Tile
    slices: tuple[tuple[int, ...], ...] = ()

    @cached_property
    def nesting(self) -> Nesting:
        """The networks that are trained."""
        return Nesting(self.sizes, self.slices)


class NetworkPlaces(NamedTuple):
    """Where one of the networks lies.

    Args:
        layers: Which of all layers it goes through.
        first: The first of them, where its weights are stored across; None: it is in ``linears``.
        linears: These layers, of its own width.
        activations: Per width, [panel][feature][rows of the batch]; the first is the input's.
        transposed: Per layer's input, [panel][row][features]; the first is the input's.
    """

    layers: tuple[int, ...]
    first: FirstLayer | None
    linears: list[Linear]
    activations: list[int]
    transposed: list[int]


class MemoryMap:
    """Places in the workspace, in floats from its start, each on a cache line of its own.

    The copies of the parameters come first (``Rule.copies``), ``size`` floats each.

    Args:
        plan: What the program is written for.

    Attributes:
        first: The first layer, where its weights are stored across.
        linears: All layers, with their offsets in a copy of the parameters; what is said of the
            first does not hold where its weights are stored across.
        size: Floats in one padded copy of the parameters.
        sums: Of clients' parameters, each times its share, laid out as they are.
        numbers: Learning rate and the like, as they change from step to step.
        x: The batch's inputs, [panel][feature][rows of the batch], or row by row for ``first``.
        transposed_x: The same, [panel][row][features]; not for ``first``.
        networks: The networks, the largest first.
        targets: The batch's targets, laid out as the outputs, or its class numbers as int32.
        total: Floats in the workspace.
    """

    def __init__(self, plan: ProgramShape) -> None:
        tile, capacity = plan.tile, plan.capacity
        self.total = 0
        self.linears: list[Linear] = []
        self.first: FirstLayer | None = None
        size = 0
        for inputs, outputs in plan.nesting.layers:
            if not self.linears and plan.sizes[1:-1] and inputs <= MOST_INPUTS:
                self.first = FirstLayer(inputs, outputs, outputs, size)
                self.linears.append(Linear(inputs, outputs, 0, size, 0))
                size += self.first.floats(tile)
                continue
            stride = tile.padded(inputs)
            stride += _LINE if stride % _SKEW == 0 else 0
            bias = size + outputs * stride
            self.linears.append(Linear(inputs, outputs, stride, size, bias))
            size = bias + tile.padded(outputs)
        self.size = _lines(size)
        for _ in plan.rule.copies:
            self._take(self.size)
        self.sums = self._take(self.size)
        self.numbers = self._take(NUMBERS)
        self._tile, self._capacity = tile, capacity
        if self.first is None:
            self.x = self._activations(plan.sizes[0])
            self.transposed_x = self._transposed(plan.sizes[0])
        else:
            self.x = self.transposed_x = self._take(self.first.row(tile) * capacity)
        self.networks = [self._network(path) for path in plan.nesting.paths]
        self.targets = self._activations(plan.sizes[-1])

    def _network(self, path: Path) -> NetworkPlaces:
        # Each has activations of its own: past a width there are zeros, not what a wider one left.
        inputs, outputs = path.sizes[:-1], path.sizes[1:]
        shared = [self.linears[layer] for layer in path.layers]
        return NetworkPlaces(
            path.layers,
            None if self.first is None else replace(self.first, outputs=outputs[0]),
            [
                replace(linear, inputs=into, outputs=out)
                for linear, into, out in zip(shared, inputs, outputs, strict=True)
            ],
            [self.x, *(self._outputs(layer, width) for layer, width in enumerate(outputs))],
            [self.transposed_x, *(self._transposed(width) for width in inputs[1:])],
        )

    def _activations(self, width: int) -> int:
        return self._take(self._tile.padded(width) * self._capacity)

    def _outputs(self, layer: int, width: int) -> int:
        if layer == 0 and self.first is not None:  # their gradient comes there, row by row
            return self._transposed(width)
        return self._activations(width)

    def _transposed(self, width: int) -> int:
        return self._take(self._tile.panels(width) * self._tile.panel * self._capacity)

    def _take(self, floats: int) -> int:
        offset = self.total
        self.total += _lines(floats)
        return offset


def _lines(floats: int) -> int:
    return -(-floats // _LINE) * _LINE
