"""The first layer of a network that has hidden ones, its weights stored across.

The inputs need no gradient, so nobody reads this layer's weights as PyTorch stores them. They lie
in panels of outputs, ``[panel][input][outputs]``, the biases as the row behind the last input. Then
neither the inputs nor their weights' gradient need a change of layout: both products read one
number of a row's inputs and a vector of outputs. The column of ones behind the inputs makes the
biases' gradient a row of the weights'.

The layer's outputs, and their gradient, lie as ``[panel][row][features]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedhome.learning.fused.emit import I64, POINTER, Emitter, Index, Tile, Value
from fedhome.learning.fused.gemm import (
    UNROLL,
    Block,
    Left,
    Right,
    each_batch_block,
    each_panel,
    each_row_block,
    product,
    steps,
)
from fedhome.learning.fused.linear_layer import Linear, Sink, positive_part, transposed

MOST_INPUTS = 128  # a panel of the weights then takes at most half of the first cache


@dataclass(frozen=True)
class FirstLayer:
    """The layer's size and where its parameters lie in a client's padded copy.

    Args:
        inputs: Features that go in.
        outputs: Features that come out, of this network.
        whole: Features that come out of the largest network's first layer.
        weight: First weight, in floats from the start of the copy.
    """

    inputs: int
    outputs: int
    whole: int
    weight: int

    def floats(self, tile: Tile) -> int:
        """Floats of the whole layer's parameters."""
        return tile.panels(self.whole) * (self.inputs + 1) * tile.panel

    def row(self, tile: Tile) -> int:
        """Floats from one row of inputs, with a one behind them, to the next."""
        return tile.padded(self.inputs + 1)


def write_gather(e: Emitter, layer: FirstLayer) -> None:
    """Bring a batch's rows of x side by side, a one behind each, with zeros up to a whole vector.

    The function's arguments: x, the batch's inputs, row numbers, rows, vectors of rows.
    """
    source, target, order, rows, vectors = e.arguments
    lanes, width, stride = e.tile.lanes, layer.inputs, layer.row(e.tile)
    rest = [1.0 if lane == width % lanes else 0.0 for lane in range(lanes)]

    def one(row: Index, _: list[Value]) -> list[Value]:
        read = e.at(source, e.times(e.load(order, row, I64), width))
        write = e.at(target, e.times(row, stride))
        for start in range(0, stride, lanes):
            floats = min(lanes, width - start)
            e.store_vector(e.load_first(e.at(read, start), floats, e.numbers(rest)), write, start)
        return []

    def clear(past: Index, _: list[Value]) -> list[Value]:
        write = e.at(target, e.times(e.add(rows, past), stride))
        for start in range(0, stride, lanes):
            e.store_vector(e.number(0.0), write, start)
        return []

    e.loop(rows, one)
    e.loop(e.subtract(e.times(vectors, lanes), rows), clear)
    e.builder.ret_void()


def write_first_forward(e: Emitter, layer: FirstLayer, capacity: int) -> None:
    """``Y = X · Wᵀ + b``, cut off at zero.

    The function's arguments: weights, X, Y, vectors in the batch.
    """
    weights, source, target, vectors = e.arguments
    panel_width, lanes, stride = e.tile.panel, e.tile.lanes, layer.row(e.tile)

    def panel(number: Index, width: int, kept: int = 0) -> None:
        w = e.at(weights, e.times(number, (layer.inputs + 1) * panel_width))
        y = e.at(target, e.times(number, capacity * panel_width))
        bias = [e.load_vector(w, layer.inputs * panel_width + j * lanes) for j in range(width)]

        def rows(first: Index, height: int) -> None:
            block = Block(height, width)
            a = Left(e.at(source, e.times(first, stride)), stride, 1)
            start = bias * height
            b = Right(w, panel_width)
            sums = product(e, a, b, start, block=block, depth=layer.inputs)
            out = e.at(y, e.times(first, panel_width))
            for index, value in enumerate(sums):
                r, j = divmod(index, width)
                positive = positive_part(e, value)
                if kept and j == width - 1:
                    positive = e.shuffle(positive, e.number(0.0), _first_lanes(kept, lanes))
                e.store_vector(positive, out, r * panel_width + j * lanes)

        each_batch_block(e, vectors, rows)

    vectors_out = e.tile.padded(layer.outputs) // lanes
    if layer.outputs == layer.whole or not layer.outputs % lanes:
        each_panel(e, vectors_out, panel)
    else:  # behind a smaller network's last unit there are weights of the larger ones
        whole, last = divmod(vectors_out - 1, e.tile.vectors)
        each_panel(e, whole * e.tile.vectors, panel)
        panel(whole, last + 1, layer.outputs % lanes)
    e.builder.ret_void()


