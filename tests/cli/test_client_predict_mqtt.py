"""`fedhome client predict --watch --mqtt`, as people see it: a real broker, real processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from fedhome.clients.agent.own_model import OwnModelKeeper, keep_ended
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import SourceError
from helpers.client_world import fedhome, refused
from helpers.kept_home import HOME, kept_home, runs_of
from helpers.mosquitto import Mosquitto, Subscriber, needs_broker
from helpers.patience import PATIENCE_S

pytest.importorskip("paho.mqtt", reason="brokers need the extra mqtt")
pytestmark = [
    needs_broker,
    pytest.mark.long,
    pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks"),
]


@pytest.fixture
def place(tmp_path: Path) -> HomeFolder:
    """A home with a model of its own, whose last reading is of this hour."""
    place = kept_home(tmp_path)
    path = Path(place.settings.data)
    table = pq.read_table(path)
    times = table["time"].cast(pa.timestamp("s", tz="UTC")).cast("int64")
    later = int(time.time()) // 3600 * 3600 - times[-1].as_py()
    moved = pc.add(times, later).cast(pa.timestamp("s", tz="UTC"))
    pq.write_table(table.set_column(0, "time", moved), path)
    keep_ended(runs_of(place, 0.1), OwnModelKeeper(place), run=1)
    return place


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    folder = tmp_path / "broker"
    folder.mkdir()
    with Mosquitto(folder) as running:
        yield running


@contextmanager
def ended_with(process: subprocess.Popen[str]) -> Iterator[None]:
    """End a process when a test fails, which would wait for it else."""
    try:
        yield
    finally:
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_home_assistant_finds_it_and_knows_when_it_is_gone(
    place: HomeFolder, broker: Mosquitto, number: signal.Signals
) -> None:
    command = ["client", "predict", str(place.path), "--watch", "--json", "--mqtt", broker.address]
    with (
        Subscriber(broker) as listener,
        subprocess.Popen(
            [sys.executable, "-m", "fedhome", *command], stdout=subprocess.PIPE, text=True
        ) as watching,
        ended_with(watching),
    ):
        assert watching.stdout is not None
        line = json.loads(watching.stdout.readline())
        config = listener.next("/config")
        told = json.loads(config.payload)
        assert told["device"]["name"] == f"fedhome {HOME}"
        assert told["components"]["next_p50"]["unit_of_measurement"] == "kWh"
        assert str(place.path) not in config.payload
        state = listener.next("/next/number")
        said = json.loads(state.payload)
        numbers = ("value", "low", "high")
        assert [said.pop(name) for name in numbers] == [
            float(f"{line[name]:.6g}") for name in numbers
        ]
        assert said.items() <= line.items()
        assert state.topic == told["components"]["next_p90"]["state_topic"]
        watching.send_signal(number)
        gone = listener.next("/status", "offline")
        assert gone.topic == told["components"]["next_p50"]["availability_topic"]
        assert watching.wait(PATIENCE_S) == (0 if number == signal.SIGTERM else -number)


@pytest.mark.parametrize(
    "words",
    [("--mqtt", "mqtt://b"), ("--watch", "--password-file", "f"), ("--watch", "--ca", "f")],
)
def test_what_does_not_go_together_is_refused(place: HomeFolder, words: tuple[str, ...]) -> None:
    assert fedhome("predict", place.path, *words).exit_code == 2


def test_an_address_with_a_password_is_refused(place: HomeFolder) -> None:
    words = ("--watch", "--mqtt", "mqtt://oak:s3cret@b")
    error = refused(fedhome("predict", place.path, *words), SourceError, "holds a password")
    assert "s3cret" not in str(error)
