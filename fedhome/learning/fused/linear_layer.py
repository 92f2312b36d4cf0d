"""Forward and backward pass of one linear layer, and the change of layout between them.

Activations lie in panels, ``[panel][feature][rows of the batch]``: the rows of a batch sit side
by side in a vector, so W · X and Wᵀ · dZ read the weights exactly as PyTorch stores them. Only
the weights' gradient dZ · Xᵀ needs X the other way round, ``[panel][row][features]``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fedhome.learning.fused.emit import I64, POINTER, Emitter, Index, Value
from fedhome.learning.fused.gemm import (
    UNROLL,
    Block,
    Left,
    Right,
    each_panel,
    each_row_block,
    fold,
    product,
    steps,
)

_QUAD = 4  # floats in the 128 bits within which processors shuffle cheaply

# Takes the gradients of a block of parameters: where the block starts, the distance between
# its rows, and the gradients row by row.
Sink = Callable[[Value, int, list[list[Value]]], None]


@dataclass(frozen=True)
class Linear:
    """One layer's size and where its parameters lie in a client's padded copy.

    Args:
        inputs: Features that go in.
        outputs: Features that come out.
        stride: Floats from one row of the weights to the next.
        weight: First weight, in floats from the start of the copy.
        bias: First bias, likewise.
    """

    inputs: int
    outputs: int
    stride: int
    weight: int
    bias: int


def write_forward(e: Emitter, layer: Linear, *, relu: bool) -> None:
    """``Y = W · X + b``, cut off at zero on request.

    The function's arguments: weights, bias, X, Y, vectors in the batch.
    """
    weights, bias, source, target, vectors = e.arguments
    panel_width, lanes = e.tile.panel, e.tile.lanes

    def panel(number: Index, width: int) -> None:
        x = e.at(source, e.times(number, e.tile.padded(layer.inputs) * panel_width))
        y = e.at(target, e.times(number, e.tile.padded(layer.outputs) * panel_width))

        def rows(first: Index, height: int) -> None:
            here = e.at(bias, first)
            start = [value for r in range(height) for value in [e.splat(e.load(here, r))] * width]
            a = Left(e.at(weights, e.times(first, layer.stride)), layer.stride, 1)
            block = Block(height, width)
            b = Right(x, panel_width)
            sums = product(e, a, b, start, block=block, depth=layer.inputs)
            out = e.at(y, e.times(first, panel_width))
            for index, value in enumerate(sums):
                r, j = divmod(index, width)
                kept = positive_part(e, value) if relu else value
                e.store_vector(kept, out, r * panel_width + j * lanes)

        each_row_block(e, layer.outputs, rows)

    each_panel(e, vectors, panel)
    e.builder.ret_void()


def positive_part(e: Emitter, value: Value) -> Value:
    """ReLU that lets NaN through, as PyTorch's does."""
    zero = e.number(0.0)
    return e.builder.select(e.builder.fcmp_ordered(">", zero, value), zero, value)


def write_backward(e: Emitter, layer: Linear) -> None:
    """``dX = Wᵀ · dZ`` where X was positive, else 0; written over X.

    The function's arguments: weights, dZ, X, vectors in the batch.
    """
    weights, gradient, inputs, vectors = e.arguments
    panel_width, lanes = e.tile.panel, e.tile.lanes
    zero = e.number(0.0)

    def panel(number: Index, width: int) -> None:
        dz = e.at(gradient, e.times(number, e.tile.padded(layer.outputs) * panel_width))
        x = e.at(inputs, e.times(number, e.tile.padded(layer.inputs) * panel_width))

        def rows(first: Index, height: int) -> None:
            a = Left(e.at(weights, first), 1, layer.stride)
            block = Block(height, width)
            start = [zero] * block.registers
            b = Right(dz, panel_width)
            sums = product(e, a, b, start, block=block, depth=layer.outputs)
            out = e.at(x, e.times(first, panel_width))
            for index, value in enumerate(sums):
                r, j = divmod(index, width)
                offset = r * panel_width + j * lanes
                was = e.load_vector(out, offset)
                # Not (was <= 0): an activation that is NaN hands its gradient on.
                kept = e.builder.fcmp_unordered(">", was, zero)
                e.store_vector(e.builder.select(kept, value, zero), out, offset)

        each_row_block(e, layer.inputs, rows)

    each_panel(e, vectors, panel)
    e.builder.ret_void()


