"""Units of readings: how they are spelt, and which of them are a scale of one another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class _Unit:
    """A unit as ``scale`` and ``offset`` to the base of its quantity: base = x·scale + offset."""

    quantity: str
    scale: Fraction
    offset: Fraction = Fraction(0)


# For each quantity: its units as they are written, and how many of the base each is.
_SCALES: dict[str, dict[str, str]] = {
    "power": {"mW": "1/1000", "W": "1", "kW": "1000", "MW": "1000000", "GW": "1000000000"},
    "apparent power": {"VA": "1", "kVA": "1000"},
    "reactive power": {"var": "1", "kvar": "1000"},
    "energy": {
        "Wh": "1",
        "kWh": "1000",
        "MWh": "1000000",
        "GWh": "1000000000",
        "J": "1/3600",
        "kJ": "10/36",
        "MJ": "10000/36",
        "GJ": "10000000/36",
    },
    "reactive energy": {"varh": "1", "kvarh": "1000"},
    "voltage": {"mV": "1/1000", "V": "1", "kV": "1000"},
    "current": {"mA": "1/1000", "A": "1"},
    "frequency": {"Hz": "1", "kHz": "1000", "MHz": "1000000"},
    "pressure": {"Pa": "1", "hPa": "100", "mbar": "100", "kPa": "1000", "bar": "100000"},
    "length": {"mm": "1/1000", "cm": "1/100", "m": "1", "km": "1000"},
    "area": {"m²": "1"},
    "volume": {"ml": "1/1000", "l": "1", "m³": "1000"},
    "flow": {"l/h": "1", "l/min": "60", "m³/h": "1000", "l/s": "3600"},
    "time": {"ms": "1/1000", "s": "1", "min": "60", "h": "3600", "d": "86400"},
    "mass": {"g": "1", "kg": "1000"},
    "speed": {"m/s": "1", "km/h": "10/36", "mph": "44704/100000"},
    "part of the air": {"ppb": "1/1000", "ppm": "1"},
    "mass in the air": {"µg/m³": "1", "mg/m³": "1000"},
    "light": {"lx": "1", "klx": "1000"},
    "irradiance": {"W/m²": "1", "kW/m²": "1000"},
    "energy of an area": {"Wh/m²": "1", "kWh/m²": "1000"},
    "per cent": {"%": "1"},
    "angle": {"°": "1"},
    "sound": {"dB": "1"},
    "sound as heard": {"dBA": "1"},
    "signal": {"dBm": "1"},
    "data": {"kB": "1", "MB": "1000", "GB": "1000000"},
    "euros": {"ct": "1/100", "€": "1"},
    "euros for energy": {"€/MWh": "1/1000", "ct/kWh": "1/100", "€/kWh": "1"},
    "dollars": {"$": "1"},
    "dollars for energy": {"$/MWh": "1/1000", "$/kWh": "1"},
    "pounds": {"£": "1"},
    "pounds for energy": {"p/kWh": "1/100", "£/kWh": "1"},
    "francs": {"CHF": "1"},
    "yen": {"¥": "1"},
    "rupees": {"₹": "1"},
    "crowns": {"kr": "1"},
    "zloty": {"zł": "1"},
}
_UNITS = {
    name: _Unit(quantity, Fraction(scale))
    for quantity, units in _SCALES.items()
    for name, scale in units.items()
} | {
    "K": _Unit("temperature", Fraction(1)),
    "°C": _Unit("temperature", Fraction(1), Fraction("273.15")),
    "°F": _Unit("temperature", Fraction(5, 9), Fraction("273.15") - Fraction(160, 9)),
}
_SPELLINGS = {
    "°C": "℃ degc deg_c celsius grad_celsius degrees_celsius degree_celsius C",
    "°F": "℉ degf deg_f fahrenheit degrees_fahrenheit degree_fahrenheit F",
    "K": "kelvin",
    "W": "watt watts w",
    "kW": "kilowatt kilowatts",
    "Wh": "watt_hours watthours watt-hours",
    "kWh": "kilowatt_hours kilowatthours kilowatt-hours kwhr kwhs kilowattstunden",
    "V": "volt volts v",
    "A": "ampere amperes amp amps",
    "Hz": "hertz",
    "Pa": "pascal",
    "lx": "lux",
    "%": "percent per_cent pct prozent %rh",
    "°": "degree degrees",
    "m/s": "mps",
    "km/h": "kmh kph",
    "l": "L liter liters litre litres",
    "m³": "cbm",
    "m²": "sqm",
    "l/min": "L/min lpm",
    "l/h": "L/h",
    "m³/h": "cmh cbm/h",
    "W/m²": "w_m2",
    "kWh/m²": "kwh_m2",
    "µg/m³": "ug/m3 mu_g/m3",
    "dBA": "db(a)",
    "s": "sec secs second seconds sekunden",
    "min": "mins minute minutes minuten",
    "h": "hr hrs hour hours stunden",
    "d": "day days",
    "€": "eur euro euros",
    "€/kWh": "eur/kwh",
    "€/MWh": "eur/mwh",
    "ct": "cent cents",
    "ct/kWh": "cent/kwh",
    "$": "usd us$",
    "$/kWh": "usd/kwh",
    "£": "gbp",
    "¥": "jpy",
    "₹": "inr rs rs.",
    "kr": "sek nok dkk kr.",
    "zł": "pln",
    "CHF": "fr fr.",
}
_CURRENCIES = {"euros", "dollars", "pounds", "francs", "yen", "rupees", "crowns", "zloty"}
# Capitals make another unit of these, or of one of their letters: they are taken as they stand.
_BY_CAPITALS = {
    "mW",
    "MW",
    "mV",
    "mA",
    "K",
    "A",
    "J",
    "m",
    "l",
    "s",
    "h",
    "d",
    "g",
    "C",
    "F",
    "L",
    "MB",
}
# Single letters behind an underscore that are no name of a room, a phase or a sensor.
_ENDINGS_OF_ONE = {"w": "W", "v": "V", "c": "°C", "f": "°F", "s": "s"}
# Behind a blank only what is no other word: "Temp min" is in no minutes, "Phase A" in no ampere.
_IN_A_LAST_WORD = {
    "power",
    "energy",
    "apparent power",
    "reactive power",
    "reactive energy",
    "temperature",
    "part of the air",
    "irradiance",
}
_SIGN = re.compile(r"[%°/²³]")  # in no other word
_WEEK = "KW"  # alone it is a week of the year, in German, as often as kilowatts
_LEAST, _LASTING = "min", re.compile(r"time|dauer|durat|laufzeit|dur[eé]e", re.IGNORECASE)
_PHASES = ("A", "B", "C")  # in brackets: ampere, degrees Celsius, or the name of a phase
_SIGNS = str.maketrans(
    {"²": "2", "³": "3", "º": "°", "˚": "°", "μ": "µ", "·": None, "^": None, " ": "_"}
)


def _key(text: str) -> str:
    return re.sub(r"\s+", " ", text.strip()).translate(_SIGNS).replace("°_", "°")


def _spellings() -> tuple[dict[str, str], dict[str, str]]:
    exact: dict[str, str] = {}
    folded: dict[str, str] = {}
    for name in _UNITS:
        for one in (name, *_SPELLINGS.get(name, "").split()):
            exact[_key(one)] = name
            if one not in _BY_CAPITALS:
                folded[_key(one).casefold()] = name
    return exact, folded


_EXACT, _FOLDED = _spellings()
CURRENCY_WORDS = tuple(
    sorted(key for key, name in _FOLDED.items() if _UNITS[name].quantity in _CURRENCIES)
)
"""How currencies are written, in small letters."""

_BRACKETS = re.compile(r"[\[(]([^\[\]()]*)[\])]\s*$")
_IN_WORDS = re.compile(r"[\s_,]+in[\s_]+(\S+)\s*$", re.IGNORECASE)


def unit_named(text: str) -> str:
    """Return a unit's usual spelling (``KWH`` is ``kWh``); empty if it is not known.

    >>> unit_named("KWH"), unit_named("deg C"), unit_named("mw")
    ('kWh', '°C', '')
    """
    key = _key(text)
    return _EXACT.get(key) or _FOLDED.get(key.casefold(), "")


def is_currency(unit: str) -> bool:
    """Tell whether a unit, in its usual spelling, is a currency."""
    return unit in _UNITS and _UNITS[unit].quantity in _CURRENCIES


def unit_of_name(name: str) -> str:
    """Return the unit that a column's name tells; empty if it tells none that is known.

    Brackets at its end, ``in kWh``, an ending such as ``_kwh`` or ``_w_m2``, and a last word that
    can be nothing but a unit (``kWh``, ``°C``, ``%``, ``ppm``, ``m³/h``) count.

    >>> unit_of_name("Verbrauch (kWh)"), unit_of_name("temp [°C]"), unit_of_name("power_w")
    ('kWh', '°C', 'W')
    """
    for pattern in (_BRACKETS, _IN_WORDS):
        if found := pattern.search(name):
            phase = pattern is _BRACKETS and found[1] in _PHASES
            return unit_named(found[1]) if not phase else _unit_or_phase(name, found)
    words = name.split()
    if (
        words
        and name.strip() != _WEEK
        and (unit := unit_named(words[-1]))
        and (_SIGN.search(words[-1]) or _UNITS[unit].quantity in _IN_A_LAST_WORD)
    ):
        return unit if len(words[-1]) > 1 or words[-1] == "%" else ""
    parts = name.strip().split("_")
    for count in (2, 1):
        ending = "_".join(parts[-count:])
        if not ending or not "".join(parts[:-count]):
            continue
        if len(ending) == 1:
            return _ENDINGS_OF_ONE.get(ending.lower(), "")
        if ending.casefold() == _LEAST and not _LASTING.search(name):
            return ""  # "temp_min" is the least of them, "runtime_min" are minutes
        if unit := unit_named(ending):
            return unit
    return ""


def _unit_or_phase(name: str, bracket: re.Match[str]) -> str:
    """Return the unit of `power (A)`, or of `energy Wh (A)`, where the letter names a phase."""
    before = name[: bracket.start()].split()
    word = before[-1] if len(before) > 1 else ""
    if not word or word in _PHASES or not unit_named(word):
        return unit_named(bracket[1])
    # "W (A)" may be the watts of phase A, or the current of a device W.
    return unit_named(word) if len(word) > 1 else ""


def is_power_for_energy(from_unit: str, to_unit: str) -> bool:
    """Tell whether a unit is one of power, and another one of energy.

    >>> is_power_for_energy("W", "kWh"), is_power_for_energy("kW", "W")
    (True, False)
    """
    found = [_UNITS.get(unit_named(unit)) for unit in (from_unit, to_unit)]
    return [one and one.quantity for one in found] == ["power", "energy"]


def conversion(from_unit: str, to_unit: str) -> tuple[float, float] | None:
    """Return ``(scale, offset)`` with ``to = from * scale + offset``; None if there is none.

    >>> conversion("W", "kW"), conversion("°C", "K"), conversion("W", "kWh")
    ((0.001, 0.0), (1.0, 273.15), None)
    """
    found = _exact_conversion(from_unit, to_unit)
    return None if found is None else (float(found[0]), float(found[1]))


def converted(values: NDArray[np.float64], from_unit: str, to_unit: str) -> NDArray[np.float64]:
    """Return values of one unit in another, to the last digit where the scale is a power of ten.

    Args:
        values: Of any shape, in ``from_unit``.
        from_unit: One that :func:`unit_named` returns.
        to_unit: One for which :func:`conversion` is not None.

    Raises:
        ValueError: No conversion is known.
    """
    found = _exact_conversion(from_unit, to_unit)
    if found is None:
        raise ValueError(f"no conversion from {from_unit} to {to_unit}")
    scale, offset = found
    # 500 / 1000 is rounded once, 500 * 0.001 twice.
    scaled = values * float(scale.numerator) / float(scale.denominator)
    return scaled + float(offset) if offset else scaled


def _exact_conversion(from_unit: str, to_unit: str) -> tuple[Fraction, Fraction] | None:
    if from_unit == to_unit:
        return Fraction(1), Fraction(0)
    start, end = (_UNITS.get(unit_named(unit)) for unit in (from_unit, to_unit))
    if start is None or end is None or start.quantity != end.quantity:
        return None
    return start.scale / end.scale, (start.offset - end.offset) / end.scale
