"""The plain PyTorch loop: client after client, FedAvg by hand."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from fedhome.simulations.benchmarks.measure import BenchmarkCase, Measurement, RoundClock
from fedhome.simulations.benchmarks.workloads import Workload


def network(workload: Workload) -> nn.Sequential:
    """Return the workload's MLP with its first parameters."""
    layers: list[nn.Module] = []
    for weight, bias in workload.layers(workload.initial()):
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight))
            linear.bias.copy_(torch.from_numpy(bias))
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def train_client(model: nn.Module, workload: Workload, x: Tensor, y: Tensor, order: Tensor) -> None:
    """Train a client's model for one pass, as a user of PyTorch writes it.

    Args:
        model: The model, trained in place.
        workload: The settings.
        x: Inputs ``[rows, features]``.
        y: Targets.
        order: Order of the rows, int64 ``[rows]``.
    """
    loss_of = F.mse_loss if workload.loss == "mse" else F.cross_entropy
    optimiser = torch.optim.SGD(model.parameters(), lr=workload.learning_rate)
    for rows in torch.split(order, workload.batch_size):
        optimiser.zero_grad()
        loss: Tensor = loss_of(model(x[rows]), y[rows])
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def plain(case: BenchmarkCase) -> Measurement:
    """Loop over clients with one module; the average is a running sum."""
    # The batches are too small for two threads: on a shared machine they only wait for
    # each other, and alone they gain nothing.
    torch.set_num_threads(1)
    workload, clock = case.workload, RoundClock()
    model = network(workload)
    data = [
        tuple(torch.from_numpy(array) for array in workload.client(number))
        for number in range(case.clients)
    ]
    shared = copy.deepcopy(model.state_dict())
    params = workload.initial()
    for round_number in range(1, case.rounds + 1):
        orders = torch.from_numpy(workload.orders(list(range(case.clients)), round_number))
        mean = {name: torch.zeros_like(value) for name, value in shared.items()}
        for (x, y), order in zip(data, orders, strict=True):
            model.load_state_dict(shared)
            train_client(model, workload, x, y, order)
            for name, value in model.state_dict().items():
                mean[name].add_(value, alpha=1 / case.clients)
        shared = mean
        clock.round_ended()
        if round_number == case.checked:
            params = np.concatenate([value.numpy().ravel() for value in shared.values()])
    return clock.measured(params)
