"""What a simulation shows of its own homes: ``shown.json``, for the report.

Predictions and truth of a few homes, how often predictions are as sure as they say, and how much of
its own say each home has in its mixture. Where homes are real there is none: no server sees it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from fedhome.errors import RunError

Place = Literal["best", "median", "worst"]
PLACES: Final[tuple[Place, ...]] = ("best", "median", "worst")
"""By the score of what homes end with."""

Along = Literal["hour", "fifth", "probability"]
ALONGS: Final[tuple[Along, ...]] = ("hour", "fifth", "probability")
"""Along what reliability is shown: the hour of the day (UTC) or the fifth of a home's predictions
for bands around numbers, the stated probability for classes."""

_MOST: Final = 1e300  # the file may be somebody else's: what is drawn of it has no overflow
_LATEST_S: Final = 200_000_000_000  # in the year 8307


@dataclass(frozen=True, kw_only=True)
class ShownHome:
    """A stretch of one home's test rows.

    Args:
        home: Its name.
        place: Which of all homes it is.
        score: Its score.
        time_s: UTC seconds of the rows; empty where rows have no time.
        true: What was to be predicted, in the target's own unit; of classes their numbers.
        predicted: What the home ends with says of it: a number, the probability of a yes, or the
            number of the surest class.
        low: Lower ends of bands of 80 %; of classes none.
        high: Upper ends.
    """

    home: str
    place: Place
    score: float
    time_s: tuple[int, ...]
    true: tuple[float, ...]
    predicted: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """How often predictions were right, over all homes' test rows, bin by bin.

    Args:
        along: What bins are made of.
        places: Where each bin lies: an hour, a fifth from 1, or the mean stated probability.
        right: Share of its rows in which the truth was inside of the band, or the surest class.
        rows: How many rows it has.
    """

    along: Along
    places: tuple[float, ...]
    right: tuple[float, ...]
    rows: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """All that a simulation shows.

    Args:
        targets: "continuous", "binary" or "multi-class".
        target: What is predicted.
        unit: Its unit; empty where none is known.
        classes: Names of classes.
        homes: The best, the median and the worst home; none where the plan shows none.
        reliability: How often predictions were right.
        blocks: From how many blocks of validation rows each home's own say comes.
        strength: How many the fleet's say is worth.
    """

    targets: str
    target: str
    unit: str
    classes: tuple[str, ...]
    homes: tuple[ShownHome, ...]
    reliability: Reliability
    blocks: Mapping[str, int]
    strength: float

    def to_json(self) -> bytes:
        """Return it as text."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes, *, where: str) -> Shown:
        """Return what `to_json` wrote.

        Args:
            data: The text.
            where: What it is called in the error.

        Raises:
            RunError: It is damaged.
        """
        try:
            return _shown(json.loads(data))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise RunError(
                f"{where} is damaged", hint="remove it: a report goes without it"
            ) from None


def _shown(table: dict[str, Any]) -> Shown:
    homes = tuple(ShownHome(**_tuples(home)) for home in table.pop("homes"))
    reliability = Reliability(**_tuples(table.pop("reliability")))
    shown = Shown(homes=homes, reliability=reliability, **_tuples(table))
    columns = [(home.true, home.predicted) for home in homes]
    columns += [(home.low, home.true) for home in homes if home.low]
    columns += [(home.high, home.low) for home in homes]
    columns += [(home.time_s, home.true) for home in homes if home.time_s]
    columns += [(reliability.right, reliability.places), (reliability.rows, reliability.places)]
    if any(len(one) != len(other) for one, other in columns):
        raise ValueError
    numbers = [home.score for home in homes] + [shown.strength, *shown.blocks.values()]
    numbers += [value for one, other in columns for value in (*one, *other)]
    if any(not isinstance(one, int | float) or abs(one) > _MOST for one in numbers):
        raise TypeError
    if any(
        not isinstance(one, int) or abs(one) > _LATEST_S for home in homes for one in home.time_s
    ):
        raise TypeError
    names = [shown.target, shown.unit, *shown.classes, *(home.home for home in homes)]
    if not all(isinstance(one, str) for one in names):
        raise TypeError
    known = all(home.place in PLACES for home in homes) and reliability.along in ALONGS
    if not known or shown.targets not in {"continuous", "binary", "multi-class"}:
        raise ValueError
    return shown


def _tuples(table: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in table.items()}
