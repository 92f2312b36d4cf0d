"""Peephole passes: small rewrites of a step's graph that leave its result as it is.

The graph is functional, so a rewrite needs to look at no more than a node and what it reads.
Every pass returns how many rewrites it made; :func:`simplify` repeats them all until none finds
any more. Products are rewritten to what the matrix library is quickest at; scalings and updates
to the one operation that does both; what a view, a full batch's mask or the chain rule leaves
behind is dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch import fx

from fedhome.simulations.engines.traced.folding import (
    drop_no_ops,
    fold_constants,
    merge_views,
    share_equal_nodes,
)
from fedhome.simulations.engines.traced.fusing import (
    add_into_products,
    fuse_products_and_sums,
    merge_scales,
    move_towards,
    multiply_thin_matrices,
    scale_while_adding,
    sum_in_products,
    transpose_factors,
    widen_masks,
)
from fedhome.simulations.engines.traced.rewriting import aten, calls, drop_unread, insert
from fedhome.simulations.engines.traced.tracing import empty_like_view, infer

Pass = Callable[[fx.Graph], int]


def simplify(graph: fx.Graph) -> Counter[str]:
    """Apply all passes, in place, until none finds anything.

    Returns:
        Rewrites by name of the pass.
    """
    made: Counter[str] = Counter()
    before = -1
    drop_unread(graph)
    while before < made.total():
        before = made.total()
        for once in PASSES:
            if count := once(graph):
                made[once.__name__] += count
                drop_unread(graph)
    settle_layouts(graph)
    return made


PASSES: tuple[Pass, ...] = (
    drop_no_ops,
    merge_views,
    share_equal_nodes,
    fold_constants,
    merge_scales,
    transpose_factors,
    multiply_thin_matrices,
    fuse_products_and_sums,
    scale_while_adding,
    add_into_products,
    sum_in_products,
    move_towards,
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
        except (RuntimeError, ValueError):  # torch raises either where no view is possible
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