def write_weight_gradient(e: Emitter, layer: Linear, capacity: int, sink: Sink) -> None:
    """``dW = dZ · Xᵀ``, each finished block handed to ``sink``.

    The function's arguments: weights, dZ, Xᵀ, rows in the batch, and whatever ``sink`` uses.
    Both operands hold zeros from the batch's last row up to a whole vector.
    """
    weights, gradient, transposed, batch = e.arguments[:4]
    panel_width = e.tile.panel
    groups, _ = e.over(e.add(batch, UNROLL - 1), UNROLL)

    def panel(number: Index, width: int) -> None:
        b = e.at(transposed, e.times(number, capacity * panel_width))

        def rows(first: Index, height: int) -> None:
            block = Block(height, width)
            dz = e.at(gradient, e.times(first, panel_width))
            sets = 2 if block.registers < 2 * UNROLL else 1
            zeros = [e.number(0.0)] * (block.registers * sets)

            def some(group: Index, carried: list[Value]) -> list[Value]:
                *sums, right = carried
                part, inside = e.over(group, panel_width // UNROLL)
                offset = e.add(
                    e.times(part, e.tile.padded(layer.outputs) * panel_width),
                    e.times(inside, UNROLL),
                )
                left = Left(e.at(dz, offset), panel_width, 1)
                sums = steps(e, left, Right(right, panel_width), sums, block=block, count=UNROLL)
                return [*sums, e.at(right, UNROLL * panel_width)]

            *sums, _ = e.loop(groups, some, [*zeros, b])
            sums = fold(e, sums, block)
            start = e.add(e.times(first, layer.stride), e.times(number, panel_width))
            grid = [sums[r * width : (r + 1) * width] for r in range(height)]
            sink(e.at(weights, start), layer.stride, grid)

        each_row_block(e, layer.outputs, rows)

    each_panel(e, e.tile.padded(layer.inputs) // e.tile.lanes, panel)
    e.builder.ret_void()


def write_single_backward(e: Emitter, layer: Linear, sink: Sink) -> None:
    """Both gradients of a layer with one output in one pass, for which X need not be transposed.

    ``dW = dZ · Xᵀ`` goes to ``sink``; ``dX = Wᵀ · dZ`` where X was positive, else 0, over X. The
    function's arguments: weights, dZ, X, vectors in the batch, and whatever ``sink`` uses.
    """
    weights, gradient, inputs, vectors = e.arguments[:4]
    panel_width, lanes, zero = e.tile.panel, e.tile.lanes, e.number(0.0)
    beside, across = e.tile.padded(1) * panel_width, e.tile.padded(layer.inputs) * panel_width

    def some(first: Index, _: list[Value]) -> list[Value]:
        rows, own = e.at(inputs, e.times(first, panel_width)), e.at(weights, first)

        def one(vector: Index, sums: list[Value]) -> list[Value]:
            part, inside = e.over(vector, e.tile.vectors)
            within = e.times(inside, lanes)
            dz = e.load_vector(gradient, e.add(e.times(part, beside), within))
            here, totals = e.at(rows, e.add(e.times(part, across), within)), []
            for r, total in enumerate(sums):
                was = e.load_vector(here, r * panel_width)
                totals.append(e.fma(dz, was, total))
                value = e.builder.fmul(dz, e.splat(e.load(own, r)))
                kept = e.builder.fcmp_unordered(">", was, zero)
                e.store_vector(e.builder.select(kept, value, zero), here, r * panel_width)
            return totals

        sums = e.loop(vectors, one, [zero] * lanes)
        sink(own, 0, [[summed_lanes(e, sums)]])
        return []

    e.loop(e.tile.padded(layer.inputs), some, step=lanes)
    e.builder.ret_void()


def write_bias_gradient(e: Emitter, layer: Linear, sink: Sink) -> None:
    """``db``, the sum of dZ over the batch, a vector of biases at a time handed to ``sink``.

    The function's arguments: bias, dZ, vectors in the batch, and whatever ``sink`` uses.
    """
    bias, gradient, vectors = e.arguments[:3]
    panel_width, lanes = e.tile.panel, e.tile.lanes
    stride = e.tile.padded(layer.outputs) * panel_width

    def eight(first: Index, _: list[Value]) -> list[Value]:
        rows = e.at(gradient, e.times(first, panel_width))

        def one(vector: Index, sums: list[Value]) -> list[Value]:
            part, inside = e.over(vector, e.tile.vectors)
            here = e.at(rows, e.add(e.times(part, stride), e.times(inside, lanes)))
            return [
                e.builder.fadd(total, e.load_vector(here, r * panel_width))
                for r, total in enumerate(sums)
            ]

        sums = e.loop(vectors, one, [e.number(0.0)] * lanes)
        sink(e.at(bias, first), 0, [[summed_lanes(e, sums)]])
        return []

    e.loop(e.tile.padded(layer.outputs), eight, step=lanes)
    e.builder.ret_void()


def write_transpose(e: Emitter) -> None:
    """Copy panels of rows into panels of columns.

    The function's arguments: source, target, floats from one panel of the source to the next,
    the same of the target, vectors of rows, vectors of columns. Element (r, c) lies at
    ``[r // panel][c][r % panel]`` in the source and at ``[c // panel][r][c % panel]`` after.
    """
    source, target, source_panel, target_panel, row_vectors, column_vectors = e.arguments
    panel_width, lanes = e.tile.panel, e.tile.lanes

    def rows(row_vector: Index, _: list[Value]) -> list[Value]:
        part, inside = e.over(row_vector, e.tile.vectors)
        start = e.add(e.times(part, source_panel), e.times(inside, lanes))
        down = e.times(row_vector, lanes * panel_width)

        def columns(column_vector: Index, _: list[Value]) -> list[Value]:
            read = e.at(source, e.add(start, e.times(column_vector, lanes * panel_width)))
            square = [e.load_vector(read, c * panel_width) for c in range(lanes)]
            part, inside = e.over(column_vector, e.tile.vectors)
            across = e.add(e.times(part, target_panel), e.times(inside, lanes))
            write = e.at(target, e.add(across, down))
            for r, vector in enumerate(transposed(e, square)):
                e.store_vector(vector, write, r * panel_width)
            return []

        e.loop(column_vectors, columns)
        return []

    e.loop(row_vectors, rows)
    e.builder.ret_void()


def transposed(e: Emitter, square: list[Value]) -> list[Value]:
    """As many vectors as each has lanes, seen as a square matrix and transposed."""
    lanes = e.tile.lanes
    low = _across(lanes, lambda quad: [quad, lanes + quad, quad + 1, lanes + quad + 1])
    high = _across(lanes, lambda quad: [quad + 2, lanes + quad + 2, quad + 3, lanes + quad + 3])
    first = _across(lanes, lambda quad: [quad, quad + 1, lanes + quad, lanes + quad + 1])
    second = _across(lanes, lambda quad: [quad + 2, quad + 3, lanes + quad + 2, lanes + quad + 3])
    result: list[Value] = []
    for row in range(0, lanes, _QUAD):
        a, b, c, d = square[row : row + _QUAD]
        ab, cd = e.shuffle(a, b, low), e.shuffle(c, d, low)
        result += [e.shuffle(ab, cd, first), e.shuffle(ab, cd, second)]
        ab, cd = e.shuffle(a, b, high), e.shuffle(c, d, high)
        result += [e.shuffle(ab, cd, first), e.shuffle(ab, cd, second)]
    distance = _QUAD
    while distance < lanes:
        result = _swapped(e, result, distance)
        distance *= 2
    return result


def summed_lanes(e: Emitter, vectors: list[Value]) -> Value:
    """Sums over the lanes of as many vectors as each has lanes, one sum a lane."""
    lanes, sums, distance = e.tile.lanes, vectors, 1
    while distance < lanes:
        # Lane l of what comes holds a part of the sum of the vector whose number ends as l does.
        keep = [lane if not lane & distance else lanes + lane - distance for lane in range(lanes)]
        rest = [lane + distance if not lane & distance else lanes + lane for lane in range(lanes)]
        pairs = zip(sums[::2], sums[1::2], strict=True)
        sums = [
            e.builder.fadd(e.shuffle(left, right, keep), e.shuffle(left, right, rest))
            for left, right in pairs
        ]
        distance *= 2
    return sums[0]


def _across(lanes: int, pick: Callable[[int], list[int]]) -> list[int]:
    return [lane for quad in range(0, lanes, _QUAD) for lane in pick(quad)]


def _swapped(e: Emitter, rows: list[Value], distance: int) -> list[Value]:
    """Exchange the off-diagonal squares of side ``distance`` in every square twice as wide."""
    lanes = e.tile.lanes
    keep = [lane if not lane & distance else lanes + lane - distance for lane in range(lanes)]
    rest = [lane + distance if not lane & distance else lanes + lane for lane in range(lanes)]
    result = list(rows)
    for row in range(lanes):
        if not row & distance:
            upper, lower = rows[row], rows[row + distance]
            result[row] = e.shuffle(upper, lower, keep)
            result[row + distance] = e.shuffle(upper, lower, rest)
    return result


# Argument types of the functions above, in their order.
FORWARD = [POINTER, POINTER, POINTER, POINTER, I64]
BACKWARD = [POINTER, POINTER, POINTER, I64]
SINGLE_BACKWARD = [POINTER, POINTER, POINTER, I64]
WEIGHT_GRADIENT = [POINTER, POINTER, POINTER, I64]
BIAS_GRADIENT = [POINTER, POINTER, I64]
TRANSPOSE = [POINTER, POINTER, I64, I64, I64, I64]
