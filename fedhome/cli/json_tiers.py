"""What ``fedhome model tier`` prints with `--json`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TierEntry:
    """A tier of a plan, and what its slice costs a device.

    Args:
        tier: Its name.
        carries: What it has of the model, in words.
        parameters: How many numbers it trains in a round, and sends.
        bytes_up: Bytes of these as float32.
        memory: Bytes that a step of training holds, beside Python, torch and readings.
        step_ms: Processor time of a step on this machine, in ms: of the compiled kernel where that
            trains the slice, else of torch.
        score: Mean test score of the tier's homes in the run that was named; null where none is
            known.
        lacks: What the device lacks for it, in words; empty where it fits.
    """

    tier: str
    carries: str
    parameters: int
    bytes_up: int
    memory: int
    step_ms: float
    score: float | None
    lacks: list[str]


@dataclass(frozen=True, kw_only=True)
class TierChoice:
    """The largest tier that a device can carry.

    Args:
        tier: Its name; null where the device can carry none.
        memory: Bytes that a step may hold; null: any.
        step_ms: Milliseconds that a step may take; null: any.
        bytes_up: Bytes that an update may have; null: any.
        scored: What was scored: tuned (fine-tuned at home) or global (as the rounds left it); null:
            nothing.
        tiers: All tiers, from the smallest.
    """

    tier: str | None
    memory: int | None
    step_ms: float | None
    bytes_up: int | None
    scored: str | None
    tiers: list[TierEntry]
