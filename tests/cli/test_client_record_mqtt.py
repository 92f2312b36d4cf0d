"""`fedhome client record DIR mqtt://…`, as people see it: a real broker, real processes."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from fedhome.clients.broker.broker_address import PASSWORD
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.recorded.reading_store import ReadingStore
from fedhome.clients.recorded.readings_key import FOLDER as STORE
from fedhome.data.table import HomeTable
from fedhome.errors import PlanError, RunError, SourceError
from fedhome.ops import tls
from fedhome.server.daemon.server_folder import ServerFolder, ServerSettings
from helpers.client_world import fedhome, refused
from helpers.json_guide import checked
from helpers.kept_home import HOME, HOURS, kept_home
from helpers.mosquitto import HOST, Mosquitto, Publisher, needs_broker
from helpers.patience import PATIENCE_S

pytest.importorskip("paho.mqtt", reason="brokers need the extra mqtt")
pytestmark = [
    needs_broker,
    pytest.mark.long,
    pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks"),
]

RENAME = 'rename={"home/power"="load","z/out.temp"="outdoor"}'
TOPICS = ("--topic", "home/#", "--topic", "z/+", "--set", RENAME)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HomeFolder:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    home = kept_home(tmp_path)
    assert fedhome("record", HOME).exit_code == 0
    return home


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    folder = tmp_path / "broker"
    folder.mkdir()
    with Mosquitto(folder) as running:
        yield running


class Recording:
    """`fedhome client record` as a process, and what it says, line by line."""

    def __init__(self, *words: object, **environment: str) -> None:
        command = [sys.executable, "-m", "fedhome", "client", "record", HOME]
        self.process = subprocess.Popen(
            [*command, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.out, self.err = _lines(self.process.stdout), _lines(self.process.stderr)

    def says(self, words: str) -> str:
        """Wait for a line on standard error."""
        while words not in (line := self.err.get(timeout=PATIENCE_S)):
            assert line, f"it ended and did not say {words!r}"
        return line

    def recorded(self) -> dict[str, Any]:
        """Wait for a line of JSON."""
        line = self.out.get(timeout=PATIENCE_S)
        assert line, f"it ended: {self.err.get(timeout=PATIENCE_S)}"
        return dict(checked("client record", line))

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; return the status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


def _lines(stream: IO[str]) -> queue.Queue[str]:
    found: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in stream:
            found.put(line)
        found.put("")
        stream.close()

    threading.Thread(target=read, daemon=True).start()
    return found


@contextmanager
def recording(*words: object, **environment: str) -> Iterator[Recording]:
    """Yield a process that records, and end it."""
    one = Recording(*words, "--json", **environment)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()


@contextmanager
def publishing(broker: Mosquitto) -> Iterator[Publisher]:
    one = Publisher(broker)
    try:
        yield one
    finally:
        one.close()


def stored(place: HomeFolder) -> HomeTable:
    """Return what came after the home's first filling."""
    table = ReadingStore.of(place.path, HOME).read().table
    assert table.rows >= HOURS
    begin = int(np.searchsorted(table.time_s, 1_750_000_000))
    return HomeTable(
        home=HOME,
        time_s=table.time_s[begin:],
        columns={name: values[begin:] for name, values in table.columns.items()},
    )


def there(table: HomeTable, name: str) -> list[float]:
    values = table.columns[name]
    return list(values[~np.isnan(values)])


def test_messages_are_recorded_told_and_predicted_from(
    place: HomeFolder, broker: Mosquitto
) -> None:
    with (
        publishing(broker) as one,
        recording(broker.address, *TOPICS, "--every", "1s", "--within", "0.1") as process,
    ):
        one.publish("z/out", json.dumps({"temp": 99}), retain=True)  # from before: no new reading
        process.says("connected, takes home/#, z/+")
        began = time.time()
        one.publish("home/power", "1.5")
        first = process.recorded()
        assert (first["source"], first["lines"], first["new"]) == (broker.address, 1, 1)
        assert there(stored(place), "load") == [1.5]  # it is on the disk now
        one.publish("z/out", json.dumps({"temp": 3.5, "battery": 80}), retain=True)
        process.recorded()
        one.publish("home/power", "high")
        process.says("home/power: not recorded: a word comes where the plan has numbers")
        one.publish("home/power", "2.5")
        process.recorded()
        assert process.end() == 1  # as something was not recorded
        process.says("4 messages came, 3 with readings; 1 reading was not recorded")
    table = stored(place)
    assert (there(table, "load")[-1], there(table, "outdoor")) == (2.5, [3.5])
    assert began - 1 <= table.time_s[0] <= table.time_s[-1] <= time.time()


