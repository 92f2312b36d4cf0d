"""Contenders on a GPU: fedhome's kernels, as a whole simulation and alone.

Alone is what JAX's contender does: a round's training of all clients and their mean, with data on
the device and orders of batches that were drawn beforehand.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from fedhome.learning.build import learning_of
from fedhome.plan.settings import Precision
from fedhome.simulations.benchmarks.measure import (
    BenchmarkCase,
    Measurement,
    NotHereError,
    RoundClock,
)
from fedhome.simulations.benchmarks.ours import simulated
from fedhome.simulations.engines.batches import Rows
from fedhome.simulations.engines.compute_device import Placement
from fedhome.simulations.engines.kernels import wanted_kernel
from fedhome.simulations.engines.streamed_examples import Examples
from fedhome.simulations.engines.threaded_cohort import one_torch_thread
from fedhome.simulations.engines.torch_kernels import DeviceKernel

DEVICE = "cuda"
KERNELS: dict[str, tuple[str, Precision]] = {
    "onchip": ("onchip", "float32"),
    "onchip-tf32": ("onchip", "tf32"),
    "onchip-bf16": ("onchip", "bf16"),
    "captured": ("captured", "float32"),
    "captured-tf32": ("captured", "tf32"),
    "traced": ("traced", "float32"),
}
"""A contender's kernel and the precision of its products."""


def whole(case: BenchmarkCase, kernel: str, precision: Precision) -> Measurement:
    """Simulate, with Flower's FedAvg, the log and checkpoints."""
    _gpu()
    return simulated(case, kernel, device=DEVICE, precision=precision)


def alone(case: BenchmarkCase, kernel: str, precision: Precision) -> Measurement:
    """Train all clients by a kernel, and take their mean: nothing else."""
    _gpu()
    workload, clients = case.workload, case.clients
    plan = workload.plan(clients=clients, rounds=case.rounds, kernel=kernel)
    plan = plan.change(engine={"device": DEVICE, "precision": precision})
    placement, features = Placement.of(plan.engine), workload.widths[0]
    classes = tuple(map(str, range(workload.widths[-1]))) if workload.loss != "mse" else ()
    learning = learning_of(plan, features, classes)
    with one_torch_thread(), placement.exact():
        trains = wanted_kernel(learning, kernel, features, placement).of(
            learning, features, placement
        )
        assert isinstance(trains, DeviceKernel)
        examples, chunks = _examples(case, placement), _chunks(clients, trains.chunk_homes)
        orders = [workload.orders(list(range(clients)), n + 1) for n in range(case.rounds)]
        rows = [[_rows(case, order, some) for some in chunks] for order in orders]
        clock, start, checked = RoundClock(), workload.initial(), workload.initial()
        for number, of_chunks in enumerate(rows):
            total = np.zeros(len(start))
            for some, own in zip(chunks, of_chunks, strict=True):
                homes = some.stop - some.start
                there = placement.put(start).expand(homes, -1).clone()
                trains.train_there(there, examples, own)
                total += placement.take(there.mean(dim=0)) * (homes / clients)
            start = total.astype(np.float32)
            clock.round_ended()
            if number + 1 == case.checked:
                checked = start
    return clock.measured(checked)


def _gpu() -> None:
    if not torch.cuda.is_available():
        raise NotHereError("torch finds no CUDA GPU on this machine")


def _examples(case: BenchmarkCase, placement: Placement) -> Examples:
    parts = [case.workload.client(number) for number in range(case.clients)]
    x, y = (np.concatenate([part[which] for part in parts]) for which in (0, 1))
    return Examples(placement.put(x), placement.put(y))


def _chunks(clients: int, most: int) -> list[slice]:
    return [slice(at, min(at + most, clients)) for at in range(0, clients, most)]


def _rows(case: BenchmarkCase, order: NDArray[np.int64], some: slice) -> Rows:
    homes, rows = np.arange(some.start, some.stop), case.workload.rows
    return Rows(
        orders=[order[some] + rows * homes[:, None]],
        counts=np.full(len(homes), rows),
        keys=[np.zeros(len(homes), np.uint64)],
    )


def _contender(
    how: Callable[[BenchmarkCase, str, Precision], Measurement], name: str
) -> Callable[[BenchmarkCase], Measurement]:
    return lambda case: how(case, *KERNELS[name])


WHOLE = {name: _contender(whole, name) for name in KERNELS}
ALONE = {name: _contender(alone, name) for name in KERNELS}
