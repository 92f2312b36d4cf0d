"""A device that is not there, to train on; run as a program it says as JSON what failed on it.

Two stand-ins, both on the device type that torch keeps for backends written in Python: unlike
"cuda" it has all that gradients need, whatever torch was built for. It is registered for the
whole process, hence a program and not a fixture.

* ``shapes``: torch's fake tensors. They know their device, and torch itself refuses to mix
  devices; they hold no numbers.
* ``numbers``: tensors that say they lie elsewhere, and hold their numbers here. What was learnt
  can be compared with what the processor learns.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Self
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from fedhome.learning.cohort import Training
from fedhome.learning.local import LocalLearning
from fedhome.plan.settings import Plan
from fedhome.simulations.engines.compute_device import PROCESSOR, Placement, homes_at_once
from fedhome.simulations.engines.kernels import kernel_of
from fedhome.simulations.engines.stacked_homes import StackedHomes
from fedhome.simulations.engines.torch_kernels import EagerKernel, TorchKernel
from fedhome.simulations.engines.traced import TracedKernel, tracing
from fedhome.simulations.engines.vector_cohort import VectorCohort
from helpers import tiny

KERNELS: dict[str, type[TorchKernel]] = {"traced": TracedKernel, "eager": EagerKernel}
SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "momentum": {"train": {"momentum": 0.9}},
    "adam": {"train": {"optimiser": "adam", "learning_rate": 0.01, "weight_decay": 0.01}},
    "proximal and clipped": {"train": {"clip_norm": 0.3}, **tiny.fedprox(0.5)},
    "dropout": {"model": {"dropout": 0.4}},
    "layer norm": {"model": {"hidden": [8, 8], "norm": "layer"}},
    "group norm, binary": {"model": {"hidden": [16], "norm": "group"}, "task": {"kind": "binary"}},
    "multi-class": {"task": {"kind": "multi-class"}, "train": {"momentum": 0.5}},
    "buffer": {"model": {"name": "helpers.elsewhere:Scaled"}},
}
FEW = [
    "copies",
    "auto",
    "shapes, eager, buffer",
    "shapes, traced, dropout",
    "numbers, eager, adam",
    "numbers, traced, multi-class",
]
CASES = [
    "copies",
    "auto",
    *(
        f"{standing}, {kernel}, {name}"
        for standing in ("shapes", "numbers")
        for kernel in KERNELS
        for name in SETTINGS
        # Of a constant with numbers that says it lies elsewhere, torch makes no fake copy.
        if (standing, kernel, name) != ("numbers", "traced", "buffer")
    ),
]
_FAKE = torch._C._TorchDispatchModeKey.FAKE
_MOVES = {torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default}


class Scaled(nn.Module):
    """A user's module with a constant, which has to go along."""

    scale: Tensor

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.head = nn.Linear(features, outputs)
        self.register_buffer("scale", torch.linspace(0.5, 1.5, features), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(x * self.scale)
        return output


class Elsewhere(Tensor):
    """A tensor that says it lies elsewhere; ``held`` is it, in the processor's memory."""

    held: Tensor

    def __new__(cls, held: Tensor, device: torch.device) -> Self:
        self: Self = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=device,
        )
        self.held = held
        return self

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        raise AssertionError(f"{func} outside of the device")


class Numbers(TorchDispatchMode):
    """Computes with the tensors of :class:`Elsewhere`, and refuses to mix them with others."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if torch._C._get_dispatch_mode(_FAKE) is not None:  # a step is being traced
            return func(*args, **(kwargs or {}))
        given, spec = pytree.tree_flatten((args, kwargs or {}))
        tensors = [value for value in given if isinstance(value, Tensor)]
        there = [value for value in tensors if isinstance(value, Elsewhere)]
        device = next((v for v in given if isinstance(v, torch.device)), None)
        goes = bool(there) if device is None else device.type == self.device.type
        # A single number of the processor may take part, as with a GPU.
        here = [v for v in tensors if not isinstance(v, Elsewhere) and v.dim()]
        if there and here and func not in _MOVES:
            raise RuntimeError(f"{func} mixes devices")
        if func is torch.ops.aten._local_scalar_dense.default and there:
            raise RuntimeError("a step waits for a number")
        held = [v.held if isinstance(v, Elsewhere) else v for v in given]
        held = [torch.device("cpu") if isinstance(v, torch.device) else v for v in held]
        own_args, own_kwargs = pytree.tree_unflatten(held, spec)
        result = func(*own_args, **own_kwargs)
        if there and torch.Tag.inplace_view in func.tags:  # what it says of its shape follows
            with no_dispatch():
                func(*args, **(kwargs or {}))
        known = {id(value.held): value for value in there}

        def wrapped(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            if id(value) in known:
                return known[id(value)]
            return Elsewhere(value, self.device) if goes else value

        return pytree.tree_map(wrapped, result)


class Moves(TorchDispatchMode):
    """Refuses to move tensors between devices other than by a placement."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        touched = [*pytree.tree_leaves((args, kwargs)), result]
        devices = {value.device for value in touched if isinstance(value, Tensor)}
        if func in _MOVES and len(devices) > 1 and not self.allowed:
            raise RuntimeError(f"{func} moves a tensor from or to a device")
        return result