def test_what_came_is_recorded_before_it_ends_and_of_a_minute_the_last_counts(
    place: HomeFolder, broker: Mosquitto
) -> None:
    with (
        publishing(broker) as one,
        recording(broker.address, *TOPICS, "--every", "1d", "--within", "3600") as process,
    ):
        process.says("connected")
        for value in range(40):
            one.publish("home/power", str(value))
        one.publish("z/out", json.dumps({"temp": 1}))
        one.publish("home/power", "high")  # what came before it has come when it is told
        process.says("home/power: not recorded")
        assert process.end() == 1
        told = process.recorded()
    assert told["lines"] == 42
    table = stored(place)
    assert there(table, "load")[-1] == 39.0
    assert table.rows <= 2  # days, where it was begun before midnight
    assert not (table.time_s % 86_400).any()


def test_a_broker_that_goes_and_comes_back_is_waited_for(
    place: HomeFolder, broker: Mosquitto
) -> None:
    with recording(broker.address, *TOPICS, "--every", "1s", "--within", "0.1") as process:
        process.says("connected")
        broker.stop()
        process.says("the connection was lost")
        process.says("connection refused; it is tried again until it is there")
        broker.start()
        process.says("connected again after")
        with publishing(broker) as one:
            one.publish("home/power", "7")
            process.recorded()
        assert process.end() == 0
    assert there(stored(place), "load") == [7.0]


def test_messages_with_their_own_time_survive_every_death(
    place: HomeFolder, broker: Mosquitto
) -> None:
    """Recorder and broker are killed again and again; nothing that was published is lost."""
    begin = int(time.time()) // 60 * 60 - 6 * 3600
    words = (broker.address, *TOPICS, "--set", 'rename={"t.load"="load"}', "--topic", "t")
    words = (*words, "--time", "at", "--within", "0.2")
    sent = 0

    def send(one: Publisher, count: int) -> None:
        nonlocal sent
        for _ in range(count):
            at = datetime.fromtimestamp(begin + 60 * sent, UTC).isoformat()
            one.publish("t", json.dumps({"load": sent, "at": at}))
            sent += 1

    with recording(*words) as process, publishing(broker) as one:
        process.says("from now on the broker keeps for 7 days what this one misses")
        send(one, 50)
        process.recorded()
        process.process.kill()  # in the midst of it
        process.process.wait()
        send(one, 50)  # nobody listens
    with recording(*words) as process:
        process.says("the broker has kept what was published meanwhile")
        with publishing(broker) as one:
            send(one, 50)
        broker.stop()
        broker.start()
        process.says("connected again after")
        with publishing(broker) as one:
            send(one, 50)
            while len(there(stored(place), "load")) < sent:
                process.recorded()
        assert process.end() == 0
    table = stored(place)
    assert there(table, "load") == [float(number) for number in range(200)]
    assert list(table.time_s) == [begin + 60 * number for number in range(200)]


def test_two_recordings_of_one_home_do_no_harm(place: HomeFolder, broker: Mosquitto) -> None:
    words = (broker.address, *TOPICS, "--every", "1d", "--within", "0.1")
    with recording(*words) as first, recording(*words) as second, publishing(broker) as one:
        first.says("connected")
        second.says("connected")
        one.publish("home/power", "3")
        assert first.recorded()["rows"] == second.recorded()["rows"] == 1
    assert set(there(stored(place), "load")) == {3.0}


def test_two_that_take_turns_are_told_of(place: HomeFolder, broker: Mosquitto) -> None:
    assert place.path.exists()
    with recording(broker.address, *TOPICS, "--time", "at") as first:
        first.says("connected")
        with recording(broker.address, *TOPICS, "--time", "at") as second:
            second.says("connected")
            first.says("the connection was lost")
            first.says("another command records the same topics for this home")


