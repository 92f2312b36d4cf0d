"""occupancy-uci: whether one office room is occupied, every minute."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fedhome.data.table import HomeTable
from fedhome.simulations.datasets.dataset import DataSet, Remote
from fedhome.simulations.datasets.upstream import find, local_seconds, read_columns

_READINGS = {
    "Temperature": "temperature, degrees Celsius",
    "Humidity": "relative humidity, %",
    "Light": "light, lux",
    "CO2": "CO2, ppm",
    "HumidityRatio": "water in the air, kg/kg",
    "Occupancy": "whether anyone is in the room, 0 or 1",
}


def read(path: Path) -> Iterator[HomeTable]:
    """Read the room from its three files.

    Raises:
        SourceError: Not the files.
    """
    times, columns = [], []
    for name, content in find(path, r"(datatraining|datatest2?)\.txt").items():
        # The header does not name the first column, which numbers the rows.
        numbers, texts = read_columns(
            name,
            content,
            numbers=tuple(_READINGS),
            text=("date",),
            header=("row", "date", *_READINGS),
        )
        times.append(local_seconds(name, texts["date"], utc_offset_h=1))
        columns.append(numbers)
    time_s = np.concatenate(times)
    order = np.argsort(time_s, kind="stable")
    yield HomeTable(
        home="office",
        time_s=time_s[order],
        columns={key: np.concatenate([part[key] for part in columns])[order] for key in _READINGS},
        time_zone="Europe/Brussels",
    )


OCCUPANCY = DataSet(
    name="occupancy-uci",
    title="occupancy of one office room in Mons, Belgium, every minute for two weeks",
    about=(
        "One room, so a demonstration and no federation. The three files are joined in time: the "
        "door was mostly closed until 10 February 2015 and open from 11 February on. Light alone "
        "nearly solves the task; without it models break when the door opens."
    ),
    homes=1,
    rows=20_560,
    columns=_READINGS,
    train=(
        "data.target=Occupancy",
        "task.kind=binary",
        "data.horizon=0",
        "data.lags=[]",
        "train.learning_rate=0.05",
    ),
    citation=(
        "L. M. Candanedo, V. Feldheim. Accurate occupancy detection of an office room from light, "
        "temperature, humidity and CO2 measurements using statistical learning models. Energy and "
        "Buildings 112 (2016) 28-39"
    ),
    licence="CC BY 4.0",
    page="https://archive.ics.uci.edu/dataset/357/occupancy+detection",
    remotes=(
        Remote(
            url="https://archive.ics.uci.edu/static/public/357/occupancy+detection.zip",
            name="occupancy.zip",
        ),
    ),
    read=read,
)
