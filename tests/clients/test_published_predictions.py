"""Predictions at a real broker: what a listener hears, and when Home Assistant is to show none."""

from __future__ import annotations

import json
import queue
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fedhome.clients.broker import published_predictions
from fedhome.clients.broker.broker_address import BrokerAddress
from fedhome.clients.broker.home_assistant_device import BIRTH, DiscoveredDevice
from fedhome.clients.broker.published_predictions import PublishedPredictions
from fedhome.errors import SourceError
from helpers.mosquitto import Mosquitto, Publisher, Subscriber, needs_broker
from helpers.patience import PATIENCE_S

pytest.importorskip("paho.mqtt", reason="brokers need the extra mqtt")
pytestmark = needs_broker

NOW, EVERY_S = 1_800_000_000.0, 60.0
OAK = DiscoveredDevice(identity="fedhome_0123", home="oak", version="0.1.0")
STATE = "/next/number"


def prediction(value: float, **more: Any) -> dict[str, Any]:
    return {"home": "oak", "target": "load", "unit": "kW", "value": value, **more}


def found(*values: float, until: float | None = NOW) -> dict[str, Any]:
    of_now = None if until is None else (until - 3600.0, until)
    return {"predictions": [*map(prediction, values)], "of_now": [of_now] * len(values)}


class House:
    """A broker, who publishes there, and what it says of it; the clock stands still."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.broker = Mosquitto(folder, settings or ("allow_anonymous true",)).start()
        self.said, self.now = queue.Queue[str](), NOW
        self.publishing = self.as_user("")

    def as_user(self, user: str, password: str = "") -> PublishedPredictions:
        address = self.broker.address.replace("//", f"//{user}@" if user else "//")
        return PublishedPredictions(
            OAK,
            BrokerAddress.parse(address, password=password),
            every_s=EVERY_S,
            say=self.said.put,
            clock=lambda: self.now,
        )

    def look(self, told: Mapping[str, Any]) -> None:
        self.publishing.heard(lambda: told)()

    def says(self, words: str) -> None:
        while words not in self.said.get(timeout=PATIENCE_S):
            pass


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    one = House(tmp_path)
    yield one
    one.broker.stop()


def value_of(listener: Subscriber) -> float:
    one = listener.next(STATE)
    assert not one.retained
    return float(json.loads(one.payload)["value"])


def test_it_is_found_heard_said_again_when_home_assistant_begins_and_offline_at_the_end(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published_predictions, "_SOON_S", 0.1)
    with Subscriber(house.broker) as listener:
        with house.publishing:
            house.says("connected; publishes fedhome oak")
            house.look(found(1.5))
            assert "next_p50" in json.loads(listener.next("/config").payload)["components"]
            listener.next("/status", "online")
            assert value_of(listener) == 1.5
            house.look(found(2.5))
            while value_of(listener) != 2.5:
                pass
            publisher = Publisher(house.broker)
            publisher.publish(BIRTH, "online")
            publisher.close()
            listener.next("/config")
            listener.next(f"{OAK.identity}/status", "online")
            assert value_of(listener) == 2.5
            for topic in ("homeassistant/device/#", "fedhome/+/status"):
                with Subscriber(house.broker, topic) as later:
                    assert later.next("").retained, "for whoever begins later"
        listener.next("/status", "offline")
    house.publishing.check()


@pytest.mark.parametrize("how", ["a fault", "too old", "of a time to come"])
def test_a_prediction_that_is_none_of_now_is_no_longer_there(house: House, how: str) -> None:
    with Subscriber(house.broker) as listener, house.publishing:
        house.look(found(1.5))
        listener.next("/status", "online")
        if how == "a fault":
            house.look({"fault": "no readings", "hint": "", "passing": True})
        else:
            house.now = NOW + EVERY_S + 1.0 if how == "too old" else NOW - 3601.0
            house.says("too old for a prediction of now, or ahead of this device's clock")
        listener.next("/status", "offline")
        house.look(found(2.5, until=house.now))
        listener.next("/status", "online")
        assert value_of(listener) == 2.5


def test_it_is_said_again_by_itself(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_predictions, "_SOON_S", 0.1)
    monkeypatch.setattr(published_predictions, "AGAIN_S", 0.1)
    with Subscriber(house.broker) as listener, house.publishing:
        house.look(found(1.5, until=None))
        assert [value_of(listener) for _ in range(4)] == [1.5] * 4


def test_a_broker_that_goes_is_waited_for_and_told_everything_again(house: House) -> None:
    with house.publishing:
        house.look(found(1.5))
        house.says("connected; publishes")
        house.broker.stop()
        house.says("it is tried again until it is there")
        house.look(found(2.5))
        house.broker.start()
        house.says("connected again after")
        with Subscriber(house.broker) as listener:
            listener.next("/config")
            assert value_of(listener) == 2.5
    house.publishing.check()


def house_of_oak(folder: Path, *rights: str) -> House:
    """Return a house whose broker lets oak, and nobody else, do these things."""
    made = subprocess.run(
        ["mosquitto_passwd", "-b", "-c", folder / "passwords", "oak", "s3cret"], check=False
    )
    assert made.returncode == 0
    (folder / "rights").write_text("\n".join(["user oak", f"topic read {BIRTH}", *rights, ""]))
    for name in ("passwords", "rights"):
        (folder / name).chmod(0o644)
    files = (f"password_file {folder}/passwords", f"acl_file {folder}/rights")
    house = House(folder, "allow_anonymous false", *files)
    house.publishing = house.as_user("oak", "s3cret")
    return house


def ended(house: House) -> SourceError:
    with house.publishing:
        house.look(found(1.5))
        house.publishing._thread.join(PATIENCE_S)
    with pytest.raises(SourceError) as caught:
        house.publishing.check()
    return caught.value


def test_who_is_not_known_is_told_at_once(tmp_path: Path) -> None:
    house = house_of_oak(tmp_path)
    house.publishing = house.as_user("oak", "wrong")
    try:
        error = ended(house)
    finally:
        house.broker.stop()
    assert "does not take this user and password" in error.message
    assert "wrong" not in str(error)


@pytest.mark.parametrize(
    ("rights", "lacks"),
    [
        ((), "/status"),
        (("topic write fedhome/#",), "/config"),
        (("topic write homeassistant/#", "topic write fedhome/+/status"), STATE),
    ],
)
def test_who_may_not_publish_all_of_it_is_told_where(
    tmp_path: Path, rights: tuple[str, ...], lacks: str
) -> None:
    house = house_of_oak(tmp_path, *rights)
    try:
        error = ended(house)
    finally:
        house.broker.stop()
    assert "does not let this user publish" in error.message
    assert f"{lacks} (Not authorized)" in error.message
    assert "access list" in error.hint


def test_who_asks_again_and_again_is_answered_once_in_a_while(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published_predictions, "_SOON_S", 3600.0)
    with Subscriber(house.broker) as listener, house.publishing:
        house.look(found(1.5))
        assert value_of(listener) == 1.5
        publisher = Publisher(house.broker)
        for _ in range(20):
            publisher.publish(BIRTH, "online")
        house.look(found(2.5))
        assert value_of(listener) == 2.5, "nothing was said again before it"
        publisher.close()
