"""One function for many homes at once: ``torch.func.vmap``, and what torch has no batched form of.

Under ``vmap`` an operation without a batching rule is computed once for each home: correct, but
slow, and without end where a step is recorded for a million of them. Attention, weight norm and
fused recurrent layers (``recurrent``) are such operations, though their definitions are made of
others that are not. Here they are computed by their definitions; what is left is found where a
step is recorded, and told.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from fedhome.models.recurrent import RECURRENT

_SLOW = "There is a performance drop because we have not yet implemented the batching rule"


def over_homes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of one home as a function of many, its tensors ``[homes, ...]``."""
    stacked = vmap(function)

    def many(*values: Any) -> Any:
        with _ByDefinition():
            return stacked(*values)

    return many


@contextmanager
def without_torchs_warning() -> Iterator[None]:
    """Leave out torch's warning of what it has no batched form of: one notice says it better."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_SLOW)
        yield


def _attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    # What torch itself computes where it has no fused form. Its result: outputs, then weights.
    attended: Tensor = torch._scaled_dot_product_attention_math(  # noqa: SLF001
        query, key, value, *args, **kwargs
    )[0]
    return attended


def _many_headed_attention(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    # Asked for the weights it multiplies and sums, instead of calling the fused attention.
    given = signature(functional.multi_head_attention_forward).bind(*args, **kwargs)
    wanted = given.arguments.get("need_weights", True)
    given.arguments["need_weights"] = True
    attended, weights = functional.multi_head_attention_forward(*given.args, **given.kwargs)
    return attended, weights if wanted else None


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    return v * (g / torch.norm_except_dim(v, 2, dim))


def _bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    both = torch.einsum("...i,oij,...j->...o", input1, weight, input2)
    return both if bias is None else both + bias


def _unfold(tensor: Tensor, dimension: int, size: int, step: int) -> Tensor:
    # The gradient of torch's own has no batched form.
    along = dimension % tensor.dim()
    steps = torch.arange(0, tensor.shape[along] - size + 1, step, device=tensor.device)
    index = steps[:, None] + torch.arange(size, device=tensor.device)  # [windows, size]
    shape = (*tensor.shape[:along], *index.shape, *tensor.shape[along + 1 :])
    return tensor.index_select(along, index.flatten()).reshape(shape).movedim(along + 1, -1)


_DEFINITIONS: Mapping[object, Callable[..., Any]] = {
    functional.scaled_dot_product_attention: _attention,
    functional.multi_head_attention_forward: _many_headed_attention,
    torch._weight_norm: _weight_norm,  # noqa: SLF001 - both of torch's weight norms call it
    torch.bilinear: _bilinear,
    torch.Tensor.unfold: _unfold,
    **RECURRENT,
}


class _ByDefinition(TorchFunctionMode):
    """Computes by its definition what has no batched form, in this thread."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        del types
        return _DEFINITIONS.get(func, func)(*args, **(kwargs or {}))
