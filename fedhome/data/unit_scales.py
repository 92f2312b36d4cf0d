"""Numbers of one unit in another: energy, power, temperature, shares, times."""

from __future__ import annotations

from collections.abc import Mapping

_SCALES: tuple[Mapping[str, tuple[float, float]], ...] = (
    {"Wh": (1.0, 0.0), "kWh": (1e3, 0.0), "MWh": (1e6, 0.0), "J": (1 / 3600, 0.0)},
    {"W": (1.0, 0.0), "kW": (1e3, 0.0), "MW": (1e6, 0.0)},
    {"°C": (1.0, 0.0), "K": (1.0, -273.15), "°F": (5 / 9, -160 / 9)},
    {"%": (0.01, 0.0), "1": (1.0, 0.0)},
    {"s": (1.0, 0.0), "min": (60.0, 0.0), "h": (3600.0, 0.0)},
    {"Pa": (1.0, 0.0), "hPa": (100.0, 0.0), "mbar": (100.0, 0.0), "kPa": (1e3, 0.0)},
    {"m/s": (1.0, 0.0), "km/h": (1 / 3.6, 0.0)},
)
"""Of each quantity its units: factor, then offset, to the first of them."""


def conversion(own: str, wanted: str) -> tuple[float, float] | None:
    """Return factor and offset that turn numbers of one unit into another's; None: not known.

    >>> conversion("kWh", "Wh")
    (1000.0, 0.0)

    Args:
        own: The unit that the numbers have.
        wanted: The unit that they are to have.
    """
    if own == wanted:
        return 1.0, 0.0
    for units in _SCALES:
        if own in units and wanted in units:
            (factor, offset), (least, start) = units[own], units[wanted]
            return factor / least, (offset - start) / least
    return None