class Standing(Placement):
    """A placement on a device that is not there.

    Args:
        device: It.
        numbers: Whether its tensors hold numbers.
    """

    def __init__(self, device: torch.device, *, numbers: bool) -> None:
        super().__init__(device)
        self.moves = Moves()
        self.copies = 0
        self._numbers = numbers

    @contextmanager
    def _moving(self) -> Iterator[None]:
        self.moves.allowed = True
        try:
            yield
        finally:
            self.moves.allowed = False

    def put(self, array: NDArray[Any]) -> Tensor:
        self.copies += 1
        with self._moving():
            return torch.from_numpy(array).to(self.device)

    def take(self, tensor: Tensor) -> NDArray[Any]:
        if tensor.device != self.device:
            raise AssertionError(f"a result lies on {tensor.device}")
        self.copies += 1
        if not self._numbers:
            return np.zeros(tuple(tensor.shape), str(tensor.dtype).partition(".")[2])
        assert isinstance(tensor, Elsewhere)
        array: NDArray[Any] = tensor.held.numpy().copy()
        return array


class Here(Executor):
    """Works in the calling thread, which alone knows the stand-ins."""

    def map(self, fn: Callable[..., Any], *iterables: Iterable[Any], **_: Any) -> Iterator[Any]:
        return map(fn, *iterables)


def cohort_on(
    plan: Plan,
    learning: LocalLearning,
    fleet: StackedHomes,
    placement: Placement,
    *,
    chunk: int | None = None,
) -> VectorCohort:
    """Return a cohort on the processor, or where a placement says."""
    kernel = KERNELS[plan.engine.kernel](learning, placement, chunk=chunk)
    return VectorCohort(
        learning,
        fleet,
        seed=plan.seed,
        kernel=lambda _: kernel,
        workers=Here(),
        placement=placement,
    )


def answers(cohort: VectorCohort) -> list[NDArray[Any]]:
    """Train, score and predict; return all numbers that come back."""
    start = cohort.learning.initial
    trained = cohort.train(start, Training(stream=1, epochs=2))
    again = cohort.train(trained.params, Training(stream=2, epochs=1, part="train+validation"))
    alone = cohort.evaluate(again.params, "test")
    shared = cohort.evaluate(start, "validation")
    predicted = cohort.predict(again.params, "validation")
    return [trained.params, trained.losses, again.params, alone.losses, shared.losses, predicted]


def run(case: str, device: torch.device) -> None:
    """Run a case; raises where something is not where it should be."""
    standing, kernel, name = case.split(", ", 2)
    plan = tiny.plan(**SETTINGS[name]).change(engine={"kernel": kernel})
    fleet = StackedHomes.of(tiny.homes(kind=plan.task.kind))
    learning = tiny.learning(plan)
    here = cohort_on(plan, learning, fleet, PROCESSOR)
    here.evaluate(learning.initial, "validation")  # buffers are there, to be sent
    placement = Standing(device, numbers=standing == "numbers")
    mode: Any = FakeTensorMode(allow_non_fake_inputs=True)
    if standing == "numbers":
        mode = Numbers(device)
    # A step is traced with the fake tensors that are already there.
    traces = FakeTensorMode if standing == "numbers" else lambda **_: nullcontext()
    with mode, patch.object(tracing, "FakeTensorMode", traces):
        if standing == "shapes":  # a fake copy of a single number would be made by a real device
            named = learning.model.named_buffers()
            sent = {name: torch.empty_like(buffer, device=device) for name, buffer in named}
            learning._threads.buffers[device] = sent
        cohort = cohort_on(plan, learning, fleet, placement)
        answers(cohort)  # buffers have gone over, and all steps are traced
        with placement.moves:
            found = answers(cohort)
    if standing == "numbers":
        expected = answers(here)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def copies(device: torch.device) -> None:
    """Count what goes over and back: of a pass of many steps as much as of a pass of one."""
    found = {}
    for batch_size in (2, 1000):
        plan = tiny.plan(train={"batch_size": batch_size}, engine={"kernel": "traced"})
        learning, fleet = tiny.learning(plan), StackedHomes.of(tiny.homes())
        placement = Standing(device, numbers=True)
        with Numbers(device):
            cohort = cohort_on(plan, learning, fleet, placement, chunk=2)
            cohort.train(learning.initial, Training(stream=1, epochs=3))
        found[batch_size] = placement.copies
    # Examples; of each of two chunks parameters, masks, weights, (no) keys, and two results;
    # of each of three passes the rows.
    expected = 2 + 2 * (4 + 2 + 3)
    assert found == {2: expected, 1000: expected}, found


def auto(device: torch.device) -> None:
    """Check what "auto" takes for a plain MLP: no fused kernel, and a chunk for a GPU."""
    learning, placement = tiny.learning(tiny.plan()), Standing(device, numbers=True)
    notices: list[str] = []
    with Numbers(device):
        kernel = kernel_of(learning, "auto", tiny.FEATURES, notices.append, placement)
        assert isinstance(kernel, TracedKernel)
        assert kernel.chunk_homes == homes_at_once(learning, tiny.FEATURES) > 1000
        (told,) = notices
        assert "by the kernel 'traced'" in told
        assert "captured: elsewhere:0 has no CUDA graphs" in told


def main() -> None:
    """Run all cases, or those that are named, and print what failed."""
    _setup_privateuseone_for_python_backend("elsewhere")
    torch.set_num_threads(1)
    alone = {"copies": copies, "auto": auto}
    found = {}
    for case in sys.argv[1:] or CASES:
        found[case] = ""
        try:
            alone.get(case, partial(run, case))(torch.device("elsewhere", 0))
        except Exception:  # noqa: BLE001 - whatever failed is the answer
            found[case] = traceback.format_exc()
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    os._exit(0)  # the thread that torch starts for the device's gradients cannot be ended


if __name__ == "__main__":
    main()
