"""A home of the virtual year: its readings as they arrive, and how wrong it was about the next."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fedhome.clients.agent.kept_releases import MODEL, RELEASE_FILE, _StoredRelease
from fedhome.clients.kept_model import own_or_fleets
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.membership.own_models import OwnModels
from fedhome.clients.own_readings import read_files, source_of
from fedhome.clients.recorded.reading_store import ReadingStore
from fedhome.clients.recorded.recording import Recorder
from fedhome.clients.secure_sums import Participant
from fedhome.data.table import HomeTable
from fedhome.personal.horizons import Predictions
from fedhome.personal.newest_rows import moments, newest_rows, tried
from fedhome.plan.settings import Plan
from fedhome.plan.time_steps import DAY_S
from fedhome.simulations.homes import generate
from fedhome.simulations.local_fleet import named

TARGET, WEATHER = "load_kwh", "outdoor_c"
KEPT_DAYS = 42
"""How many days of readings a home keeps."""


def plan_of_a_year(rounds: int) -> Plan:
    """Return a plan of small networks and linear models, whose sums are secure.

    Args:
        rounds: Of each run.
    """
    plan = Plan.load(
        name="nightly",
        seed=3,
        data={"homes": 10, "days": 30, "history_days": 30, "target": TARGET, "features": [WEATHER]},
        model={"hidden": [8]},
        rounds={"count": rounds},
        personalise={
            "epochs": 4,
            "local_epochs": 4,
            "experts": ["tuned", "global", "naive", "linear"],
            "opponents": ["seasonal", "linear"],
        },
        aggregation={"mode": "secure", "weight_cap": 2048},
    )
    tables = [only_read(table) for table in generate(homes=2, days=30, seed=plan.seed)]
    return named(plan, tables).change(data={"homes": None, "source": "homes", "time_zone": "UTC"})


def only_read(table: HomeTable) -> HomeTable:
    """Return a home's table with the two columns that the year's homes read."""
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
        fleets: How often the fleet's model stood in for one of its own.
        said: What it has predicted: when, what it said, without learning, and what came.
    """

    name: str
    place: HomeFolder
    table: HomeTable
    part: Participant
    there: bool = True
    gave_way: int = 0
    fleets: int = 0
    said: list[tuple[int, float, float, float]] = field(default_factory=list)

    @property
    def readings(self) -> Path:
        """The file with its readings."""
        return Path(self.place.settings.data)

    def read_until(self, now: float) -> None:
        """Write what was read in the last weeks: into its store, or as its file."""
        if ReadingStore.there(self.place.path):
            self._record_until(now)
            return
        rows = (self.table.time_s <= now) & (self.table.time_s > now - KEPT_DAYS * DAY_S)
        columns = {name: pa.array(values[rows]) for name, values in self.table.columns.items()}
        time = pa.array(self.table.time_s[rows], pa.timestamp("s", tz="UTC"))
        pq.write_table(pa.table({"time": time, **columns}), self.readings)

    def _record_until(self, now: float) -> None:
        store = ReadingStore.of(self.place.path, self.name)
        known = store.read().table.time_s
        since = known[-1] if len(known) else now - KEPT_DAYS * DAY_S
        rows = (self.table.time_s <= now) & (self.table.time_s > since)
        columns = {name: values[rows] for name, values in self.table.columns.items()}
        new = replace(self.table, time_s=self.table.time_s[rows], columns=columns)
        Recorder(self.place, clock=lambda: now).rows(new)

    def take_release(self, package: bytes, server: bytes) -> None:
        """Keep the newest release, as the home's agent does."""
        (self.place.path / MODEL).mkdir(exist_ok=True)
        kept = _StoredRelease(server=server, release=package)
        (self.place.path / MODEL / RELEASE_FILE).write_bytes(kept.to_bytes())

    def predict_until(self, plan: Plan, before: float, now: float) -> None:
        """Note how wrong it was since it was last asked: by what it said each day for the next.

        Its readings up to now are there; a prediction is made of what was known a step before.
        """
        own = OwnModels(self.place.path, self.name).path
        if not (own.exists() or (self.place.path / MODEL / RELEASE_FILE).exists()):
            return  # the fleet has ended no run
        model = own_or_fleets(self.place)
        known = model.predictions(read_files(plan, source_of(self.place), name=self.name).table)
        self.fleets += not model.rows and own.exists()
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
