"""Recurrent layers by their definition: for many homes at once, where torch's own are for one.

``nn.RNN``, ``nn.GRU`` and ``nn.LSTM`` call one fused function for all times. Under
``torch.func.vmap`` an LSTM's is computed home by home, and the gradients of the others' read a
sequence once for each of its times. Here a sequence is taken apart once, all times' inputs are
multiplied in one product, and what is left in the loop is what depends on the time before.

Source: the equations in torch's documentation of the three layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

Hidden = tuple[Tensor, ...]  # each [batch, units]; the first is what a layer gives
Cell = Callable[[Tensor, Hidden, "_Weights"], Hidden]


class _Weights(NamedTuple):
    """What one direction of a layer multiplies with, named as in torch.

    Args:
        ih: Over inputs ``[gates * units, inputs]``.
        hh: Over what was given before ``[gates * units, given]``.
        b_ih: ``[gates * units]``; None: no bias.
        b_hh: ``[gates * units]``; None: no bias.
        hr: The projection of an LSTM with ``proj_size``, ``[given, units]``; None: there is none.
    """

    ih: Tensor
    hh: Tensor
    b_ih: Tensor | None
    b_hh: Tensor | None
    hr: Tensor | None

    def of_inputs(self, x: Tensor) -> Tensor:
        """Return what all times' inputs ``[times, batch, inputs]`` add to the gates."""
        return functional.linear(x, self.ih, self.b_ih)

    def of_given(self, h: Tensor) -> Tensor:
        """Return what was given before ``[batch, given]`` adds to the gates."""
        return functional.linear(h, self.hh, self.b_hh)


def _plain(squash: Callable[[Tensor], Tensor]) -> Cell:
    def cell(inputs: Tensor, hidden: Hidden, weights: _Weights) -> Hidden:
        return (squash(inputs + weights.of_given(hidden[0])),)

    return cell


def _gru(inputs: Tensor, hidden: Hidden, weights: _Weights) -> Hidden:
    (h,) = hidden
    units = h.shape[-1]
    gates, new = torch.split(inputs, [2 * units, units], dim=-1)
    gates_before, new_before = torch.split(weights.of_given(h), [2 * units, units], dim=-1)
    reset, update = (gates + gates_before).sigmoid().chunk(2, dim=-1)
    new = (new + reset * new_before).tanh()
    return (new + update * (h - new),)


def _lstm(inputs: Tensor, hidden: Hidden, weights: _Weights) -> Hidden:
    h, c = hidden
    enter, forget, new, leave = (inputs + weights.of_given(h)).chunk(4, dim=-1)
    c = forget.sigmoid() * c + enter.sigmoid() * new.tanh()
    h = leave.sigmoid() * c.tanh()
    return (h if weights.hr is None else functional.linear(h, weights.hr)), c


def _one_direction(cell: Cell, x: Tensor, hidden: Hidden, weights: _Weights) -> tuple[Any, Hidden]:
    """Return a layer's outputs of each time, in the order of ``x``, and what it ends with."""
    given: list[Tensor] = []
    # Taken apart at once: a gradient of each time's own slice would be as large as the whole.
    for inputs in weights.of_inputs(x).unbind(0):
        hidden = cell(inputs, hidden, weights)
        given.append(hidden[0])
    return given, hidden


def _layers(
    cell: Cell,
    x: Tensor,
    starts: Hidden,
    params: Sequence[Tensor],
    *,
    biased: bool,
    layers: int,
    directions: int,
) -> tuple[Tensor, Hidden]:
    """Return the last layer's outputs and what each layer and direction ends with, stacked."""
    weights = _by_direction(params, layers * directions, biased=biased)
    begins = zip(*(start.unbind(0) for start in starts), strict=True)
    ends: list[Hidden] = []
    for _ in range(layers):
        outputs = []
        for backwards in range(directions):
            own = x.flip(0) if backwards else x
            given, end = _one_direction(cell, own, next(begins), next(weights))
            outputs.append(torch.stack(given[::-1] if backwards else given))
            ends.append(end)
        x = outputs[0] if directions == 1 else torch.cat(outputs, dim=-1)
    return x, tuple(torch.stack(end) for end in zip(*ends, strict=True))


def _by_direction(params: Sequence[Tensor], parts: int, *, biased: bool) -> Iterator[_Weights]:
    each = len(params) // parts
    for at in range(0, len(params), each):
        ih, hh, *rest = params[at : at + each]
        b_ih, b_hh = (rest.pop(0), rest.pop(0)) if biased else (None, None)
        yield _Weights(ih, hh, b_ih, b_hh, rest[0] if rest else None)


def _by_definition(theirs: Callable[..., Any], cell: Cell) -> Callable[..., Any]:
    """Return torch's function of a fused layer, by its definition."""

    def many(*given: Any, **named: Any) -> Any:
        if named:  # torch's layers name none
            return theirs(*given, **named)
        x, start, *args = given
        packed = isinstance(args[0], Tensor) or isinstance(args[1], (list, tuple))
        if packed or (args[3] and args[4]):  # sequences of several lengths, or dropout within
            return theirs(*given)
        params, biased, count, _dropout, _train, both_ways, batch_first = args
        outputs, ends = _layers(
            cell,
            x.transpose(0, 1) if batch_first else x,
            tuple(start) if isinstance(start, (list, tuple)) else (start,),
            params,
            biased=biased,
            layers=count,
            directions=2 if both_ways else 1,
        )
        outputs = outputs.transpose(0, 1) if batch_first else outputs
        return outputs, *ends

    return many


RECURRENT: Mapping[object, Callable[..., Any]] = {
    torch.rnn_tanh: _by_definition(torch.rnn_tanh, _plain(torch.tanh)),
    torch.rnn_relu: _by_definition(torch.rnn_relu, _plain(torch.relu)),
    torch.gru: _by_definition(torch.gru, _gru),
    torch.lstm: _by_definition(torch.lstm, _lstm),
}
"""For each of torch's fused recurrent functions, what computes the same from plain operations."""
