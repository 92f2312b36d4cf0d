"""Local learning as three pure functions: init, step, finish.

A home runs them in a loop (:mod:`fedhome.learning.device`); the vector engine runs the same
ones for many homes at once. One algorithm, written once.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

from fedhome.learning import gradient_clipping
from fedhome.learning.losses import loss_of
from fedhome.learning.methods import FedAvg, Method
from fedhome.learning.optimisers import Slots, optimiser_of
from fedhome.learning.params import Params
from fedhome.learning.tasks import Task
from fedhome.models.check import vectorises
from fedhome.models.mlp import KeyedDropout
from fedhome.models.over_homes import over_homes, without_torchs_warning
from fedhome.plan.settings import TrainSettings
from fedhome.wire.layout import Layout

_FEW = 2
_VARIANTS = 16


class State(NamedTuple):
    """A home's learning between two steps.

    ``slots`` holds the optimiser's memory by slot name and parameter name; ``anchor`` the
    round's start, where the method changes the gradient; ``steps`` how many there were.
    """

    params: Params
    slots: Slots
    anchor: Params
    steps: Tensor


class Batch(NamedTuple):
    """One step's rows: ``x [batch, features]``, ``y``, ``mask [batch]`` (0: padding), key."""

    x: Tensor
    y: Tensor
    mask: Tensor
    key: Tensor


