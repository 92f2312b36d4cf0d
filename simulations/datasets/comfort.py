"""comfort-people: thermal comfort votes of 31 people on their smartwatches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np

from fedhome.data.table import HomeTable
from fedhome.errors import SourceError
from fedhome.simulations.datasets.dataset import DataSet, Remote
from fedhome.simulations.datasets.upstream import as_classes, find, read_columns

FILE = "2019-11-15_cozie_full_masked.csv"
_VOTES = {9.0: "warmer", 10.0: "no change", 11.0: "cooler"}
_CLASSES = tuple(sorted(_VOTES.values()))
_LEAST_VOTES = 90
_FAULTY = -99.0  # what the CO2 and VOC sensors report when they fail
_READINGS = {
    "clothing": "how the person is dressed, as answered: 9, 10 or 11",
    "light_cozie": "how bright it is, as answered: 9, 10 or 11",
    "noise_cozie": "how loud it is, as answered: 9, 10 or 11",
    "heartRate_cozie": "heart rate on the wrist, 1/min",
    "temperature_mbient": "temperature of a sensor that the person wears, degrees Celsius",
    "temperature_sensing": "temperature of the room, degrees Celsius",
    "humidity_sensing": "relative humidity of the room, %",
    "co2_sensing": "CO2 of the room, ppm",
    "voc_sensing": "volatile organic compounds in the room, as the sensor says",
    "light_sensing": "light in the room, as the sensor says",
    "noise_sensing": "noise in the room, as the sensor says",
}


def read(path: Path) -> Iterator[HomeTable]:
    """Read one home per person with at least 90 votes; rows without a vote are left out.

    Raises:
        SourceError: Not the file.
    """
    name, content = next(iter(find(path, re.escape(FILE)).items()))
    numbers, texts = read_columns(
        name, content, numbers=(*_READINGS, "thermal_cozie"), text=("time", "user_id")
    )
    try:
        seconds = np.array(
            [datetime.fromisoformat(text).timestamp() // 1 for text in texts["time"]]
        )
    except ValueError:
        raise SourceError(
            f"{name}: a time in it is not as published", hint="download it again"
        ) from None
    # One person's name carries a space in four rows.
    people = np.array([text.strip() for text in texts["user_id"]])
    voted = np.isin(numbers["thermal_cozie"], list(_VOTES))
    for person in np.unique(people):
        rows = np.flatnonzero((people == person) & voted)
        if len(rows) < _LEAST_VOTES:
            continue
        rows = rows[np.argsort(seconds[rows], kind="stable")]
        readings = {key: numbers[key][rows] for key in _READINGS}
        votes = [_VOTES[vote] for vote in numbers["thermal_cozie"][rows].tolist()]
        yield HomeTable(
            home=str(person),
            time_s=seconds[rows].astype(np.int64),
            columns={
                key: np.where(values == _FAULTY, np.nan, values) for key, values in readings.items()
            }
            | {"preference": as_classes(votes, _CLASSES)},
            time_zone="Asia/Singapore",
            labels={"preference": _CLASSES},
        )


COMFORT = DataSet(
    name="comfort-people",
    title="thermal comfort votes of 31 people in Singapore, on their smartwatches",
    about=(
        "The thermostat's question: prefer warmer, no change, cooler? The largest class has "
        "a share of 0.64. Three of five room readings are missing. Left out: rows without "
        "a vote, people with fewer than 90 votes, positions, and the second vote on comfort, "
        "which would give the answer away."
    ),
    homes=31,
    rows=3923,
    columns=_READINGS | {"preference": "what the person prefers: cooler, no change, warmer"},
    train=(
        "data.target=preference",
        "task.kind=multi-class",
        "data.horizon=0",
        "data.lags=[]",
        "data.gap=0",
        "train.learning_rate=0.05",
    ),
    citation=(
        "P. Jayathissa, M. Quintana, M. Abdelrahman, C. Miller. Humans-as-a-sensor for buildings. "
        "Buildings 10 (2020) 174; M. Quintana, M. Abdelrahman, M. Frei, F. Tartarini, C. Miller. "
        "Longitudinal personal thermal comfort preference data in the wild. SenSys 2021 (DATA)"
    ),
    licence="MIT",
    page="https://github.com/buds-lab/humans-as-a-sensor-for-buildings",
    remotes=(
        Remote(
            url=(
                "https://raw.githubusercontent.com/buds-lab/humans-as-a-sensor-for-buildings/"
                f"0443ba199a9e34cd7cb347c79056e3bfe6adecd1/data/{FILE}"
            ),
            name=FILE,
        ),
    ),
    read=read,
)
