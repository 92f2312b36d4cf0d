"""fedhome itself: `fedhome simulate`, with Flower's FedAvg, the log and checkpoints."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fedhome.plan.settings import Precision
from fedhome.run.events import Event
from fedhome.simulations.benchmarks.measure import (
    BenchmarkCase,
    Measurement,
    NotHereError,
    RoundClock,
)
from fedhome.simulations.simulate import simulate


def fused(case: BenchmarkCase) -> Measurement:
    """With the kernel that is compiled for MLPs."""
    return simulated(case, "fused")


def traced(case: BenchmarkCase) -> Measurement:
    """With the kernel that takes any module that can be traced."""
    return simulated(case, "traced")


def eager(case: BenchmarkCase) -> Measurement:
    """With the plain vmapped step: any module, one operation at a time."""
    return simulated(case, "eager")


def cuda(case: BenchmarkCase) -> Measurement:
    """With the traced kernel, on a GPU."""
    if not torch.cuda.is_available():
        raise NotHereError("torch finds no CUDA GPU on this machine")
    return simulated(case, "traced", device="cuda")


def simulated(
    case: BenchmarkCase, kernel: str, *, device: str = "cpu", precision: Precision = "float32"
) -> Measurement:
    """Simulate twice, where the rounds to be measured are not those to be compared.

    A measured round lasts from one ``round-closed`` event to the next: all that a round
    costs is in it, the checkpoint and the log too.

    Args:
        case: What is computed.
        kernel: ``engine.kernel``.
        device: ``engine.device``.
        precision: ``engine.precision``.
    """
    clock, begun = RoundClock(), [time.perf_counter()]

    def note(event: Event) -> None:
        if event.event == "round-closed":
            clock.round_ended()
        elif event.event == "fleet-ready":
            begun.append(time.perf_counter())

    def run(rounds: int, *, timed: bool) -> NDArray[np.float32]:
        plan = case.workload.plan(clients=case.clients, rounds=rounds, kernel=kernel)
        plan = plan.change(engine={"device": device, "precision": precision})
        with tempfile.TemporaryDirectory() as folder:
            result = simulate(plan, out=Path(folder) / "run", on_event=note if timed else None)
            parameters = result.model.parameters.values()
            return np.concatenate([array.ravel() for array in parameters])

    if case.checked != case.rounds:
        params = run(case.checked, timed=False)
        begun[0] = time.perf_counter()
        run(case.rounds, timed=True)
    else:
        params = run(case.rounds, timed=True)
    return clock.measured(params, setup_s=begun[1] - begun[0])
