"""Learning on a GPU that is not here; run as a program it says as JSON what failed.

With ``TRITON_INTERPRET=1``, Triton runs its programs in Python: that has to be said before it is
imported, for the whole process. ``compile`` writes a GPU's machine code instead, without one.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedhome.learning.fused.rule import Rule
from fedhome.learning.local import LocalLearning
from fedhome.plan.settings import Precision
from fedhome.secagg import FixedPoint
from fedhome.simulations.benchmarks import gpu_contenders, gpu_table, workloads
from fedhome.simulations.benchmarks.measure import (
    GPU_CONTENDERS,
    BenchmarkCase,
    Measurement,
    run_here,
)
from fedhome.simulations.benchmarks.workloads import S
from fedhome.simulations.engines.batches import Rows
from fedhome.simulations.engines.compute_device import Placement
from fedhome.simulations.engines.kernels import kernel_of
from fedhome.simulations.engines.onchip import OnChipKernel, device_rounding
from fedhome.simulations.engines.onchip.device_rounding import EXACT, DeviceRounding, why_not_there
from fedhome.simulations.engines.onchip.onchip_kernel import compiled, launch_of
from fedhome.simulations.engines.onchip.onchip_program import OnChipProgram
from fedhome.simulations.engines.onchip.rounding_program import LANES
from fedhome.simulations.engines.rounding import rounding
from fedhome.simulations.engines.stacked_homes import StackedHomes
from fedhome.simulations.engines.torch_kernels import EagerKernel
from fedhome.simulations.simulate import simulate
from helpers import tiny
from helpers.as_a_gpu import AsAGpu, stand_in

ROWS = ((13, 3, 3), (8, 3, 3), (5, 3, 3), (1, 3, 3))
SETTINGS: dict[str, dict[str, Any]] = {
    "descent": {"train": {"clip_norm": 0}},
    "clipped": {"train": {"clip_norm": 0.2}},
    "momentum and decay": {"train": {"momentum": 0.9, "weight_decay": 0.05}},
    "adam": {"train": {"optimiser": "adam", "learning_rate": 0.01, "weight_decay": 0.01}},
    "a pull": tiny.fedprox(0.5),
    "squared error": {},
    "binary": {"task": {"kind": "binary"}},
    "multi-class": {"task": {"kind": "multi-class"}, "train": {"momentum": 0.5}},
    "no hidden layer": {"model": {"hidden": ()}},
    "three layers of odd widths": {"model": {"hidden": (17, 5, 33)}},
    "large batches": {"train": {"batch_size": 10}},
}
PROGRAMS = {
    "S": OnChipProgram(widths=(10, 64, 64, 1), batch_size=32, loss="mse", rule=Rule("sgd")),
    "default": OnChipProgram(
        widths=(23, 64, 64, 1), batch_size=32, loss="huber", rule=Rule("sgd", clip_norm=1.0)
    ),
    "classes": OnChipProgram(
        widths=(9, 32, 5),
        batch_size=16,
        loss="cross-entropy",
        rule=Rule("adam", weight_decay=0.1, proximal_mu=0.1),
    ),
}
PROGRAMS["bf16"] = replace(PROGRAMS["default"], precision="bf16")
_BLOCK_BYTES = 227 << 10  # shared memory that a block of an H100 may use
_STACK_BYTES = 512  # half of what a thread has registers for: the largest here keeps 376
_SIGNATURE = {
    **dict.fromkeys(("params", "anchor"), "*fp32"),
    "anchor_step": "i32",
    "x": "*fp32",
    "y": "*fp32",
    "orders": "*i64",
    "counts": "*i64",
    "losses": "*fp32",
    **dict.fromkeys(("homes", "width", "passes"), "i32"),
    "rate": "fp32",
}


def learning_of(name: str) -> LocalLearning:
    """Return what a case learns with."""
    learning = tiny.learning(tiny.plan(**SETTINGS[name]))
    if name != "squared error":
        return learning
    task = replace(learning.task, loss="mse")
    return LocalLearning(learning.model, task, learning.train, learning.method)


def _fleet(name: str) -> StackedHomes:
    kind = SETTINGS.get(name, {}).get("task", {}).get("kind", "regression")
    return StackedHomes.of(tiny.homes(ROWS, kind=kind))


def _rows(fleet: StackedHomes, passes: int, seed: int = 0) -> Rows:
    begin, counts = fleet.spans(np.arange(len(fleet.homes)), "train")
    drawn = np.random.default_rng(seed)
    orders = []
    for _ in range(passes):
        order = np.zeros((len(counts), int(counts.max())), np.int64)
        for home, count in enumerate(counts):
            order[home, :count] = begin[home] + drawn.permutation(count)
        orders.append(order)
    return Rows(orders=orders, counts=counts, keys=[np.zeros(len(counts), np.uint64)] * passes)


def _starts(learning: LocalLearning) -> NDArray[np.float32]:
    drawn = np.random.default_rng(5).standard_normal((len(ROWS), learning.layout.size))
    return (learning.initial + 0.1 * drawn).astype(np.float32)


def _same(
    learning: LocalLearning,
    fleet: StackedHomes,
    rows: Rows,
    towards: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Return what is learnt, once it is what the definition learns."""
    start = _starts(learning)
    expected, found = start.copy(), start.copy()
    losses = EagerKernel(learning).train(expected, fleet, rows, towards=towards)
    told = OnChipKernel(learning).train(found, fleet, rows, towards=towards)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=5e-6)
    np.testing.assert_allclose(told, losses, rtol=1e-5)
    assert np.abs(found - start).max() > 1e-3, "nothing was learnt"
    return found


