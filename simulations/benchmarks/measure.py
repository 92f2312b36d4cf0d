"""One contender, measured in a process of its own: what goes in, what comes out."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import EngineError
from fedhome.simulations.benchmarks.workloads import Workload

NOT_HERE = 75  # exit status of a contender that cannot run here (EX_TEMPFAIL)
_CHILD = "fedhome.simulations.benchmarks.child"
_ROOT = Path(__file__).resolve().parents[2]


class NotHereError(Exception):
    """A contender cannot run here; says why."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkCase:
    """What a contender computes.

    Args:
        workload: The data, the model, the settings.
        clients: How many clients.
        rounds: How many rounds; the first, in which code is compiled and caches fill, is
            not measured.
        checked: After how many of them the global parameters are compared.
    """

    workload: Workload
    clients: int
    rounds: int
    checked: int


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a contender measured of itself.

    Args:
        params: The global parameters after ``BenchmarkCase.checked`` rounds, float32 ``[size]``.
        seconds: Wall-clock of each round after the first.
        cpu_s: Processor seconds of each of these rounds; empty where other processes compute.
        setup_s: Seconds to read the data, where that is timed apart.
        peak_mb: Most memory of the process, in MB; filled in by the child.
    """

    params: NDArray[np.float32]
    seconds: NDArray[np.float64]
    cpu_s: NDArray[np.float64]
    setup_s: float = 0.0
    peak_mb: float = 0.0

    def updates_per_s(self, clients: int) -> float:
        """Client-updates per second in the median round."""
        return clients / float(np.median(self.seconds))

    def cpu_ms(self, clients: int) -> float | None:
        """Processor milliseconds of a client-update in the median round, where known."""
        return 1e3 * float(np.median(self.cpu_s)) / clients if len(self.cpu_s) else None


class RoundClock:
    """Notes when rounds end; the first is the warm-up.

    Args:
        cpu: Whether this process does all the work, so that its processor time counts.
    """

    def __init__(self, *, cpu: bool = True) -> None:
        self._cpu = cpu
        self._marks: list[tuple[float, float]] = []

    def round_ended(self) -> None:
        """Note the end of a round."""
        self._marks.append((time.perf_counter(), time.process_time()))

    def measured(self, params: NDArray[np.float32], setup_s: float = 0.0) -> Measurement:
        """Return the seconds between the ends of rounds, with the parameters to be compared."""
        between = np.diff(np.array(self._marks), axis=0)
        return Measurement(
            params=params,
            seconds=between[:, 0],
            cpu_s=between[:, 1] if self._cpu else np.zeros(0),
            setup_s=setup_s,
        )


Contender = Callable[[BenchmarkCase], Measurement]

CONTENDERS: Mapping[str, str] = {
    "flower-ray": "fedhome.simulations.benchmarks.flower_ray:flower_ray",
    "plain": "fedhome.simulations.benchmarks.plain:plain",
    "fedjax": "fedhome.simulations.benchmarks.in_jax:fedjax",
    "jax-vmap": "fedhome.simulations.benchmarks.in_jax:jax_vmap",
    "fedhome-eager": "fedhome.simulations.benchmarks.ours:eager",
    "fedhome-traced": "fedhome.simulations.benchmarks.ours:traced",
    "fedhome-fused": "fedhome.simulations.benchmarks.ours:fused",
    "fedhome-cuda": "fedhome.simulations.benchmarks.ours:cuda",
}
GPU_CONTENDERS: Mapping[str, str] = {
    "jax-vmap": CONTENDERS["jax-vmap"],
    "jax-vmap-tf32": "fedhome.simulations.benchmarks.in_jax:jax_vmap_coarse",
    **{
        f"{how}-{kernel}": f"fedhome.simulations.benchmarks.gpu_contenders:{how.upper()}.{kernel}"
        for kernel in (
            "onchip",
            "onchip-tf32",
            "onchip-bf16",
            "captured",
            "captured-tf32",
            "traced",
        )
        for how in ("alone", "whole")
    },
}
"""Those on a GPU; where each is, ``MODULE:NAME``, or ``MODULE:TABLE.NAME``."""


def measure(name: str, case: BenchmarkCase, *, timeout_s: float | None = None) -> Measurement:
    """Run a contender in a fresh process: threads of torch, JAX and Ray never meet.

    Args:
        name: A name of :data:`CONTENDERS` or :data:`GPU_CONTENDERS`.
        case: What it computes.
        timeout_s: How long it may take; None: as long as it does.

    Raises:
        NotHereError: It cannot run here.
        EngineError: It failed.
    """
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "FLWR_TELEMETRY_ENABLED": "0"}
    numbers = [str(case.clients), str(case.rounds), str(case.checked)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "measured.npz"
        try:
            child = subprocess.run(  # noqa: S603 - our own module with our own arguments
                [sys.executable, "-m", _CHILD, name, case.workload.name, *numbers, str(out)],
                env={**os.environ, **quiet, "PYTHONPATH": path},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired:
            raise EngineError(
                f"the contender {name} took longer than {timeout_s:.0f} s",
                hint="give it more time, or fewer clients",
            ) from None
        if child.returncode == NOT_HERE:
            raise NotHereError(child.stderr.strip().splitlines()[-1])
        if child.returncode != 0:
            raise EngineError(
                f"the contender {name} failed:\n{child.stderr[-2000:]}",
                hint=f"leave it out with --with, or run `python -m {_CHILD} {name} ...` alone",
            )
        with np.load(out) as saved:
            return Measurement(
                params=saved["params"],
                seconds=saved["seconds"],
                cpu_s=saved["cpu_s"],
                setup_s=float(saved["setup_s"]),
                peak_mb=float(saved["peak_mb"]),
            )


def run_here(name: str, case: BenchmarkCase) -> Measurement:
    """Run a contender in this process.

    Args:
        name: A name of :data:`CONTENDERS` or :data:`GPU_CONTENDERS`.
        case: What it computes.

    Raises:
        NotHereError: It cannot run here.
    """
    module, _, attribute = {**CONTENDERS, **GPU_CONTENDERS}[name].partition(":")
    attribute, _, entry = attribute.partition(".")
    found = getattr(importlib.import_module(module), attribute)
    contender: Contender = found[entry] if entry else found
    return contender(case)