def write_rows_backward(e: Emitter, layer: Linear, capacity: int) -> None:
    """``dX = dZ · W`` where X was positive, else 0: of the layer behind the first.

    The function's arguments: weights, dZ, X by rows, dX by rows, vectors in the batch.
    """
    weights, gradient, inputs, target, vectors = e.arguments
    panel_width, lanes, zero = e.tile.panel, e.tile.lanes, e.number(0.0)

    def panel(number: Index, width: int) -> None:
        b = Right(e.at(weights, e.times(number, panel_width)), layer.stride)
        here = e.times(number, capacity * panel_width)
        x, dx = e.at(inputs, here), e.at(target, here)

        def rows(first: Index, height: int) -> None:
            part, inside = e.over(first, panel_width)
            places = e.add(e.times(part, e.tile.padded(layer.outputs) * panel_width), inside)
            a, block = Left(e.at(gradient, places), 1, panel_width), Block(height, width)
            start = [zero] * block.registers
            sums = product(e, a, b, start, block=block, depth=layer.outputs)
            offset = e.times(first, panel_width)
            was, out = e.at(x, offset), e.at(dx, offset)
            for index, value in enumerate(sums):
                r, j = divmod(index, width)
                place = r * panel_width + j * lanes
                # Not (was <= 0): an activation that is NaN hands its gradient on.
                kept = e.builder.fcmp_unordered(">", e.load_vector(was, place), zero)
                e.store_vector(e.builder.select(kept, value, zero), out, place)

        each_batch_block(e, vectors, rows)

    each_panel(e, e.tile.padded(layer.inputs) // lanes, panel)
    e.builder.ret_void()


def write_first_gradient(e: Emitter, layer: FirstLayer, capacity: int, sink: Sink) -> None:
    """``dWᵀ = Xᵀ · dZ`` and the sum of dZ over the batch, each finished block handed to ``sink``.

    The function's arguments: weights, dZ, X, rows in the batch, and whatever ``sink`` uses.
    """
    weights, gradient, source, batch = e.arguments[:4]
    panel_width, stride = e.tile.panel, layer.row(e.tile)
    groups, _ = e.over(e.add(batch, UNROLL - 1), UNROLL)

    def panel(number: Index, width: int) -> None:
        w = e.at(weights, e.times(number, (layer.inputs + 1) * panel_width))
        dz = e.at(gradient, e.times(number, capacity * panel_width))

        def inputs(first: Index, height: int) -> None:
            block = Block(height, width)

            def some(_: Index, carried: list[Value]) -> list[Value]:
                *sums, left, right = carried
                a, b = Left(left, 1, stride), Right(right, panel_width)
                sums = steps(e, a, b, sums, block=block, count=UNROLL)
                return [*sums, e.at(left, UNROLL * stride), e.at(right, UNROLL * panel_width)]

            zeros = [e.number(0.0)] * block.registers
            *sums, _left, _right = e.loop(groups, some, [*zeros, e.at(source, first), dz])
            grid = [sums[r * width : (r + 1) * width] for r in range(height)]
            sink(e.at(w, e.times(first, panel_width)), panel_width, grid)

        each_row_block(e, layer.inputs + 1, inputs)

    each_panel(e, e.tile.padded(layer.outputs) // e.tile.lanes, panel)
    e.builder.ret_void()


def write_turned(e: Emitter, layer: FirstLayer, *, inwards: bool) -> None:
    """Bring the largest network's layer from PyTorch's layout into this one, or back.

    The function's arguments: PyTorch's weights, then its biases; the weights here.
    """
    own, weights = e.arguments
    panel_width, lanes, width = e.tile.panel, e.tile.lanes, layer.inputs
    zero = e.number(0.0)

    def some(first: Index, outputs: int) -> None:
        part, inside = e.over(first, panel_width)
        here = e.at(weights, e.add(e.times(part, (width + 1) * panel_width), inside))
        there = e.at(own, e.times(first, width))
        bias = e.at(own, e.add(layer.whole * width, first))
        for start in range(0, width, lanes):
            inputs = min(lanes, width - start)
            if inwards:
                read = [
                    e.load_first(e.at(there, o * width + start), inputs, zero)
                    for o in range(outputs)
                ]
                turned = transposed(e, _filled(read, lanes, zero))
                for i in range(inputs):
                    e.store_vector(turned[i], here, (start + i) * panel_width)
            else:
                read = [e.load_vector(here, (start + i) * panel_width) for i in range(inputs)]
                turned = transposed(e, _filled(read, lanes, zero))
                for o in range(outputs):
                    e.store_first(turned[o], e.at(there, o * width + start), inputs)
        biases = e.at(here, width * panel_width)
        if inwards:
            e.store_vector(e.load_first(bias, outputs, zero), biases)
        else:
            e.store_first(e.load_vector(biases), bias, outputs)

    whole = layer.whole // lanes * lanes

    def full(first: Index, _: list[Value]) -> list[Value]:
        some(first, lanes)
        return []

    e.loop(whole, full, step=lanes)
    if rest := layer.whole - whole:
        some(whole, rest)
    e.builder.ret_void()


def _first_lanes(kept: int, lanes: int) -> list[int]:
    return [lane if lane < kept else lanes + lane for lane in range(lanes)]


def _filled(vectors: Sequence[Value], lanes: int, zero: Value) -> list[Value]:
    return [*vectors, *[zero] * (lanes - len(vectors))]


# Argument types of the functions above, in their order.
GATHER_ROWS = [POINTER, POINTER, POINTER, I64, I64]
FIRST_FORWARD = [POINTER, POINTER, POINTER, I64]
ROWS_BACKWARD = [POINTER, POINTER, POINTER, POINTER, I64]
FIRST_GRADIENT = [POINTER, POINTER, POINTER, I64]
TURNED = [POINTER, POINTER]
