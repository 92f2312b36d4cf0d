"""What a slice costs the device that carries it: numbers, bytes up, memory and time a step."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from fedhome.learning.local import Batch, LocalLearning
from fedhome.learning.slice_rules import CarriedSlice

_BYTES: Final = 4  # of a float32
_TRIES, _STEPS = 5, 5


@dataclass(frozen=True, kw_only=True)
class SliceCost:
    """What one device pays for its slice.

    Args:
        numbers: How many numbers it trains in a round, and sends.
        bytes_up: Bytes of these as float32: what a round's update has, without its envelope.
        memory: Bytes that a step of training holds at once, as `memory_of` reckons them.
        step_ms: Processor time of a step on this machine, in ms.
    """

    numbers: int
    bytes_up: int
    memory: int
    step_ms: float


def cost_of(carried: CarriedSlice, features: int) -> SliceCost:
    """Return what a slice costs in the rounds; it takes some steps, to time them.

    Args:
        carried: The slice.
        features: Width of the input.
    """
    learning = carried.rounds.learning
    return SliceCost(
        numbers=carried.numbers,
        bytes_up=_BYTES * carried.numbers,
        memory=memory_of(learning, features),
        step_ms=step_ms_of(learning, features),
    )


def memory_of(learning: LocalLearning, features: int) -> int:
    """Return the bytes that a step of training holds at once, reckoned from the shapes.

    Parameters, their gradient, what the optimiser and the method remember of them, a batch's rows,
    and what torch keeps of it for the way back. Python, torch itself and the home's own readings
    come on top.

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
        learning.step(state, batch)  # the first one makes what later ones find made
        best = float("inf")
        for _ in range(_TRIES):
            begin = time.thread_time()
            for _ in range(_STEPS):
                learning.step(state, batch)
            best = min(best, (time.thread_time() - begin) / _STEPS)
    finally:
        torch.set_num_threads(before)
    return best * 1e3


def _batch(learning: LocalLearning, features: int) -> Batch:
    """Return a whole batch of zeros."""
    blank, rows = learning.blank(features), learning.train.batch_size
    return Batch(
        torch.zeros(rows, features),
        torch.zeros((rows, *blank.y.shape[1:]), dtype=blank.y.dtype),
        torch.ones(rows),
        blank.key,
    )
