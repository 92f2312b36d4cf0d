"""A fleet for a year in minutes: real homes and a real server's parts in one process, and a clock.

Real are what decides and what lasts: the timetable, what a run begins with, its rounds and secure
sums between homes that keep their state, promotion, the registry, what the server removes; each
home's readings as a file, its learning, the model of its own that it keeps sealed in its folder,
and what it predicts. Not real are processes, sockets and certificates between them: messages go
from hand to hand (:mod:`helpers.wired_fleet`). No clock is waited for: all show `Year.now`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from flwr.app import Context, Message, RecordDict
from numpy.typing import NDArray

from fedhome.clients import client_app
from fedhome.clients.agent.own_model import EndedRuns, OwnModelKeeper, keep_ended
from fedhome.clients.home import ClientHome, real_home
from fedhome.clients.kept_model import own_model
from fedhome.clients.membership.home_folder import HomeFolder, HomeSettings
from fedhome.clients.membership.own_models import OwnModels
from fedhome.clients.own_readings import read_files, source_of
from fedhome.clients.secure_sums import Participant
from fedhome.data.table import HomeTable
from fedhome.fleet.entries import Anchor, home_keys
from fedhome.fleet.owner_folder import ANCHOR, DIRECTORY
from fedhome.flower.messages import take_identity
from fedhome.personal.model import Predictions
from fedhome.personal.newest_rows import moments, newest_rows, tried
from fedhome.plan.protocol import policy_of
from fedhome.plan.settings import Plan
from fedhome.plan.time_steps import DAY_S
from fedhome.registry import Registry
from fedhome.run.events import Event, EventLog
from fedhome.run.folder import RunFolder
from fedhome.secagg import Directory
from fedhome.server.daemon.current_run import FINISHED, Runs
from fedhome.server.daemon.publishing import MODELS, Publisher
from fedhome.server.daemon.retention import Retention
from fedhome.server.daemon.run_schedule import RunSchedule, write_schedule
from fedhome.server.daemon.server_folder import ServerFolder, ServerSettings
from fedhome.server.daemon.timetable import Timetable
from fedhome.server.rounds.counters import LastingScale, Serials
from fedhome.server.rounds.left_out import LeftOut
from fedhome.server.rounds.masked_sums import ProtocolChannel
from fedhome.server.rounds.secure_grid import SecureGrid
from fedhome.server.rounds.sum_journal import SumJournal
from fedhome.server.server_app import run_over_grid
from fedhome.simulations.homes import generate
from fedhome.simulations.local_fleet import named
from fedhome.wire.layout import Layout
from helpers.secagg_world import FLEET, World, names_of
from helpers.wired_fleet import Wire

TARGET, WEATHER = "load_kwh", "outdoor_c"
KEPT_DAYS = 42
"""How many days of readings a home keeps."""


def plan_of_a_year() -> Plan:
    """Return a plan of small networks and linear models, whose sums are secure."""
    plan = Plan.load(
        name="nightly",
        seed=3,
        data={"homes": 10, "days": 30, "history_days": 30, "target": TARGET, "features": [WEATHER]},
        model={"hidden": [8]},
        rounds={"count": 3},
        personalise={
            "epochs": 4,
            "local_epochs": 4,
            "experts": ["tuned", "global", "naive", "linear"],
            "opponents": ["seasonal", "linear"],
        },
        aggregation={"mode": "secure", "weight_cap": 2048},
    )
    tables = [_only_read(table) for table in generate(homes=2, days=30, seed=plan.seed)]
    return named(plan, tables).change(data={"homes": None, "source": "homes", "time_zone": "UTC"})


def _only_read(table: HomeTable) -> HomeTable:
    columns = {name: table.columns[name] for name in (TARGET, WEATHER)}
    units = {name: unit for name, unit in table.units.items() if name in columns}
    return HomeTable(home=table.home, time_s=table.time_s, columns=columns, units=units)


@dataclass
class YearHome:
    """A home and its device.

    Args:
        name: Its name.
        place: Its folder.
        table: What will be read in it, the whole year.
        part: Its part in secure sums, which lasts.
        there: Whether it is connected.
        gave_way: On how many days its model gave way to the forecast without learning.
        said: What it has predicted: when, what it said, without learning, and what came.
    """

    name: str
    place: HomeFolder
    table: HomeTable
    part: Participant
    there: bool = True
    gave_way: int = 0
    said: list[tuple[int, float, float, float]] = field(default_factory=list)

    @property
    def readings(self) -> Path:
        """The file with its readings."""
        return Path(self.place.settings.data)

    def read_until(self, now: float) -> None:
        """Write what was read in the last weeks."""
        rows = (self.table.time_s <= now) & (self.table.time_s > now - KEPT_DAYS * DAY_S)
        columns = {name: pa.array(values[rows]) for name, values in self.table.columns.items()}
        time = pa.array(self.table.time_s[rows], pa.timestamp("s", tz="UTC"))
        pq.write_table(pa.table({"time": time, **columns}), self.readings)

    def predict_until(self, plan: Plan, before: float, now: float) -> None:
        """Note how wrong it was since it was last asked: by what it said each day for the next.

        Its readings up to now are there; a prediction is made of what was known a step before.
        """
        if not OwnModels(self.place.path, self.name).path.exists():
            return  # it has not ended a run
        model = own_model(self.place)
        known = model.predictions(read_files(plan, self.readings, name=self.name).table)
        at = moments(known)
        own, without = (known.table[name].to_numpy() for name in ("value", "without_learning"))
        for day in np.arange(before, now, DAY_S):
            upto = int((at <= day).sum())
            past = Predictions(known.table.slice(0, upto), known.known[:upto], {}, ())
            worse = tried(model, past, newest_rows(model, past)).worse
            self.gave_way += worse
            rows = (at > day) & (at <= min(day + DAY_S, now)) & np.isfinite(known.known)
            for moment, said, naive, truth in zip(
                at[rows],
                (without if worse else own)[rows],
                without[rows],
                known.known[rows],
                strict=True,
            ):
                self.said.append((int(moment), float(said), float(naive), float(truth)))

    def monthly(self, begin: float, *, days: int = 30) -> list[float]:
        """Return what its errors were in each month, as a multiple of those without learning.

        Errors are root mean squared ones; a month counts of which it has predicted half.

        Args:
            begin: When the first month began, Unix time in s.
            days: Of a month.
        """
        at, said, naive, truth = (np.array(column) for column in zip(*self.said, strict=True))
        months = ((at - begin) // (days * DAY_S)).astype(int)
        parts = [months == month for month in np.unique(months)]
        return [
            _size((said - truth)[rows]) / _size((naive - truth)[rows])
            for rows in parts
            if rows.sum() >= days * 12
        ]


def _size(errors: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(errors**2)))


class Year:
    """The fleet, its server and the clock.

    Args:
        folder: Where everything lies.
        days: How long the year is.
        every_days: From one run to the next.
        seed: Draws which homes are away, and how habits drift.
    """

    def __init__(self, folder: Path, *, days: int, every_days: int, seed: int = 1) -> None:
        take_identity(1)
        self.plan, self.told = plan_of_a_year(), list[str]()
        self.draw = Random(seed)  # noqa: S311 - no secret
        self.world = World.of(10, policy=policy_of(self.plan), bundles=0, corrupt=1, committee=10)
        tables = [_only_read(one) for one in generate(homes=10, days=KEPT_DAYS + days, seed=seed)]
        self.homes = {
            name: self._home(folder / name, name, self._drifting(table))
            for name, table in zip(names_of(10), tables, strict=True)
        }
        self.begin = float(tables[0].time_s[0] + KEPT_DAYS * DAY_S)
        self.now, self.every_s = self.begin, every_days * DAY_S
        settings = ServerSettings(host="127.0.0.1", port=1, keep_runs=4, keep_releases=4)
        self.server = ServerFolder.create(folder / "hub", settings, names=["localhost"])
        anchor = Anchor(fleet=FLEET, authority=self.world.authority.public)
        (self.server.fleet / ANCHOR).write_text(anchor.to_text())
        self._sign(self.world.issued)
        self.runs = Runs(self.server)
        self.retention = Retention(self.server, self.told.append)
        self.timetable = self.started()
        self.wire = Wire({name: self._app(name) for name in self.homes})
        self.events: list[Event] = []

    def _home(self, folder: Path, name: str, table: HomeTable) -> YearHome:
        place = HomeFolder(folder)
        home_keys(name, place.path)
        place.fill(
            HomeSettings(home=name, server="hub:1", data=str(folder.with_suffix(".parquet"))),
            plan=self.plan,
            anchor=Anchor(fleet=FLEET, authority=self.world.authority.public),
            authorities=b"",
        )
        part = Participant(self.world.homes[name], clock=lambda: self.now)
        return YearHome(name, place, table, part)

    def _drifting(self, table: HomeTable) -> HomeTable:
        """Let habits change: from some day on all is later, and the load grows over the year."""
        load, rows = table.columns[TARGET], np.arange(table.rows)
        since, hours = (
            self.draw.randrange(table.rows // 4, table.rows),
            self.draw.choice((-3, 2, 5)),
        )
        grown = 1.0 + self.draw.uniform(-0.3, 0.8) * rows / table.rows
        drifted = np.where(rows >= since, np.roll(load, hours), load) * grown
        return replace(table, columns={**table.columns, TARGET: drifted})

    def _sign(self, issued: bytes) -> None:
        (self.server.fleet / DIRECTORY).write_bytes(issued)

    def _app(self, name: str) -> client_app.Any:
        def answer(message: Message) -> Message:
            app = client_app.build(lambda _: self._awake[name])
            reply = app(message, Context(1, 7, {}, RecordDict(), {}))
            assert isinstance(reply, Message)
            return reply

        return answer

    @property
    def gave_way(self) -> int:
        """On how many days of a home the forecast without learning stood in."""
        return sum(home.gave_way for home in self.homes.values())

    @property
    def kinds(self) -> set[str]:
        """Kinds of all events of all runs."""
        return {event.event for event in self.events}

    @property
    def refusals(self) -> list[tuple[str, str]]:
        """What homes refused, and why."""
        return self.wire.refusals

    @property
    def directory(self) -> Directory:
        """What the owner last signed."""
        return self.world.directory

    def started(self) -> Timetable:
        """Return the timetable of a daemon that has just been started."""
        return Timetable(self.server, self.runs, self.told.append, lambda: self.now)

    def set_timetable(self) -> None:
        """Let runs begin at three in the morning."""
        write_schedule(
            self.server.path,
            RunSchedule(every_s=self.every_s, at="03:00", since_s=int(self.now), plan=self.plan),
        )

    def jump(self, seconds: float) -> None:
        """Set all clocks ahead, and let readings arrive and predictions be held against them."""
        before, self.now = self.now, self.now + seconds
        for home in self.homes.values():
            home.read_until(self.now)
            home.predict_until(self.plan, before, self.now)

    def tend(self, *, away: Sequence[str] = (), crash: type[Exception] | None = None) -> str:
        """Do what is due, as the daemon does; return the run that it began, if one."""
        last = self.runs.current
        self.timetable.tend()
        current = self.runs.current
        if current is None or current == last or not current.is_open:
            return ""
        gone = {*away} | {home.name for home in self.homes.values() if not home.there}
        self.wire.away = gone & {*self.wire.homes}
        self._wake()
        self.wire.deaf = lambda home, _message: home in self.wire.away
        if crash is not None:
            self._cut_off(current.run, crash)
        self._play(current.run, resumed=crash is not None)
        self.runs.end(current.run, FINISHED)
        for name, ended in self._ending.items():
            keep_ended(ended, OwnModelKeeper(self.homes[name].place), run=len(self.events))
        self.retention.tend()
        return current.run

    def _cut_off(self, run: str, crash: type[Exception]) -> None:
        """Begin a run whose process is killed in its second round."""
        whole, evaluations = self.wire.deaf, iter(range(100))

        def deaf(home: str, message: Message) -> bool:
            return whole(home, message) or _dies(message, evaluations, crash)

        self.wire.deaf = deaf
        with suppress(crash):
            self._play(run, resumed=False)
        self.wire.deaf = whole

    def _wake(self) -> None:
        """Start the workers of the homes that are there: they read what has arrived."""
        self._awake: dict[str, ClientHome] = {}
        self._ending: dict[str, EndedRuns] = {}
        for name, home in self.homes.items():
            if name in self.wire.homes and name not in self.wire.away:
                data = str(home.readings)
                awake = real_home(self.plan, data, name=name, participant=home.part)
                self._awake[name], self._ending[name] = (
                    awake,
                    EndedRuns(awake, home.place, source_of(home.place)),
                )

    def _play(self, run: str, *, resumed: bool) -> None:
        """Do what the process of a run does."""
        folder = self.runs.folder(run)
        with EventLog(folder.events_path, on_event=self.events.append) as log:
            log.append("run-resumed" if resumed else "run-started", plan=self.plan.name)
            publisher = Publisher(
                self.server.path / MODELS,
                fleet=FLEET,
                keys=self.world.server,
                run=folder,
                log=log,
                keep=self.server.settings.keep_releases,
            )
            run_over_grid(
                self.plan,
                self.wire,
                folder,
                log,
                secure_grid_for=lambda layout: self._grid(layout, folder, log),
                name_of=lambda node: self.wire.names[node],
                resumed=resumed,
                publisher=publisher,
            )

    def _grid(self, layout: Layout, folder: RunFolder, log: EventLog) -> SecureGrid:
        directory, path = self.directory, self.server.path
        channel = ProtocolChannel(
            self.wire,
            self.plan,
            self.wire.names,
            directory=directory,
            keys=self.world.server,
            run=folder.path.name.encode().ljust(16)[:16],
            serials=Serials(path / "serials", directory),
            journal=SumJournal(folder.sums_path),
            clock=lambda: self.now,
            left_out=LeftOut(
                self.server.left_out,
                directory=directory,
                run=folder.path.name,
                clock=lambda: self.now,
            ),
        )
        grid = SecureGrid(channel, plan=self.plan, layout=layout, log=log)
        grid.scale = LastingScale(self.plan.aggregation, path / "turns", directory=directory.hash)
        return grid

    @property
    def registry(self) -> Registry:
        """The server's releases."""
        return Registry.open(self.server.path / MODELS)

    def copy_of(self, name: str, to: Path) -> None:
        """Keep a copy of a home's own model, and of nothing that may be used once alone."""
        shutil.copytree(self.homes[name].place.path / "personal", to)

    def restore(self, name: str, copy: Path) -> None:
        """Bring a copy back."""
        place = self.homes[name].place.path / "personal"
        shutil.rmtree(place)
        shutil.copytree(copy, place)

    def sign_anew(self) -> None:
        """Let the owner sign the next directory, as before the last one expires; homes fetch it."""
        issued = self.world.next_epoch()
        self._sign(issued)
        for home in self.homes.values():
            home.part.machine.renew(issued)

    def sizes(self) -> dict[str, int]:
        """Return how many bytes lie in the server's folder, and in those of all homes."""
        homes = sum(self.bytes_in(name) for name in self.homes)
        return {"server": self.bytes_in("hub"), "homes": homes}

    def bytes_in(self, *parts: str) -> int:
        """Return how many bytes the files below a folder hold, of server or home."""
        root = self.server.path.parent.joinpath(*parts)
        return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def _dies(message: Message, evaluations: Iterator[int], crash: type[Exception]) -> bool:
    if message.metadata.message_type == "evaluate" and next(evaluations) == 12:
        raise crash
    return False
