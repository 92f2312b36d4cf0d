"""How far the compiled kernel is from what one core of this processor multiplies and adds.

``python -m fedhome.simulations.benchmarks.bare_kernel`` times the kernel alone, and a loop of
nothing but independent multiply-adds, in turns. The least of many is taken: other programs on a
shared machine only ever make it longer.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated

import numpy as np
import typer
from llvmlite import ir
from rich.console import Console

from fedhome.learning.fused import FusedMLP
from fedhome.learning.fused.compiler import host_tile, machine_code
from fedhome.learning.fused.emit import I64, POINTER, Emitter, Index, Value
from fedhome.simulations.benchmarks.workloads import WORKLOADS, Workload

_CHAINS = 12  # multiply-adds in flight: more than their delay times as many as begin at once
_STEPS = 1 << 18
_HOMES = 64  # of a call: the kernel's own share of a call is then nearly all of it


def multiply_adds(workload: Workload) -> int:
    """Return the multiply-adds of a client's round: forward, and back for weights and inputs."""
    products = [before * after for before, after in pairwise(workload.widths)]
    return (3 * sum(products) - products[0]) * workload.rows  # inputs need no gradient


def peak() -> Callable[[], float]:
    """Return what multiplies and adds for a while, and returns how many it did a nanosecond."""
    module, tile = ir.Module("peak"), host_tile()
    e = Emitter(module, tile, "peak", [POINTER, I64], exported=True)
    out, steps = e.arguments
    factor = e.splat(e.load(out))

    def step(_: Index, sums: list[Value]) -> list[Value]:
        return [e.fma(total, factor, factor) for total in sums]

    sums = e.loop(steps, step, [e.number(float(chain)) for chain in range(_CHAINS)])
    for chain, total in enumerate(sums):
        e.store_vector(total, out, chain * tile.lanes)
    e.builder.ret_void()
    owner = machine_code(str(module))
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(
        owner.get_function_address("peak")
    )
    code = (run, owner)  # which lives as long as its owner
    room = np.full(_CHAINS * tile.lanes, 0.5, np.float32)

    def once() -> float:
        room[:] = 0.5
        begin = time.thread_time()
        code[0](room.ctypes.data, _STEPS)
        spent = time.thread_time() - begin
        return _STEPS * _CHAINS * tile.lanes / spent / 1e9

    return once


def kernel(workload: Workload) -> Callable[[], float]:
    """Return what trains some clients of a workload, and returns seconds of one's round."""
    model = FusedMLP(workload.widths, loss=workload.loss, optimiser="sgd")
    parts = [workload.client(number) for number in range(_HOMES)]
    x, y = (np.concatenate([part[which] for part in parts]) for which in (0, 1))
    counts = np.array([len(part[0]) for part in parts])
    begin = np.cumsum(counts) - counts
    orders = zip(begin, workload.orders(list(range(_HOMES)), 1), strict=True)
    order = np.concatenate([first + own for first, own in orders])
    shares = np.full(_HOMES, 1 / _HOMES, np.float32)
    start = workload.initial()

    def once() -> float:
        began = time.thread_time()
        model.train_sum(
            start,
            x,
            y,
            order,
            counts,
            shares=shares,
            batch_size=workload.batch_size,
            epochs=1,
            learning_rate=workload.learning_rate,
        )
        return (time.thread_time() - began) / _HOMES

    return once


def bare_kernel(
    seconds: Annotated[float, typer.Option(help="how long each workload is timed", min=0.1)] = 5.0,
) -> None:
    """Show microseconds of a client's round beside the least that they could be."""
    most = peak()
    for name, workload in WORKLOADS.items():
        train = kernel(workload)
        train()
        end, rates, times = time.perf_counter() + seconds, [0.0], [np.inf]
        while time.perf_counter() < end:
            rates.append(most())
            times.append(train())
        least = multiply_adds(workload) / max(rates) / 1e9
        Console().print(
            f"{name}: {1e6 * min(times):.1f} us a round, {1e6 * least:.1f} at {max(rates):.1f} "
            f"multiply-adds a ns: {least / min(times):.0%}"
        )


if __name__ == "__main__":
    typer.run(bare_kernel)
