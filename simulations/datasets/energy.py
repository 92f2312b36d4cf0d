"""energy-homes17: hourly load of 17 homes in California, inside a wheel of CityLearn."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fedhome.data.table import HomeTable
from fedhome.errors import SourceError
from fedhome.simulations.datasets.dataset import DataSet, Remote
from fedhome.simulations.datasets.upstream import find, local_seconds, read_columns

_FOLDER = "citylearn_challenge_2022_phase_all"
_ZONE = "Etc/GMT+8"  # Pacific Standard Time; the sign of these names is reversed
_HOME_COLUMNS = {
    "load_kwh": "Equipment Electric Power [kWh]",
    "solar_w_per_kw": "Solar Generation [W/kW]",
}
_WEATHER_COLUMNS = {
    "temp_c": "Outdoor Drybulb Temperature [C]",
    "rh": "Relative Humidity [%]",
    "diffuse_w_m2": "Diffuse Solar Radiation [W/m2]",
    "direct_w_m2": "Direct Solar Radiation [W/m2]",
}


def read(path: Path) -> Iterator[HomeTable]:
    """Read the homes from the wheel.

    Raises:
        SourceError: Not the wheel, or rows that are not hourly.
    """
    name, content = next(iter(find(path, rf"{_FOLDER}/weather\.csv").items()))
    weather, _ = read_columns(name, content, numbers=tuple(_WEATHER_COLUMNS.values()))
    homes = find(path, rf"{_FOLDER}/Building_\d+\.csv")
    for name, content in sorted(homes.items(), key=lambda item: _number(item[0])):
        columns, _ = read_columns(name, content, numbers=(*_HOME_COLUMNS.values(), "Hour"))
        hours = columns["Hour"]
        steps = np.arange(len(hours))
        # The first row is hour 24 of 31 July, that is the hour from 23:00.
        if len(hours) != len(weather["Relative Humidity [%]"]) or np.any(hours % 24 != steps % 24):
            raise SourceError(f"{name}: its rows are not hourly from hour 24 on")
        start = local_seconds(name, ["2016-07-31T23:00:00"], utc_offset_h=-8)
        yield HomeTable(
            home=f"home-{_number(name):02d}",
            time_s=start + 3600 * steps,
            columns={key: columns[theirs] for key, theirs in _HOME_COLUMNS.items()}
            | {key: weather[theirs] for key, theirs in _WEATHER_COLUMNS.items()},
            time_zone=_ZONE,
        )


def _number(name: str) -> int:
    return int(re.findall(r"\d+", name)[-1])


ENERGY = DataSet(
    name="energy-homes17",
    title="hourly load, sun and weather of 17 homes, one year, Fontana, California",
    about=(
        "The files count hours from hour 24 of 31 July without a year; 2016 is assumed, whose "
        "weekdays fit. Every day has 24 hours and the sun's noon does not move in summer, so the "
        "clock is read as Pacific Standard Time all year, and the time of a row is the start of "
        "its hour. Homes 12 and 15 read 0.0 for a quarter to "
        "a half of all hours: they are hard homes, not errors of the reader."
    ),
    homes=17,
    rows=17 * 8760,
    columns={
        "load_kwh": "electric load of the home in the hour, kWh",
        "solar_w_per_kw": "solar generation per installed kW, W/kW",
        "temp_c": "outdoor temperature, degrees Celsius",
        "rh": "outdoor relative humidity, %",
        "diffuse_w_m2": "diffuse solar radiation, W/m2",
        "direct_w_m2": "direct solar radiation, W/m2",
    },
    train=(
        "data.target=load_kwh",
        "task.kind=regression",
        "train.learning_rate=0.05",
    ),
    citation=(
        "K. Nweye, Z. Nagy, S. Mohanty, D. Chakraborty, S. Sankaranarayanan et al. The CityLearn "
        "Challenge 2022: overview, results, and lessons learned. PMLR 220, 2022; data: EPRI, Grid "
        "integration of zero net energy communities"
    ),
    licence="MIT",
    page="https://www.aicrowd.com/challenges/neurips-2022-citylearn-challenge",
    remotes=(
        Remote(
            url="https://github.com/intelligent-environments-lab/CityLearn",
            name="CityLearn-2.1.2-py3-none-any.whl",
            sha256="95730b1deed73b1f5a4d17eb8334be3c99efa4aef8677822378d62d8359511dd",
        ),
    ),
    wheel="CityLearn==2.1.2",
    read=read,
)
