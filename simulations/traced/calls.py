"""How an operation of the graph is called so that it writes where it is told to.

Most have a form with ``out=``. The others return a new tensor, which is copied: correct, and
slower by the copy.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

aten: Any = torch.ops.aten
Call = Callable[[], object]

_ELEMENTWISE_NAMES = (
    "abs add atan2 bitwise_and bitwise_not bitwise_or bitwise_xor ceil clamp clamp_max clamp_min "
    "cos cosh div eq erf erfc exp exp2 expm1 floor fmod ge gt le log log10 log1p log2 logical_and "
    "logical_not logical_or lt maximum minimum mul ne neg pow reciprocal remainder round rsqrt "
    "sigmoid sign sin sinh sqrt sub tan tanh trunc xlogy addcmul addcdiv lerp square"
).split()
_OTHER_NAMES = "sum mean amax amin cumsum gather cat stack prod index_select scatter".split()


def _with_out() -> dict[object, Callable[..., Any]]:
    found: dict[object, Callable[..., Any]] = {}
    for name in _ELEMENTWISE_NAMES + _OTHER_NAMES:
        packet = getattr(aten, name)
        for overload in packet.overloads():
            if "out" not in overload and overload != "dtype":
                found[getattr(packet, overload)] = getattr(torch, name)
    for shift, function in (
        (aten.__rshift__, torch.bitwise_right_shift),
        (aten.__lshift__, torch.bitwise_left_shift),
    ):
        found[shift.Scalar] = found[shift.Tensor] = function
    found[aten.where.self] = torch.where
    for target, plain in (
        (aten.gelu.default, aten.gelu.out),
        (aten.silu.default, aten.silu.out),
        (aten.elu.default, aten.elu.out),
        (aten.leaky_relu.default, aten.leaky_relu.out),
        (aten.softplus.default, aten.softplus.out),
        (aten._softmax.default, aten._softmax.out),  # noqa: SLF001 - their names in the graph
        (aten._log_softmax.default, aten._log_softmax.out),  # noqa: SLF001
        (aten._log_softmax_backward_data.default, aten._log_softmax_backward_data.out),  # noqa: SLF001
    ):
        found[target] = plain
    return found


WITH_OUT = _with_out()

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
_COPIES = {aten.clone.default, aten._to_copy.default}  # noqa: SLF001


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
    if isinstance(out, Tensor):
        if target in {aten.bmm.default, aten.baddbmm.default}:
            return _product(args, kwargs, out)
        if target is aten.relu.default:
            if out is args[0]:
                return partial(torch.relu_, out)
            return partial(torch.clamp_min, args[0], 0, out=out)
        if target in _COPIES:
            return partial(out.copy_, args[0])
        if target in WITH_OUT:
            return partial(WITH_OUT[target], *args, **kwargs, out=out)
        if target in _WITH_GRAD_INPUT:
            return partial(_WITH_GRAD_INPUT[target], *args, **kwargs, grad_input=out)
    return partial(_copy_results, partial(target, *args, **kwargs), out)


def may_overwrite(node: fx.Node) -> list[fx.Node]:
    """Return those arguments of a node whose memory its result may take over."""
    from simulations.traced.tracing import is_pointwise  # noqa: PLC0415

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


def _copy_results(compute: Call, out: Tensor | list[Tensor | None]) -> None:
    result: Any = compute()
    if isinstance(out, Tensor):
        out.copy_(result)
        return
    for place, part in zip(out, result, strict=True):
        if place is not None:
            place.copy_(part)


GETITEM = operator.getitem