def learns(name: str) -> None:
    """Two passes of a case."""
    fleet = _fleet(name)
    _same(learning_of(name), fleet, _rows(fleet, passes=2))


def pull() -> None:
    """Towards one start for all, or each home's own."""
    learning, fleet = learning_of("a pull"), _fleet("a pull")
    rows = _rows(fleet, passes=1)
    free = _same(learning, fleet, rows)
    for towards in (np.zeros(learning.layout.size, np.float32), 2 * _starts(learning)):
        assert not np.allclose(_same(learning, fleet, rows, towards), free, rtol=1e-3)


def without_rows() -> None:
    """A home that has none keeps what it had."""
    learning, fleet = learning_of("descent"), _fleet("descent")
    rows = replace(_rows(fleet, passes=1), counts=np.array([13, 0, 5, 0]))
    found, start = _starts(learning), _starts(learning)
    losses = OnChipKernel(learning).train(found, fleet, rows)
    assert np.array_equal(found[[1, 3]], start[[1, 3]])
    assert losses[[1, 3]].tolist() == [0.0, 0.0]
    assert not np.allclose(found[0], start[0])


@settings(max_examples=4, database=None, derandomize=True, deadline=None)
@given(
    hidden=st.lists(st.integers(1, 40), max_size=2).map(tuple),
    batch_size=st.integers(4, 40),
    seed=st.integers(0, 2**16),
)
def any_network(hidden: tuple[int, ...], batch_size: int, seed: int) -> None:
    """Whatever its widths and batches."""
    plan = tiny.plan(model={"hidden": hidden}, train={"batch_size": batch_size})
    fleet = StackedHomes.of(tiny.homes(ROWS, kind="regression"))
    _same(tiny.learning(plan), fleet, _rows(fleet, passes=1, seed=seed))


def whole_again() -> None:
    """Three products of TF32 are one of float32: as far off as float32 itself is."""
    assert 1e-9 < _off("float32") < 1e-6


def tf32() -> None:
    """Of ten bits: some ten-thousandths of the way off, and not exact."""
    assert 1e-5 < _off("tf32") < 2e-3


def bf16() -> None:
    """Of seven bits: eight times as far off at most, and further than TF32."""
    assert _off("tf32") < _off("bf16") < 2e-2


def rounded_sums() -> None:
    """Sums of the device are those of the processor, bit for bit, whatever the sizes."""
    placement = AsAGpu()
    assert not why_not_there(placement)
    there, here = DeviceRounding(placement), rounding()
    for homes, size, bits, scale, groups in (
        (1, 1, 2, 0.1, 128),
        (2, 4 * LANES + 3, 9, 0.05, 128),
        (5, 6, 24, 10.0, 2),
        (3, 130, 16, 1e30, 128),
    ):
        drawn = np.random.default_rng(homes)
        fixed = FixedPoint(bits, 0.05, "linf", 100)
        start = drawn.normal(size=size).astype(np.float32)
        params = start + (drawn.normal(size=(homes, size)) * scale).astype(np.float32)
        weights, keys = drawn.integers(0, 150, homes), [drawn.bytes(32) for _ in range(homes)]
        with patch.object(device_rounding, "_GROUPS", groups):
            found = there.sums(fixed, placement.put(params), start, weights, keys)
        np.testing.assert_array_equal(found, here.sums(fixed, params, start, weights, keys))
        largest = there.largest(placement.put(params), start)
        np.testing.assert_array_equal(largest, here.largest(params, start))


