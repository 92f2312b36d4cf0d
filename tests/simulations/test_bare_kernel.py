"""The limit that the kernel is held against."""

from __future__ import annotations

import pytest

from fedhome.simulations.benchmarks.bare_kernel import kernel, multiply_adds, peak
from fedhome.simulations.benchmarks.workloads import WORKLOADS


def test_multiply_adds_by_hand() -> None:
    # 10-64-64-1: forward 640 + 4096 + 64, the same for weights, 4096 + 64 for inputs; 128 rows.
    assert multiply_adds(WORKLOADS["S"]) == (2 * 4800 + 4160) * 128
    assert multiply_adds(WORKLOADS["L"]) == (2 * 84480 + 68096) * 512


@pytest.mark.long
def test_both_are_timed_by_what_they_compute() -> None:
    assert peak()() > 0
    assert kernel(WORKLOADS["S"])() > 0
