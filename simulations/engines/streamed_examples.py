"""Examples that do not fit on a device go there in turns, each while the last is computed with.

A chunk of homes is trained in as many parts as its examples need. While a part is at work, the
next one's examples are gathered here and copied by another stream, so there are two of them on the
device at most. A home learns what it would learn from examples that are all there: its rows are
the same in the same order, and sums over a chunk are taken when all of its parts are done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedhome.errors import EngineError
from fedhome.simulations.engines.stacked_homes import Spans, StackedHomes

_AT_ONCE = 2  # parts on the device: one at work, one on its way


class Examples(NamedTuple):
    """Examples where they are trained on: ``x [rows, features]``, ``y [rows, …]``."""

    x: Tensor
    y: Tensor


class Turn(NamedTuple):
    """Some homes of a chunk whose examples are on the device.

    Args:
        homes: Which of the chunk.
        examples: Theirs, or all.
        shift: What is added to a row of the fleet to find it there, int64 ``[homes]``; None:
            nothing.
    """

    homes: slice
    examples: Examples
    shift: NDArray[np.int64] | None


class CopyLane(Protocol):
    """Copies to a device beside what it computes."""

    def send(self, x: NDArray[Any], y: NDArray[Any]) -> Callable[[], Examples]:
        """Begin to copy examples; they may be used once what is returned has been called."""


class CudaLane(CopyLane):
    """Copies from pinned memory, by a stream of its own.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._cuda: Any = torch.cuda  # it says nothing of its types
        self._stream = self._cuda.Stream(device)

    def send(self, x: NDArray[Any], y: NDArray[Any]) -> Callable[[], Examples]:
        """Begin to copy; what is computed afterwards waits for it, and this process does not."""
        with self._cuda.stream(self._stream):
            there = Examples(*(self._copy(array) for array in (x, y)))
            done = self._cuda.Event()
            done.record(self._stream)

        def arrived() -> Examples:
            computing = self._cuda.current_stream(self._device)
            computing.wait_event(done)
            for tensor in there:
                tensor.record_stream(computing)  # its memory is not given away before
            return there

        return arrived

    def _copy(self, array: NDArray[Any]) -> Tensor:
        pinned = torch.from_numpy(array).pin_memory()
        return pinned.to(self._device, non_blocking=True)


def bytes_of(fleet: StackedHomes) -> int:
    """Return how many bytes a fleet's inputs and targets are."""
    return fleet.x.nbytes + fleet.y.nbytes


def parts_of(fleet: StackedHomes, chunk: Spans, room_bytes: int) -> list[slice]:
    """Cut a chunk into homes whose examples take no more than their share of the room.

    Args:
        fleet: All homes.
        chunk: The chunk's homes, and where their rows lie.
        room_bytes: What examples may take of the device's memory.

    Raises:
        EngineError: A single home's examples are more.
    """
    row = bytes_of(fleet) / max(len(fleet.x), 1)
    most = int(room_bytes / _AT_ONCE / max(row, 1))  # rows
    largest = int(chunk.counts.max(initial=0))
    if largest > most:
        raise EngineError(
            f"a home's examples take {largest * row / 1e9:.3g} GB on the GPU, of which "
            f"{room_bytes / 1e9:.3g} GB are for examples, half of it for those at work",
            hint='raise engine.examples_gb, or set engine.device = "cpu"',
        )
    parts, first, held = [], 0, 0
    for at, count in enumerate(chunk.counts.tolist()):
        if held + count > most:
            parts.append(slice(first, at))
            first, held = at, 0
        held += count
    return [*parts, slice(first, len(chunk.counts))]


class Feed:
    """The examples of chunks that are trained one after the other, in this order.

    Args:
        fleet: All homes.
        chunks: The chunks, and where their homes' rows lie.
        parts: How each is cut.
        lane: What copies.
        ahead: Where the next part's examples are gathered meanwhile.
    """

    def __init__(
        self,
        fleet: StackedHomes,
        chunks: Sequence[Spans],
        parts: Sequence[list[slice]],
        *,
        lane: CopyLane,
        ahead: ThreadPoolExecutor,
    ) -> None:
        self._fleet, self._parts, self._lane, self._ahead = fleet, parts, lane, ahead
        self._wanted = iter(
            Spans(chunk.homes[part], chunk.begin[part], chunk.counts[part])
            for chunk, cut in zip(chunks, parts, strict=True)
            for part in cut
        )
        self._next = self._begin()

    def turns(self, number: int) -> Iterator[Turn]:
        """Yield the parts of a chunk as their examples arrive; the next is on its way then.

        Args:
            number: Which chunk; they are asked for in their order.
        """
        for part in self._parts[number]:
            assert self._next is not None
            spans, arrived = self._next.result()
            examples = arrived()
            self._next = self._begin()
            shift = np.cumsum(spans.counts) - spans.counts - spans.begin
            yield Turn(part, examples, shift)
            del examples  # its memory is free before the one after the next goes over

    def _begin(self) -> Future[tuple[Spans, Callable[[], Examples]]] | None:
        spans = next(self._wanted, None)
        return None if spans is None else self._ahead.submit(self._send, spans)

    def _send(self, spans: Spans) -> tuple[Spans, Callable[[], Examples]]:
        rows = spans.rows()
        return spans, self._lane.send(self._fleet.x[rows], self._fleet.y[rows])


@contextmanager
def streamed(
    fleet: StackedHomes, chunks: Sequence[Spans], *, lane: CopyLane, room_bytes: int
) -> Iterator[Callable[[int], Iterator[Turn]]]:
    """Open the turns of chunks that are trained one after the other, by their numbers.

    Args:
        fleet: All homes.
        chunks: The chunks, and where their homes' rows lie.
        lane: What copies.
        room_bytes: What examples may take of the device's memory.

    Raises:
        EngineError: A single home's examples are more than there is room for.
    """
    parts = [parts_of(fleet, chunk, room_bytes) for chunk in chunks]
    with ThreadPoolExecutor(1) as ahead:
        yield Feed(fleet, chunks, parts, lane=lane, ahead=ahead).turns
