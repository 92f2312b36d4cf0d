"""What a hop between two devices of a home costs, beside the network itself.

    python -m fedhome.simulations.benchmarks.pipeline_costs

The other device is a process on this machine, reached over TLS at the loopback: a home's wireless
network takes longer. Times are medians of single rows.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from threadpoolctl import threadpool_limits

from fedhome.pipeline.device_table import HomeDevice
from fedhome.pipeline.home_keys_folder import make_keys
from fedhome.pipeline.layer_slice import Floats
from fedhome.pipeline.pipeline_run import PipelineRun
from fedhome.pipeline.split_plan import SplitPart, SplitPlan

NETWORKS: Final = ((23, 64, 64, 1), (23, 512, 512, 1), (23, 2048, 2048, 1))
_TIMES: Final = 300


def network(widths: tuple[int, ...]) -> dict[str, Floats]:
    """Return a network of these widths with random numbers."""
    drawn = np.random.default_rng(1)
    found: dict[str, Floats] = {}
    for number, (inputs, outputs) in enumerate(pairwise(widths)):
        found[f"{2 * number}.weight"] = drawn.normal(size=(outputs, inputs)).astype(np.float32)
        found[f"{2 * number}.bias"] = np.zeros(outputs, np.float32)
    return found


def plan_of(widths: tuple[int, ...], cut: int, address: str) -> SplitPlan:
    """Return a plan in which the layers from ``cut`` on are on another device; 0: none is here."""
    here = HomeDevice(name="here", memory_bytes=1 << 26, operations_per_s=1)
    far = HomeDevice(name="far", address=address, memory_bytes=1 << 26, operations_per_s=1)
    end = len(widths) - 1
    ends = [(here, 0, cut), (far, cut, end)] if address else [(here, 0, end)]
    parts = [SplitPart(device, a, b, 0, 0.0, 0.0) for device, a, b in ends]
    return SplitPlan(widths, tuple(parts))


def median_us(act: Callable[[], object]) -> float:
    """Return how long something takes, µs: the median of many times."""
    spent = []
    for _ in range(_TIMES):
        begin = time.perf_counter()
        act()
        spent.append(time.perf_counter() - begin)
    return float(np.median(spent) * 1e6)


@contextmanager
def other_device(keys: Path) -> Iterator[str]:
    """Run another device as a process; its address."""
    command = [sys.executable, "-m", "fedhome", "pipeline", "serve", str(keys), "--port", "0"]
    alone = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # as this process computes
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=alone)  # noqa: S603
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    """Measure, and print the table."""
    threadpool_limits(1)
    row = np.ones((1, 23), np.float32)
    print("| network | one process, µs | over two devices, µs |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        keys = Path(place) / "keys"
        make_keys(keys, ["127.0.0.1"])
        with other_device(keys) as address:
            for widths in NETWORKS:
                parameters = network(widths)
                with PipelineRun(plan_of(widths, 1, ""), parameters) as run:
                    alone = median_us(lambda run=run: run.predict(row))  # type: ignore[misc]
                with PipelineRun(plan_of(widths, 1, address), parameters, keys=keys) as run:
                    over = median_us(lambda run=run: run.predict(row))  # type: ignore[misc]
                print(f"| {'-'.join(map(str, widths))} | {alone:,.1f} | {over:,.1f} |", flush=True)


if __name__ == "__main__":
    main()
