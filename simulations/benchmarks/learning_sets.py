"""The sets of the learning benchmark: scenarios of fedhome, and real homes from a folder of files.

The real ones are read from flat copies of public sets, a subfolder each; a set whose subfolder is
missing is left out and named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fedhome.data.table import HomeTable
from fedhome.simulations.benchmarks import activity_homes
from fedhome.simulations.datasets import ashrae

_CLASSES = ("cooler", "no change", "warmer")
_ROWS: Mapping[str, Any] = {"horizon": 0, "lags": [], "calendar": False, "gap": 0}


@dataclass(frozen=True, kw_only=True)
class LearningSet:
    """A set of homes, and what is learnt there.

    Args:
        name: Its name in the tables.
        plan: Settings that say what the data is; how it is learnt is the default of every set.
        folder: Its subfolder; empty: homes come from the plan.
        read: The homes, from that subfolder.
    """

    name: str
    plan: Mapping[str, Any] = field(default_factory=dict)
    folder: str = ""
    read: Callable[[Path], list[HomeTable]] | None = None


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _energy(folder: Path) -> list[HomeTable]:
    homes, weather = (
        activity_homes.csv_of(folder / "homes.csv.gz"),
        activity_homes.csv_of(folder / "weather.csv.gz"),
    )
    outside = {name: _numbers(weather[name]) for name in weather.column_names if name != "step"}
    numbers = _numbers(homes["home"])
    start = 1_470_034_800  # 2016-07-31T23:00-08:00, whose weekdays fit
    return [
        HomeTable(
            home=f"home-{int(number):02d}",
            time_s=start + 3600 * np.arange(int((numbers == number).sum())),
            columns={
                name: _numbers(homes[name])[numbers == number]
                for name in ("load_kwh", "solar_w_per_kw")
            }
            | outside,
            time_zone="Etc/GMT+8",
        )
        for number in np.unique(numbers)
    ]


def _classes(words: list[str]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    known = tuple(sorted(set(words)))
    return np.array([known.index(word) for word in words], np.float64), known


def _wisdm(folder: Path) -> list[HomeTable]:
    table = pq.read_table(folder / "watch_accel.parquet")
    inputs = [
        name
        for name in table.column_names
        if name not in ("subject", "seq", "activity_code", "activity")
    ]
    subject, order = _numbers(table["subject"]), _numbers(table["seq"])
    target, known = _classes(table["activity"].to_pylist())
    columns = {name: _numbers(table[name]) for name in inputs}
    tables = []
    for person in np.unique(subject):
        rows = np.flatnonzero(subject == person)
        rows = rows[np.argsort(order[rows], kind="stable")]
        tables.append(
            HomeTable(
                home=f"person-{int(person)}",
                time_s=np.arange(len(rows)),
                columns={name: values[rows] for name, values in columns.items()}
                | {"activity": target[rows]},
                labels={"activity": known},
            )
        )
    return tables


def _har(folder: Path) -> list[HomeTable]:
    """Windows of 2.56 s without the half that two share; moments and spectra of nine channels."""
    with np.load(folder / "har30_segments.npz") as held:
        segments, delta, scale = held["segments"], held["delta"], held["scale"]
        known = tuple(str(name) for name in held["classes"])
    rows: dict[int, list[tuple[NDArray[np.float64], int]]] = {}
    at = 0
    for subject, kind, windows, samples in segments.tolist():
        signal = np.cumsum(delta[:, at : at + samples].astype(np.float64), axis=1) * scale[:, None]
        at += samples
        for window in range(0, windows, 2):
            part = signal[:, 64 * window : 64 * window + 128]
            rows.setdefault(subject, []).append((_features(part), kind))
    return [
        HomeTable(
            home=f"person-{subject:02d}",
            time_s=np.arange(len(own)),
            columns={
                f"f{n:03d}": np.array([features[n] for features, _ in own])
                for n in range(len(own[0][0]))
            }
            | {"activity": np.array([kind for _, kind in own], np.float64)},
            labels={"activity": known},
        )
        for subject, own in sorted(rows.items())
    ]


def _features(part: NDArray[np.float64]) -> NDArray[np.float64]:
    steps = np.abs(np.diff(part, axis=1)).mean(axis=1)
    power = np.abs(np.fft.rfft(part - part.mean(axis=1, keepdims=True), axis=1)) ** 2
    bands = np.log1p(np.stack([power[:, a:b].sum(axis=1) for a, b in ((1, 4), (4, 12), (12, 65))]))
    moments = [part.mean(axis=1), part.std(axis=1), part.min(axis=1), part.max(axis=1), steps]
    return np.concatenate([*moments, *bands])


def _comfort(folder: Path) -> list[HomeTable]:
    table = activity_homes.csv_of(folder / "cozie30.csv.gz")
    votes = _numbers(table["thermal_cozie"])
    people = np.array([str(name).strip() for name in table["user_id"].to_pylist()])
    seconds = np.array([int(time.timestamp()) for time in _times(table["time"])])
    inputs = (
        *("clothing", "light_cozie", "noise_cozie", "heartRate_cozie", "temperature_mbient"),
        *("temperature_sensing", "humidity_sensing", "co2_sensing", "voc_sensing"),
        *("light_sensing", "noise_sensing"),
    )
    columns = {name: _numbers(table[name]) for name in inputs}
    meaning = {9.0: 2, 10.0: 1, 11.0: 0}  # prefers warmer, no change, cooler
    tables = []
    for person in np.unique(people):
        rows = np.flatnonzero((people == person) & np.isin(votes, list(meaning)))
        if len(rows) < 90:  # noqa: PLR2004 - as the set's own authors
            continue
        rows = rows[np.argsort(seconds[rows], kind="stable")]
        rows = rows[np.concatenate([[True], np.diff(seconds[rows]) > 0])]
        tables.append(
            HomeTable(
                home=str(person),
                time_s=seconds[rows],
                columns={
                    name: np.where(values[rows] == -99.0, np.nan, values[rows])  # noqa: PLR2004
                    for name, values in columns.items()
                }
                | {"preference": np.array([meaning[vote] for vote in votes[rows].tolist()], float)},
                time_zone="Asia/Singapore",
                labels={"preference": _CLASSES},
            )
        )
    return tables


def _times(column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        return list(column.to_pylist())
    return list(column.cast(pa.timestamp("us", tz="UTC")).to_pylist())


def _ashrae_homes(folder: Path) -> list[HomeTable]:
    return [table for table in ashrae.read(folder) if "housing" in table.home]


def _ashrae_buildings(folder: Path) -> list[HomeTable]:
    return list(ashrae.read(folder))


def _robod(folder: Path) -> list[HomeTable]:
    table = activity_homes.csv_of(folder / "rooms.csv.gz")
    room = _numbers(table["room"])
    leave = {"room", "timestamp", "occupant_presence [binary]", "occupant_count [number]"}
    seconds = np.array([int(time.timestamp()) for time in table["timestamp"].to_pylist()])
    known = [name for name in table.column_names if name not in leave]
    found = []
    for number in np.unique(room):
        rows = np.flatnonzero(room == number)
        columns = {name: _numbers(table[name])[rows] for name in known}
        columns["occupied"] = _numbers(table["occupant_presence [binary]"])[rows]
        found.append(
            HomeTable(
                home=f"room-{int(number)}",
                time_s=seconds[rows],
                columns=columns,
                time_zone="Asia/Singapore",
            )
        )
    shared = set.intersection(
        *({n for n, v in one.columns.items() if np.isfinite(v).mean() > 0.5} for one in found)  # noqa: PLR2004
    )
    return [
        HomeTable(
            home=one.home,
            time_s=one.time_s,
            columns={n: v for n, v in one.columns.items() if n in shared},
            time_zone=one.time_zone,
        )
        for one in found
    ]


SETS: tuple[LearningSet, ...] = (
    LearningSet(name="default"),
    LearningSet(name="few-days", plan={"data": {"history_days": 3.0}}),
    LearningSet(name="months", plan={"data": {"days": 90, "history_days": 72.0}}),
    LearningSet(
        name="energy-homes17",
        plan={"data": {"target": "load_kwh"}},
        folder="energy_homes17",
        read=_energy,
    ),
    LearningSet(
        name="wisdm51",
        plan={
            "data": {**_ROWS, "target": "activity", "split_by": "class", "gap": 1},
            "task": {"kind": "multi-class"},
        },
        folder="wisdm51",
        read=_wisdm,
    ),
    LearningSet(
        name="uci-har30",
        plan={
            "data": {**_ROWS, "target": "activity", "split_by": "class", "gap": 1},
            "task": {"kind": "multi-class"},
        },
        folder="uci_har30",
        read=_har,
    ),
    LearningSet(
        name="comfort-people",
        plan={"data": {**_ROWS, "target": "preference"}, "task": {"kind": "multi-class"}},
        folder="comfort_people",
        read=_comfort,
    ),
    LearningSet(
        name="ashrae-homes",
        plan={"data": {**_ROWS, "target": "thermal_preference"}, "task": {"kind": "multi-class"}},
        folder="ashrae_db2",
        read=_ashrae_homes,
    ),
    LearningSet(
        name="ashrae-buildings",
        plan={"data": {**_ROWS, "target": "thermal_preference"}, "task": {"kind": "multi-class"}},
        folder="ashrae_db2",
        read=_ashrae_buildings,
    ),
    LearningSet(
        name="adl-homes7",
        plan={
            "data": {**_ROWS, "target": "activity", "calendar": True, "gap": 60},
            "task": {"kind": "multi-class"},
        },
        folder="adl_homes7",
        read=activity_homes.read,
    ),
    LearningSet(
        name="robod",
        plan={
            "data": {**_ROWS, "target": "occupied", "calendar": True},
            "task": {"kind": "binary"},
        },
        folder="robod",
        read=_robod,
    ),
)
"""Every set. What is here says what the data is; nothing is tuned to any."""
