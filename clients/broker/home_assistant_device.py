"""A home's predictions as a device of Home Assistant, which finds it by MQTT device discovery.

Source: https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload (2024.11 and on).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fedhome.clients.broker.mqtt_link import Publication
from fedhome.printable import shown

BIRTH: Final = "homeassistant/status"
"""Where Home Assistant says that it has begun."""
ONLINE: Final = "online"
OFFLINE: Final = "offline"
AGAIN_S: Final = 60.0
"""How often a prediction is said again, s: it is not retained, and may have been missed."""
EXPIRES_S: Final = 150
"""After how long Home Assistant takes one that is not said again for none, s."""
_SAID = (
    *("home", "target", "unit", "time", "row", "horizon"),
    *("value", "low", "high", "class", "probabilities", "by"),
)
_CLASSES = {  # of units whose numbers can be nothing else
    "power": ("W", "kW", "MW", "GW"),
    "energy": ("Wh", "kWh", "MWh", "GWh"),
    "temperature": ("°C", "°F", "K"),
    "voltage": ("V", "mV"),
    "current": ("A", "mA"),
    "frequency": ("Hz", "kHz", "MHz", "GHz"),
    "illuminance": ("lx",),
    "pressure": ("Pa", "hPa", "kPa", "bar", "mbar"),
    "sound_pressure": ("dB", "dBA"),
    "irradiance": ("W/m²",),
}
_DEVICE_CLASSES = {unit: name for name, units in _CLASSES.items() for unit in units}
_PROBABILITY = (
    "{% set one = (value_json.probabilities or {}).get(value_json['class']) %}"
    "{{ None if one is none else (100 * one) | round(1) }}"
)
_DIGITS = 6  # of numbers: Home Assistant shows as many as it is told


def identity_of(fleet: bytes, home: str) -> str:
    """Return by what a home's device is known: always the same, and unlike any other home's.

    Args:
        fleet: The fleet's number.
        home: The home's name.
    """
    digest = hashlib.sha256(b"device of Home Assistant\0" + fleet + home.encode()).hexdigest()
    return f"fedhome_{digest[:14]}"  # 22 letters, which every broker takes


@dataclass(frozen=True, kw_only=True)
class DiscoveredDevice:
    """What is said of a home's predictions, and where.

    Args:
        identity: By what the device is known, of letters, digits and ``_``.
        home: The home's name.
        version: Of fedhome.
    """

    identity: str
    home: str
    version: str

    @property
    def name(self) -> str:
        """What people call it."""
        return f"fedhome {shown(self.home)}"

    def config(self, predictions: Mapping[str, Mapping[str, Any]]) -> Publication:
        """Return what lets Home Assistant find the device; no prediction is in it.

        Args:
            predictions: One of each horizon, as ``fedhome client predict --json`` has it.
        """
        components: dict[str, Any] = {}
        for horizon, one in predictions.items():
            components |= self._components(horizon, one)
        about = {"name": "fedhome", "sw_version": self.version}
        told = {
            "device": {
                "identifiers": [self.identity],
                "name": self.name,
                "manufacturer": "fedhome",
                "sw_version": self.version,
            },
            "origin": about,
            "components": components,
        }
        topic = f"homeassistant/device/{self.identity}/config"
        return Publication(topic, json.dumps(told, ensure_ascii=False), retained=True)

    def status(self, *, online: bool) -> Publication:
        """Return what says whether there are predictions of now."""
        return Publication(self._status, ONLINE if online else OFFLINE, retained=True)

    def state(self, horizon: str, prediction: Mapping[str, Any]) -> Publication:
        """Return what says a prediction: what it is, and no more of what it was made of.

        Args:
            horizon: Of which horizon; empty: there is but one.
            prediction: The prediction, as ``fedhome client predict --json`` has it.
        """
        said = {name: _rounded(prediction[name]) for name in _SAID if name in prediction}
        text = json.dumps(said, allow_nan=False)
        return Publication(self._state(horizon, prediction), text, retained=False)

    @property
    def _status(self) -> str:
        return f"fedhome/{self.identity}/status"

    def _state(self, horizon: str, prediction: Mapping[str, Any]) -> str:
        # Of another kind of target, on another topic: what was found before hears nothing more.
        kind = "number" if "value" in prediction else "class"
        return f"fedhome/{self.identity}/{horizon or 'next'}/{kind}"

    def _components(self, horizon: str, prediction: Mapping[str, Any]) -> dict[str, Any]:
        unit, state = prediction["unit"], self._state(horizon, prediction)
        steps = f"{horizon} steps" if horizon.isdecimal() else horizon
        name = shown(" ".join(filter(None, (prediction["target"], steps))))
        # Where Home Assistant shows the rest of what is said: of which moment, and by what.
        rest = {"json_attributes_topic": state}
        if "value" in prediction:
            number: dict[str, Any] = {"unit_of_measurement": unit} if unit else {}
            if unit in _DEVICE_CLASSES:
                number["device_class"] = _DEVICE_CLASSES[unit]
            each = {
                "p50": (name, "{{ value_json.value }}", number | rest),
                "p10": (f"{name} P10", "{{ value_json.low }}", number),
                "p90": (f"{name} P90", "{{ value_json.high }}", number),
            }
        else:
            percent = {"unit_of_measurement": "%"}
            each = {
                "class": (name, "{{ value_json['class'] }}", rest),
                "probability": (f"{name} probability", _PROBABILITY, percent),
            }
        return {
            f"{horizon or 'next'}_{key}": {
                "platform": "sensor",
                "unique_id": f"{self.identity}_{horizon or 'next'}_{key}",
                "name": called,
                "state_topic": state,
                "value_template": template,
                "availability_topic": self._status,
                "expire_after": EXPIRES_S,
                **more,
            }
            for key, (called, template, more) in each.items()
        }


def _rounded(said: Any) -> Any:
    """Return what is said with its numbers in few digits; what JSON has no number for is none."""
    if isinstance(said, float):
        return float(f"{said:.{_DIGITS}g}") if math.isfinite(said) else None
    if isinstance(said, Mapping):
        return {name: _rounded(one) for name, one in said.items()}
    return said
