"""Training waits while its device is hot or busy, says so, and goes on or gives up."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message, RecordDict

from fedhome.clients.agent.resident import Agent
from fedhome.clients.agent.training_rest import RestLimits, TrainingRest
from fedhome.clients.membership.home_folder import HomeFolder, HomeSettings
from fedhome.errors import EngineError, RunError
from fedhome.fleet.state_file import FileStore
from fedhome.flower.fleet_connection import message_bytes, message_of
from fedhome.flower.messages import take_identity
from fedhome.learning.at_home import device_of
from fedhome.learning.cohort import Training
from fedhome.ops.device_load import DeviceLoad, device_load
from fedhome.plan.settings import Plan
from helpers import tiny
from helpers.kept_home import HOME, kept_home

LIMITS = RestLimits(hottest_c=80.0, busiest=2.0, longest_s=60.0)
CALM = DeviceLoad(50.0, 0.1)


class Device:
    """A device that shows one load after the other, and a clock that sleeping moves."""

    def __init__(self, *loads: DeviceLoad, limits: RestLimits = LIMITS) -> None:
        self.loads: Iterator[DeviceLoad] = iter(loads)
        self.told: list[str] = []
        self.now = 0.0
        self.looked = 0
        self.rest = TrainingRest(
            limits, self.told.append, read=self.read, sleep=self.sleep, clock=lambda: self.now
        )

    def read(self) -> DeviceLoad:
        self.looked += 1
        return next(self.loads)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_cool_and_calm_device_does_not_wait() -> None:
    device = Device(CALM)
    device.rest.wait()
    assert (device.now, device.told) == (0.0, [])


def test_a_hot_one_waits_until_it_is_cooler_by_some_degrees(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    device = Device(*(DeviceLoad(hot, 0.1) for hot in (81.0, 79.0, 76.0, 75.0)))
    device.rest.wait()
    assert device.now == 15.0
    assert device.told == ["training waits: the device is at 81 °C, and may be at 80", ""]
    assert [(one.levelname, one.message.partition(":")[0]) for one in caplog.records] == [
        ("WARNING", "training waits"),
        ("INFO", "training goes on"),
    ]


def test_a_busy_one_waits_until_it_is_calm() -> None:
    device = Device(*(DeviceLoad(None, busy) for busy in (2.5, 1.9, 1.6)))
    device.rest.wait()
    assert device.now == 10.0
    assert "2.5 processes a processor run or wait to run" in device.told[0]


def test_who_waits_too_long_gives_up_and_begins_anew_with_the_next_question() -> None:
    device = Device(*[DeviceLoad(90.0, 0.0)] * 27)
    with pytest.raises(EngineError, match="training waited 60 s in vain: the device is at 90"):
        device.rest.wait()
    assert device.told[-1] == ""
    device.now += 2
    with pytest.raises(EngineError):  # of the same question: the time is over
        device.rest.wait()
    assert device.looked == 14
    device.rest.begin_question()
    device.now += 2
    with pytest.raises(EngineError, match="60 s"):
        device.rest.wait()


def test_what_is_0_or_not_known_does_not_matter() -> None:
    free = RestLimits(hottest_c=0.0, busiest=0.0, longest_s=60.0)
    Device(DeviceLoad(140.0, 99.0), limits=free).rest.wait()
    Device(DeviceLoad(None, None)).rest.wait()


def test_it_is_looked_at_once_in_a_second() -> None:
    device = Device(CALM, CALM)
    for moment in (0.0, 0.2, 0.9, 1.1):
        device.now = moment
        device.rest.wait()
    assert device.looked == 2


def test_limits_are_the_homes_and_leave_time_for_an_answer() -> None:
    settings = HomeSettings(home="h", server="s:1", data="d", train_below_c=65, train_below_load=3)
    limits = RestLimits.of(settings, Plan.load(rounds={"deadline_s": 100.0}))
    assert limits == RestLimits(hottest_c=65, busiest=3, longest_s=50.0)
    soon = Plan.load(rounds={"deadline_s": 100.0, "reply_after_s": 20.0})
    assert RestLimits.of(settings, soon).longest_s == 10.0


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("worker_nice = 20", "a whole number from 0 to 19"),
        ('worker_nice = "ten"', "worker_nice is 'ten', and has to be a whole number"),
        ("train_below_c = -1.0", "train_below_c is -1.0"),
        ("train_below_load = true", "train_below_load is true"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, line: str, told: str) -> None:
    (tmp_path / "home.toml").write_text(f'home = "h"\nserver = "s:1"\ndata = "d"\n{line}\n')
    with pytest.raises(RunError, match=told):
        _ = HomeFolder(tmp_path).settings


@pytest.mark.long
@pytest.mark.parametrize("sections", [{}, {"model": {"norm": "layer"}}])
def test_every_training_asks_first_and_may_be_refused(
    sections: dict[str, dict[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    """By the kernel as by torch; scoring asks nothing."""
    asked: list[int] = []

    def hot() -> None:
        asked.append(1)
        raise EngineError("too hot")

    caplog.set_level(logging.ERROR)
    device = device_of(tiny.plan(**sections), tiny.home("h", (19, 6, 5)), before_training=hot)
    start = device.learning.initial
    device.evaluate(start, "validation")
    assert asked == []
    with pytest.raises(EngineError, match="too hot"):
        device.train(start, Training(stream=1, epochs=1))
    assert asked == [1]


def test_the_hottest_thermometer_counts_and_what_measures_nothing_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (3.0, 1.0, 1.0), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    write(tmp_path, "48312", "71999", "-274000", "200000", "asleep", "")
    assert device_load(tmp_path) == DeviceLoad(71.999, 1.5)
    assert device_load(tmp_path / "nowhere").hottest_c is None


def test_a_system_that_counts_no_load_says_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "getloadavg", raising=False)
    assert device_load(tmp_path) == DeviceLoad(None, None)


def test_why_training_waits_is_in_the_status_until_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker's frames reach the file that ``fedhome client status`` shows."""
    seen: list[str] = []

    class Working:
        """A worker that waits, goes on, and then fails."""

        ended, late, number = False, 0.0, 1
        frames = iter(
            (
                {"waits": "training waits: it is hot"},
                {"waits": ""},
                {"failed": "x", "refused": False},
            )
        )

        def send_frame(self, **_: object) -> None:
            """Take the question."""

        def receive(self) -> Any:
            status = place.status
            seen.append("" if status is None else status.detail)
            return next(self.frames)

        def close(self) -> str:
            return "status 0"

    place = kept_home(tmp_path)
    with FileStore.open(place.path, home=HOME) as store:
        tasks = Agent(place, store)._tasks
        with closing(tasks):
            monkeypatch.setattr(tasks._work, "_running", Working())
            take_identity(1)
            message = Message(RecordDict(), dst_node_id=5, message_type="train")
            assert tasks._work.answer(message_of(message_bytes(message))).has_error()
    assert seen == ["", "training waits: it is hot", ""]


def write(folder: Path, *values: str) -> None:
    for number, value in enumerate(values):
        zone = folder / f"thermal_zone{number}"
        zone.mkdir()
        (zone / "temp").write_text(f"{value}\n")
