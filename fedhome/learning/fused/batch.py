"""One training step: the functions of its stages, and the calls of them in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fedhome.learning.fused import linear_layer, loss_code
from fedhome.learning.fused.emit import F32, I64, POINTER, VOID, Emitter, Index, Value
from fedhome.learning.fused.linear_layer import Linear
from fedhome.learning.fused.memory_map import MemoryMap, ProgramShape
from fedhome.learning.fused.optimiser_code import FINISH, OptimiserStep

_WRITTEN_OUT = 8  # vectors that are copied without a loop


class BatchProgram:
    """Writes a training step into the function that loops over batches.

    Args:
        plan: What the program is written for.
        layout: Places in the workspace.
        e: The function that loops over batches.
        workspace: Address of the workspace.
        x: Address of all rows' features.
        y: Address of all rows' targets.
    """

    def __init__(
        self,
        plan: ProgramShape,
        layout: MemoryMap,
        e: Emitter,
        *,
        workspace: Value,
        x: Value,
        y: Value,
    ) -> None:
        self.plan = plan
        self.layout = layout
        self.e = e
        self.workspace = workspace
        self.x = x
        self.y = y
        self.step = OptimiserStep(plan.rule, layout.size)

    def address(self, offset: int) -> Value:
        """An address in the workspace."""
        return self.e.at(self.workspace, offset)

    def write(self, order: Value, rows: Value) -> Value:
        """Write the step.

        Args:
            order: Address of the batch's row numbers.
            rows: How many there are.

        Returns:
            The batch's loss, summed over rows.
        """
        lanes, plan, layout = self.e.tile.lanes, self.plan, self.layout
        vectors, _ = self.e.over(self.e.add(rows, lanes - 1), lanes)
        self._gather(order, rows, vectors)
        for i, linear in enumerate(layout.linears):
            self._forward(i, linear, vectors)
        outputs = self.address(layout.activations[-1])
        targets = self.address(layout.targets)
        self._call(
            "gather_targets",
            loss_code.GATHER,
            lambda f: loss_code.write_gather_targets(f, plan.sizes[-1], plan.loss),
            [self.y, targets, order, rows],
        )
        loss = self._call(
            "loss",
            loss_code.LOSS,
            lambda f: loss_code.write_loss(f, plan.sizes[-1], plan.loss),
            [outputs, targets, rows],
            result=F32,
        )
        for i, linear in reversed(list(enumerate(layout.linears))):
            self._backward(i, linear, rows, vectors)
        if plan.rule.clip_norm is not None:
            operands = [self.address(0), self.address(layout.numbers)]
            self._call("finish", FINISH, self.step.write_finish, operands)
        return loss

    def _call(
        self,
        name: str,
        arguments: Sequence[Any],
        write: Callable[[Emitter], None],
        operands: Sequence[Value],
        *,
        result: Any = VOID,
    ) -> Value:
        """Call the function of this name, written on first use, so that equal layers share it."""
        function = self.e.module.globals.get(name)
        if function is None:
            emitter = Emitter(self.e.module, self.e.tile, name, arguments, result=result)
            write(emitter)
            function = emitter.function
        return self.e.builder.call(function, operands)

    def _forward(self, i: int, linear: Linear, vectors: Value) -> None:
        hidden = i + 1 < len(self.layout.linears)
        outputs = self.address(self.layout.activations[i + 1])
        self._call(
            f"forward_{linear.inputs}_{linear.outputs}_{'relu' if hidden else 'linear'}",
            linear_layer.FORWARD,
            lambda f: linear_layer.write_forward(f, linear, relu=hidden),
            [
                self.address(linear.weight),
                self.address(linear.bias),
                self.address(self.layout.activations[i]),
                outputs,
                vectors,
            ],
        )
        if hidden:
            tile = self.e.tile
            width = tile.padded(linear.outputs)
            self._transpose(
                outputs,
                self.address(self.layout.transposed[i + 1]),
                (width * tile.panel, self.plan.capacity * tile.panel),
                (vectors, width // tile.lanes),
            )

    def _backward(self, i: int, linear: Linear, rows: Value, vectors: Value) -> None:
        weight, bias = self.address(linear.weight), self.address(linear.bias)
        gradient = self.address(self.layout.activations[i + 1])
        numbers = self.address(self.layout.numbers)
        shape = f"{linear.inputs}_{linear.outputs}"
        # The layer's input gradient comes first: it needs the weights from before the step.
        if i > 0:
            self._call(
                f"backward_{shape}",
                linear_layer.BACKWARD,
                lambda f: linear_layer.write_backward(f, linear),
                [weight, gradient, self.address(self.layout.activations[i]), vectors],
            )
        self._call(
            f"bias_{linear.outputs}",
            [*linear_layer.BIAS_GRADIENT, POINTER],
            lambda f: linear_layer.write_bias_gradient(f, linear, self.step.sink(f)),
            [bias, gradient, vectors, numbers],
        )
        capacity = self.plan.capacity
        self._call(
            f"weight_{shape}",
            [*linear_layer.WEIGHT_GRADIENT, POINTER],
            lambda f: linear_layer.write_weight_gradient(f, linear, capacity, self.step.sink(f)),
            [weight, gradient, self.address(self.layout.transposed[i]), rows, numbers],
        )

    def _transpose(
        self, source: Value, target: Value, panels: tuple[int, int], vectors: tuple[Index, Index]
    ) -> None:
        numbers = [self.e.index(number) for number in (*panels, *vectors)]
        operands = [source, target, *numbers]
        self._call("transpose", linear_layer.TRANSPOSE, linear_layer.write_transpose, operands)

    def _gather(self, order: Value, rows: Value, vectors: Value) -> None:
        """Bring a batch's rows of x into both layouts, with zeros up to a whole vector."""
        e, tile, capacity = self.e, self.e.tile, self.plan.capacity
        width = self.plan.sizes[0]
        target = self.address(self.layout.transposed[0])
        padded = tile.padded(width)

        def pieces(row: Index) -> list[tuple[Value, int, int]]:
            here = e.at(target, e.times(row, tile.panel))
            return [
                (e.at(here, start * capacity), start, min(tile.panel, width - start))
                for start in range(0, width, tile.panel)
            ]

        def one(row: Index, _: list[Value]) -> list[Value]:
            source = e.at(self.x, e.times(e.load(order, row, I64), width))
            for piece, start, floats in pieces(row):
                copy(e, e.at(source, start), piece, floats)
            return []

        def clear(past: Index, _: list[Value]) -> list[Value]:
            for piece, _start, floats in pieces(e.add(rows, past)):
                for lane in range(0, floats, tile.lanes):
                    e.store_vector(e.number(0.0), piece, lane)
            return []

        e.loop(rows, one)
        e.loop(e.subtract(e.times(vectors, tile.lanes), rows), clear)
        self._transpose(
            target,
            self.address(self.layout.activations[0]),
            (capacity * tile.panel, padded * tile.panel),
            (padded // tile.lanes, vectors),
        )


def copy(e: Emitter, source: Value, target: Value, floats: int) -> None:
    """Copy a known number of floats without touching what follows them."""
    lanes = e.tile.lanes
    whole = floats // lanes * lanes

    def vector(i: Index, _: list[Value]) -> list[Value]:
        e.store_vector(e.load_vector(source, i), target, i)
        return []

    if whole <= _WRITTEN_OUT * lanes:
        for i in range(0, whole, lanes):
            vector(i, [])
    else:
        e.loop(whole, vector, step=lanes)
    for i in range(whole, floats):
        e.store(e.load(source, i), target, i)
