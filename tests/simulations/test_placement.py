"""Training on a GPU: everything lies where it should, is told plainly, and gives the same weights.

What needs a GPU is skipped where there is none. That a step, a prediction and what surrounds them
lie wholly on one device is shown without one, by the stand-ins of ``elsewhere.py``.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedhome.errors import EngineError, PlanError
from fedhome.models.mlp import mlp
from fedhome.plan.protocol import terms_hash
from fedhome.plan.settings import EngineSettings, Plan
from fedhome.simulations.engines import by_name, compute_device
from fedhome.simulations.engines.compute_device import (
    PROCESSOR,
    Placement,
    homes_at_once,
    outputs_of,
)
from fedhome.simulations.engines.kernels import kernel_of
from fedhome.simulations.engines.threaded_cohort import threads_of
from helpers import elsewhere, tiny

GPU = Placement(torch.device("cuda", 0))  # a name; nothing here computes on it
needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch finds no CUDA GPU on this machine"
)


def found_by(*cases: str) -> dict[str, str]:
    """Return what each case of the stand-ins says; empty where all is well."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "helpers.elsewhere", *cases],
        cwd=Path(elsewhere.__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_all_of_it_lies_on_one_device() -> None:
    assert found_by(*elsewhere.FEW) == dict.fromkeys(elsewhere.FEW, "")


@pytest.mark.slow
def test_all_of_it_lies_on_one_device_whatever_the_plan() -> None:
    assert found_by(*elsewhere.CASES) == dict.fromkeys(elsewhere.CASES, "")


@needs_gpu
@pytest.mark.parametrize("kernel", ["traced", "eager"])
@pytest.mark.parametrize("name", list(elsewhere.SETTINGS))
def test_a_gpu_gives_the_weights_of_the_processor(name: str, kernel: str, tmp_path: Path) -> None:
    plan = tiny.plan(**elsewhere.SETTINGS[name]).change(engine={"kernel": kernel})
    fleet = tiny.homes(kind=plan.task.kind)
    expected = tiny.run(plan, fleet, tmp_path / "cpu").state
    on_gpu = plan.change(engine={"device": "cuda"})
    found = [tiny.run(on_gpu, fleet, tmp_path / f"{turn}").state for turn in range(2)]
    np.testing.assert_allclose(found[0].flat, expected.flat, rtol=2e-4, atol=2e-5)
    for row, same in zip(found[0].rows, expected.rows, strict=True):
        assert row["validation_loss"] == pytest.approx(same["validation_loss"], rel=1e-3)
    assert found[0].flat.tobytes() == found[1].flat.tobytes()  # the same in every run


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cpu:0", "mps", ""])
def test_an_unknown_device_is_a_fault_of_the_plan(device: str) -> None:
    with pytest.raises(PlanError, match=r'"cpu", "cuda" or "cuda:N" is needed'):
        Plan.parse({"engine": {"device": device}})
    with pytest.raises(EngineError, match="is no device"):
        Placement.of(EngineSettings.model_construct(device=device))


def test_the_vector_engine_has_a_device_and_ray_deals_out_its_own() -> None:
    with pytest.raises(PlanError, match=r"engine.name = sequential computes on the processor"):
        Plan.parse({"engine": {"name": "sequential", "device": "cuda"}})
    with pytest.raises(PlanError, match="Ray gives each shard a GPU"):
        Plan.parse({"engine": {"name": "ray", "device": "cuda:1"}})
    assert Plan.parse({"engine": {"name": "ray", "device": "cuda"}}).check() == []
    assert Plan.parse({"engine": {"name": "vector", "device": "cuda:1"}}).check() == []


@pytest.mark.parametrize(
    ("engine", "told"),
    [
        ({"precision": "tf32"}, "is for a GPU's matrix units"),
        ({"precision": "bf16", "kernel": "onchip"}, "is for a GPU's matrix units"),
        ({"precision": "bf16", "device": "cuda"}, 'only engine.kernel = "onchip" multiplies in'),
        ({"precision": "bf16", "device": "cuda", "kernel": "traced"}, "the others can do tf32"),
        ({"precision": "float16", "device": "cuda"}, "engine.precision"),
        ({"examples_gb": 2.0}, "engine.examples_gb is of a GPU's memory"),
    ],
)
def test_coarse_products_are_refused_where_nothing_computes_them(
    engine: dict[str, Any], told: str
) -> None:
    with pytest.raises(PlanError, match=told):
        Plan.parse({"engine": engine})


def test_coarse_products_are_taken_where_there_are_such() -> None:
    for engine in (
        {"precision": "tf32", "device": "cuda"},
        {"precision": "bf16", "device": "cuda:1", "kernel": "onchip"},
    ):
        assert Plan.parse({"engine": engine}).check() == []


def test_torchs_products_are_as_coarse_as_wanted_while_homes_train_and_whole_otherwise() -> None:
    coarse, before = Placement(GPU.device, "tf32"), _exactness()
    with coarse.exact():
        with coarse.training():
            assert _exactness()[:2] == ("tf32", "tf32")
        assert _exactness()[:2] == ("ieee", "ieee")
    with GPU.exact(), GPU.training():
        assert _exactness()[:2] == ("ieee", "ieee")
    assert _exactness() == before


def test_torchs_kernels_do_not_fit_a_precision_that_torch_has_not() -> None:
    learning, coarse = tiny.learning(tiny.plan()), Placement(GPU.device, "bf16")
    for kernel in ("traced", "eager"):
        with pytest.raises(EngineError, match=f"{kernel} does not fit: torch multiplies float32"):
            kernel_of(learning, kernel, tiny.FEATURES, print, coarse)


def test_precision_is_of_no_agreement_with_homes() -> None:
    coarse = Plan.parse({"engine": {"precision": "tf32", "device": "cuda"}})
    assert terms_hash(coarse) == terms_hash(Plan.parse({}))


def test_without_a_gpu_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    plan = tiny.plan(engine={"device": "cuda"})
    with pytest.raises(EngineError, match="finds no CUDA GPU here") as caught:
        tiny.run(plan, tiny.homes(), tmp_path)
    assert "build for the processor alone" in caught.value.hint


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (6 << 30, 8 << 30))
    first, second = EngineSettings(device="cuda"), EngineSettings(device="cuda:1", examples_gb=1.5)
    assert Placement.of(first).device == torch.device("cuda", 0)
    assert Placement.of(first).room_bytes == 3 << 30  # half of what is free
    assert Placement.of(second).device == torch.device("cuda", 1)
    assert Placement.of(second).room_bytes == 1_500_000_000
    for engine, room in ((first, 1 << 30), (second, 500_000_000)):
        assert Placement.of(engine, sharing=3).room_bytes == room  # shards on one GPU share it
    with pytest.raises(EngineError, match="finds only 2 here"):
        Placement.of(EngineSettings(device="cuda:2"))


