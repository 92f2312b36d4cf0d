"""The benchmark of a GPU, without one: what it measures, and what it says of what it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fedhome.errors import EngineError
from fedhome.simulations.benchmarks import gpu_contenders, workloads
from fedhome.simulations.benchmarks.gpu_table import GpuTable
from fedhome.simulations.benchmarks.measure import (
    GPU_CONTENDERS,
    BenchmarkCase,
    Measurement,
    NotHereError,
    run_here,
)
from fedhome.simulations.benchmarks.workloads import S
from helpers.as_a_gpu import AsAGpu, stand_in

FEW = replace(S, rows=12, clients=3, batch_size=8, widths=(10, 8, 1))
Measured = Callable[..., Measurement]


def measured_as(**params: float | Exception) -> Measured:
    """Each contender ends so far from the start, or fails."""

    def measured(name: str, case: BenchmarkCase, **_: Any) -> Measurement:
        far = params[name.replace("-", "_")]
        if isinstance(far, Exception):
            raise far
        seconds, end = np.array([0.5, 0.25, 0.125]), case.workload.initial()
        return Measurement(params=end + np.float32(far), seconds=seconds, cpu_s=np.zeros(0))

    return measured


@pytest.mark.parametrize("name", ["alone-traced", "whole-traced"])
def test_a_contender_learns_what_the_processor_does(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = BenchmarkCase(workload=FEW, clients=3, rounds=3, checked=3)
    monkeypatch.setattr(workloads, "S", FEW)
    expected = run_here("fedhome-fused", case)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    stand_in(monkeypatch, AsAGpu())
    found = run_here(name, case)
    np.testing.assert_allclose(found.params, expected.params, rtol=1e-4, atol=1e-6)
    assert len(found.seconds) == 2
    assert np.abs(found.params - FEW.initial()).max() > 1e-3


def test_the_table_names_each_figure_and_what_is_missing() -> None:
    measured = measured_as(
        jax_vmap=NotHereError("jax is not installed"),
        alone_onchip=0.01,
        alone_onchip_tf32=0.0101,
        whole_onchip=0.02,
        alone_traced=EngineError("the contender failed:\nlong\nno memory"),
    )
    table = GpuTable(minutes=1, measured=measured)
    names = ["jax-vmap", "alone-onchip", "alone-onchip-tf32", "whole-onchip", "alone-traced"]
    table.fill(["S:2"], names)
    cells = table.cells["S:2"]
    assert (cells["alone-onchip"], cells["alone-onchip-tf32"]) == (8.0, 8.0)
    assert "it did not learn the same" in str(cells["whole-onchip"])
    text = table.markdown()
    assert "| client-updates/s | S:2 |" in text
    assert "| alone-onchip | 8 |" in text
    assert "| jax-vmap | none (1) |" in text
    assert "(1) jax is not installed" in text
    assert "(3) no memory" in text


def test_who_learns_nothing_is_told_of_and_stops_no_table() -> None:
    table = GpuTable(minutes=1, measured=measured_as(jax_vmap=0.0, alone_onchip=0.5))
    table.fill(["S:2"], ["jax-vmap", "alone-onchip"])
    assert "after a way of 0" in str(table.cells["S:2"]["alone-onchip"])


def test_when_time_is_up_what_is_there_is_shown() -> None:
    table = GpuTable(minutes=0, measured=measured_as())
    table.fill(["S:2"], list(GPU_CONTENDERS))
    assert set(table.cells["S:2"].values()) == {"no time was left"}


def test_without_a_gpu_a_contender_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    case = BenchmarkCase(workload=FEW, clients=3, rounds=3, checked=3)
    for name in gpu_contenders.KERNELS:
        with pytest.raises(NotHereError, match="no CUDA GPU"):
            run_here(f"alone-{name}", case)
