"""Peephole passes: small rewrites of a step's graph that leave its result as it is.

The graph is functional, so a rewrite needs to look at no more than a node and what it reads.
Every pass returns how many rewrites it made; :func:`simplify` repeats them all until none finds
any more. Products are rewritten to what the matrix library is quickest at; scalings and updates
to the one operation that does both; what a view, a full batch's mask or the chain rule leaves
behind is dropped.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from simulations.traced.tracing import empty_like_view, infer, is_view

aten: Any = torch.ops.aten
Pass = Callable[[fx.Graph], int]

_SAME = {  # what may come out as it went in
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
_MERGEABLE = {aten.view.default, aten._unsafe_view.default, aten.unsqueeze.default}  # noqa: SLF001
_MUL = {aten.mul.Tensor, aten.mul.Scalar}
_ADD = {aten.add.Tensor, aten.add.Scalar}
_SUB = {aten.sub.Tensor, aten.sub.Scalar}
_DIV = {aten.div.Tensor, aten.div.Scalar}
_ARITHMETIC: dict[object, Callable[..., Any]] = {
    **dict.fromkeys(_MUL, operator.mul),
    **dict.fromkeys(_ADD, operator.add),
    **dict.fromkeys(_SUB, operator.sub),
    **dict.fromkeys(_DIV, operator.truediv),
    aten.pow.Tensor_Scalar: operator.pow,
    aten.neg.default: operator.neg,
    aten.reciprocal.default: lambda value: 1 / value,
}
_REDUCTIONS = {aten.sum.dim_IntList, aten.mean.dim}


def simplify(graph: fx.Graph) -> Counter[str]:
    """Apply all passes, in place, until none finds anything.

    Returns:
        Rewrites by name of the pass.
    """
    made: Counter[str] = Counter()
    found = True
    while found:
        found = False
        for once in PASSES:
            count = once(graph)
            made[once.__name__] += count
            found = found or count > 0
            graph.eliminate_dead_code()
    settle_layouts(graph)
    return made


def drop_no_ops(graph: fx.Graph) -> int:
    """Drop what changes neither shape nor type: views, clones, sums over one element, ``x * 1``."""
    count = 0
    for node in calls(graph):
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node):
            continue
        same = node.target in _SAME and alike(node, source)
        if node.target is aten.transpose.int and same:
            same = node.args[1] == node.args[2] or _stride(node) == _stride(source)
        if node.target in {aten.clone.default, aten.contiguous.default}:
            same = same and _stride(node) == _stride(source)
        scalar = node.args[1] if len(node.args) == 2 else None  # noqa: PLR2004
        if isinstance(scalar, (int, float)) and not node.kwargs:
            neutral = 0 if node.target in _ADD | _SUB else 1
            arithmetic = node.target in _MUL | _DIV | _ADD | _SUB | {aten.pow.Tensor_Scalar}
            same = same or (arithmetic and scalar == neutral and alike(node, source))
        if same:
            replace(node, source)
            count += 1
        elif node.target in _REDUCTIONS and _numel(node) == _numel(source):
            if _dtype(node) == _dtype(source):
                replace(node, insert(node, aten.reshape.default, source, _shape(node)))
                count += 1
    return count


def merge_views(graph: fx.Graph) -> int:
    """Turn a view of a view into one, and cancel two transposes."""
    count = 0
    for node in calls(graph):
        inner = node.args[0] if node.args else None
        if not isinstance(inner, fx.Node) or inner.op != "call_function":
            continue
        if node.target in _MERGEABLE and inner.target in _MERGEABLE:
            node.target, node.args = aten.view.default, (inner.args[0], _shape(node))
            count += 1
        elif node.target is aten.transpose.int is inner.target:
            if {*node.args[1:]} == {*inner.args[1:]}:
                source = inner.args[0]
                assert isinstance(source, fx.Node)
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
                shape, dtype = _shape(node), _dtype(node)
                replace(node, insert(node, aten.full.default, shape, known[node], dtype=dtype))
                count += 1
            continue
        if node.target is aten.where.self and isinstance(known.get(node.args[0]), bool):
            chosen = node.args[1 if known[node.args[0]] else 2]
            if isinstance(chosen, fx.Node) and alike(chosen, node):
                replace(node, chosen)
                count += 1
            continue
        if node.target not in _MUL | _ADD | _SUB | _DIV or node.kwargs:
            continue
        left, right = node.args
        if left in known and node.target in _MUL | _ADD:
            left, right = right, left
        if right not in known or not isinstance(left, fx.Node) or left in known:
            continue
        if _dtype(left) != _dtype(node) or isinstance(known[right], bool):
            continue
        with_scalar = insert(node, node.target, left, known[right])
        if not alike(with_scalar, node):
            with_scalar = insert(node, aten.expand.default, with_scalar, _shape(node))
        replace(node, with_scalar)
        count += 1
    return count


def merge_scales(graph: fx.Graph) -> int:
    """Multiply by one number rather than by two, one after the other."""
    count = 0
    for node in calls(graph):
        if node.target in _DIV and isinstance(node.args[1], (int, float)) and not node.kwargs:
            if _floating(node):
                node.target, node.args = aten.mul.Tensor, (node.args[0], 1 / node.args[1])
                count += 1
        outer = scaled(node)
        inner = scaled(outer[0]) if outer else None
        if outer and inner and len(outer[0].users) == 1:
            node.target, node.args = aten.mul.Tensor, (inner[0], inner[1] * outer[1])
            count += 1
    return count


def scale_while_adding(graph: fx.Graph) -> int:
    """``x ± c * y`` in one operation."""
    count = 0
    for node in calls(graph):
        if node.target not in {aten.add.Tensor, aten.sub.Tensor} or node.kwargs:
            continue
        left, right = node.args
        if node.target is aten.add.Tensor and not _single_scaled(right):
            left, right = right, left
        found = scaled(right) if _single_scaled(right) else None
        if found and isinstance(left, fx.Node) and _floating(left):
            node.args, node.kwargs = (left, found[0]), {"alpha": found[1]}
            count += 1
    return count


def add_into_products(graph: fx.Graph) -> int:
    """``x ± c * a @ b`` in one operation, and one that may work in place."""
    count = 0
    for node in calls(graph):
        if node.target not in {aten.add.Tensor, aten.sub.Tensor}:
            continue
        left, right = node.args
        beta, alpha = 1.0, float(node.kwargs.get("alpha", 1.0))  # type: ignore[arg-type]
        if node.target is aten.sub.Tensor:
            alpha = -alpha
        elif not _single_product(right):
            (left, right), (beta, alpha) = (right, left), (alpha, beta)
        if not isinstance(left, fx.Node) or not _single_product(right):
            continue
        assert isinstance(right, fx.Node)
        if right.target is aten.baddbmm.default:
            inner, first, second = right.args
            if inner is not left:
                continue
            beta += alpha * right.kwargs["beta"]  # type: ignore[operator]
            alpha *= right.kwargs["alpha"]  # type: ignore[operator]
        elif _shape(node) == _shape(right):
            first, second = right.args
        else:
            continue
        new = insert(node, aten.baddbmm.default, left, first, second, beta=beta, alpha=alpha)
        replace(node, new)
        count += 1
    return count


def transpose_factors(graph: fx.Graph) -> int:
    """Multiply in the other order rather than transpose a product."""
    count = 0
    for node in calls(graph):
        if node.target is not aten.transpose.int or {*node.args[1:]} != {1, 2}:
            continue
        product = node.args[0]
        assert isinstance(product, fx.Node)
        if product.target is aten.bmm.default and len(product.users) == 1:
            first, second = product.args
            turned = [insert(node, aten.transpose.int, f, 1, 2) for f in (second, first)]
            replace(node, insert(node, aten.bmm.default, *turned))
            count += 1
    return count


def multiply_thin_matrices(graph: fx.Graph) -> int:
    """Multiply columns by rows element by element: a product over one term is no sum."""
    count = 0
    for node in calls(graph):
        if node.target is aten.bmm.default and _shape(node.args[0])[2] == 1:
            replace(node, insert(node, aten.mul.Tensor, *node.args))
            count += 1
    return count


def fuse_products_and_sums(graph: fx.Graph) -> int:
    """``x ± c * a * b`` and ``x ± c * a / b`` in one operation."""
    fused = {
        **dict.fromkeys(_MUL, aten.addcmul.default),
        **dict.fromkeys(_DIV, aten.addcdiv.default),
    }
    count = 0
    for node in calls(graph):
        if node.target not in {aten.add.Tensor, aten.sub.Tensor} or not _floating(node):
            continue
        left, right = node.args
        if node.target is aten.add.Tensor and not node.kwargs and not _single_pair(right):
            left, right = right, left
        if not _single_pair(right) or not isinstance(left, fx.Node) or not alike(node, left):
            continue
        assert isinstance(right, fx.Node)
        value = float(node.kwargs.get("alpha", 1.0))  # type: ignore[arg-type]
        if node.target is aten.sub.Tensor:
            value = -value
        first, second = right.args
        if (inner := scaled(first)) and right.target in _MUL and inner[0] is second:
            first, value = inner[0], value * inner[1]
        replace(node, insert(node, fused[right.target], left, first, second, value=value))
        count += 1
    return count


def move_towards(graph: fx.Graph) -> int:
    """``(1 - c) * x + c * y`` in one operation."""
    count = 0
    for node in calls(graph):
        if node.target is not aten.add.Tensor or "alpha" not in node.kwargs:
            continue
        left, right = node.args
        weight = float(node.kwargs["alpha"])  # type: ignore[arg-type]
        kept = scaled(left) if _single_scaled(left) else None
        if kept and isinstance(right, fx.Node) and alike(node, right):
            if abs(kept[1] + weight - 1.0) < 1e-12:  # noqa: PLR2004 - rounding of doubles
                replace(node, insert(node, aten.lerp.Scalar, kept[0], right, weight))
                count += 1
    return count


def widen_masks(graph: fx.Graph) -> int:
    """Turn truth values into numbers once, not in every product."""
    count = 0
    for node in calls(graph):
        if node.target is not aten.mul.Tensor or not _floating(node):
            continue
        left, right = node.args
        if isinstance(left, fx.Node) and _dtype(left) == torch.bool:
            left, right = right, left
        if not isinstance(right, fx.Node) or _dtype(right) != torch.bool:
            continue
        with graph.inserting_after(right):
            wide = graph.call_function(aten._to_copy.default, (right,), {"dtype": _dtype(node)})  # noqa: SLF001
        wide.meta["val"] = infer(wide)
        node.args = (left, wide)
        count += 1
    return count


def sum_in_products(graph: fx.Graph) -> int:
    """``p - c * sum(rows)`` as a product with a row of ones, which works in place."""
    count = 0
    for node in calls(graph):
        if node.target is not aten.sub.Tensor or "alpha" not in node.kwargs:
            continue
        left, right = node.args
        if not isinstance(left, fx.Node) or not isinstance(right, fx.Node):
            continue
        source = right
        if right.target in _MERGEABLE | {aten.reshape.default} and len(right.users) == 1:
            assert isinstance(right.args[0], fx.Node)
            source = right.args[0]
        if source.target is not aten.sum.dim_IntList or len(source.users) > 1:
            continue
        rows = source.args[0]
        homes, *rest = _shape(rows)
        if source.args[1] != [1] or len(rest) != 2 or _dtype(rows) != torch.float32:  # noqa: PLR2004
            continue
        if _numel(left) != _numel(source) or _shape(left)[0] != homes:
            continue
        ones = insert(node, aten.ones.default, [homes, 1, rest[0]], dtype=torch.float32)
        kept = insert(node, aten.view.default, left, [homes, 1, rest[1]])
        alpha = -float(node.kwargs["alpha"])  # type: ignore[arg-type]
        new = insert(node, aten.baddbmm.default, kept, ones, rows, beta=1.0, alpha=alpha)
        replace(node, insert(node, aten.view.default, new, _shape(node)))
        count += 1
    return count


PASSES: tuple[Pass, ...] = (
    drop_no_ops,
    merge_views,
    share_equal_nodes,
    fold_constants,
    merge_scales,
    transpose_factors,
    multiply_thin_matrices,
    scale_while_adding,
    add_into_products,
    sum_in_products,
    move_towards,
    fuse_products_and_sums,
    widen_masks,
)


def settle_layouts(graph: fx.Graph) -> None:
    """Work out every layout anew, and copy where a view has become impossible.

    A product of a parameter's shape (its gradient) takes over the parameter's layout: elements
    that belong together then lie alike.
    """
    layouts = {
        value.shape: value.stride()
        for node in graph.nodes
        if node.op == "placeholder" and not (value := node.meta["val"]).is_contiguous()
    }
    for node in calls(graph):
        if node.target in {aten._unsafe_view.default, aten.reshape.default}:  # noqa: SLF001
            node.target = aten.view.default
        try:
            value = infer(node)
        except RuntimeError:
            if node.target is not aten.view.default:
                raise
            whole = insert(node, aten.clone.default, node.args[0])
            whole.kwargs = {"memory_format": torch.contiguous_format}
            whole.meta["val"] = infer(whole)
            node.args = (whole, *node.args[1:])
            value = infer(node)
        if node.target is aten.bmm.default and value.shape in layouts:
            value = empty_like_view(value, layouts[value.shape])
        node.meta["val"] = value


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


def alike(node: fx.Node, other: fx.Node) -> bool:
    """Say whether two nodes have the same shape and type."""
    return _shape(node) == _shape(other) and _dtype(node) == _dtype(other)


def scaled(node: Any) -> tuple[fx.Node, float] | None:
    """Return what a node multiplies by which number; None where it does something else."""
    if not isinstance(node, fx.Node) or node.target not in _MUL or not _floating(node):
        return None
    source, scale = node.args
    if isinstance(scale, (int, float)) and isinstance(source, fx.Node) and alike(node, source):
        return source, float(scale)
    return None


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
        **dict.fromkeys(_REDUCTIONS, lambda node: _reduced(node, known)),
    }
    known: dict[Any, Any] = {}
    for node in calls(graph):
        value: Any = None
        if node.target in filled:
            value = filled[node.target](node)
        elif is_view(node.target) or node.target in _SAME:
            value = known.get(node.args[0])
        elif node.target in _ARITHMETIC and not node.kwargs:
            values = [_known(argument, known) for argument in node.args]
            if None not in values:
                value = _computed(_ARITHMETIC[node.target], values)
        if value is not None and isinstance(node.meta["val"], torch.Tensor):
            known[node] = value
    return known


def _never_negative(node: fx.Node, *, true: bool) -> bool | None:
    # Cross-entropy looks for rows of class -100, dropout for the key -1: training has neither.
    compared, value = node.args
    while isinstance(compared, fx.Node) and is_view(compared.target):
        (compared,) = compared.all_input_nodes
    assert isinstance(compared, fx.Node)
    least = 0 if true else 1
    decided = isinstance(value, (int, float)) and value < least and compared.meta.get("natural")
    return true if decided else None


def _known(argument: Any, known: dict[Any, Any]) -> Any:
    return argument if isinstance(argument, (int, float)) else known.get(argument)


def _computed(function: Callable[..., Any], values: list[Any]) -> Any:
    try:
        return function(*values)
    except ArithmeticError:  # a division by zero is left to the tensors, which have infinity
        return None


def _reduced(node: fx.Node, known: dict[Any, Any]) -> Any:
    value = known.get(node.args[0])
    terms, rest = divmod(_numel(node.args[0]), _numel(node))
    if value is None or rest:
        return None
    return value * terms if node.target is aten.sum.dim_IntList else value


def _single_scaled(node: Any) -> bool:
    return scaled(node) is not None and len(node.users) == 1


def _single_pair(node: Any) -> bool:
    return (
        isinstance(node, fx.Node)
        and node.target in _MUL | _DIV
        and not node.kwargs
        and len(node.users) == 1
        and all(isinstance(arg, fx.Node) and _dtype(arg) == _dtype(node) for arg in node.args)
    )


def _single_product(node: Any) -> bool:
    return (
        isinstance(node, fx.Node)
        and node.target in {aten.bmm.default, aten.baddbmm.default}
        and len(node.users) == 1
    )


def _shape(node: Any) -> list[int]:
    return list(node.meta["val"].shape)


def _stride(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].stride())


def _numel(node: Any) -> int:
    return int(node.meta["val"].numel())


def _dtype(node: Any) -> torch.dtype:
    dtype = node.meta["val"].dtype
    assert isinstance(dtype, torch.dtype)
    return dtype


def _floating(node: fx.Node) -> bool:
    return _dtype(node).is_floating_point
