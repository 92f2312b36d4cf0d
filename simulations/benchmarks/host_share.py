"""What a round costs the processor when a GPU trains: as if training took no time at all.

``python -m fedhome.simulations.benchmarks.host_share`` runs simulations through the public door, on
a GPU that is none: what goes there is copied once, as for a real one, and nothing is computed. So
no GPU, however fast, lets one core do more client-updates a second than this. What starting its
programs costs the processor is torch's own share of it, without the driver's.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar
from unittest import mock

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from fedhome import rng
from fedhome.learning.local import LocalLearning
from fedhome.plan.settings import EngineSettings
from fedhome.run.events import Event
from fedhome.simulations.benchmarks.workloads import WORKLOADS
from fedhome.simulations.engines import chunk_training
from fedhome.simulations.engines.batches import Rows
from fedhome.simulations.engines.compute_device import PROCESSOR, Placement, homes_at_once
from fedhome.simulations.engines.kernels import KERNELS
from fedhome.simulations.engines.streamed_examples import Examples
from fedhome.simulations.engines.torch_kernels import DeviceKernel
from fedhome.simulations.simulate import simulate

_GOAL = 3e6  # client-updates a second, of 20 000 homes


class IdleGpu(Placement):
    """A GPU that computes nothing: its tensors have shapes and no numbers."""

    elsewhere = True

    def __init__(self) -> None:
        super().__init__(torch.device("meta"))

    def put(self, array: NDArray[Any]) -> Tensor:
        """Copy an array, as into pinned memory, and keep its shape."""
        return torch.from_numpy(np.array(array)).to(self.device)

    def take(self, tensor: Tensor) -> NDArray[Any]:
        """Return zeros."""
        array: NDArray[Any] = torch.zeros(tensor.shape, dtype=tensor.dtype).numpy()
        return array


class IdleKernel(DeviceKernel):
    """Trains nothing.

    Args:
        chunk_homes: Homes of a chunk.
    """

    orders_there: ClassVar[bool] = True

    def __init__(self, chunk_homes: int) -> None:
        self.placement, self.chunk_homes = PROCESSOR, chunk_homes

    @classmethod
    def fits(cls, learning: LocalLearning, features: int, placement: Placement = PROCESSOR) -> str:
        """Fit everything."""
        del learning, features, placement
        return ""

    @classmethod
    def of(
        cls, learning: LocalLearning, features: int, placement: Placement = PROCESSOR
    ) -> IdleKernel:
        """Return a kernel that takes as many homes at a time as those of a real GPU."""
        del placement
        return cls(homes_at_once(learning, features))

    def train_there(
        self,
        params: Tensor,
        examples: Examples,
        rows: Rows,
        *,
        towards: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float64]:
        """Return losses of nought."""
        del examples, rows, towards
        return np.zeros(len(params))


@contextmanager
def idle_gpu() -> Iterator[None]:
    """Let every plan's device be one that computes nothing."""

    def found(_engine: EngineSettings, *, sharing: int = 1) -> Placement:
        del sharing
        return IdleGpu()

    with (
        mock.patch.object(Placement, "of", found),
        mock.patch.dict(KERNELS, onchip=IdleKernel),
        mock.patch.object(chunk_training, "orders_there", _orders_there),
    ):
        yield


def _orders_there(
    placement: Placement,
    keys: NDArray[np.uint64],
    begin: NDArray[np.int64],
    counts: NDArray[np.int64],
    *,
    stream: int,
    epochs: int,
) -> Tensor:
    """Send over what the orders of batches are drawn from; nothing is drawn."""
    placement.put(np.ascontiguousarray(counts)), placement.put(np.ascontiguousarray(begin))
    for epoch in range(epochs):
        placement.put(rng.epoch_keys(keys, stream, epoch))
    shape = epochs, len(keys), int(counts.max(initial=0))
    return torch.empty(shape, dtype=torch.int64, device=placement.device)


def rounds_ms(clients: int, *, rounds: int, works_on: str) -> NDArray[np.float64]:
    """Return processor milliseconds of each round on S but the first.

    Args:
        clients: How many homes; all train in each round.
        rounds: How many rounds, at least 2.
        works_on: ``strategy.works_on``.
    """
    marks: list[float] = []

    def note(event: Event) -> None:
        if event.event == "round-closed":
            marks.append(time.process_time())

    plan = WORKLOADS["S"].plan(clients=clients, rounds=rounds, kernel="onchip")
    with tempfile.TemporaryDirectory() as folder, idle_gpu():
        simulate(
            plan.change(strategy={"works_on": works_on}), out=Path(folder) / "run", on_event=note
        )
    return 1e3 * np.diff(marks)


def host_share(
    clients: Annotated[list[int] | None, typer.Option(help="homes; may be repeated")] = None,
    rounds: Annotated[int, typer.Option(min=2)] = 21,
    works_on: Annotated[str, typer.Option(help="strategy.works_on: sums or updates")] = "sums",
) -> None:
    """Show what rounds on workload S cost a core beside a GPU that takes no time to train."""
    table = Table(title="workload S, processor time beside an idle GPU", title_style="")
    for column in ("homes", "ms a round, least", "median", "client-updates a second, at most"):
        table.add_column(column, justify="right")
    for homes in clients or [1000, 20_000]:
        each = rounds_ms(homes, rounds=rounds, works_on=works_on)
        least, middle = float(each.min()), float(np.median(each))
        table.add_row(f"{homes}", f"{least:.2f}", f"{middle:.2f}", f"{1e3 * homes / least:.3g}")
    table.caption = f"goal: {_GOAL:.3g} for 20 000 homes"
    Console().print(table)


if __name__ == "__main__":
    typer.run(host_share)
