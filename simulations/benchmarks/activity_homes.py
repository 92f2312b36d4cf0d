"""Seven homes with switches and what their people did, minute by minute, as one set.

Three groups recorded them, each with sensors and words of its own. So sensors are told apart by
what they are at (a fridge, a bed, the way out), and activities by what they are for; of a group a
row says whether a sensor is on, for what part of the last quarter and of the last hour one was, how
long ago it last was, and whether no other group's was since. What people did in a minute that has
no label, or one that says nothing of these seven activities, is no row.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from fedhome.data.table import HomeTable
from fedhome.errors import SourceError

ACTIVITIES: Final = ("chores", "leave", "leisure", "meal", "sleep", "toilet", "wash")
"""What people do, in the order of its numbers."""

_PLACES: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("flush", ("flush",)),
    ("toilet", ("toilet",)),
    ("fridge", ("fridge", "refrigerator", "freezer")),
    (
        "cooking",
        ("microwave", "magnetron", "stove", "toaster", "cooktop", "oven", "burner", "coffee"),
    ),
    ("washing", ("washing machine", "laundry", "dishwasher")),
    ("entrance", ("front door", "maindoor", "foyer", "keys")),
    ("shower", ("shower", "bathtub", "bath lift")),
    ("bathroom", ("bath", "basin", "badkamer")),
    ("bed", ("press bed", "bed mat", "mat bed", "|bed|")),
    ("screen", (",tv", ",dvd", "stereo", "telephone")),
    ("bedroom", ("bedroom", "slaapkamer", "dresser")),
    ("seat", ("couch", "seat")),
    ("living", ("living", "den,")),
    ("study", ("office",)),
    (
        "cupboard",
        ("cupboard", "cutlery", "cutlary", "cabinet", "plates", "pans", "containers", "cereal"),
    ),
    ("kitchen", ("kitchen", "keuken", "gootsteen", "pantry", "dinning")),
)
"""What a sensor is at, by the first of these words in its name; others are "elsewhere"."""

_MEANT: Final[Mapping[str, tuple[str, ...]]] = {
    "sleep": ("go-to-bed", "sleeping"),
    "toilet": ("use-toilet", "toileting"),
    "wash": (
        *("brush-teeth", "take-shower", "bathing", "grooming", "showering", "washing-hands"),
        "dressing",
    ),
    "meal": (
        *("get-drink", "prep-breakfast", "prep-dinner", "breakfast", "lunch", "dinner", "snack"),
        *("preparing-a-beverage", "preparing-a-snack", "preparing-breakfast", "preparing-lunch"),
        "preparing-dinner",
    ),
    "leisure": (
        *("spare_time/tv", "watching-tv", "listening-to-music", "home-education"),
        *("working-at-computer", "talking-on-telephone"),
    ),
    "leave": (
        *("leave-house", "leaving", "going-out-for-entertainment", "going-out-for-shopping"),
        "going-out-to-work",
    ),
    "chores": (
        *("cleaning", "doing-laundry", "washing-dishes", "putting-away-dishes", "lawnwork"),
        *("putting-away-groceries", "putting-away-laundry"),
    ),
}
_UNSAID: Final = frozenset({"other", "taking-medication"})
_MINUTE_S, _DAY_S, _QUARTER, _HOUR = 60, 86_400, 15, 60
_LONGEST = 24 * 60
"""Minutes since a sensor was on, at most."""


def read(folder: Path) -> list[HomeTable]:
    """Read the homes.

    Args:
        folder: Where ``activities.csv.gz`` and ``sensor_events.csv.gz`` are.

    Raises:
        SourceError: An activity that is none of those known.
    """
    said, seen = (csv_of(folder / f"{name}.csv.gz") for name in ("activities", "sensor_events"))
    homes = np.array(said["home"].to_pylist())
    return [_home(str(name), _of(said, name), _of(seen, name)) for name in np.unique(homes)]


def csv_of(path: Path) -> pa.Table:
    """Return the rows of a packed CSV file."""
    with pa.CompressedInputStream(str(path), "gzip") as stream:
        return pa_csv.read_csv(stream)


def _of(table: pa.Table, home: str) -> pa.Table:
    rows = np.flatnonzero(np.array(table["home"].to_pylist()) == home)
    return table.take(pa.array(rows))


def _home(name: str, said: pa.Table, seen: pa.Table) -> HomeTable:
    first = int(min(said["start_unix"].to_pylist())) // _MINUTE_S
    begin, end = _minutes(said, first)
    doing = np.full(int(end.max()) + 1, -1, np.int64)
    order = np.argsort(begin, kind="stable")
    words = said["activity"].to_pylist()
    for row in order:
        doing[begin[row] : end[row] + 1] = _activity(words[row])
    on: dict[str, NDArray[np.float64]] = {
        place: np.zeros(len(doing)) for place in (*(place for place, _ in _PLACES), "elsewhere")
    }
    for sensor, at, until in zip(seen["sensor"].to_pylist(), *_minutes(seen, first), strict=True):
        on[_place(sensor)][max(at, 0) : max(until + 1, 0)] = 1.0
    rows = np.flatnonzero(doing >= 0)
    columns: dict[str, NDArray[np.float64]] = {}
    ago = {place: _ago(active) for place, active in on.items()}
    newest = np.min(list(ago.values()), axis=0)
    for place, active in on.items():
        columns[f"{place}_on"] = active[rows]
        columns[f"{place}_lately"] = _share_of_last(_QUARTER, active)[rows]
        columns[f"{place}_hour"] = _share_of_last(_HOUR, active)[rows]
        columns[f"{place}_ago"] = np.log1p(ago[place])[rows]
        columns[f"{place}_newest"] = (ago[place] == newest).astype(np.float64)[rows]
    return HomeTable(
        home=name,
        time_s=(first + rows) * _MINUTE_S,
        columns=columns | {"activity": doing[rows].astype(np.float64)},
        time_zone="UTC",  # the clock of each home is written as if it were
        labels={"activity": ACTIVITIES},
    )


def _minutes(table: pa.Table, first: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and the last minute of each row, counted from a home's first one."""
    begin = np.array(table["start_unix"].to_pylist(), np.int64)
    lasts = np.array(table["duration_s"].to_pylist(), np.int64)
    lasts = np.where(lasts < 0, lasts + _DAY_S, lasts)  # the end was published a day early
    return begin // _MINUTE_S - first, (begin + lasts) // _MINUTE_S - first


def _activity(word: str) -> int:
    """Return the number of what a published word means; -1: it says nothing of these.

    Raises:
        SourceError: The word is not known.
    """
    word = word.lower()
    if word in _UNSAID:
        return -1
    for number, activity in enumerate(ACTIVITIES):
        if word in _MEANT[activity]:
            return number
    raise SourceError(
        f"activities.csv.gz has {word!r}, which is no activity that this set is known to have",
        hint="take the set's files as they were published",
    )


def _place(sensor: str) -> str:
    name = sensor.lower()
    return next(
        (place for place, words in _PLACES if any(word in name for word in words)), "elsewhere"
    )


def _share_of_last(minutes: int, active: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for what part of the last minutes one was on, this one included."""
    total = np.concatenate([np.zeros(minutes), np.cumsum(active)])
    return np.asarray((total[minutes:] - total[:-minutes]) / minutes)


def _ago(active: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many minutes ago one was last on, a day at most."""
    at = np.arange(len(active))
    last = np.maximum.accumulate(np.where(active > 0, at, -_LONGEST))
    return np.asarray(np.minimum(at - last, _LONGEST), np.float64)
