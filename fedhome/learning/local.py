"""Local learning as three pure functions: init, step, finish.

A home runs them in a loop (:mod:`fedhome.learning.device`); the vector engine runs the same
ones for many homes at once. One algorithm, written once.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from fedhome.learning.tasks import Loss, Task
from fedhome.models.mlp import KeyedDropout
from fedhome.plan.settings import Train
from fedhome.wire.layout import Layout

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8  # Adam, Kingma and Ba, ICLR 2015
_CLIP_EPSILON = 1e-6  # as torch.nn.utils.clip_grad_norm_

Params = dict[str, Tensor]


class State(NamedTuple):
    """A home's learning between two steps.

    ``slots`` holds the optimiser's memory by slot name and parameter name; ``anchor`` the
    round's start, where a proximal term pulls towards it; ``steps`` how many there were.
    """

    params: Params
    slots: dict[str, Params]
    anchor: Params
    steps: Tensor


class Batch(NamedTuple):
    """One step's rows: ``x [batch, features]``, ``y``, ``mask [batch]`` (0: padding), key."""

    x: Tensor
    y: Tensor
    mask: Tensor
    key: Tensor


def row_losses(loss: Loss, output: Tensor, y: Tensor) -> Tensor:
    """Return the loss of each row, ``[batch]``.

    Args:
        loss: Squared error (mean over outputs), binary or multi-class cross-entropy.
        output: The model's raw outputs ``[batch, outputs]``.
        y: Targets: float32 ``[batch, outputs]``, or int64 ``[batch]`` for cross-entropy.
    """
    if loss == "mse":
        return ((output - y) ** 2).mean(dim=-1)
    if loss == "bce":
        return F.binary_cross_entropy_with_logits(output, y, reduction="none").mean(dim=-1)
    return F.cross_entropy(output, y, reduction="none")


