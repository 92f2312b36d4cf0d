"""ashrae-db2: thermal comfort votes in 185 buildings of the ASHRAE database II."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fedhome.data.table import HomeTable
from fedhome.errors import SourceError
from fedhome.simulations.datasets.dataset import DataSet, Remote
from fedhome.simulations.datasets.upstream import as_classes, find, read_columns

_CLASSES = ("cooler", "no change", "warmer")
_LEAST_VOTES = 100
_SOURCE = (
    "https://raw.githubusercontent.com/CenterForTheBuiltEnvironment/ashrae-db-II/"
    "c527d6115ebadb4725a4e1406b2439a7a1ffd214/v2.1.0/"
)
_READINGS = {
    "ta": "air temperature, degrees Celsius",
    "tr": "mean radiant temperature, degrees Celsius",
    "rh": "relative humidity, %",
    "vel": "air speed, m/s",
    "met": "metabolic rate, met",
    "clo": "insulation of the clothes, clo",
    "t_out": "outdoor temperature, degrees Celsius",
}


def read(path: Path) -> Iterator[HomeTable]:
    """Read one home per building with at least 100 votes; rows without a vote are left out.

    Raises:
        SourceError: Not the two files.
    """
    name, content = next(iter(find(path, r"db_metadata\.csv").items()))
    ids, kinds = read_columns(name, content, numbers=("building_id",), text=("building_type",))
    kind_of = dict(zip(ids["building_id"].tolist(), kinds["building_type"], strict=True))
    name, content = next(iter(find(path, r"db_measurements_v2\.1\.0\.csv").items()))
    numbers, texts = read_columns(
        name,
        content,
        numbers=("building_id", *_READINGS),
        text=("timestamp", "thermal_preference"),
    )
    days = np.array(texts["timestamp"])
    votes = np.array(texts["thermal_preference"])
    if not set(np.unique(votes)) <= {"", *_CLASSES}:
        raise SourceError(f"{name}: it has a vote that is none", hint="download it again")
    for building in np.unique(numbers["building_id"]):
        rows = np.flatnonzero((numbers["building_id"] == building) & (votes != ""))
        if len(rows) < _LEAST_VOTES:
            continue
        # ISO days sort as text; votes of one day, and those without a day, keep their order.
        rows = rows[np.argsort(days[rows], kind="stable")]
        kind = kind_of.get(building, "building").replace(" ", "-")
        yield HomeTable(
            home=f"{kind}-{int(building):03d}",
            time_s=np.arange(len(rows), dtype=np.int64),
            columns={key: numbers[key][rows] for key in _READINGS}
            | {"thermal_preference": as_classes(votes[rows].tolist(), _CLASSES)},
            labels={"thermal_preference": _CLASSES},
        )


ASHRAE = DataSet(
    name="ashrae-db2",
    title="thermal comfort votes in 185 buildings of the world, 19 of them homes",
    about=(
        "The buildings with at least 100 votes on what people prefer; a home's name says what it "
        "is (multifamily-housing-123, office-12). Sizes are very uneven. Of the time only the "
        "day is known, and of every sixth building not even that, so rows are numbered in the "
        "order of the days. Other votes and values computed from the same readings are left out."
    ),
    homes=185,
    rows=75_872,
    columns=_READINGS
    | {"thermal_preference": "what the person prefers: cooler, no change, warmer"},
    train=(
        "data.target=thermal_preference",
        "task.kind=multi-class",
        "data.horizon=0",
        "data.lags=[]",
        "data.calendar=false",
        "data.gap=0",
        "train.learning_rate=0.05",
    ),
    citation=(
        "V. Foldvary Licina et al. Development of the ASHRAE Global Thermal Comfort Database II. "
        "Building and Environment 142 (2018) 502-512; T. Parkinson et al., version 2.1 (2022)"
    ),
    licence="CC0 1.0",
    page="https://doi.org/10.6078/D1F671",
    remotes=(
        Remote(
            url=f"{_SOURCE}db_measurements_v2.1.0.csv.gz",
            name="db_measurements_v2.1.0.csv.gz",
            sha256="9722be588ec3e779de21679513711e2d980138359a1b44bb9775e9499bc68380",
        ),
        Remote(url=f"{_SOURCE}db_metadata.csv", name="db_metadata.csv"),
    ),
    timed=False,
    read=read,
)