def whole_simulation() -> None:
    """A run trains, adds up, scores and fine-tunes there; its sums are those of the processor.

    What is brought back of training is one sum a chunk, not a model a home, and of each home its
    largest number: by which what is unfit is found, and by which its update is shortened.
    """
    few = replace(S, rows=12, clients=7, batch_size=8, widths=(10, 8, 1))
    plan = few.plan(clients=7, rounds=2, kernel="onchip").change(
        aggregation={"mode": "ideal"},
        engine={"device": "cuda"},
        rounds={"evaluate_fraction": 1.0},
        personalise={"name": "fine-tune", "epochs": 1, "rates": [1.0], "local_epochs": 1},
    )
    found, taken = [], []
    with patch.object(workloads, "S", few), pytest.MonkeyPatch.context() as patched:
        for why_not in (why_not_there, lambda _: "it is to be brought back"):
            patched.setattr(device_rounding, "why_not_there", why_not)
            stand_in(patched, placement := AsAGpu())
            with tempfile.TemporaryDirectory() as folder:
                result = simulate(plan, out=Path(folder) / "run")
                parameters = result.model.parameters.values()
            found.append(np.concatenate([array.ravel() for array in parameters]))
            taken.append(placement.taken)
    assert found[0].tobytes() == found[1].tobytes()
    size, rounds, homes = len(found[0]), 2, 7
    assert taken[1] - taken[0] == rounds * (homes - 1) * size - rounds * homes, taken


def taken_unasked() -> None:
    """On a GPU it is tried out, taken where homes learn the same, and a note says so."""
    for name in ("descent", "adam", "multi-class", "no hidden layer"):
        notes: list[str] = []
        placement = AsAGpu()
        kernel = kernel_of(learning_of(name), "auto", tiny.FEATURES, notes.append, placement)
        assert isinstance(kernel, OnChipKernel), notes
        assert "homes train on cpu by the kernel 'onchip'" in notes[0]


def table_of_contenders() -> None:
    """The benchmark of a GPU runs from end to end, and its check of what was learnt passes."""
    few = replace(S, rows=12, clients=3, batch_size=8, widths=(10, 8, 1))
    names = ["alone-traced", "alone-onchip", "alone-onchip-tf32", "whole-onchip"]
    assert set(names) <= set(GPU_CONTENDERS)

    def measured(name: str, case: BenchmarkCase, **_: Any) -> Measurement:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(torch.cuda, "is_available", lambda: True)
            precision = gpu_contenders.KERNELS[name.partition("-")[2]][1]
            stand_in(patched, AsAGpu(precision=precision))
            return run_here(name, case)

    table = gpu_table.GpuTable(minutes=5, measured=measured)
    with (
        patch.object(workloads, "S", few),
        patch.object(gpu_table, "WORKLOADS", {"S": few}),
        _matrix_units(),
    ):
        table.fill(["S:3"], names)
    assert all(isinstance(cell, float) for cell in table.cells["S:3"].values()), table.cells


def unfit_update() -> None:
    """A home whose update is not finite is left out there too."""
    placement = AsAGpu()
    params = np.ones((3, 9), np.float32)
    params[1, 4] = np.nan
    largest = DeviceRounding(placement).largest(placement.put(params), np.zeros(9, np.float32))
    assert np.isfinite(largest).tolist() == [True, False, True]


def _off(precision: Precision) -> float:
    """Return how far off two passes end, as a share of the way, on matrix units as a GPU's."""
    learning, fleet = learning_of("squared error"), _fleet("squared error")
    rows, start = _rows(fleet, passes=2), _starts(learning)
    expected, found = start.copy(), start.copy()
    EagerKernel(learning).train(expected, fleet, rows)
    with _matrix_units():
        kernel = OnChipKernel(learning, Placement(torch.device("cpu"), precision))
        kernel.train(found, fleet, rows)
    way = np.linalg.norm(expected - start)
    return float(np.linalg.norm(found - expected) / way)


