"""The words in which the passes are written: nodes, their shapes, and their replacement."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from fedhome.simulations.engines.traced.tracing import infer

aten: Any = torch.ops.aten

SAME = {  # what may come out as it went in
    aten.expand.default,
    aten.view.default,
    aten._unsafe_view.default,  # noqa: SLF001 - its name in the graph
    aten.reshape.default,
    aten.detach.default,
    aten.alias.default,
    aten.clone.default,
    aten.contiguous.default,
    aten.lift_fresh_copy.default,
    aten._to_copy.default,  # noqa: SLF001
    aten.transpose.int,
}
RESHAPES = {aten.view.default, aten._unsafe_view.default, aten.unsqueeze.default}  # noqa: SLF001
MUL = {aten.mul.Tensor, aten.mul.Scalar}
ADD = {aten.add.Tensor, aten.add.Scalar}
SUB = {aten.sub.Tensor, aten.sub.Scalar}
DIV = {aten.div.Tensor, aten.div.Scalar}
REDUCTIONS = {aten.sum.dim_IntList, aten.mean.dim}


def calls(graph: fx.Graph) -> list[fx.Node]:
    """Return the nodes that compute something, in order."""
    return [node for node in graph.nodes if node.op == "call_function"]


def insert(before: fx.Node, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
    """Insert a call into the graph, its shape worked out."""
    with before.graph.inserting_before(before):
        node = before.graph.call_function(target, args, kwargs)
    node.meta["val"] = infer(node)
    return node


def replace(node: fx.Node, by: fx.Node) -> None:
    """Let everyone who reads a node read another."""
    node.replace_all_uses_with(by)
    node.graph.erase_node(node)


def drop_unread(graph: fx.Graph) -> None:
    """Drop what nobody reads; nothing in a functional graph has another effect."""
    for node in reversed(graph.nodes):
        if node.op not in {"placeholder", "output"} and not node.users:
            graph.erase_node(node)


def alike(node: fx.Node, other: fx.Node) -> bool:
    """Say whether two nodes have the same shape and type."""
    return shape_of(node) == shape_of(other) and type_of(node) == type_of(other)


def scaled(node: Any) -> tuple[fx.Node, float] | None:
    """Return what a node multiplies by which number; None where it does something else."""
    if not isinstance(node, fx.Node) or node.target not in MUL or not is_floating(node):
        return None
    source, scale = node.args
    if isinstance(scale, (int, float)) and isinstance(source, fx.Node) and alike(node, source):
        return source, float(scale)
    return None


def shape_of(node: Any) -> list[int]:
    """Return a node's shape."""
    return list(node.meta["val"].shape)


def strides_of(node: fx.Node) -> tuple[int, ...]:
    """Return a node's strides."""
    return tuple(node.meta["val"].stride())


def size_of(node: Any) -> int:
    """Return how many numbers a node holds."""
    return int(node.meta["val"].numel())


def type_of(node: Any) -> torch.dtype:
    """Return a node's type."""
    dtype = node.meta["val"].dtype
    assert isinstance(dtype, torch.dtype)
    return dtype


def device_of(node: Any) -> torch.device:
    """Return the device that a node's result lies on."""
    device = node.meta["val"].device
    assert isinstance(device, torch.device)
    return device


def is_floating(node: fx.Node) -> bool:
    """Say whether a node holds floating-point numbers."""
    return type_of(node).is_floating_point
