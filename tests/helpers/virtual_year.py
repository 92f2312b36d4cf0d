"""A fleet for a year in minutes: real homes and a real server's parts in one process, and a clock.

Real are what decides and what lasts: the timetable, what a run begins with, its rounds and secure
sums between homes that keep their state, promotion, the registry, what the server removes; each
home's readings as a file or in a store, its learning, the model of its own that it keeps sealed in
its folder, and what it predicts; the server's certificate, which is renewed in time, though nobody
connects by it. Not real are processes and sockets between them: messages go from hand to hand
(:mod:`helpers.wired_fleet`). No clock is waited for: all show `Year.now`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import numpy as np
from cryptography import x509
from flwr.app import Context, Message, RecordDict

from fedhome.clients import client_app
from fedhome.clients.agent.own_model import EndedRuns, OwnModelKeeper, keep_ended
from fedhome.clients.home import ClientHome, real_home
from fedhome.clients.membership.home_folder import CA, HomeFolder, HomeSettings
from fedhome.clients.own_readings import source_of
from fedhome.clients.recorded.recording import Recorder
from fedhome.clients.secure_sums import Participant
from fedhome.data.table import HomeTable
from fedhome.fleet.entries import Anchor, home_keys
from fedhome.fleet.owner_folder import ANCHOR, DIRECTORY
from fedhome.flower.messages import take_identity
from fedhome.ops import tls
from fedhome.plan.protocol import policy_of
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
from fedhome.wire.layout import Layout
from helpers.secagg_world import FLEET, World, names_of
from helpers.wired_fleet import Wire
from helpers.year_home import KEPT_DAYS, TARGET, YearHome, only_read, plan_of_a_year

KEPT = 4
"""How many runs and releases the server keeps beside those that are in use."""

STORES = ("h01", "h02")
"""Homes that record their readings in a store; the others have a file."""
OLD_CERTIFICATE_DAYS = 700
"""So old is the server's certificate when the year begins; it is good for 825 days."""


class Year:
    """The fleet, its server and the clock.

    Args:
        folder: Where everything lies.
        days: How long the year is.
        every_days: From one run to the next.
        rounds: Of each run.
        seed: Draws which homes are away, and how habits drift.
    """

    def __init__(
        self, folder: Path, *, days: int, every_days: int, rounds: int = 3, seed: int = 1
    ) -> None:
        take_identity(1)
        self.plan, self.told, self.renewed = plan_of_a_year(rounds), list[str](), 0
        self.draw = Random(seed)  # noqa: S311 - no secret
        self.world = World.of(10, policy=policy_of(self.plan), bundles=0, corrupt=1, committee=10)
        settings = ServerSettings(host="127.0.0.1", port=1, keep_runs=KEPT, keep_releases=KEPT)
        self.server = ServerFolder.create(folder / "hub", settings, names=["localhost"])
        tables = [only_read(one) for one in generate(homes=10, days=KEPT_DAYS + days, seed=seed)]
        self.homes = {
            name: self._home(folder / name, name, self._drifting(table))
            for name, table in zip(names_of(10), tables, strict=True)
        }
        self.begin = float(tables[0].time_s[0] + KEPT_DAYS * DAY_S)
        self.now, self.every_s = self.begin, every_days * DAY_S
        self._date_certificates()
        anchor = Anchor(fleet=FLEET, authority=self.world.authority.public)
        (self.server.fleet / ANCHOR).write_text(anchor.to_text())
        self._sign(self.world.issued)
        self.runs = Runs(self.server)
        self.retention = Retention(self.server, self.told.append)
        self.timetable = self.started()
        self.wire = Wire({name: self._app(name) for name in self.homes})
        self.events: list[Event] = []

    def _date_certificates(self) -> None:
        """Give the server a certificate that ends within the year, and homes its authority."""
        folder, began = self.server.tls, datetime.fromtimestamp(self.begin, UTC)
        shutil.rmtree(folder)
        tls.make_certificates(folder, ["localhost"], now=began - timedelta(OLD_CERTIFICATE_DAYS))
        for home in self.homes.values():
            (home.place.path / CA).write_bytes((folder / tls.CA).read_bytes())

    def _home(self, folder: Path, name: str, table: HomeTable) -> YearHome:
        place = HomeFolder(folder)
        home_keys(name, place.path)
        keep_days = float(KEPT_DAYS) if name in STORES else 0.0
        place.fill(
            HomeSettings(
                home=name,
                server="hub:1",
                data=str(folder.with_suffix(".parquet")),
                keep_days=keep_days,
            ),
            plan=self.plan,
            anchor=Anchor(fleet=FLEET, authority=self.world.authority.public),
            authorities=b"",
        )
        if name in STORES:
            Recorder(place).begin(filled=False)
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
        self.renewed += tls.renew_if_due(self.server.tls, datetime.fromtimestamp(self.now, UTC))
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
        package = self.registry.package("latest")
        for name in self._awake:
            self.homes[name].take_release(package, self.world.server.public)
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
                source = source_of(home.place)
                awake = real_home(self.plan, source, name=name, participant=home.part)
                self._awake[name], self._ending[name] = (
                    awake,
                    EndedRuns(awake, home.place, source),
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

    def check_certificate(self) -> None:
        """Hold the server's certificate against the clock and the authority that homes know."""
        terms = tls.terms_of(self.server.tls)
        assert terms.ends > datetime.fromtimestamp(self.now, UTC) + timedelta(tls.FEW_DAYS)
        mine = x509.load_pem_x509_certificate((self.server.tls / tls.CERTIFICATE).read_bytes())
        for home in self.homes.values():
            mine.verify_directly_issued_by(x509.load_pem_x509_certificate(home.place.authorities))

    def sizes(self) -> dict[str, int]:
        """Return the bytes in the server's folder, by run that is kept, and in those of homes."""
        homes = sum(self.bytes_in(name) for name in self.homes)
        return {"server": self.bytes_in("hub") // self.runs_kept, "homes": homes}

    @property
    def runs_kept(self) -> int:
        """How many runs lie in the server's folder."""
        return sum(path.is_dir() for path in self.server.runs.iterdir())

    def bytes_in(self, *parts: str) -> int:
        """Return how many bytes the files below a folder hold, of server or home."""
        root = self.server.path.parent.joinpath(*parts)
        return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def _dies(message: Message, evaluations: Iterator[int], crash: type[Exception]) -> bool:
    if message.metadata.message_type == "evaluate" and next(evaluations) == 12:
        raise crash
    return False