class LocalLearning:
    """The three functions for one model, task and training settings.

    Args:
        model: The module; its own parameters are not touched.
        task: What is learnt.
        train: How.
    """

    def __init__(self, model: nn.Module, task: Task, train: Train) -> None:
        self.model = model
        self.task = task
        self.train = train
        named = {name: p.detach() for name, p in model.named_parameters()}
        self.layout = Layout.of({name: p.numpy() for name, p in named.items()})
        self.initial = self.layout.flatten({name: p.numpy() for name, p in named.items()})
        self._threads = threading.local()
        self._variants: dict[tuple[float, float], LocalLearning] = {}
        self._dropouts = tuple(
            f"{name}.key" if name else "key"
            for name, part in model.named_modules()
            if isinstance(part, KeyedDropout)
        )

    def vary(self, *, rate: float = 1.0, proximal_mu: float | None = None) -> LocalLearning:
        """Return the same learning at another rate (a multiple) or another proximal pull."""
        settings = self.train
        mu = settings.proximal_mu if proximal_mu is None else proximal_mu
        if rate == 1.0 and mu == settings.proximal_mu:
            return self
        if (rate, mu) not in self._variants:
            changed = settings.model_copy(
                update={"learning_rate": settings.learning_rate * rate, "proximal_mu": mu}
            )
            self._variants[rate, mu] = LocalLearning(self.model, self.task, changed)
        return self._variants[rate, mu]

    def init(self, params: Params) -> State:
        """Start a round's learning from these parameters, with an empty optimiser."""
        names = {"adam": ("mean", "square")}.get(
            self.train.optimiser, ("momentum",) if self.train.momentum else ()
        )
        some = next(iter(params.values()))
        return State(
            params=dict(params),
            slots={
                slot: {name: torch.zeros_like(p) for name, p in params.items()} for slot in names
            },
            anchor=dict(params) if self.train.proximal_mu else {},
            steps=torch.zeros((), device=some.device),
        )

    def step(self, state: State, batch: Batch) -> tuple[State, Tensor]:
        """Take one step on one batch; padding rows count for nothing.

        Returns:
            The next state, and the batch's mean loss before the step.
        """
        extra = dict.fromkeys(self._dropouts, batch.key)

        def objective(params: Params) -> Tensor:
            output = self.forward({**params, **extra}, batch.x)
            losses = row_losses(self.task.loss, output, batch.y)
            return (losses * batch.mask).sum() / batch.mask.sum()

        gradient, loss = grad_and_value(objective)(state.params)
        return self.apply(state, gradient), loss

    def apply(self, state: State, gradient: Params) -> State:
        """Take the optimiser's step along a gradient: proximal pull, clipping, decay, update."""
        train, params = self.train, state.params
        if train.proximal_mu:
            gradient = {
                name: g + train.proximal_mu * (params[name] - state.anchor[name])
                for name, g in gradient.items()
            }
        if train.clip_norm is not None:
            norm = torch.sqrt(sum((g * g).sum() for g in gradient.values()))  # type: ignore[arg-type]
            scale = torch.clamp(train.clip_norm / (norm + _CLIP_EPSILON), max=1.0)
            gradient = {name: g * scale for name, g in gradient.items()}
        if train.weight_decay:
            gradient = {name: g + train.weight_decay * params[name] for name, g in gradient.items()}
        count, slots = state.steps, state.slots
        if train.optimiser == "adam":
            count = count + 1
            slots, gradient = _adam(slots, gradient, count)
        elif train.momentum:
            moved = {
                name: train.momentum * slots["momentum"][name] + g for name, g in gradient.items()
            }
            slots, gradient = {"momentum": moved}, moved
        params = {name: p - train.learning_rate * gradient[name] for name, p in params.items()}
        return State(params, slots, state.anchor, count)

    def finish(self, state: State) -> Params:
        """Return what the home has learnt."""
        return state.params

    @property
    def draws(self) -> bool:
        """Whether a step draws from its key: only a dropout does."""
        return bool(self._dropouts)

    def split(self, flat: Tensor) -> Params:
        """Return flat parameters ``[..., size]`` by name, on their device (they share memory)."""
        layout, lead = self.layout, flat.shape[:-1]
        parts = torch.split(flat, list(layout.sizes), dim=-1)
        named = zip(layout.names, layout.shapes, parts, strict=True)
        return {name: part.view(*lead, *shape) for name, shape, part in named}

    def tensors(self, flat: NDArray[np.float32]) -> Params:
        """Return flat parameters ``[..., size]`` as tensors by name.

        They share memory, unless it may not be written, as that of a message that came.
        """
        flat = flat if flat.flags.writeable else flat.copy()
        return {name: torch.from_numpy(a) for name, a in self.layout.unflatten(flat).items()}

    def flat(self, params: Mapping[str, Tensor]) -> NDArray[np.float32]:
        """Return parameters by name as one flat array ``[size]``."""
        return self.layout.flatten({name: p.detach().numpy() for name, p in params.items()})

    def predict(self, params: Params, x: Tensor) -> Tensor:
        """Return the model's raw outputs, ``[rows, outputs]``, without dropout."""
        with torch.no_grad():
            return self.forward(params, x)

    def forward(self, params: Params, x: Tensor) -> Tensor:
        """Return the model's raw outputs, ``[rows, outputs]``; any thread may call it.

        ``functional_call`` swaps the parameters into the module while it runs, so each
        thread has a module of its own. Buffers follow the input to its device.
        """
        own = getattr(self._threads, "model", None)
        if own is None:
            own = self._threads.model = copy.deepcopy(self.model)
            self._threads.buffers = {}
        if x.device.type != "cpu":
            buffers: dict[torch.device, Params] = self._threads.buffers
            if x.device not in buffers:
                buffers[x.device] = {n: b.to(x.device) for n, b in own.named_buffers()}
            params = {**buffers[x.device], **params}
        return functional_call(own, params, (x,))  # type: ignore[no-any-return]


def _adam(
    slots: dict[str, Params], gradient: Params, count: Tensor
) -> tuple[dict[str, Params], Params]:
    mean = {n: _BETA1 * slots["mean"][n] + (1 - _BETA1) * g for n, g in gradient.items()}
    square = {n: _BETA2 * slots["square"][n] + (1 - _BETA2) * g * g for n, g in gradient.items()}
    first, second = 1 - _BETA1**count, torch.sqrt(1 - _BETA2**count)
    step = {n: (m / first) / (torch.sqrt(square[n]) / second + _EPSILON) for n, m in mean.items()}
    return {"mean": mean, "square": square}, step
