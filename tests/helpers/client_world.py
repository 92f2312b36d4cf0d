"""A fleet's owner, its front over TLS and a device: for the tests of `fedhome client`."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from typer.testing import CliRunner

from fedhome.cli import app
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import FedHomeError
from fedhome.fleet.admission import SERVER
from fedhome.fleet.cards import Card
from fedhome.fleet.owner_folder import Fleet
from fedhome.ops import tls
from fedhome.ops.listening import free_port
from fedhome.plan.settings import Plan
from fedhome.server.daemon.front import serve
from fedhome.server.daemon.server_folder import ServerFolder, ServerSettings
from fedhome.store import disk
from helpers.patience import PATIENCE_S

HOST = "127.0.0.1"
WEEK_S = 7 * 86_400
PLAN = Plan.load(
    name="tiny",
    data={"lags": [1, 2], "gap": 2, "inputs": [{"name": "outdoor_c"}]},
    model={"hidden": [4]},
    rounds={"count": 1},
)
HOURS = 24 * 9


@dataclass
class World:
    """An owner, a server with its front, and a device's folder.

    Args:
        fleet: The owner's folder.
        card: The server's.
        device: Where the device's commands run.
        server: The server's folder.
    """

    fleet: Fleet
    card: Card
    device: Path
    server: ServerFolder

    def invite(
        self, home: str = "oak", *, plan: str | None = None, card: Card | None = None
    ) -> Path:
        """Write an invite; two for the same home differ."""
        text = PLAN.to_toml() if plan is None else plan
        expires = int(time.time()) + WEEK_S
        made = self.fleet.invite(home, card=card or self.card, plan=text, expires=expires)
        path = self.device / f"{home}.invite"
        path.write_text(made.to_text())
        return path

    def pending(self) -> list[str]:
        """Return which tickets' enrolments the server keeps."""
        return sorted(path.name for path in (self.server.path / "enrolments").glob("*.*"))


@contextmanager
def owned_in(root: Path) -> Iterator[tuple[Fleet, ServerFolder]]:
    """Yield an owner's open fleet and its server's folder."""
    fleet = Fleet.create(root / "owner", "correct horse")
    settings = ServerSettings(host=HOST, port=free_port())
    server = ServerFolder.create(root / "server", settings, names=[HOST])
    shutil.copytree(root / "owner" / SERVER, server.fleet, dirs_exist_ok=True)
    with fleet:
        yield fleet, server


@contextmanager
def front_of(place: ServerFolder) -> Iterator[None]:
    """Let a server's front answer over TLS."""
    server = serve(place)
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def world_of(
    owned: tuple[Fleet, ServerFolder], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> World:
    """Return an owner and its server; readings lie in the device's folder, where commands run."""
    fleet, server = owned
    shutil.rmtree(server.path / "enrolments", ignore_errors=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    write_readings(folder / "readings.parquet")
    card = Card(
        server=f"{HOST}:{server.settings.port}", authorities=(server.tls / tls.CA).read_bytes()
    )
    return World(fleet, card, folder, server)


def write_readings(path: Path, hours: int = HOURS, target: str = "load_kwh") -> None:
    times = [1_700_000_000 // 3600 * 3600 + 3600 * hour for hour in range(hours)]
    load = [0.5 + (hour % 24) / 24 + (hour % 7) / 50 for hour in range(hours)]
    columns = {
        "time": pa.array(times, pa.timestamp("s", tz="UTC")),
        target: pa.array(load),
        "outdoor_c": pa.array([float(hour % 24) for hour in range(hours)]),
    }
    pq.write_table(pa.table(columns), path)


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def fedhome(*words: object, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, ["client", *map(str, words)], input=answer)


def join(invite: Path, *words: object, answer: str | None = "y\n") -> Result:
    return fedhome("join", invite, "--data", "readings.parquet", *words, answer=answer)


def refused(result: Result, kind: type[FedHomeError], words: str) -> FedHomeError:
    assert isinstance(result.exception, kind), result.output
    assert words in str(result.exception)
    return result.exception


def joined(world: World) -> HomeFolder:
    """Return the folder of a home that has joined."""
    done = join(world.invite())
    assert done.exit_code == 0, done.exception
    return HomeFolder(world.device / "oak")


class disk_held:  # noqa: N801 - reads as what it does
    """Hold a folder as its agent does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        self._lock = disk.lock(self._folder)

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)


def started(place: HomeFolder) -> list[str]:
    """Return the command that `start` becomes."""
    commands: list[list[str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "execv", lambda _, words: commands.append(words))
        done = fedhome("start", place.path)
    assert done.exit_code == 0, done.output
    return commands[0]


def not_started(place: HomeFolder, words: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "execv", lambda *_: pytest.fail("it was started"))
        done = fedhome("start", place.path)
    assert (done.exit_code, words in done.output) == (78, True), done.output
