"""Passes that put several operations into one, or into one that the library is quicker at."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx

from fedhome.simulations.engines.traced.rewriting import (
    DIV,
    MUL,
    RESHAPES,
    alike,
    aten,
    calls,
    device_of,
    insert,
    is_floating,
    replace,
    scaled,
    shape_of,
    size_of,
    type_of,
)


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
            beta += alpha * float(right.kwargs["beta"])  # type: ignore[arg-type]
            alpha *= float(right.kwargs["alpha"])  # type: ignore[arg-type]
        elif shape_of(node) == shape_of(right):
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
        if node.target is aten.bmm.default and shape_of(node.args[0])[2] == 1:
            replace(node, insert(node, aten.mul.Tensor, *node.args))
            count += 1
    return count


def fuse_products_and_sums(graph: fx.Graph) -> int:
    """``x ± c * a * b`` and ``x ± c * a / b`` in one operation."""
    fused = {
        **dict.fromkeys(MUL, aten.addcmul.default),
        **dict.fromkeys(DIV, aten.addcdiv.default),
    }
    count = 0
    for node in calls(graph):
        if node.target not in {aten.add.Tensor, aten.sub.Tensor} or not is_floating(node):
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
        if (inner := scaled(first)) and right.target in MUL and inner[0] is second:
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
        if not kept or not isinstance(right, fx.Node) or not alike(node, right):
            continue
        if math.isclose(kept[1] + weight, 1.0, rel_tol=1e-12):
            replace(node, insert(node, aten.lerp.Scalar, kept[0], right, weight))
            count += 1
    return count


def widen_masks(graph: fx.Graph) -> int:
    """Turn truth values into numbers once, not in every product."""
    count = 0
    for node in calls(graph):
        if node.target is not aten.mul.Tensor or not is_floating(node):
            continue
        left, right = node.args
        if isinstance(left, fx.Node) and type_of(left) == torch.bool:
            left, right = right, left
        if not isinstance(right, fx.Node) or type_of(right) != torch.bool:
            continue
        wide = insert(right.next, aten._to_copy.default, right, dtype=type_of(node))  # noqa: SLF001
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
        if right.target in RESHAPES | {aten.reshape.default} and len(right.users) == 1:
            assert isinstance(right.args[0], fx.Node)
            source = right.args[0]
        if source.target is not aten.sum.dim_IntList or len(source.users) > 1:
            continue
        rows = source.args[0]
        homes, *rest = shape_of(rows)
        if source.args[1] != [1] or len(rest) != 2 or type_of(rows) != torch.float32:  # noqa: PLR2004
            continue
        if size_of(left) != size_of(source) or shape_of(left)[0] != homes:
            continue
        kind = {"dtype": torch.float32, "device": device_of(rows)}
        ones = insert(node, aten.ones.default, [homes, 1, rest[0]], **kind)
        kept = insert(node, aten.view.default, left, [homes, 1, rest[1]])
        alpha = -float(node.kwargs["alpha"])  # type: ignore[arg-type]
        new = insert(node, aten.baddbmm.default, kept, ones, rows, beta=1.0, alpha=alpha)
        replace(node, insert(node, aten.view.default, new, shape_of(node)))
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
        if found and isinstance(left, fx.Node) and is_floating(left):
            node.args, node.kwargs = (left, found[0]), {"alpha": found[1]}
            count += 1
    return count


def merge_scales(graph: fx.Graph) -> int:
    """Multiply by one number rather than by two, one after the other."""
    count = 0
    for node in calls(graph):
        by = node.args[1] if node.target in DIV and not node.kwargs else None
        # A division by nothing stays one: its infinities are what a model of one's own computes.
        if isinstance(by, (int, float)) and by and is_floating(node):
            node.target, node.args = aten.mul.Tensor, (node.args[0], 1 / by)
            count += 1
        outer = scaled(node)
        inner = scaled(outer[0]) if outer else None
        if outer and inner and len(outer[0].users) == 1:
            node.target, node.args = aten.mul.Tensor, (inner[0], inner[1] * outer[1])
            count += 1
    return count


def _single_scaled(node: Any) -> bool:
    return scaled(node) is not None and len(node.users) == 1


def _single_product(node: Any) -> bool:
    return (
        isinstance(node, fx.Node)
        and node.target in {aten.bmm.default, aten.baddbmm.default}
        and len(node.users) == 1
    )


def _single_pair(node: Any) -> bool:
    return (
        isinstance(node, fx.Node)
        and node.target in MUL | DIV
        and not node.kwargs
        and len(node.users) == 1
        and all(isinstance(arg, fx.Node) and type_of(arg) == type_of(node) for arg in node.args)
    )
