"""appliances-uci: energy of the appliances in one house, every ten minutes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fedhome.data.table import HomeTable
from fedhome.simulations.datasets.dataset import DataSet, Remote
from fedhome.simulations.datasets.upstream import find, local_seconds, read_columns

_ROOMS = (
    "kitchen",
    "living room",
    "laundry",
    "office",
    "bathroom",
    "outside, north",
    "ironing room",
    "teenager's room",
    "parents' room",
)
_READINGS = {
    "Appliances": "energy of the appliances in ten minutes, Wh",
    "lights": "energy of the lights in ten minutes, Wh",
    **{
        f"T{number}": f"temperature, {room}, degrees Celsius"
        for number, room in enumerate(_ROOMS, 1)
    },
    **{f"RH_{number}": f"relative humidity, {room}, %" for number, room in enumerate(_ROOMS, 1)},
    "T_out": "temperature at the airport, degrees Celsius",
    "Press_mm_hg": "air pressure, mmHg",
    "RH_out": "relative humidity at the airport, %",
    "Windspeed": "wind speed, m/s",
    "Visibility": "visibility, km",
    "Tdewpoint": "dew point, degrees Celsius",
}


def read(path: Path) -> Iterator[HomeTable]:
    """Read the house.

    Raises:
        SourceError: Not the file.
    """
    name, content = next(iter(find(path, r"energydata_complete\.csv").items()))
    columns, texts = read_columns(name, content, numbers=tuple(_READINGS), text=("date",))
    yield HomeTable(
        home="house",
        time_s=local_seconds(name, texts["date"], utc_offset_h=1),
        columns=columns,
        time_zone="Etc/GMT-1",
    )


APPLIANCES = DataSet(
    name="appliances-uci",
    title="energy of the appliances in one low-energy house in Belgium, every 10 minutes",
    about=(
        "One house, so a demonstration and no federation. A random split flatters (R2 0.50), a "
        "split in time does not (-1.11). Rows come every ten minutes without a gap from January "
        "to May 2016, so the clock is read as Central European Time without summer time. The "
        "set's two columns of random numbers are left out."
    ),
    homes=1,
    rows=19_735,
    columns=_READINGS,
    train=(
        "data.target=Appliances",
        "task.kind=regression",
        "data.lags=[1,2,3,143,144,145]",
        "train.learning_rate=0.05",
    ),
    citation=(
        "L. M. Candanedo, V. Feldheim, D. Deramaix. Data driven prediction models of energy use "
        "of appliances in a low-energy house. Energy and Buildings 140 (2017) 81-97"
    ),
    licence="CC BY 4.0",
    page="https://archive.ics.uci.edu/dataset/374/appliances+energy+prediction",
    remotes=(
        Remote(
            url="https://archive.ics.uci.edu/static/public/374/appliances+energy+prediction.zip",
            name="appliances.zip",
        ),
    ),
    read=read,
)
