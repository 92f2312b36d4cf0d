"""Models: the multilayer perceptron, dropout that every engine draws alike, and modules by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from fedhome.errors import ModelError, PluginError
from fedhome.models.check import check_module
from fedhome.models.slicing import slices_of
from fedhome.own_code import call
from fedhome.plan.rule_traits import traits_of
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_declared, is_sliced
from fedhome.plugins import load, look_up
from fedhome.rng import key

_GROUP = 8  # units of a group; two or three would be normalised to little more than signs


class KeyedDropout(nn.Module):
    """Dropout whose mask is a function of a key, so that every engine drops the same units.

    The key is a buffer, given anew for each step by local learning; it is hashed with
    each element's place in 32-bit arithmetic (the finaliser of MurmurHash3). Without a key
    (-1) nothing is dropped: prediction needs no switch of the module's mode.

    Args:
        rate: Share of units that is dropped in training.
        place: Which dropout of the module this is; no two share a mask.
    """

    key: Tensor

    def __init__(self, rate: float, place: int = 0) -> None:
        super().__init__()
        self.rate = rate
        self.place = place
        self.register_buffer("key", torch.tensor(-1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Drop and rescale where there is a key; the identity otherwise."""
        place = torch.arange(x.numel(), device=x.device).view(x.shape) + (self.place << 24)
        bits = (self.key ^ place) & 0xFFFFFFFF
        for multiplier, shift in ((0x85EBCA6B, 13), (0xC2B2AE35, 16)):
            bits = ((bits ^ (bits >> 16)) * multiplier) & 0xFFFFFFFF
            bits = bits ^ (bits >> shift)
        keep = (bits >> 8).to(x.dtype) * 2.0**-24 >= self.rate
        return torch.where(self.key < 0, x, x * keep / (1.0 - self.rate))


def _group_norm(units: int) -> list[nn.Module]:
    return [nn.GroupNorm(units // _GROUP if units % _GROUP == 0 else 1, units)]


_NORMS: Mapping[str, Callable[[int], list[nn.Module]]] = {
    "none": lambda _: [],
    "layer": lambda units: [nn.LayerNorm(units)],
    "group": _group_norm,
}


def mlp(
    features: int,
    outputs: int,
    *,
    hidden: tuple[int, ...] = (64, 64),
    dropout: float = 0.0,
    norm: str = "none",
) -> nn.Sequential:
    """Build a multilayer perceptron with ReLU.

    Args:
        features: Width of the input, ``[batch, features]``.
        outputs: Width of the output, ``[batch, outputs]``.
        hidden: Widths of the hidden layers; none gives a linear model.
        dropout: Share of hidden units dropped in training.
        norm: ``"none"``, ``"layer"`` (LayerNorm) or ``"group"`` (GroupNorm in groups of 8 units).

    Raises:
        PluginError: No such norm.
    """
    normed = look_up(_NORMS, norm, "norm")
    layers: list[nn.Module] = []
    width = features
    for place, units in enumerate(hidden):
        layers += [nn.Linear(width, units), *normed(units), nn.ReLU()]
        if dropout:
            layers.append(KeyedDropout(dropout, place))
        width = units
    layers.append(nn.Linear(width, outputs))
    return nn.Sequential(*layers)


def build_model(plan: Plan, features: int, outputs: int, *, copy: int = 0) -> nn.Module:
    """Build the plan's module with its first parameters; the same plan gives the same ones.

    A class or function of a user's own is called with ``features``, ``outputs`` and
    ``model.args``; its dropouts are replaced by ones that every engine draws alike.

    Args:
        plan: The plan.
        features: Width of the input.
        outputs: Width of the output.
        copy: Which of several models of the plan; each has other first parameters.

    Raises:
        PluginError: It is not found, or fails; with its file and line.
        ModelError: It gave no module, or one that cannot be trained in a federation; every
            reason at once.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(plan.seed, "model", *([copy] if copy else [])))
        if is_sliced(plan) and traits_of(plan).exits and not is_declared(plan):
            from fedhome.models.sliced_mlp import SlicedMLP  # noqa: PLC0415 - it is built of this

            module: object = SlicedMLP(
                slices_of(plan, features, outputs), dropout=plan.model.dropout
            )
        elif plan.model.name == "mlp":
            module = mlp(
                features,
                outputs,
                hidden=_hidden(plan, features, outputs),
                dropout=plan.model.dropout,
                norm=plan.model.norm,
            )
        else:
            build = load(plan.model.name, "model", ["mlp"])
            if not callable(build):
                raise PluginError(
                    f"model {plan.model.name!r} is not callable", hint="name a class or a function"
                )
            given = {"features": features, "outputs": outputs, **plan.model.args}
            module = call(f"model {plan.model.name!r}", build, **given)
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"{plan.model.name} returned {type(module).__name__}, not a torch.nn.Module",
            hint="the callable takes features and outputs and returns the module",
        )
    check_module(module, features, outputs)
    return with_keyed_dropouts(module)


def _hidden(plan: Plan, features: int, outputs: int) -> tuple[int, ...]:
    """Return the hidden layers that are trained: all, or what the largest tier carries of them."""
    if not is_sliced(plan) or traits_of(plan).whole:
        return plan.model.hidden
    return slices_of(plan, features, outputs).hidden


def with_keyed_dropouts(module: nn.Module) -> nn.Module:
    """Replace a module's dropouts, in place, by ones that every engine draws alike."""
    place = sum(isinstance(part, KeyedDropout) for part in module.modules())
    for parent in list(module.modules()):
        # Not named_children(): it passes over a second name of the same dropout.
        for name, child in list(parent._modules.items()):  # noqa: SLF001
            if type(child) is nn.Dropout:
                setattr(parent, name, KeyedDropout(child.p, place))
                place += 1
    return module
