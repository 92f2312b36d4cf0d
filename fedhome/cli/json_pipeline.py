"""What ``fedhome pipeline plan`` prints with `--json`."""

from __future__ import annotations

from dataclasses import dataclass

from fedhome.pipeline.split_plan import SplitPlan


@dataclass(frozen=True, kw_only=True)
class PipelinePart:
    """Consecutive layers of a network, and the device that would carry them.

    Args:
        device: The device's name.
        widths: Widths from the part's input to its output.
        bytes: What it takes of the device's memory.
        compute_us: How long one row takes there, µs.
        travel_us: How long it is on its way there and back, µs.
    """

    device: str
    widths: list[int]
    bytes: int
    compute_us: float
    travel_us: float


@dataclass(frozen=True, kw_only=True)
class PipelinePlanned:
    """A network over several devices of one home.

    Args:
        row_us: How long one row takes from the input to the output, µs.
        parts: Its parts, in their order.
    """

    row_us: float
    parts: list[PipelinePart]

    @classmethod
    def of(cls, found: SplitPlan) -> PipelinePlanned:
        """Return what is printed of a plan."""
        parts = [
            PipelinePart(
                device=part.device.name,
                widths=list(found.widths[part.first : part.end + 1]),
                bytes=part.memory_bytes,
                compute_us=part.compute_us,
                travel_us=part.travel_us,
            )
            for part in found.parts
        ]
        return cls(row_us=found.row_us, parts=parts)