def test_who_is_not_let_in_is_told_what_to_do(place: HomeFolder, tmp_path: Path) -> None:
    folder = tmp_path / "guarded"
    folder.mkdir()
    made = subprocess.run(
        ["mosquitto_passwd", "-b", "-c", folder / "passwords", "oak", "s3cret"], check=False
    )
    assert made.returncode == 0
    (folder / "passwords").chmod(0o644)
    right = tmp_path / "password"
    right.write_text("s3cret\n")
    settings = ("allow_anonymous false", f"password_file {folder}/passwords")
    with Mosquitto(folder, settings) as broker:
        mine = broker.address.replace("//", "//oak@")
        error = refused(fedhome("record", HOME, broker.address, *TOPICS), SourceError, "anybody")
        assert "oak" not in str(error)
        assert "name the user" in error.hint
        error = refused(fedhome("record", HOME, mine, *TOPICS), SourceError, "this user and")
        assert "--password-file" in error.hint
        with recording(mine, *TOPICS, **{PASSWORD: "wrong"}) as process:
            process.says("it does not take this user and password")
            assert process.process.wait(PATIENCE_S) == 1
        with recording(mine, *TOPICS, "--password-file", right) as process:
            process.says("connected")
            assert process.end() == 0
        with recording(mine, *TOPICS, **{PASSWORD: "s3cret"}) as process:
            process.says("connected")
            assert process.end() == 0
    assert place.path.exists()


def test_a_certificate_has_to_hold(place: HomeFolder, tmp_path: Path) -> None:
    folder = tmp_path / "sealed"
    folder.mkdir()
    server = ServerFolder.create(
        tmp_path / "server", ServerSettings(host=HOST, port=1), names=[HOST]
    )
    for name in (tls.CERTIFICATE, tls.KEY):
        (folder / name).write_bytes((server.tls / name).read_bytes())
        (folder / name).chmod(0o644)
    ca = ("--ca", server.tls / tls.CA)
    settings = (
        "allow_anonymous true",
        f"certfile {folder / tls.CERTIFICATE}",
        f"keyfile {folder / tls.KEY}",
    )
    with Mosquitto(folder, settings) as broker:
        sealed = sealed_at(broker)
        with recording(sealed, *TOPICS, *ca) as process:
            process.says("connected")
            assert process.end() == 0
        for wrong in ((sealed, *TOPICS), (sealed.replace(HOST, "localhost"), *TOPICS, *ca)):
            with recording(*wrong) as process:
                process.says("its certificate does not hold")
                process.says("name the authority that signed it (--ca FILE)")
                assert process.process.wait(PATIENCE_S) == 1
    with Mosquitto(folder) as broker, recording(sealed_at(broker), *TOPICS) as process:
        process.says("mqtts:// is for its port with TLS")
    assert place.path.exists()


def sealed_at(broker: Mosquitto) -> str:
    return broker.address.replace("mqtt:", "mqtts:")


@pytest.mark.parametrize(
    ("words", "kind", "why"),
    [
        (["mqtt://b"], SourceError, "which topics"),
        (["mqtt://b", "--topic", "a/b#"], SourceError, "names no topics"),
        (["mqtt://b:x", "--topic", "a"], SourceError, "cannot be read"),
        (["mqtt://a:b@c", "--topic", "a"], SourceError, "holds a password"),
        (["mqtt://b", "--topic", "a", "--ca", "f"], SourceError, "no effect without TLS"),
        (["mqtts://b", "--topic", "a", "--every", "7m"], PlanError, "a part of a day"),
        (["mqtt://b", "--topic", "a", "--follow"], RunError, "what is to be followed"),
        (["readings.parquet", "--topic", "a"], SourceError, "--topic is for the messages"),
        (["-", "--every", "1s"], SourceError, "--every is for the messages"),
    ],
)
def test_what_makes_no_sense_is_refused(
    place: HomeFolder, words: list[str], kind: Any, why: str
) -> None:
    assert place.path.exists()
    refused(fedhome("record", HOME, *words), kind, why)


def test_without_the_extra_the_way_to_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = kept_home(tmp_path)
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    error = refused(
        fedhome("record", HOME, "mqtt://localhost:1", "--topic", "a"), SourceError, "paho-mqtt"
    )
    assert "fedhome[mqtt]" in error.hint
    assert not (home.path / STORE).exists()  # else the home would learn from an empty one
