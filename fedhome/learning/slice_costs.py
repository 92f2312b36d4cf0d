"""What a slice costs the device that carries it: numbers, bytes up, memory and time a step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from fedhome.errors import EngineError
from fedhome.learning.alone.pass_counts import batches_alone
from fedhome.learning.compiled_modules import compiled_of, why_torch
from fedhome.learning.fused import FusedMLP
from fedhome.learning.local import Batch, LocalLearning
from fedhome.learning.slice_rules import CarriedSlice
from fedhome.plan.settings import Plan

_BYTES: Final = 4  # of a float32
_TRIES, _STEPS = 5, 5
_COMPILED_STEPS = 50  # of some microseconds each


@dataclass(frozen=True, kw_only=True)
class SliceCost:
    """What one device pays for its slice.

    Args:
        numbers: How many numbers it trains in a round, and sends.
        bytes_up: Bytes of these as float32: what a round's update has, without its envelope.
        memory: Bytes that its largest step of training holds at once, as `memory_of` counts them.
        step_ms: Processor time of its longest step on this machine, in ms, as `step_ms_of` takes
            it.
    """

    numbers: int
    bytes_up: int
    memory: int
    step_ms: float


def cost_of(carried: CarriedSlice, plan: Plan, features: int) -> SliceCost:
    """Return what a slice costs; it takes some steps, to time them.

    A step is one of the rounds, or of the network that the device trains alone, whose batches may
    be larger.

    Args:
        carried: The slice.
        plan: The plan that it is of.
        features: Width of the input.
    """
    alone = [carried.own.learning.vary(batch=batch) for batch in batches_alone(plan.personalise)]
    steps = [carried.rounds.learning, *alone]
    return SliceCost(
        numbers=carried.numbers,
        bytes_up=_BYTES * carried.numbers,
        memory=max(memory_of(learning, features) for learning in steps),
        step_ms=max(step_ms_of(learning, features) for learning in steps),
    )


def memory_of(learning: LocalLearning, features: int) -> int:
    """Return the bytes that a step of training holds at once, by what trains it here.

    Parameters, their gradient, what the optimiser and the method remember of them, a batch's rows,
    and what is kept of it for the way back. The compiled kernel fills all of that up to whole
    vectors of the processor: its own size counts where it trains, else what torch keeps. Python,
    the code, torch itself and the home's own readings come on top.

    Args:
        learning: What is trained.
        features: Width of the input.
    """
    kernel = _kernel(learning)
    if kernel is None:
        return torchs_memory(learning, features)
    # A device's compiler is asked for a power of two, so that its code fits its last batch too.
    rows = 1 << (learning.train.batch_rows - 1).bit_length()
    return _BYTES * learning.layout.size + kernel.workspace_bytes(rows)


def torchs_memory(learning: LocalLearning, features: int) -> int:
    """Return the bytes that torch holds at once in a step of training, by the shapes.

    Args:
        learning: What is trained.
        features: Width of the input.
    """
    params = learning.tensors(learning.initial.copy())
    state, batch = learning.init(params), _batch(learning, features)
    kept = 2 + len(state.slots) + bool(state.anchor)  # parameters, gradient, and besides
    held = {p.untyped_storage().data_ptr(): 0 for p in (*params.values(), batch.x)}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held.setdefault(storage.data_ptr(), storage.nbytes())
        return tensor

    wanted = {name: p.requires_grad_() for name, p in params.items()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = learning.row_losses(wanted, batch)
        size = sum(held.values())  # while all that is kept is alive: no address is taken twice
    del losses
    return _BYTES * (kept * learning.layout.size + batch.x.numel()) + size


def step_ms_of(learning: LocalLearning, features: int) -> float:
    """Return the processor time of one step on one thread, in ms: the least of some.

    It is the compiled kernel's step where that trains it, and else torch's.

    Args:
        learning: What is trained.
        features: Width of the input.
    """
    kernel, batch = _kernel(learning), _batch(learning, features)
    if kernel is None:
        return torchs_step_ms(learning, features)
    rows = len(batch.x)

    def steps() -> None:
        kernel.train(
            learning.initial[None].copy(),
            batch.x.numpy(),
            batch.y.numpy(),
            np.tile(np.arange(rows), _COMPILED_STEPS),
            np.array([rows]),
            batch_size=rows,
            epochs=_COMPILED_STEPS,
            learning_rate=learning.train.learning_rate,
        )

    return _least_ms(steps, _COMPILED_STEPS)


def torchs_step_ms(learning: LocalLearning, features: int) -> float:
    """Return the processor time of one step by torch on one thread, in ms: the least of some.

    Args:
        learning: What is trained.
        features: Width of the input.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        state = learning.init(learning.tensors(learning.initial.copy()))
        batch = _batch(learning, features)

        def steps() -> None:
            for _ in range(_STEPS):
                learning.step_of_one(state, batch)

        learning.step_of_one(state, batch)  # the first one makes what later ones find made
        return _least_ms(steps, _STEPS)
    finally:
        torch.set_num_threads(before)


def _kernel(learning: LocalLearning) -> FusedMLP | None:
    """Return the compiled kernel where that trains it here; None: torch does, which is told."""
    if why_torch(learning):
        return None
    kernel = compiled_of(learning)
    try:
        kernel.compile(learning.train.batch_rows)
    except EngineError:  # no machine code here
        return None
    return kernel


def _least_ms(steps: Callable[[], None], count: int) -> float:
    """Return the processor time of one of this many steps, in ms, of some tries the least."""
    best = float("inf")
    for _ in range(_TRIES):
        begin = time.thread_time()
        steps()
        best = min(best, (time.thread_time() - begin) / count)
    return best * 1e3


def _batch(learning: LocalLearning, features: int) -> Batch:
    """Return a whole batch of zeros."""
    blank, rows = learning.blank(features), learning.train.batch_rows
    return Batch(
        torch.zeros(rows, features),
        torch.zeros((rows, *blank.y.shape[1:]), dtype=blank.y.dtype),
        torch.ones(rows),
        blank.key,
    )
