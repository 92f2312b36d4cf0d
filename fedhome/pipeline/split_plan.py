"""Which consecutive layers of a network lie on which device of a home, and what that takes.

The device that asks has the inputs and sends what a part gives to the next one: each other device
costs a way there and a way back. All ways to split are compared, by the time that one row takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from fedhome.errors import ModelError
from fedhome.pipeline.device_table import HomeDevice

_FLOAT = 4
_TRAINING = 2  # numbers in memory for one parameter: itself, and its gradient


@dataclass(frozen=True)
class SplitPart:
    """Consecutive layers on one device.

    Args:
        device: The device.
        first: Number of the first layer, from 0.
        end: Number after that of the last one.
        memory_bytes: What they take there.
        compute_us: How long one row takes there.
        travel_us: How long it is on its way there and back.
    """

    device: HomeDevice
    first: int
    end: int
    memory_bytes: int
    compute_us: float
    travel_us: float


@dataclass(frozen=True)
class SplitPlan:
    """A network on several devices.

    Args:
        widths: Width of the input, of each hidden layer, and of the output.
        parts: Where its layers lie, in their order.
    """

    widths: tuple[int, ...]
    parts: tuple[SplitPart, ...]

    @property
    def row_us(self) -> float:
        """How long one row takes, µs."""
        return sum(part.compute_us + part.travel_us for part in self.parts)


def bytes_of(
    widths: Sequence[int], first: int, end: int, *, rows: int = 1, trains: bool = False
) -> int:
    """Return the memory of some consecutive layers.

    Args:
        widths: As of `SplitPlan`.
        first: As of `SplitPart`.
        end: As of `SplitPart`.
        rows: How many rows are computed at once.
        trains: Whether they are trained: with gradients, and with all that lies between layers.
    """
    pairs = list(pairwise(widths))[first:end]
    parameters = sum((inputs + 1) * outputs for inputs, outputs in pairs)
    between = (
        sum(inputs + outputs for inputs, outputs in pairs)
        if trains
        else max(inputs + outputs for inputs, outputs in pairs)
    )
    return _FLOAT * (parameters * (_TRAINING if trains else 1) + rows * between)


def split(
    widths: Sequence[int], devices: Sequence[HomeDevice], *, rows: int = 1, trains: bool = False
) -> SplitPlan:
    """Return the split in which one row takes the least time.

    Args:
        widths: Width of the input, of each hidden layer, and of the output.
        devices: The home's devices.
        rows: How many rows are computed at once: they take memory.
        trains: Whether the parts are to be trained.

    Raises:
        ModelError: The devices together do not hold the network.
    """
    layers = len(widths) - 1
    best: dict[tuple[int, frozenset[int]], tuple[float, tuple[SplitPart, ...]]] = {
        (0, frozenset()): (0.0, ())
    }
    for done in range(layers):
        for (at, used), (spent, parts) in list(best.items()):
            if at != done:
                continue
            for number, device in enumerate(devices):
                if number in used:
                    continue
                for part in _parts(widths, device, done, rows=rows, trains=trains):
                    key = (part.end, used | {number})
                    total = spent + part.compute_us + part.travel_us
                    if key not in best or total < best[key][0]:
                        best[key] = (total, (*parts, part))
    whole = [found for (at, _), found in best.items() if at == layers]
    if not whole:
        raise _too_large(widths, devices, rows=rows, trains=trains)
    return SplitPlan(tuple(widths), min(whole, key=lambda found: found[0])[1])


def _parts(
    widths: Sequence[int], device: HomeDevice, first: int, *, rows: int, trains: bool
) -> list[SplitPart]:
    """Return the parts from a layer on that fit a device."""
    found = []
    for end in range(first + 1, len(widths)):
        memory = bytes_of(widths, first, end, rows=rows, trains=trains)
        if memory > device.memory_bytes:
            break
        operations = sum(a * b for a, b in list(pairwise(widths))[first:end])
        travel_us = 0.0
        if device.address:
            sent = _FLOAT * (widths[first] + widths[end])
            travel_us = 2 * device.latency_us + sent / device.bytes_per_s * 1e6
        compute_us = operations / device.operations_per_s * 1e6
        found.append(SplitPart(device, first, end, memory, compute_us, travel_us))
    return found


def _too_large(
    widths: Sequence[int], devices: Sequence[HomeDevice], *, rows: int, trains: bool
) -> ModelError:
    layers = range(len(widths) - 1)
    sizes = [bytes_of(widths, n, n + 1, rows=rows, trains=trains) for n in layers]
    largest = max(devices, key=lambda device: device.memory_bytes)
    place = max(layers, key=lambda n: sizes[n])
    if sizes[place] > largest.memory_bytes:
        why = (
            f"layer {place + 1} alone takes {sizes[place]:,} bytes, and the largest device, "
            f"{largest.name}, has {largest.memory_bytes:,}"
        )
    else:
        have = sum(device.memory_bytes for device in devices)
        why = (
            f"its {len(sizes)} layers take {sum(sizes):,} bytes one by one, and the devices have "
            f"{have:,}, of which each holds whole layers"
        )
    return ModelError(
        f"these devices do not hold the network: {why}",
        hint="take a slice that fits one device (`fedhome model slice`), fewer rows at once, or a "
        "device more",
    )
