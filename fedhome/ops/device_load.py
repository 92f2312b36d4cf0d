"""How hot and how busy a device is, as Linux tells it; both change from second to second."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

ZONES: Final = Path("/sys/class/thermal")
"""Where Linux has its thermometers; in most virtual machines and containers there is none."""

_MILLI = 1000.0
_LEAST_C, _MOST_C = 0.0, 150.0  # what says more or less than this measures nothing


class DeviceLoad(NamedTuple):
    """How hot and how busy a device is.

    Args:
        hottest_c: What its hottest thermometer shows, °C; None where it has none.
        busy: Processes that ran or waited to run in the last minute, for each processor; None
            where the system does not count them.
    """

    hottest_c: float | None
    busy: float | None


def device_load(zones: Path = ZONES) -> DeviceLoad:
    """Return how hot and how busy this device is.

    Args:
        zones: Folder of the thermometers.
    """
    shown = [_temperature(path) for path in sorted(zones.glob("thermal_zone*/temp"))]
    known = [value for value in shown if value is not None]
    try:
        busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):
        busy = None
    return DeviceLoad(max(known, default=None), busy)


def _temperature(path: Path) -> float | None:
    """Return what a thermometer shows, °C; None where it measures nothing."""
    try:
        value = int(path.read_text(encoding="ascii")) / _MILLI
    except (OSError, ValueError):  # a sensor that sleeps
        return None
    return value if _LEAST_C < value < _MOST_C else None