class LocalLearning:
    """The three functions for one model, task and training settings.

    Args:
        model: The module; its own parameters are not touched.
        task: What is learnt.
        train: How.
        method: What a home does in a round beside plain descent.

    Raises:
        PluginError: The task's loss or the optimiser is none that there is.
    """

    def __init__(
        self, model: nn.Module, task: Task, train: TrainSettings, method: Method | None = None
    ) -> None:
        self.model = model
        self.task = task
        self.train = train
        self.method = method or FedAvg()
        self.loss = loss_of(task.loss)
        self.optimiser = optimiser_of(train)
        named = {name: p.detach() for name, p in model.named_parameters()}
        self.layout = Layout.of({name: p.numpy() for name, p in named.items()})
        self.initial = self.layout.flatten({name: p.numpy() for name, p in named.items()})
        self._threads = threading.local()
        self._changes = self.method.changes_gradient()
        self._still = self.method.still(self.layout.names)
        self._variants: dict[tuple[float, Method, int], LocalLearning] = {}
        self._dropouts = tuple(
            f"{name}.key" if name else "key"
            for name, part in model.named_modules()
            if isinstance(part, KeyedDropout)
        )

    def vary(
        self, *, rate: float = 1.0, method: Method | None = None, batch: int = 0
    ) -> LocalLearning:
        """Return the same learning at another rate (a multiple), method or size of batches.

        Args:
            rate: What the plan's learning rate is multiplied with.
            method: In place of the plan's; None: that.
            batch: Examples in a step, in place of the plan's; 0: as many.
        """
        method = self.method if method is None else method
        batch = batch or self.train.batch_rows
        if rate == 1.0 and method == self.method and batch == self.train.batch_rows:
            return self
        if (rate, method, batch) not in self._variants:
            if len(self._variants) >= _VARIANTS:  # a server half may tell another value each round
                del self._variants[next(iter(self._variants))]
            changed = {"learning_rate": self.train.learning_rate * rate, "batch_size": batch}
            self._variants[rate, method, batch] = type(self)(
                self.model, self.task, self.train.model_copy(update=changed), method
            )
        return self._variants[rate, method, batch]

    def init(self, params: Params) -> State:
        """Start a round's learning from these parameters, with an empty optimiser."""
        some = next(iter(params.values()))
        return State(
            params=dict(params),
            slots={
                slot: {name: torch.zeros_like(p) for name, p in params.items()}
                for slot in self.optimiser.slots(self.train)
            },
            anchor=dict(params) if self._changes else {},
            steps=torch.zeros((), device=some.device),
        )

    def step(self, state: State, batch: Batch) -> tuple[State, Tensor]:
        """Take one step on one batch; padding rows count for nothing.

        Returns:
            The next state, and the batch's mean loss before the step; of several terms their mean.
        """
        gradient, loss = grad_and_value(partial(self._objective, batch))(state.params)
        return self.apply(state, gradient), loss if self.terms == 1 else loss / self.terms

    def step_of_one(self, state: State, batch: Batch) -> tuple[State, Tensor]:
        """Take the same step, to float32 rounding, of one home: with less around the arithmetic.

        What :func:`torch.func.grad_and_value` makes ready for many homes takes longer than a small
        network's step.
        """
        own = {name: p.detach().requires_grad_() for name, p in state.params.items()}
        with torch.enable_grad():
            loss = self._objective(batch, own)
            if loss.requires_grad:
                found = torch.autograd.grad(loss, list(own.values()), materialize_grads=True)
            else:  # of nothing that is learnt
                found = tuple(map(torch.zeros_like, state.params.values()))
        loss = loss.detach()
        state = self.apply(state, dict(zip(own, found, strict=True)))
        return state, loss if self.terms == 1 else loss / self.terms

    def _objective(self, batch: Batch, params: Params) -> Tensor:
        """Return what a step makes smaller: the mean over a batch's rows that are not padding."""
        extra = dict.fromkeys(self._dropouts, batch.key)
        losses = self.row_losses({**params, **extra}, batch)
        return (losses * batch.mask).sum() / batch.mask.sum()

    @property
    def terms(self) -> int:
        """How many losses `row_losses` is the sum of."""
        return 1

    def row_losses(self, params: Params, batch: Batch) -> Tensor:
        """Return what a step makes smaller, for each row of a batch ``[batch]``."""
        return self.loss.rows(self.forward(params, batch.x), batch.y)

    def apply(self, state: State, gradient: Params) -> State:
        """Take the optimiser's step along a gradient: method, clipping, decay, update."""
        train, params = self.train, state.params
        if self._changes:
            gradient = self.method.gradient(gradient, params, state.anchor)
        if self._still:  # they count neither in a clipped gradient nor decay
            gradient = {
                name: torch.zeros_like(g) if name in self._still else g
                for name, g in gradient.items()
            }
        gradient = gradient_clipping.clipped(gradient, train)
        if train.weight_decay:
            gradient = {name: g + train.weight_decay * params[name] for name, g in gradient.items()}
        slots, step, count = self.optimiser.direction(train, state.slots, gradient, state.steps)
        params = {
            name: p if name in self._still else p - train.learning_rate * step[name]
            for name, p in params.items()
        }
        return State(params, slots, state.anchor, count)

    def vectorises(self, features: int) -> str:
        """Return why a step cannot be taken for many homes at once; empty where it can.

        Args:
            features: Width of the input.
        """
        if reason := vectorises(self.model, features):
            return reason
        try:
            self.try_step(features)
        except Exception as error:  # noqa: BLE001 - a user's code may raise anything
            return (str(error).splitlines() or [type(error).__name__])[0]
        return ""

    def try_step(self, features: int) -> None:
        """Take one step of two homes at once on rows of zeros; nothing comes of it.

        Args:
            features: Width of the input.
        """
        named = self.model.named_parameters()
        few = {n: p.detach().expand(_FEW, *p.shape) for n, p in named}
        with without_torchs_warning():
            over_homes(self.step)(over_homes(self.init)(few), self.blank(features, _FEW))

    def blank(self, features: int, *homes: int) -> Batch:
        """Return a batch of zeros, ``[*homes, rows, ...]``, to try a step with.

        Args:
            features: Width of the input.
            homes: How many homes there are at once; none: one, without a dimension.
        """
        rows, width = (*homes, _FEW), self.task.targets
        y = torch.zeros(rows, dtype=torch.int64) if self.loss.labels else torch.zeros(*rows, width)
        key = torch.zeros(homes, dtype=torch.int64)
        return Batch(torch.zeros(*rows, features), y, torch.ones(rows), key)

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

    def forward(self, params: Params, x: Tensor, **settings: bool) -> Tensor:
        """Return the model's raw outputs, ``[rows, outputs]``; any thread may call it.

        ``functional_call`` swaps the parameters into the module while it runs, so each
        thread has a module of its own. Buffers follow the input to its device.

        Args:
            params: Parameters by name.
            x: Inputs ``[rows, features]``.
            settings: Keyword arguments of the module.
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
        return functional_call(own, params, (x,), settings)  # type: ignore[no-any-return]
