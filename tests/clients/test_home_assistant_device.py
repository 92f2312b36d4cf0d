"""What Home Assistant is told of a home's predictions, word for word."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from fedhome.clients.broker.home_assistant_device import DiscoveredDevice, identity_of

OAK = DiscoveredDevice(identity=identity_of(bytes(16), "oak"), home="oak", version="0.1.0")
NUMBER: dict[str, Any] = {
    "home": "oak",
    "target": "load_kwh",
    "unit": "kWh",
    "time": "2026-11-30T23:00:00+00:00",
    "value": 0.4123,
    "low": 0.3011,
    "high": 0.7102,
    "by": "model",
    "model": {"value": 0.4123},
    "without_learning": 0.3714,
    "missing": ["outdoor"],
    "notes": ["/home/oak/readings.csv: 3 rows left out"],
    "run": "run 7 of tiny",
}
CLASS: dict[str, Any] = {
    "home": "oak",
    "target": "doing",
    "unit": "",
    "time": "2026-11-30T23:00:00+00:00",
    "class": "out",
    "probabilities": {"asleep": 0.2, "out": 0.8},
    "by": "model",
}


def components(predictions: dict[str, Any], device: DiscoveredDevice = OAK) -> dict[str, Any]:
    said = device.config(predictions)
    assert said.retained
    assert said.topic == f"homeassistant/device/{device.identity}/config"
    told = json.loads(said.payload)
    # What Home Assistant requires of a device that is to be discovered, and of each component.
    assert told["device"]["identifiers"] == [device.identity]
    assert told["origin"]["name"] == "fedhome"
    for one in told["components"].values():
        assert one["platform"] == "sensor"
        assert one.keys() >= {"unique_id", "name", "state_topic", "availability_topic"}
    unique = [one["unique_id"] for one in told["components"].values()]
    assert len({*unique}) == len(unique)
    return dict(told["components"])


def test_a_number_is_its_expectation_and_its_band() -> None:
    found = components({"": NUMBER})
    assert {key: (one["name"], one["value_template"]) for key, one in found.items()} == {
        "next_p50": ("load_kwh", "{{ value_json.value }}"),
        "next_p10": ("load_kwh P10", "{{ value_json.low }}"),
        "next_p90": ("load_kwh P90", "{{ value_json.high }}"),
    }
    for one in found.values():
        assert (one["unit_of_measurement"], one["device_class"]) == ("kWh", "energy")
        assert one["state_topic"] == f"fedhome/{OAK.identity}/next/number"
        assert one["availability_topic"] == OAK.status(online=True).topic
        assert one["expire_after"] == 150


def test_a_unit_that_says_no_kind_and_none_at_all() -> None:
    euros = components({"": NUMBER | {"unit": "€"}})["next_p50"]
    assert euros["unit_of_measurement"] == "€"
    assert "device_class" not in euros
    assert "unit_of_measurement" not in components({"": NUMBER | {"unit": ""}})["next_p50"]


def test_a_class_comes_with_its_probability() -> None:
    found = components({"": CLASS})
    assert found["next_class"]["value_template"] == "{{ value_json['class'] }}"
    assert found["next_probability"]["unit_of_measurement"] == "%"
    assert found["next_class"]["state_topic"] != components({"": NUMBER})["next_p50"]["state_topic"]


def test_each_horizon_has_its_own() -> None:
    found = components({"1h": NUMBER, "6": NUMBER})
    names = [found[key]["name"] for key in ("1h_p50", "1h_p90", "6_p50")]
    assert names == ["load_kwh 1h", "load_kwh 1h P90", "load_kwh 6 steps"]
    assert found["1h_p50"]["state_topic"] != found["6_p50"]["state_topic"]


def test_what_is_found_holds_no_prediction_and_no_place() -> None:
    said = OAK.config({"": NUMBER}).payload
    assert not re.search(r"0\.\d{4}|/home|2026|outdoor|run 7", said)
    assert OAK.config({"": NUMBER | {"value": 9.0}}).payload == said


def test_a_prediction_has_the_names_of_json_and_nothing_of_what_it_was_made_of() -> None:
    said = OAK.state("", NUMBER)
    assert not said.retained
    told = json.loads(said.payload)
    assert told.items() <= NUMBER.items()
    assert {*told} == {"home", "target", "unit", "time", "value", "low", "high", "by"}
    assert json.loads(OAK.state("6h", CLASS).payload) == CLASS


def test_numbers_have_few_digits_and_what_is_none_is_said_to_be_none() -> None:
    odd = {"value": 2.0168628775170987, "low": float("nan"), "high": float("inf")}
    told = json.loads(OAK.state("", NUMBER | odd).payload)
    assert [told[name] for name in odd] == [2.01686, None, None]
    shares = {"asleep": 0.18518518, "out": float("nan")}
    told = json.loads(OAK.state("", CLASS | {"probabilities": shares}).payload)
    assert told["probabilities"] == {"asleep": 0.185185, "out": None}


def test_a_device_is_known_again_and_is_no_other_homes() -> None:
    same = identity_of(bytes(16), "oak")
    assert same == OAK.identity
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,23}", same), "what topics and brokers take"
    assert len({same, identity_of(bytes(16), "elm"), identity_of(b"1" * 16, "oak")}) == 3


@pytest.mark.parametrize("hidden", ["\x1b[2J", "\u202e", "\n"])
def test_names_move_no_cursor(hidden: str) -> None:
    device = DiscoveredDevice(identity="fedhome_1", home=f"oak{hidden}", version="0.1.0")
    said = json.loads(device.config({"": NUMBER | {"target": f"load{hidden}"}}).payload)
    names = [said["device"]["name"], *(one["name"] for one in said["components"].values())]
    assert not any(hidden in name for name in names)