@contextmanager
def _matrix_units() -> Iterator[None]:
    """Multiply as a GPU does, where Triton's interpreter takes whole float32, or fails at BF16.

    TF32 is what is left of float32 without its last 13 bits: units that round instead of cutting
    are nearer.
    """
    from triton._C.libtriton import ir  # noqa: PLC0415 - it is told before that it interprets
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle  # noqa: PLC0415

    def cut(whole: NDArray[np.float32]) -> NDArray[np.float32]:
        bits = np.ascontiguousarray(whole).view(np.uint32) & np.uint32(0xFFFFE000)
        return bits.view(np.float32)

    def as_floats(data: NDArray[Any]) -> NDArray[np.float32]:
        if data.dtype != np.uint16:
            return np.asarray(data, np.float32)
        return (data.astype(np.uint32) << np.uint32(16)).view(np.float32)  # BF16

    def product(_: Any, a: Any, b: Any, d: Any, precision: Any, _most: Any) -> Any:
        one, other = as_floats(a.data), as_floats(b.data)
        parts = [(one, other)]
        if precision == ir.INPUT_PRECISION.TF32:
            parts = [(cut(one), cut(other))]
        elif precision == ir.INPUT_PRECISION.TF32x3:
            high, its = cut(one), cut(other)
            parts = [(cut(one - high), its), (high, cut(other - its)), (high, its)]
        total = d.data
        for left, right in parts:
            total = total + np.matmul(left, right, dtype=np.float32)
        return TensorHandle(total, d.dtype.scalar)

    with patch.object(InterpreterBuilder, "create_dot", product):
        yield


def compiles(name: str) -> None:
    """Write an H100's machine code."""
    import triton  # noqa: PLC0415
    from triton.backends.compiler import GPUTarget  # noqa: PLC0415
    from triton.compiler import ASTSource  # noqa: PLC0415

    program = PROGRAMS[name]
    signature = dict(_SIGNATURE)
    if program.loss == "cross-entropy":
        signature["y"] = "*i64"
    source = ASTSource(fn=compiled(program), signature=signature, constexprs={})
    target = GPUTarget("cuda", 90, 32)
    made = triton.compile(source, target=target, options=launch_of(program))
    stack = _stack_bytes(made.asm["cubin"])
    assert stack <= _STACK_BYTES, f"{stack} bytes of a thread's numbers are not in registers"
    assert made.metadata.shared <= _BLOCK_BYTES, made.metadata.shared


def _stack_bytes(cubin: bytes) -> int:
    """Return what a thread keeps in memory of that for which it has no registers."""
    from triton import knobs  # noqa: PLC0415

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        told = subprocess.run(
            [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name],
            capture_output=True,
            text=True,
            check=True,
        )
    found = re.search(r"STACK:(\d+)", told.stdout)
    assert found, told.stdout
    return int(found.group(1))


def compiles_rounding() -> None:
    """Write an H100's machine code for sums."""
    import triton  # noqa: PLC0415
    from triton.backends.compiler import GPUTarget  # noqa: PLC0415
    from triton.compiler import ASTSource  # noqa: PLC0415

    floats = dict.fromkeys(("params", "start", "scales", "bounds"), "*fp32")
    signature = {**floats, "keys": "*i32", "table": "*i32", "sums": "*i64"}
    signature |= dict.fromkeys(("homes", "size", "each"), "i32")
    source = ASTSource(fn=device_rounding._program(), signature=signature, constexprs={})
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=dict(EXACT))
    assert made.asm["cubin"], "there is no machine code"
    fused = [line for line in made.asm["ptx"].splitlines() if "fma.rn.f32" in line]
    assert not fused, "a product and a sum in one step round otherwise than the processor"


CASES: dict[str, Callable[[], None]] = {
    **{f"learns: {name}": lambda name=name: learns(name) for name in SETTINGS},  # type: ignore[misc]
    "pull": pull,
    "without rows": without_rows,
    "any network": any_network,
    "float32": whole_again,
    "tf32": tf32,
    "bf16": bf16,
    "taken unasked": taken_unasked,
    "rounded sums": rounded_sums,
    "an unfit update": unfit_update,
}
WHOLE: dict[str, Callable[[], None]] = {
    "a whole simulation": whole_simulation,
    "a table of contenders": table_of_contenders,
}
COMPILED: dict[str, Callable[[], None]] = {
    "compiles: rounded sums": compiles_rounding,
    **{
        f"compiles: {name}": lambda name=name: compiles(name)  # type: ignore[misc]
        for name in PROGRAMS
    },
}


def main() -> None:
    """Run all cases, or all compilations, and print what each failed by, or nothing."""
    cases = CASES if os.environ.get("TRITON_INTERPRET") else COMPILED
    cases = WHOLE if "whole" in sys.argv else cases
    found = {}
    for name, case in cases.items():
        try:
            case()
        except Exception:  # noqa: BLE001 - it is told
            found[name] = traceback.format_exc()
        else:
            found[name] = ""
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
