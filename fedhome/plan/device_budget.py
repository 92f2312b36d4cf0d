"""What a device can spare for its part of the model: bytes of memory, time a step, bytes up."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import Field

from fedhome.errors import FedHomeError
from fedhome.plan.section import Section

_SIZES: Final = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3} | {
    unit: 1 << (10 * power) for power, unit in enumerate(("KIB", "MIB", "GIB"), 1)
}
_TIMES: Final = {"ns": 1e-9, "us": 1e-6, "\N{MICRO SIGN}s": 1e-6, "ms": 1e-3, "s": 1.0}
_NEARLY_ONE, _HUNDRED = 0.9995, 99.95  # what is rounded up to it, in three digits


@dataclass(frozen=True, kw_only=True)
class DeviceBudget:
    """What a device can spare; None: as much as it takes.

    Args:
        memory: Bytes that a step of training may hold at once.
        step_ms: Milliseconds that a step may take.
        bytes_up: Bytes that an update may have.
    """

    memory: int | None = None
    step_ms: float | None = None
    bytes_up: int | None = None

    def __str__(self) -> str:
        """Return it in words."""
        parts = [
            "" if self.memory is None else f"{size_told(self.memory)} of memory",
            "" if self.step_ms is None else f"{self.step_ms:g} ms a step",
            "" if self.bytes_up is None else f"{size_told(self.bytes_up)} up",
        ]
        return ", ".join(filter(None, parts)) or "no limit"


class BudgetSettings(Section):
    """A kind of device in a simulation by what it can spare."""

    share: float = Field(gt=0, le=1, description="share of a simulation's homes with such a device")
    memory: str = Field("", description="bytes that a step may hold, such as 64KB; empty: any")
    step: str = Field("", description="time that a step may take, such as 2ms; empty: any")
    bytes_up: str = Field("", description="bytes that an update may have, such as 8KB; empty: any")

    def budget(self) -> DeviceBudget:
        """Return it in numbers.

        Raises:
            FedHomeError: One of its texts is no size, or no time.
        """
        return budget_of(memory=self.memory, step=self.step, bytes_up=self.bytes_up)


def budget_of(*, memory: str = "", step: str = "", bytes_up: str = "") -> DeviceBudget:
    """Return a budget that is given in texts such as ``64KB`` and ``2ms``; empty: no limit.

    Raises:
        FedHomeError: One of them is no size, or no time.
    """
    return DeviceBudget(
        memory=bytes_of(memory) if memory else None,
        step_ms=1000 * seconds_of(step) if step else None,
        bytes_up=bytes_of(bytes_up) if bytes_up else None,
    )


def size_told(amount: int) -> str:
    """Return a number of bytes as it is told: ``640 bytes``, ``1.6 kB``, ``31.2 GB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if (value := amount / factor) >= _NEARLY_ONE:
            return f"{value:,.0f} {unit}" if value >= _HUNDRED else f"{value:.3g} {unit}"
    return f"{amount} bytes"


def sizes_told(amount: int, limit: int) -> tuple[str, str]:
    """Return two unlike numbers of bytes so that they can be told apart: in full where need be."""
    told = size_told(amount), size_told(limit)
    return told if told[0] != told[1] else (f"{amount:,} bytes", f"{limit:,} bytes")


def bytes_of(text: str) -> int:
    """Return a size such as ``64KB`` in bytes.

    Raises:
        FedHomeError: It is none.
    """
    found = _number(text, _SIZES, upper=True)
    if found is None:
        raise FedHomeError(
            f"{text!r} is no size", hint="write it as 4096, 64KB (of 1000 bytes) or 64KiB (of 1024)"
        )
    return int(found)


def seconds_of(text: str) -> float:
    """Return a short time such as ``250us`` or ``1.5ms`` in seconds.

    Raises:
        FedHomeError: It is none.
    """
    found = _number(text, _TIMES)
    if found is None:
        raise FedHomeError(f"{text!r} is no time", hint="write it as 10us, 1.5ms or 2s")
    return found


def _number(text: str, units: Mapping[str, float], *, upper: bool = False) -> float | None:
    """Return a finite number above 0 times its unit; None where it is no such text."""
    parts = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(\w*)\s*", text)
    if parts is None or not 0 < float(parts[1]) < math.inf:
        return None
    factor = units.get(parts[2].upper() if upper else parts[2])
    return None if factor is None else float(parts[1]) * factor
