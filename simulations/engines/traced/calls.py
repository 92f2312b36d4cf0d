"""How an operation of the graph is called so that it writes where it is told to.

Most have a form with ``out=``. The others return a new tensor, which is copied: correct, and
slower by the copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from fedhome.simulations.engines.traced.rewriting import aten
from fedhome.simulations.engines.traced.tracing import is_pointwise

Call = Callable[[], object]

# fmt: off
_NAMES = (
    "abs", "add", "addcdiv", "addcmul", "amax", "amin", "atan2", "bitwise_and", "bitwise_not",
    "bitwise_or", "bitwise_xor", "cat", "ceil", "clamp", "clamp_max", "clamp_min", "cos", "cosh",
    "cumsum", "div", "eq", "erf", "erfc", "exp", "exp2", "expm1", "floor", "fmod", "gather", "ge",
    "gt", "index_select", "le", "lerp", "log", "log10", "log1p", "log2", "logical_and",
    "logical_not", "logical_or", "lt", "maximum", "mean", "minimum", "mul", "ne", "neg", "pow",
    "prod", "reciprocal", "remainder", "round", "rsqrt", "scatter", "sigmoid", "sign", "sin",
    "sinh", "sqrt", "square", "stack", "sub", "sum", "tan", "tanh", "trunc", "where", "xlogy",
)
# fmt: on
WITH_OUT: dict[object, Callable[..., Any]] = {
    getattr(getattr(aten, name), overload): getattr(torch, name)
    for name in _NAMES
    for overload in getattr(aten, name).overloads()
    if "out" not in overload
} | {
    aten.__rshift__.Scalar: torch.bitwise_right_shift,
    aten.__rshift__.Tensor: torch.bitwise_right_shift,
    aten.__lshift__.Scalar: torch.bitwise_left_shift,
    aten.__lshift__.Tensor: torch.bitwise_left_shift,
    aten.gelu.default: aten.gelu.out,
    aten.silu.default: aten.silu.out,
    aten.elu.default: aten.elu.out,
    aten.leaky_relu.default: aten.leaky_relu.out,
    aten.softplus.default: aten.softplus.out,
    aten._softmax.default: aten._softmax.out,  # noqa: SLF001 - their names in the graph
    aten._log_softmax.default: aten._log_softmax.out,  # noqa: SLF001
    aten._log_softmax_backward_data.default: aten._log_softmax_backward_data.out,  # noqa: SLF001
}

_WITH_GRAD_INPUT: dict[object, Callable[..., Any]] = {
    packet.default: packet.grad_input
    for packet in (
        aten.threshold_backward,
        aten.tanh_backward,
        aten.sigmoid_backward,
        aten.gelu_backward,
        aten.silu_backward,
        aten.leaky_relu_backward,
        aten.softplus_backward,
    )
}
_WITH_GRAD_INPUT[aten._softmax_backward_data.default] = aten._softmax_backward_data.out  # noqa: SLF001


def call(
    target: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Tensor | list[Tensor | None]
) -> Call:
    """Return an operation with all it needs, to be called without arguments.

    Args:
        target: The operation, as in the graph.
        args: Its arguments.
        kwargs: Its keyword arguments.
        out: Where the result goes, or each part of it (None: that part is not wanted). It
            may be one of the arguments where the operation allows for it.
    """
    if not isinstance(out, Tensor):
        return partial(_copy_parts, partial(target, *args, **kwargs), out)
    if target in {aten.bmm.default, aten.baddbmm.default}:
        return _product(args, kwargs, out)
    if target is aten.relu.default:
        in_place = out is args[0]
        return (
            partial(torch.relu_, out) if in_place else partial(torch.clamp_min, *args, 0, out=out)
        )
    if target in WITH_OUT:
        return partial(WITH_OUT[target], *args, **kwargs, out=out)
    if target in _WITH_GRAD_INPUT:
        return partial(_WITH_GRAD_INPUT[target], *args, **kwargs, grad_input=out)
    copies = target in {aten.clone.default, aten._to_copy.default}  # noqa: SLF001
    plain = partial(out.copy_, args[0]) if copies else partial(target, *args, **kwargs)
    return plain if copies else partial(_copy, plain, out)


def may_overwrite(node: fx.Node) -> list[fx.Node]:
    """Return those arguments of a node whose memory its result may take over."""
    if node.target is aten.baddbmm.default:
        first, *factors = node.args
        return [first] if isinstance(first, fx.Node) and first not in factors else []
    return list(node.all_input_nodes) if is_pointwise(node.target) else []


def _product(args: Sequence[Any], kwargs: dict[str, Any], out: Tensor) -> Call:
    *added, first, second = args
    if out.stride(1) == 1 and out.stride(2) > 1:
        # The library would compute this in a copy: ask for the transposed product instead.
        added = [a.transpose(1, 2) if a is not out else a for a in added]
        flipped = out.transpose(1, 2)
        added = [flipped if a is out else a for a in added]
        first, second, out = second.transpose(1, 2), first.transpose(1, 2), flipped
    if not added:
        return partial(torch.bmm, first, second, out=out)
    if added[0] is out:
        return partial(out.baddbmm_, first, second, **kwargs)
    return partial(torch.baddbmm, added[0], first, second, **kwargs, out=out)


def _copy(compute: Call, out: Tensor) -> None:
    result: Any = compute()
    out.copy_(result)


def _copy_parts(compute: Call, out: list[Tensor | None]) -> None:
    result: Any = compute()
    for target, part in zip(out, result, strict=True):
        if target is not None:
            target.copy_(part)
