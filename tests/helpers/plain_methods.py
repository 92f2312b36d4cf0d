"""Plain loops: what a paper says that homes do, home after home, with torch's own modules.

They share nothing with fedhome's learning but the order of rows, which is drawn by its names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from fedhome import rng
from fedhome.data.series.examples import HomeExamples
from fedhome.learning.batch_order import passes
from fedhome.plan.settings import Plan
from helpers import tiny

Weights = dict[str, Tensor]
Gradient = Callable[[nn.Module, str, Tensor], Tensor]
"""From a module, a parameter's name and its gradient to what a step goes along."""


def as_it_is(module: nn.Module, name: str, gradient: Tensor) -> Tensor:
    """Return a gradient as it is."""
    del module, name
    return gradient


class PlainHome:
    """One home with torch's own module.

    Args:
        plan: The plan: rate, batches and seed.
        data: Its rows.
    """

    def __init__(self, plan: Plan, data: HomeExamples) -> None:
        self.plan, self.data = plan, data
        self.count = data.counts[0]
        self.module = nn.Sequential(nn.Linear(tiny.FEATURES, 8), nn.ReLU(), nn.Linear(8, 1))
        self.keys = rng.home_keys(plan.seed, (data.home,))

    def batches(self, stream: int, epochs: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of a training."""
        x, y = torch.from_numpy(self.data.x), torch.from_numpy(self.data.y)
        for _, order in passes(
            self.keys, np.array([self.count]), stream=stream, epochs=epochs, rows=0
        ):
            for rows in torch.split(torch.from_numpy(order[0]), self.plan.train.batch_rows):
                yield x[rows], y[rows]

    def descend(
        self,
        start: Mapping[str, Tensor],
        *,
        stream: int,
        epochs: int,
        only: Sequence[str] | None = None,
        gradient: Gradient = as_it_is,
    ) -> Weights:
        """Return parameters after plain descent from some; those that are not in ``only`` stay."""
        self.module.load_state_dict(dict(start))
        moved = {n: p for n, p in self.module.named_parameters() if only is None or n in only}
        for x, y in self.batches(stream, epochs):
            self.module.zero_grad()
            torch.autograd.backward(loss_of(self.module(x), y))
            with torch.no_grad():
                for name, p in moved.items():
                    assert p.grad is not None
                    p.sub_(self.plan.train.learning_rate * gradient(self.module, name, p.grad))
        return {name: p.detach().clone() for name, p in self.module.named_parameters()}


def loss_of(output: Tensor, y: Tensor) -> Tensor:
    """Return the loss of a regression, as fedhome's plans have it."""
    return 2 * F.huber_loss(output, y)


def mean_of(weights: Sequence[Weights], counts: Sequence[int]) -> Weights:
    """Return the mean of homes' parameters, each weighted by its rows."""
    total = sum(counts)
    return {
        name: sum(
            (w[name] * (n / total) for w, n in zip(weights, counts, strict=True)),
            start=torch.zeros_like(weights[0][name]),
        )
        for name in weights[0]
    }


def flat(weights: Mapping[str, Tensor]) -> np.ndarray:
    """Return parameters as one array."""
    return np.concatenate([p.detach().numpy().ravel() for p in weights.values()])
