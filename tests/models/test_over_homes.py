"""What torch has no batched form of gives for many homes what torch gives for each.

Torch warns of an operation that it computes home by home, and here a warning is an error.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from fedhome.models.check import vectorises
from fedhome.models.over_homes import over_homes, without_torchs_warning

HOMES, ROWS, FEATURES = 3, 4, 8


class Computing(nn.Module):
    """Layers by name, and what is computed with them."""

    def __init__(self, how: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.how = how
        self.layers = nn.ModuleDict(layers)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.how(x, **self.layers)
        return output


def attention(**told: bool) -> nn.Module:
    """Return an attention of one input to the others."""

    def attend(x: Tensor, first: nn.Module, heads: nn.Module) -> Tensor:
        seen = first(x.unsqueeze(-1))
        mask = nn.Transformer.generate_square_subsequent_mask(FEATURES)
        masked = {"attn_mask": mask} if "is_causal" in told else {}
        attended, weights = heads(seen, seen, seen, **told, **masked)
        assert (weights is None) == (told.get("need_weights") is False)
        output: Tensor = attended
        return output

    heads = nn.MultiheadAttention(8, 2, batch_first=True)
    return Computing(attend, first=nn.Linear(1, 8), heads=heads)


def products(**told: float) -> nn.Module:
    """Return the bare function of four heads' queries, keys and values."""

    def attend(x: Tensor, first: nn.Module) -> Tensor:
        parts = first(x.unsqueeze(-1)).chunk(3, dim=-1)  # each [batch, features, 16]
        heads = (part.unflatten(-1, (4, -1)).transpose(1, 2) for part in parts)
        return functional.scaled_dot_product_attention(*heads, **told)  # type: ignore[arg-type]

    return Computing(attend, first=nn.Linear(1, 48))


def windows(dimension: int, size: int, step: int) -> nn.Module:
    """Return what cuts a layer's output ``[batch, 8, 2]`` into windows."""

    def cut(x: Tensor, first: nn.Module) -> Tensor:
        return first(x).unflatten(-1, (8, 2)).unfold(dimension, size, step)

    return Computing(cut, first=nn.Linear(FEATURES, 16))


def recurrent(kind: type[nn.RNNBase], **told: Any) -> nn.Module:
    """Return a fused recurrent layer over the features; all that it gives is read."""

    def read(x: Tensor, layer: nn.Module) -> Tensor:
        turned = x if layer.batch_first else x.T
        given, ends = layer(turned.unsqueeze(-1))
        parts = [given, *(ends if isinstance(ends, tuple) else (ends,))]
        return torch.cat([part.flatten() for part in parts])

    return Computing(read, layer=kind(1, 5, **{"batch_first": True, **told}))


MODULES: dict[str, Callable[[], nn.Module]] = {
    "attention": lambda: attention(need_weights=False),
    "attention and its weights": attention,
    "causal attention": lambda: attention(need_weights=False, is_causal=True),
    "products": products,
    "causal products": lambda: products(is_causal=True),
    "scaled products": lambda: products(scale=0.3),
    "transformer": lambda: Computing(
        lambda x, first, then: then(first(x.unsqueeze(-1))),
        first=nn.Linear(1, 8),
        then=nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True),
    ),
    "weight norm": lambda: weight_norm(nn.Linear(FEATURES, 5)),
    "weight norm over the last": lambda: weight_norm(nn.Linear(FEATURES, 5), dim=1),
    "weight norm of a convolution": lambda: Computing(
        lambda x, first: first(x.unsqueeze(1)), first=weight_norm(nn.Conv1d(1, 4, 3))
    ),
    "bilinear": lambda: Computing(
        lambda x, first: first(x[:, :5], x[:, 5:]), first=nn.Bilinear(5, 3, 2)
    ),
    "bilinear without bias": lambda: Computing(
        lambda x, first: first(x[:, :5], x[:, 5:]), first=nn.Bilinear(5, 3, 2, bias=False)
    ),
    "windows": lambda: windows(1, 3, 1),
    "windows apart": lambda: windows(-2, 2, 3),
    "windows of the last": lambda: windows(-1, 1, 1),
    "recurrent": lambda: recurrent(nn.RNN),
    "recurrent, relu, no bias": lambda: recurrent(nn.RNN, nonlinearity="relu", bias=False),
    "GRU": lambda: recurrent(nn.GRU),
    "GRU, times first, both ways": lambda: recurrent(
        nn.GRU, batch_first=False, num_layers=2, bidirectional=True
    ),
    "LSTM": lambda: recurrent(nn.LSTM),
    "LSTM, layers both ways, projected": lambda: recurrent(
        nn.LSTM, num_layers=2, bidirectional=True, proj_size=2
    ),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's own, on how it computes one
@pytest.mark.parametrize("name", MODULES)
def test_many_homes_get_what_torch_gives_each(name: str) -> None:
    torch.manual_seed(5)
    module = MODULES[name]()

    def loss(params: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        output = functional_call(module, params, (x,))
        return output.square().sum(), output

    params = {
        name: p.detach() + 0.1 * torch.randn(HOMES, *p.shape)
        for name, p in module.named_parameters()
    }
    x = torch.randn(HOMES, ROWS, FEATURES)
    take = grad_and_value(loss, has_aux=True)
    gradients, (_, outputs) = over_homes(take)(params, x)
    for home in range(HOMES):
        own, (_, output) = take({name: p[home] for name, p in params.items()}, x[home])
        torch.testing.assert_close(outputs[home], output, rtol=1e-4, atol=1e-5)
        for parameter, gradient in own.items():
            torch.testing.assert_close(
                gradients[parameter][home], gradient, rtol=1e-4, atol=2e-4, msg=parameter
            )


def test_torchs_own_warning_is_left_out_and_no_other() -> None:
    bag = nn.EmbeddingBag(5, FEATURES)
    module = Computing(lambda x, bag: bag((x > 0).long()), bag=bag)
    assert vectorises(module, FEATURES) == ""  # with a warning, did nobody leave it out
    with pytest.warns(UserWarning, match="batching rule"):
        over_homes(bag)(torch.zeros(HOMES, ROWS, 2, dtype=torch.int64))
    with pytest.warns(UserWarning, match="another"), without_torchs_warning():
        warnings.warn("another", UserWarning, stacklevel=1)


def test_a_recurrent_function_that_is_told_by_names_is_left_to_torch() -> None:
    """No layer of torch names what it tells; a user's module may."""
    told = {"has_biases": True, "num_layers": 1, "dropout": 0.0, "train": False}

    def named(x: Tensor, layer: nn.Module) -> Tensor:
        start, weights = torch.zeros(1, len(x), 5), [*layer.parameters()]
        output: Tensor = torch.gru(  # type: ignore[call-overload]
            x.unsqueeze(-1), start, weights, **told, bidirectional=False, batch_first=True
        )[0]
        return output

    module = Computing(named, layer=nn.GRU(1, 5, batch_first=True))
    assert vectorises(module, FEATURES) == ""
