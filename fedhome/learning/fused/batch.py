"""One training step: the functions of its stages, and the calls of them in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fedhome.learning.fused import first_layer, linear_layer, loss_code
from fedhome.learning.fused.emit import F32, I64, POINTER, VOID, Emitter, Index, Value
from fedhome.learning.fused.first_layer import FirstLayer
from fedhome.learning.fused.linear_layer import Linear
from fedhome.learning.fused.memory_map import MemoryMap, NetworkPlaces, ProgramShape
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
            The batch's loss, summed over rows and networks.
        """
        lanes, plan, layout = self.e.tile.lanes, self.plan, self.layout
        vectors, _ = self.e.over(self.e.add(rows, lanes - 1), lanes)
        self._gather(order, rows, vectors)
        targets = self.address(layout.targets)
        self._call(
            "gather_targets",
            loss_code.GATHER,
            lambda f: loss_code.write_gather_targets(f, plan.sizes[-1], plan.loss),
            [self.y, targets, order, rows],
        )
        losses, found = [], set[int]()
        for network in layout.networks:
            losses.append(self._network(network, rows, vectors, found))
            found.update(network.layers)
        if plan.rule.kept:
            operands = [self.address(0), self.address(layout.numbers)]
            self._call("finish", FINISH, self.step.write_finish, operands)
        total = losses[0]
        for loss in losses[1:]:
            total = self.e.builder.fadd(total, loss)
        return total

    def turn(self, own: Value, first: FirstLayer, *, inwards: bool) -> None:
        """Bring a client's first layer from PyTorch's layout into this one, or back.

        Args:
            own: Address of the client's parameters.
            first: The layer.
            inwards: Whether they come, or go back.
        """
        self._call(
            "turn_in" if inwards else "turn_out",
            first_layer.TURNED,
            lambda f: first_layer.write_turned(f, first, inwards=inwards),
            [own, self.address(first.weight)],
        )

    def _network(
        self, network: NetworkPlaces, rows: Value, vectors: Value, found: set[int]
    ) -> Value:
        """Write one network's way there and back; the gradients of layers in `found` are added."""
        plan = self.plan
        for i in range(len(network.linears)):
            self._forward(network, i, vectors)
        loss = self._call(
            "loss",
            loss_code.LOSS,
            lambda f: loss_code.write_loss(f, plan.sizes[-1], plan.loss),
            [self.address(network.activations[-1]), self.address(self.layout.targets), rows],
            result=F32,
        )
        for i in reversed(range(len(network.linears))):
            self._backward(network, i, rows, vectors, adds=network.layers[i] in found)
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

    def _forward(self, network: NetworkPlaces, i: int, vectors: Value) -> None:
        if i == 0 and network.first is not None:
            self._first_forward(network, network.first, vectors)
            return
        linear, hidden = network.linears[i], i + 1 < len(network.linears)
        outputs = self.address(network.activations[i + 1])
        self._call(
            f"forward_{_shape(linear)}_{'relu' if hidden else 'linear'}",
            linear_layer.FORWARD,
            lambda f: linear_layer.write_forward(f, linear, relu=hidden),
            [
                self.address(linear.weight),
                self.address(linear.bias),
                self.address(network.activations[i]),
                outputs,
                vectors,
            ],
        )
        if hidden and not _is_single(network, i + 1):
            tile = self.e.tile
            width = tile.padded(linear.outputs)
            self._transpose(
                outputs,
                self.address(network.transposed[i + 1]),
                (width * tile.panel, self.plan.capacity * tile.panel),
                (vectors, width // tile.lanes),
            )

    def _first_forward(self, network: NetworkPlaces, first: FirstLayer, vectors: Value) -> None:
        tile, capacity = self.e.tile, self.plan.capacity
        rows, width = self.address(network.transposed[1]), tile.padded(first.outputs)
        self._call(
            f"forward_first_{first.outputs}",
            first_layer.FIRST_FORWARD,
            lambda f: first_layer.write_first_forward(f, first, capacity),
            [self.address(first.weight), self.address(self.layout.x), rows, vectors],
        )
        self._transpose(
            rows,
            self.address(network.activations[1]),
            (capacity * tile.panel, width * tile.panel),
            (width // tile.lanes, vectors),
        )

    def _backward(
        self, network: NetworkPlaces, i: int, rows: Value, vectors: Value, *, adds: bool
    ) -> None:
        linear = network.linears[i]
        weight, bias = self.address(linear.weight), self.address(linear.bias)
        gradient = self.address(network.activations[i + 1])
        numbers = self.address(self.layout.numbers)
        capacity, way = self.plan.capacity, "_adds" if adds else ""
        if i == 0 and network.first is not None:
            first = network.first
            self._call(
                f"weight_first_{first.outputs}{way}",
                [*first_layer.FIRST_GRADIENT, POINTER],
                lambda f: first_layer.write_first_gradient(
                    f, first, capacity, self.step.sink(f, adds=adds)
                ),
                [weight, gradient, self.address(self.layout.x), rows, numbers],
            )
            return
        if _is_single(network, i):
            self._call(
                f"single_{_shape(linear)}{way}",
                [*linear_layer.SINGLE_BACKWARD, POINTER],
                lambda f: linear_layer.write_single_backward(
                    f, linear, self.step.sink(f, adds=adds)
                ),
                [weight, gradient, self.address(network.activations[i]), vectors, numbers],
            )
        # The layer's input gradient comes first: it needs the weights from before the step.
        elif i == 1 and network.first is not None:
            inputs = self.address(network.transposed[1])
            self._call(
                f"backward_rows_{_shape(linear)}",
                first_layer.ROWS_BACKWARD,
                lambda f: first_layer.write_rows_backward(f, linear, capacity),
                [weight, gradient, inputs, self.address(network.activations[1]), vectors],
            )
        elif i > 0:
            self._call(
                f"backward_{_shape(linear)}",
                linear_layer.BACKWARD,
                lambda f: linear_layer.write_backward(f, linear),
                [weight, gradient, self.address(network.activations[i]), vectors],
            )
        self._call(
            f"bias_{linear.outputs}{way}",
            [*linear_layer.BIAS_GRADIENT, POINTER],
            lambda f: linear_layer.write_bias_gradient(f, linear, self.step.sink(f, adds=adds)),
            [bias, gradient, vectors, numbers],
        )
        if _is_single(network, i):
            return
        self._call(
            f"weight_{_shape(linear)}{way}",
            [*linear_layer.WEIGHT_GRADIENT, POINTER],
            lambda f: linear_layer.write_weight_gradient(
                f, linear, capacity, self.step.sink(f, adds=adds)
            ),
            [weight, gradient, self.address(network.transposed[i]), rows, numbers],
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
        if (first := self.layout.first) is not None:
            self._call(
                "gather",
                first_layer.GATHER_ROWS,
                lambda f: first_layer.write_gather(f, first),
                [self.x, self.address(self.layout.x), order, rows, vectors],
            )
            return
        width = self.plan.sizes[0]
        target = self.address(self.layout.transposed_x)
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
                copy(e, e.at(source, start), piece, floats, pads=True)
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
            self.address(self.layout.x),
            (capacity * tile.panel, padded * tile.panel),
            (padded // tile.lanes, vectors),
        )


def _is_single(network: NetworkPlaces, i: int) -> bool:
    """Say whether a layer has one output and hands its gradient on to inputs laid out as it is."""
    return network.linears[i].outputs == 1 and i > (0 if network.first is None else 1)


def _shape(linear: Linear) -> str:
    """Return what tells functions of layers apart."""
    return f"{linear.inputs}_{linear.outputs}_{linear.stride}"


def copy(e: Emitter, source: Value, target: Value, floats: int, *, pads: bool = False) -> None:
    """Copy a known number of floats without touching what follows them.

    Args:
        e: Where the code goes.
        source: Where they are.
        target: Where they go.
        floats: How many.
        pads: Whether zeros fill the last vector of the target.
    """
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
    if not (rest := floats - whole):
        return
    last = e.load_first(e.at(source, whole), rest, e.number(0.0))
    if pads:
        e.store_vector(last, target, whole)
    else:
        e.store_first(last, e.at(target, whole), rest)
