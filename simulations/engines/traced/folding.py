"""Passes that drop what computes nothing: views, neutral numbers, repetitions, constants."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from fedhome.simulations.engines.traced.rewriting import (
    ADD,
    DIV,
    MUL,
    REDUCTIONS,
    RESHAPES,
    SAME,
    SUB,
    alike,
    aten,
    calls,
    device_of,
    insert,
    replace,
    shape_of,
    size_of,
    strides_of,
    type_of,
)
from fedhome.simulations.engines.traced.tracing import is_view

_ARITHMETIC: dict[object, Callable[..., Any]] = {
    **dict.fromkeys(MUL, operator.mul),
    **dict.fromkeys(ADD, operator.add),
    **dict.fromkeys(SUB, operator.sub),
    **dict.fromkeys(DIV, operator.truediv),
    aten.pow.Tensor_Scalar: operator.pow,
    aten.neg.default: operator.neg,
    aten.reciprocal.default: lambda value: 1 / value,
}


def drop_no_ops(graph: fx.Graph) -> int:
    """Drop what changes neither shape nor type: views, clones, sums over one element, ``x * 1``."""
    count = 0
    for node in calls(graph):
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node):
            continue
        same = node.target in SAME and alike(node, source)
        if node.target is aten.transpose.int and same:
            same = node.args[1] == node.args[2] or strides_of(node) == strides_of(source)
        if node.target in {aten.clone.default, aten.contiguous.default}:
            same = same and strides_of(node) == strides_of(source)
        scalar = node.args[1] if len(node.args) == 2 else None  # noqa: PLR2004
        if isinstance(scalar, (int, float)) and not node.kwargs:
            neutral = 0 if node.target in ADD | SUB else 1
            arithmetic = node.target in MUL | DIV | ADD | SUB | {aten.pow.Tensor_Scalar}
            same = same or (arithmetic and scalar == neutral and alike(node, source))
        if same:
            replace(node, source)
            count += 1
        elif node.target in REDUCTIONS and _of_one_term(node, source):
            replace(node, insert(node, aten.reshape.default, source, shape_of(node)))
            count += 1
    return count


def merge_views(graph: fx.Graph) -> int:
    """Turn a view of a view into one, and cancel two transposes."""
    count = 0
    for node in calls(graph):
        inner = node.args[0] if node.args else None
        if not isinstance(inner, fx.Node) or inner.op != "call_function":
            continue
        if node.target in RESHAPES and inner.target in RESHAPES:
            node.target, node.args = aten.view.default, (inner.args[0], shape_of(node))
            count += 1
        elif node.target is aten.transpose.int is inner.target:
            source = inner.args[0]
            assert isinstance(source, fx.Node)
            if {*node.args[1:]} == {*inner.args[1:]}:
                replace(node, source)
                count += 1
    return count


def share_equal_nodes(graph: fx.Graph) -> int:
    """Compute once what is computed twice."""
    seen: dict[str, fx.Node] = {}
    count = 0
    for node in calls(graph):
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            continue
        key = repr((node.target, node.args, sorted(node.kwargs.items())))
        if key in seen:
            replace(node, seen[key])
            count += 1
        else:
            seen[key] = node
    return count


def fold_constants(graph: fx.Graph) -> int:
    """Put numbers in place of tensors that hold one number throughout, such as a full mask."""
    known = _constants(graph)
    count = 0
    for node in calls(graph):
        if node in known:
            if node.all_input_nodes and node.users and not is_view(node.target):
                kind = {"dtype": type_of(node), "device": device_of(node)}
                replace(node, insert(node, aten.full.default, shape_of(node), known[node], **kind))
                count += 1
            continue
        if node.target is aten.where.self and isinstance(known.get(node.args[0]), bool):
            chosen = node.args[1 if known[node.args[0]] else 2]
            if isinstance(chosen, fx.Node) and alike(chosen, node):
                replace(node, chosen)
                count += 1
            continue
        if node.target not in MUL | ADD | SUB | DIV or node.kwargs:
            continue
        left, right = node.args
        if left in known and node.target in MUL | ADD:
            left, right = right, left
        if right not in known or not isinstance(left, fx.Node) or left in known:
            continue
        if type_of(left) != type_of(node) or isinstance(known[right], bool):
            continue
        with_scalar = insert(node, node.target, left, known[right])
        if not alike(with_scalar, node):
            with_scalar = insert(node, aten.expand.default, with_scalar, shape_of(node))
        replace(node, with_scalar)
        count += 1
    return count


def _of_one_term(node: fx.Node, source: fx.Node) -> bool:
    return size_of(node) == size_of(source) and type_of(node) == type_of(source)


def _constants(graph: fx.Graph) -> dict[Any, Any]:
    filled: dict[object, Callable[[fx.Node], Any]] = {
        aten.ones.default: lambda _: 1.0,
        aten.ones_like.default: lambda _: 1.0,
        aten.zeros.default: lambda _: 0.0,
        aten.zeros_like.default: lambda _: 0.0,
        aten.full.default: lambda node: node.args[1],
        aten.full_like.default: lambda node: node.args[1],
        aten.fill.Scalar: lambda node: node.args[1],
        aten.scalar_tensor.default: lambda node: node.args[0],
        aten._to_copy.default: lambda node: _known(node.args[0], known),  # noqa: SLF001
        aten.ne.Scalar: lambda node: _never_negative(node, true=True),
        aten.lt.Scalar: lambda node: _never_negative(node, true=False),
        **dict.fromkeys(REDUCTIONS, lambda node: _reduced(node, known)),
    }
    known: dict[Any, Any] = {}
    for node in calls(graph):
        value: Any = None
        if node.target in filled:
            value = filled[node.target](node)
        elif is_view(node.target) or node.target in SAME:
            value = known.get(node.args[0])
        elif node.target in _ARITHMETIC and not node.kwargs:
            values = [_known(argument, known) for argument in node.args]
            if None not in values:
                value = _computed(_ARITHMETIC[node.target], values)
        if value is not None and isinstance(node.meta["val"], torch.Tensor):
            known[node] = value
    return known


def _known(argument: Any, known: dict[Any, Any]) -> Any:
    return argument if isinstance(argument, (int, float)) else known.get(argument)


def _computed(function: Callable[..., Any], values: list[Any]) -> Any:
    try:
        return function(*values)
    except ArithmeticError:  # a division by zero is left to the tensors, which have infinity
        return None


def _reduced(node: fx.Node, known: dict[Any, Any]) -> Any:
    value = known.get(node.args[0])
    terms, rest = divmod(size_of(node.args[0]), size_of(node))
    if value is None or rest:
        return None
    return value * terms if node.target is aten.sum.dim_IntList else value


def _never_negative(node: fx.Node, *, true: bool) -> bool | None:
    # Cross-entropy looks for rows of class -100, dropout for the key -1: training has neither.
    compared, value = node.args
    while isinstance(compared, fx.Node) and is_view(compared.target):
        (compared,) = compared.all_input_nodes
    assert isinstance(compared, fx.Node)
    least = 0 if true else 1
    decided = isinstance(value, (int, float)) and value < least and compared.meta.get("natural")
    return true if decided else None
