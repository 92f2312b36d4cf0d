"""A graph bound to memory: a list of calls in which nothing is left to decide.

For a number of homes, every tensor of a step is laid down once: the state and the batch in the
workspace, what lies between in blocks that are used again as soon as their last reader is done.
Views are taken then, not in each step. What remains are calls of kernels that write where the
graph says, parameters in place.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx

from fedhome.simulations.engines.traced.calls import Call, call, may_overwrite
from fedhome.simulations.engines.traced.rewriting import aten, calls, insert
from fedhome.simulations.engines.traced.tracing import Count, Trace, is_view

_VIEWS = {aten.view.default, aten.transpose.int}  # those that can be undone
Memory = dict[str, Tensor]


class Blocks:
    """Memory for what lies between input and result; shared by all programs of a thread.

    Args:
        device: Where it is.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._all: list[Tensor] = []

    def lease(self) -> Lease:
        """Return all blocks as free ones: programs of one workspace never run at once."""
        return Lease(self._all, self._device)


class Lease:
    """The blocks as one program plans to use them."""

    def __init__(self, blocks: list[Tensor], device: torch.device) -> None:
        self._all = blocks
        self._device = device
        self._free = list(blocks)

    def take(self, size: int) -> Tensor:
        """Return a block of at least this many bytes: the smallest that is free, or a new one."""
        fitting = [block for block in self._free if size <= len(block) <= max(2 * size, 4096)]
        if fitting:
            block = min(fitting, key=len)
            self._free = [other for other in self._free if other is not block]
            return block
        block = torch.empty(size, dtype=torch.uint8, device=self._device)
        self._all.append(block)
        return block

    def give_back(self, block: Tensor) -> None:
        """Let a block be taken again."""
        self._free.append(block)


class BoundProgram:
    """A step for a number of homes.

    Args:
        trace: The step, simplified.
        homes: The number.
        memory: The state's tensors and the batch's, by the trace's input names, each
            ``[homes, ...]``; the state is updated in place.
        blocks: Memory for the rest.
    """

    def __init__(self, trace: Trace, homes: int, memory: Memory, blocks: Blocks) -> None:
        binder = _Binder(trace, homes, memory, blocks.lease())
        self.loss = binder.loss
        self._calls = tuple(binder.calls)

    def run(self) -> None:
        """Take the step."""
        for one in self._calls:
            one()


def prepare(trace: Trace) -> None:
    """Give every result that is another input, or a view of one, a copy of its own."""
    graph = trace.graph
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    output = next(node for node in graph.nodes if node.op == "output")
    results = list(output.args[0])
    for index, node in enumerate(results):
        own = inputs[index] if index < trace.states else None
        if node is not own and _root(node).op != "call_function":
            results[index] = insert(output, aten.clone.default, node)
    output.args = (results,)