def test_the_fused_kernel_says_that_it_is_for_the_processor() -> None:
    learning = tiny.learning(tiny.plan())
    with pytest.raises(EngineError, match="compiled for the processor, not for cuda:0"):
        kernel_of(learning, "fused", tiny.FEATURES, print, GPU)
    assert kernel_of(learning, "fused", tiny.FEATURES, print, PROCESSOR).chunk_homes == 32


def test_a_model_of_one_home_at_a_time_is_refused_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_name, "against_vectors", lambda _: "it looks at numbers")
    stage = tiny.world(tiny.plan(engine={"device": "cuda"}), tiny.homes())
    with pytest.raises(EngineError, match="looks at numbers"), by_name.vector(stage):
        pass


def test_one_thread_feeds_a_gpu() -> None:
    assert threads_of(tiny.plan(engine={"threads": 3, "device": "cuda"})) == 1
    assert threads_of(tiny.plan(engine={"threads": 3})) == 3


def test_what_fails_on_a_gpu_is_an_error_of_the_engine() -> None:
    with pytest.raises(EngineError, match="cuda:0 failed: out of memory"), GPU.explained():
        raise RuntimeError("out of memory\nand more")
    with pytest.raises(RuntimeError, match="a bug"), PROCESSOR.explained():
        raise RuntimeError("a bug")


def _exactness() -> tuple[Any, ...]:
    cuda: Any = torch.backends.cuda
    cudnn: Any = torch.backends.cudnn
    return (
        cuda.matmul.fp32_precision,
        cudnn.conv.fp32_precision,
        torch.are_deterministic_algorithms_enabled(),
    )


def test_a_gpu_computes_whole_numbers_in_a_fixed_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = _exactness()
    with PROCESSOR.exact():
        assert _exactness() == before
        assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    with GPU.exact():
        assert _exactness() == ("ieee", "ieee", True)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert _exactness() == before


def test_a_chunk_of_a_gpu_is_as_large_as_its_memory_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = mlp(3, 1, hidden=(8,))
    assert outputs_of(model, 3) == 8 + 8 + 1
    learning = tiny.learning(tiny.plan())  # that model, batches of 8
    assert learning.layout.size == 3 * 8 + 8 + 8 + 1
    assert homes_at_once(learning, 3) == 1 << 12
    of_a_home = 4 * 41 + 8 * (3 + 3 * 17)
    monkeypatch.setattr(compute_device, "_GPU_NUMBERS", 10 * of_a_home + 1)
    assert homes_at_once(learning, 3) == 10
    with_adam = tiny.learning(tiny.plan(train={"optimiser": "adam"}))
    monkeypatch.setattr(compute_device, "_GPU_NUMBERS", 10 * (of_a_home + 2 * 41) - 1)
    assert homes_at_once(with_adam, 3) == 9


def test_chunks_are_cut_for_cores_and_not_for_a_gpu() -> None:
    rows = np.full(100, 1 << 11)
    assert PROCESSOR.chunk_size(50, rows) == 13  # eight chunks
    assert PROCESSOR.chunk_size(10, rows) == 10
    assert GPU.chunk_size(4096, rows) == 4096
    assert GPU.chunk_size(4096, 32 * rows) == 256  # 2 ** 24 rows in their orders


def test_no_step_waits_for_the_device() -> None:
    """What a step is made of asks for no number: a stand-in cannot see all that would wait."""
    for file in ("kernels.py", "traced/kernel.py", "traced/workspace.py", "traced/program.py"):
        source = (Path(compute_device.__file__).parent / file).read_text("utf-8")
        names = {n.attr for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Attribute)}
        assert not names & {"item", "cpu", "tolist", "nonzero", "synchronize"}, file
