"""A home's folder with readings, and models of which it is plain how good they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fedhome.clients.agent.own_model import EndedRuns
from fedhome.clients.home import ClientHome, real_home
from fedhome.clients.membership.home_folder import HomeFolder, HomeSettings
from fedhome.clients.own_readings import source_of
from fedhome.fleet.entries import Anchor, home_keys
from fedhome.learning.bands import Reach
from fedhome.learning.fitted import Constant, Seasonal
from fedhome.learning.personalise.home_end import HomeEnd
from fedhome.plan.settings import Plan

HOME, HOURS = "kitchen", 24 * 14
MEAN = 2.0
WORDS = ("asleep", "cooking", "out")
NUMBERS = Plan.load(
    name="tiny",
    data={
        "target": "load",
        "target_unit": "kWh",
        "lags": [1],
        "gap": 1,
        "learns": "level",  # what its models state are levels
        "inputs": [{"name": "outdoor"}],
    },
    model={"hidden": [4]},
    aggregation={"mode": "plain"},
)
CLASSES = NUMBERS.change(
    data={"target": "doing", "horizon": 0, "lags": [], "target_unit": ""},
    task={"kind": "multi-class", "classes": list(WORDS)},
)


def write_readings(path: Path, *, hours: int = HOURS, seed: int = 1) -> None:
    """Write hourly readings: a load that is noise around its mean, and what people mostly do."""
    draw = np.random.default_rng(seed)
    times = 1_700_006_400 + 3600 * np.arange(hours)
    columns = {
        "time": pa.array(times, pa.timestamp("s", tz="UTC")),
        "load": pa.array(MEAN + draw.normal(size=hours)),
        "doing": pa.array(draw.choice(WORDS, p=[0.2, 0.1, 0.7], size=hours)),
        "outdoor": pa.array(draw.normal(size=hours)),
    }
    pq.write_table(pa.table(columns), path)


def kept_home(root: Path, plan: Plan = NUMBERS) -> HomeFolder:
    """Make a home's folder, and its readings beside it."""
    place = HomeFolder(root / HOME)
    home_keys(HOME, place.path)
    write_readings(root / "readings.parquet")
    place.fill(
        HomeSettings(home=HOME, server="127.0.0.1:1", data=str(root / "readings.parquet")),
        plan=plan,
        anchor=Anchor(fleet=bytes(16), authority=bytes(32)),
        authorities=b"",
    )
    return place


def home_in(place: HomeFolder) -> ClientHome:
    """Return the home in a folder, on its readings."""
    settings = place.settings
    return real_home(Plan.load(place.plan_path), source_of(place), name=settings.home)


def end_with(home: ClientHome, *statement: float) -> None:
    """Let a home end a run with a model that always states the same."""
    number = len(statement) == 1
    values = np.array(statement)
    home.device.memory.setdefault("ended", {})[HOME] = HomeEnd(
        weights={"ridge": 1.0},
        models={"ridge": Constant(values)},
        naive=Seasonal() if number else Constant(np.array([0.0, 0.0, 1.0])),
        by=Reach(np.full(4, -1.0), np.full(4, 1.0)) if number else 1.0,
    )


def runs_of(place: HomeFolder, *statement: float) -> EndedRuns:
    """Return the runs of a home that has ended one with such a model."""
    home = home_in(place)
    end_with(home, *statement)
    return EndedRuns(home, place, source_of(place))
