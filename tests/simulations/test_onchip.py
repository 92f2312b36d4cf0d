"""The kernel that keeps weights on a GPU's chip: its numbers by Triton's interpreter, its code by
Triton's compiler; neither needs a GPU.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from fedhome.errors import EngineError
from fedhome.learning.local import LocalLearning
from fedhome.plan.settings import Precision
from fedhome.simulations.engines.compute_device import PROCESSOR, Placement
from fedhome.simulations.engines.kernels import kernel_of
from fedhome.simulations.engines.onchip import OnChipKernel, device_rounding, onchip_kernel
from fedhome.simulations.engines.torch_kernels import EagerKernel
from fedhome.simulations.engines.traced import TracedKernel
from helpers import on_chip, tiny
from helpers.as_a_gpu import AsAGpu

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="Triton is not installed: pip install triton (there is none but for Linux)",
)


def found(*which: str, **environment: str) -> dict[str, str]:
    """Return what each case says in a process of its own; empty where all is well."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "helpers.on_chip", *which],
        cwd=Path(on_chip.__file__).parents[1],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    cases: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return cases


@needs_triton
@pytest.mark.long
def test_it_learns_what_the_definition_learns() -> None:
    assert found(TRITON_INTERPRET="1") == dict.fromkeys(on_chip.CASES, "")


@needs_triton
@pytest.mark.slow
def test_a_whole_simulation_stays_there_and_its_sums_are_the_processors() -> None:
    assert found("whole", TRITON_INTERPRET="1") == dict.fromkeys(on_chip.WHOLE, "")


def test_rounding_is_tried_out_once_on_a_gpu_and_holds_no_examples_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[int] = []

    class Tried(device_rounding.DeviceRounding):
        def sums(self, *_: Any) -> Any:
            tried.append(1)
            return None

    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(device_rounding, "is_installed", lambda: True)
    monkeypatch.setattr(device_rounding, "DeviceRounding", Tried)
    placement = AsAGpu()
    for _ in range(2):
        told = device_rounding.why_not_there(placement)
        assert told == "on this GPU it gives another sum"
    assert len(tried) == 1
    there = weakref.ref(placement)
    del placement
    gc.collect()
    assert there() is None


@needs_triton
@pytest.mark.long
def test_it_compiles_for_a_gpu_that_is_not_here(tmp_path: Path) -> None:
    cases = found(TRITON_INTERPRET="", TRITON_CACHE_DIR=str(tmp_path))
    assert cases == dict.fromkeys(on_chip.COMPILED, "")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": {"hidden": (512, 512)}}, "padded numbers are more than"),
        ({"train": {"batch_size": 129}}, "a batch of 129 rows"),
        ({"model": {"hidden": (8,), "dropout": 0.5}}, "not a plain MLP"),
    ],
)
def test_what_does_not_fit_on_the_chip_is_said(changes: dict[str, Any], told: str) -> None:
    learning = tiny.learning(tiny.plan(**changes))
    assert told in OnChipKernel.fits(learning, 3, AsAGpu())


@needs_triton
def test_it_is_for_a_cuda_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    learning = on_chip.learning_of("descent")
    with pytest.raises(EngineError, match="onchip does not fit: it is written for a GPU"):
        kernel_of(learning, "onchip", 3, print, PROCESSOR)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert OnChipKernel.fits(learning, 3, AsAGpu()) == "it is written for CUDA, not for cpu"


class _Launched:
    """A compiled program that does not do what it should."""

    def __init__(self, error: Exception | None) -> None:
        self.error, self.launched = error, 0

    def __getitem__(self, _: Any) -> Any:
        return self._launch

    def _launch(self, *_: Any, **__: Any) -> None:
        self.launched += 1
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("out of resource"), "a trial of it failed: cpu failed: out of resource"),
        (TypeError("no such type"), "it does not compile for this GPU (TypeError)"),
        (None, "in a trial of it homes learnt something else"),
    ],
)
def test_where_a_trial_fails_another_kernel_trains_and_a_note_says_why(
    error: Exception | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = _Launched(error)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(onchip_kernel, "is_installed", lambda: True)
    monkeypatch.setattr(onchip_kernel, "compiled", lambda _: program)
    notes: list[str] = []
    learning, placement = on_chip.learning_of("descent"), AsAGpu()
    for _ in range(2):
        kernel = kernel_of(learning, "auto", tiny.FEATURES, notes.append, placement)
        assert type(kernel) is TracedKernel
    assert f"onchip: {told}" in notes[0]
    assert program.launched == 1, "a trial is made once for a program"
    with pytest.raises(EngineError, match="onchip does not fit: "):
        kernel_of(learning, "onchip", tiny.FEATURES, print, placement)


Spoil = Callable[[Tensor, Tensor, NDArray[np.float64]], object]  # ends, starts, losses
SPOILT: dict[str, tuple[str, Spoil]] = {
    "nothing": ("", lambda *_: None),
    "no home moves": ("learnt something else", lambda ends, starts, _: ends.copy_(starts)),
    "one home stays": (
        "learnt something else",
        lambda ends, starts, _: ends[2].copy_(starts[2]),
    ),
    "one home is lost": ("learnt something else", lambda ends, *_: ends[1, 0].fill_(float("nan"))),
    "one home's loss": ("told other losses", lambda _ends, _starts, losses: losses[2:].fill(9.0)),
    "a loss is lost": ("told other losses", lambda _ends, _starts, losses: losses[:1].fill(np.nan)),
}


@pytest.mark.parametrize(("rate", "precision"), [(0.1, "float32"), (1e-8, "bf16")])
@pytest.mark.parametrize("what", SPOILT)
def test_a_trial_sees_what_is_wrong_of_one_home_at_any_rate_and_precision(
    what: str, precision: Precision, rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault, spoil = SPOILT[what]

    class Spoilt(OnChipKernel):
        def __init__(self, learning: LocalLearning, placement: Placement, *, chunk: int) -> None:
            super().__init__(learning, placement, chunk=chunk)
            self.right = EagerKernel(learning, AsAGpu(), chunk=chunk)

        def train_there(self, params: Tensor, *given: Any, **told: Any) -> NDArray[np.float64]:
            starts = params.clone()
            losses = self.right.train_there(params, *given, **told)
            spoil(params, starts, losses)
            return losses

    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(onchip_kernel, "is_installed", lambda: True)
    monkeypatch.setattr(onchip_kernel, "TracedKernel", EagerKernel)  # which compiles nothing
    train = {"optimiser": "adam", "learning_rate": rate}
    learning = tiny.learning(tiny.plan(train=train))
    told = Spoilt.fits(learning, tiny.FEATURES, AsAGpu(precision=precision))
    assert told == (fault and f"in a trial of it homes {fault}")
