"""The processor in the part of a GPU: what lies there is a copy, and has to be brought back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedhome.plan.settings import EngineSettings, Precision
from fedhome.simulations.engines.compute_device import Placement
from fedhome.simulations.engines.streamed_examples import CopyLane, Examples


class NotedLane(CopyLane):
    """Copies at once, and notes what it was given and when that was used.

    Attributes:
        events: "send" and "use", in their order, each with how many rows there were.
    """

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []

    def send(self, x: NDArray[Any], y: NDArray[Any]) -> Callable[[], Examples]:
        """Copy."""
        self.events.append(("send", len(x)))

        def arrived() -> Examples:
            self.events.append(("use", len(x)))
            return Examples(torch.from_numpy(x.copy()), torch.from_numpy(y.copy()))

        return arrived


class AsAGpu(Placement):
    """A placement that has a memory of its own, and computes on the processor.

    Args:
        room_bytes: What examples may take there; None: all that they need.
        precision: Of products in training.
    """

    elsewhere = True  # type: ignore[assignment]

    def __init__(self, room_bytes: int | None = None, precision: Precision = "float32") -> None:
        super().__init__(torch.device("cpu"), precision, room_bytes=room_bytes)
        self.copies = NotedLane()
        self.taken = 0

    def put(self, array: NDArray[Any]) -> Tensor:
        """Copy an array."""
        return torch.from_numpy(np.array(array))

    def take(self, tensor: Tensor) -> NDArray[Any]:
        """Copy a tensor, and count its numbers."""
        self.taken += tensor.numel()
        array: NDArray[Any] = tensor.numpy().copy()
        return array

    def lane(self) -> CopyLane:
        """Return the lane that notes."""
        return self.copies


def stand_in(patch: pytest.MonkeyPatch, placement: Placement) -> None:
    """Let whatever a plan's device is be this placement."""

    def of(_engine: EngineSettings, *, sharing: int = 1) -> Placement:
        del sharing
        return placement

    patch.setattr(Placement, "of", of)