class _Binder:
    """Works through a graph once, node by node."""

    def __init__(self, trace: Trace, homes: int, memory: Memory, lease: Lease) -> None:
        graph = trace.graph
        self._count = Count(trace.prime, homes)
        self._lease = lease
        self._module = trace.module
        self._order = calls(graph)
        self._values: dict[fx.Node, Any] = {}
        self._blocks: dict[fx.Node, list[Tensor]] = {}
        self._constant: set[fx.Node] = set()
        self.calls: list[Call] = []

        inputs = [node for node in graph.nodes if node.op == "placeholder"]
        self._values.update(zip(inputs, (memory[name] for name in trace.inputs), strict=True))
        for node in graph.nodes:
            if node.op == "get_attr":
                self._values[node] = _attribute(self._module, str(node.target))
                self._constant.add(node)
        output = next(node for node in graph.nodes if node.op == "output")
        *results, loss = output.args[0]
        self._last = self._last_uses(output.args[0])
        self._destinations = self._reusable(list(zip(inputs, results, strict=False)))

        for index, node in enumerate(self._order):
            self._bind(index, node)
        for own, result in zip(inputs, results, strict=False):
            if result is not own and not _same_memory(self._values[result], self._values[own]):
                self.calls.append(_copy(self._values[own], self._values[result]))
        self.loss: Tensor = self._values[loss]

    def _last_uses(self, results: list[fx.Node]) -> dict[fx.Node, int]:
        last: dict[fx.Node, int] = {}
        for index, node in enumerate(self._order):
            last.setdefault(_root(node), index)
            for source in node.all_input_nodes:
                last[_root(source)] = index
        for node in results:
            last[_root(node)] = len(self._order)
        return last

    def _reusable(self, pairs: list[tuple[fx.Node, fx.Node]]) -> dict[fx.Node, Tensor]:
        """Find the results that can be computed right where their old value is."""
        found: dict[fx.Node, Tensor] = {}
        position = {node: index for index, node in enumerate(self._order)}
        for own, result in pairs:
            node, memory = result, self._values[own]
            while node.target in _VIEWS and memory is not None:
                memory, node = _undone(node, memory, self._count), node.all_input_nodes[0]
            if (
                memory is None
                or node.op != "call_function"
                or node in found
                or is_view(node.target)
            ):
                continue
            if node.target is operator.getitem or self._last.get(own, -1) > position[node]:
                continue
            if self._last.get(own) == position[node]:
                readers = [n for n in node.all_input_nodes if _root(n) is own]
                if not set(readers) <= set(may_overwrite(node)):
                    continue
                if not all(self._lies_at(reader, memory) for reader in readers):
                    continue
            found[node] = memory
        return found

    def _lies_at(self, node: fx.Node, memory: Tensor) -> bool:
        """Say whether a view of an input is the same tensor as some memory."""
        value = self._values.get(node)
        if value is None:
            value = self._evaluate(node, recursive=True)
        return _same_memory(value, memory)

    def _bind(self, index: int, node: fx.Node) -> None:
        sources = node.all_input_nodes
        if all(source in self._constant for source in sources):
            self._values[node] = self._evaluate(node)
            self._constant.add(node)
            return
        if is_view(node.target) or node.target is operator.getitem:
            self._values[node] = self._evaluate(node)
        else:
            args, kwargs = self._arguments(node)
            out = self._output(index, node)
            # A tensor that is to be overwritten is recognised by identity.
            args = [out if _same_memory(arg, out) else arg for arg in args]
            self.calls.append(call(node.target, args, kwargs, out))
            self._values[node] = out
        for root in {_root(source) for source in sources} | {_root(node)}:
            if self._last[root] == index:
                for block in self._blocks.pop(root, []):
                    self._lease.give_back(block)

    def _output(self, index: int, node: fx.Node) -> Any:
        if node in self._destinations:
            return self._destinations[node]
        value = node.meta["val"]
        if not isinstance(value, Tensor):
            parts = [None if part is None else self._new(node, part) for part in value]
            wanted = {user.args[1] for user in node.users}
            return [part if index in wanted else None for index, part in enumerate(parts)]
        for source in may_overwrite(node):
            root, memory = _root(source), self._values[source]
            if root not in self._blocks or self._last[root] != index or len(self._blocks[root]) > 1:
                continue
            same = [n for n in node.all_input_nodes if _root(n) is root]
            all_there = all(_same_memory(self._values[n], memory) for n in same)
            if all_there and self._fits(value, memory):
                self._blocks[node] = self._blocks.pop(root)
                return memory
        return self._new(node, value)

    def _fits(self, value: Tensor, memory: Tensor) -> bool:
        return (
            memory.dtype == value.dtype
            and list(memory.shape) == self._count(value.shape)
            and list(memory.stride()) == self._count(value.stride())
        )

    def _new(self, node: fx.Node, value: Tensor) -> Tensor:
        shape, strides = self._count(value.shape), self._count(value.stride())
        reach = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        size = max(reach, 0) * value.dtype.itemsize
        block = self._lease.take(size)
        self._blocks.setdefault(node, []).append(block)
        return block[:size].view(value.dtype).as_strided(shape, strides)

    def _arguments(self, node: fx.Node) -> tuple[list[Any], dict[str, Any]]:
        args, kwargs = self._count_arguments(node)
        return (
            [fx.node.map_arg(arg, self._values.__getitem__) for arg in args],
            fx.node.map_arg(kwargs, self._values.__getitem__),
        )

    def _count_arguments(self, node: fx.Node) -> tuple[list[Any], dict[str, Any]]:
        return [self._count(arg) for arg in node.args], {
            name: self._count(arg) for name, arg in node.kwargs.items()
        }

    def _evaluate(self, node: fx.Node, *, recursive: bool = False) -> Any:
        if recursive:
            for source in node.all_input_nodes:
                if source not in self._values:
                    self._values[source] = self._evaluate(source, recursive=True)
        args, kwargs = self._arguments(node)
        assert callable(node.target)
        return node.target(*args, **kwargs)


def _root(node: fx.Node) -> fx.Node:
    while is_view(node.target) or node.target is operator.getitem:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        node = source
    return node


def _undone(node: fx.Node, memory: Tensor, count: Count) -> Tensor | None:
    """Return the memory of what a view shows, given where the view is to lie."""
    if node.target is aten.transpose.int:
        return memory.transpose(1, 2) if {*node.args[1:]} == {1, 2} else None
    source = node.args[0]
    assert isinstance(source, fx.Node)
    try:
        return memory.view(count(source.meta["val"].shape))
    except RuntimeError:  # not without a copy
        return None


def _same_memory(value: Any, memory: Any) -> bool:
    # By storage, not by address: a tensor without memory has none, and is bound all the same.
    return (
        isinstance(value, Tensor)
        and isinstance(memory, Tensor)
        and value.untyped_storage()._cdata == memory.untyped_storage()._cdata  # noqa: SLF001
        and value.storage_offset() == memory.storage_offset()
        and value.shape == memory.shape
        and value.stride() == memory.stride()
        and value.dtype == memory.dtype
    )


def _copy(to: Tensor, source: Tensor) -> Call:
    return lambda: to.copy_(source)


def _attribute(module: fx.GraphModule, path: str) -> Any:
    value: Any = module
    for name in path.split("."):
        value = getattr(value, name)
    return value.detach() if isinstance(value, Tensor) else value
