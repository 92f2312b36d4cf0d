"""``fedhome client predict``: what a home expects, by its own model, without network or torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

from fedhome.cli import ages
from fedhome.cli.console import Console
from fedhome.counted import counted
from fedhome.errors import DataError
from fedhome.plan.time_steps import ahead_of
from fedhome.wire.moments import when

if TYPE_CHECKING:
    from fedhome.clients.membership.home_folder import HomeFolder
    from fedhome.data.home_files import HomeFilesRead
    from fedhome.data.table import HomeTable
    from fedhome.personal.followed_band import FollowedBand
    from fedhome.personal.horizons import Predictions
    from fedhome.personal.model import PersonalModel
    from fedhome.personal.newest_rows import Trial

_DIGITS = 4  # of numbers that are shown
_ROWS_AWAITED, _LATE_S, _EARLY_S = 3, 300.0, 3600.0
_WORSE = (
    "on the newest rows its model was worse than the forecast without learning, which is given "
    "instead; the next run may end with a better one, `fedhome client rollback` takes the last"
)
_FLEETS_WORSE = (
    "on the newest rows the fleet's model was worse here than the forecast without learning, which "
    "is given instead; a run that this home takes part in ends with one of its own"
)


@dataclass(frozen=True, kw_only=True)
class HomePrediction:
    """One prediction of a home's own model, and how far to rely on it.

    Args:
        model: The model.
        row: What it predicts, by column, as of :meth:`fedhome.PersonalModel.predict`; of numbers
            with the band as the newest rows have moved it.
        itself: The same with the band of the run's end.
        band: How the band has followed; None of classes.
        missing: Inputs that had no reading then.
        newest: The newest reading, Unix time in s; of rows without times None.
        now: The present, Unix time in s.
        trial: How it does on the home's newest rows, to which it was not fitted.
        step_s: From one row to the next, s, mostly; 0 of a single row, or of rows without times.
        notes: What was converted, taken for granted or left out of the readings.
        horizon: Which horizon it is of, where the plan names several; else empty.
    """

    model: PersonalModel
    row: Mapping[str, Any]
    itself: Mapping[str, Any]
    band: FollowedBand | None
    missing: tuple[str, ...]
    newest: int | None
    now: float
    trial: Trial
    step_s: int = 0
    notes: tuple[str, ...] = ()
    horizon: str = ""

    @property
    def of(self) -> str:
        """Of what moment it is, or of which row."""
        row = self.row
        return when(row["time"].timestamp()) if "time" in row else f"row {row['row'] + 1:,}"

    @property
    def of_now(self) -> tuple[float, float] | None:
        """From when until when it is one of now, Unix times in s; of rows without times None.

        Until three rows have not come after the newest reading, or after the predicted moment if
        that was earlier; and not while the newest reading is of a moment to come.
        """
        if self.newest is None or "time" not in self.row:
            return None
        newest, awaited_s = float(self.newest), _ROWS_AWAITED * self.step_s
        of = min(float(self.row["time"].timestamp()), newest)
        return newest - awaited_s - _EARLY_S, of + awaited_s + _LATE_S

    @property
    def classes(self) -> dict[str, float]:
        """Each class's probability; empty where numbers are predicted."""
        names = [name for name in self.row if name.startswith("P(")]
        return {name[2:-1]: self.row[name] for name in names}

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values, for scripts."""
        model, trial, row, itself = self.model, self.trial, self.row, self.itself
        place = "row" if "row" in row else "time"
        at = row[place] if place == "row" else row[place].isoformat()
        without = row["without_learning"]
        expected: dict[str, Any]
        predicted: dict[str, Any]
        if model.targets == "continuous":
            names = ("value", "low", "high")
            expected, predicted = ({name: one[name] for name in names} for one in (row, itself))
            instead: dict[str, Any] = {"value": without, "low": None, "high": None}
        else:
            expected = predicted = {"class": row["class"], "probabilities": self.classes}
            instead = {"class": without, "probabilities": None}
        return {
            "home": model.home,
            "target": model.target,
            "unit": model.target_unit,
            place: at,
            **({"horizon": self.horizon} if self.horizon else {}),
            **(instead if trial.worse else expected),
            "by": "without-learning" if trial.worse else "model",
            "model": predicted,
            "without_learning": without,
            "missing": list(self.missing),
            "notes": list(self.notes),
            "newest_reading_age_s": None if self.newest is None else self.now - self.newest,
            "band": None
            if self.band is None
            else {
                "rows": self.band.rows,
                "held": _or_none(self.band.held),
                "held_before": _or_none(self.band.held_before),
            },
            "run": model.run,
            "score": {"name": model.score, **model.scores},
            "newest_rows": {
                "rows": trial.rows,
                "wrong": _or_none(trial.wrong),
                "without_learning": _or_none(trial.without_learning),
            },
        }


def predicted(
    home_folder: HomeFolder,
    *,
    at: str | None,
    source: Path | None,
    now_s: float,
    horizon: str | None = None,
) -> tuple[HomePrediction, ...]:
    """Return what a home's own model predicts, at each horizon; before its first, the fleet's.

    Args:
        home_folder: The home's folder.
        at: A moment, in ISO 8601; without an offset it is in the home's zone. None: the newest.
        source: Readings in place of the home's own.
        now_s: Unix time, s.
        horizon: One of the plan's horizons; None: all of them.

    Raises:
        RunError: The home has no model of its own yet, and none of the fleet's that it could use;
            or its model predicts no such horizon.
        StateError: Its file cannot be read.
        ReleaseError: What is kept of the fleet's model is damaged.
        DataError: Nothing can be predicted from the readings, or not at that moment, at any of
            these horizons; those at which it can not are told in the notes of the others.
    """
    from fedhome.clients.kept_model import own_or_fleets  # noqa: PLC0415 - arrow
    from fedhome.clients.own_readings import read_files, source_of  # noqa: PLC0415
    from fedhome.data.input_schema import schema_of  # noqa: PLC0415
    from fedhome.data.silent_inputs import with_silent_inputs  # noqa: PLC0415
    from fedhome.personal.horizons import at_horizon  # noqa: PLC0415 - arrow

    model, settings = own_or_fleets(home_folder), home_folder.settings
    where = source_of(home_folder) if source is None else source
    read = read_files(model.plan, where, name=settings.home, reading=settings.reading)
    table, told = with_silent_inputs(read.table, schema_of(model.plan, model.targets), read.empty)
    read = replace(read, table=table, notes=(*read.notes, *told))
    wanted = model.horizons if horizon is None else (horizon,)
    seen = {name: at_horizon(model, name) for name in wanted}
    several = bool(model.horizons)
    found: list[HomePrediction] = []
    faults: dict[str, DataError] = {}
    for one in seen.values() or (model,):
        name = str(one.ahead) if several else ""
        try:
            found.append(_one(one, read, at=at, now_s=now_s, horizon=name))
        except DataError as error:
            faults[name] = error
    if not found:
        raise next(iter(faults.values()))
    lacking = tuple(f"{ahead_of(name)}: {fault.message}" for name, fault in faults.items())
    return tuple(replace(one, notes=(*one.notes, *lacking)) for one in found)


def _one(
    model: PersonalModel, read: HomeFilesRead, *, at: str | None, now_s: float, horizon: str
) -> HomePrediction:
    from fedhome.personal.followed_band import followed  # noqa: PLC0415 - arrow
    from fedhome.personal.newest_rows import newest_rows, tried  # noqa: PLC0415 - arrow

    table = read.table
    known = model.predictions(table)
    place = known.table.num_rows - 1 if at is None else _place(known, at, table)
    band = followed(model, known) if model.targets == "continuous" else None
    row, itself = (
        table.slice(place, 1).to_pylist()[0]
        for table in (known.table if band is None else band.table, known.table)
    )
    return HomePrediction(
        model=model,
        row=row,
        itself=itself,
        band=band,
        missing=tuple(name for name, rows in known.filled.items() if rows[place]),
        newest=None if table.timeless else int(table.time_s[-1]),
        now=now_s,
        trial=tried(model, known, newest_rows(model, known)),
        step_s=0 if table.timeless else _step_s(known),
        notes=tuple(dict.fromkeys((*read.notes, *known.notes))),
        horizon=horizon,
    )


def _place(known: Predictions, at: str, table: HomeTable) -> int:
    """Return the row of the last moment up to ``at``.

    Raises:
        DataError: It is no moment, or nothing is predicted then.
    """
    from fedhome.personal.newest_rows import moments  # noqa: PLC0415

    if table.timeless:
        raise DataError(
            "these readings have no times, so nothing can be predicted of a moment",
            hint="leave --at out: the last row is predicted",
        )
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise DataError(
            f"{at!r} is no moment", hint="write it as 2026-03-01T18:00, or with +01:00 after it"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(table.time_zone))
    times, asked = moments(known), moment.timestamp()
    if not times[0] <= asked < times[-1] + max(_step_s(known), 1):
        raise DataError(
            f"nothing can be predicted of {when(asked)}: the readings allow it from "
            f"{when(int(times[0]))} to {when(int(times[-1]))}",
            hint="name a moment within that, or give newer readings with --from",
        )
    return int(np.searchsorted(times, asked, side="right")) - 1


def _step_s(known: Predictions) -> int:
    from fedhome.personal.newest_rows import moments  # noqa: PLC0415

    times = moments(known)
    return int(np.median(np.diff(times))) if len(times) > 1 else 0


def print_prediction(found: HomePrediction, *, as_json: bool) -> None:
    """Print a prediction.

    Args:
        found: The prediction.
        as_json: As one line of JSON.
    """
    if as_json:
        typer.echo(json.dumps(found.to_json()))
        return
    model, row, worse = found.model, found.row, found.trial.worse
    ahead = f", {ahead_of(found.horizon)}" if found.horizon else ""
    table = Table(
        show_edge=False,
        show_header=False,
        title=escape(f"{model.target} of {model.home}, {found.of}{ahead}"),
        title_justify="left",
    )
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    without, own = _shown(found, row["without_learning"]), _own(found)
    table.add_row("expected", f"[bold]{without if worse else own}[/]")
    if worse:
        table.add_row("by its model", own)
        table.add_row("note", f"[bold red]{why_not_its_model(model)}[/]")
    else:
        table.add_row("without learning", without)
    table.add_row("missing", escape(", ".join(found.missing)) or "nothing")
    add_origin(table, found)
    table.add_row("newest rows", escape(checked(found)))
    if found.band is not None and not worse:
        table.add_row("band", escape(followed_in_words(found.band)))
    console = Console()
    console.print(table)
    print_notes(console, found.notes)


def why_not_its_model(model: PersonalModel) -> str:
    """Return why the forecast without learning stands in for a home's model, in words."""
    return _WORSE if model.rows else _FLEETS_WORSE


def add_origin(table: Table, found: HomePrediction) -> None:
    """Add rows that say how old the newest reading is, and where the model comes from."""
    if found.newest is not None:
        age = ages.of_reading(found.newest, found.now)
        table.add_row("newest reading", f"{when(found.newest)}, {age}")
    table.add_row("model", escape(origin(found.model)))


def print_notes(console: Console, notes: Iterable[str]) -> None:
    """Print what was converted, taken for granted or left out of the readings."""
    for note in notes:
        console.print(f"[dim]note: {escape(note)}[/]")


def said(found: HomePrediction) -> str:
    """Return a prediction in one line: of when, of what, and by what."""
    ahead = f" ({ahead_of(found.horizon)})" if found.horizon else ""
    without = plainly(found, found.row["without_learning"])
    worse = f"{without} (without learning: the model was worse)"
    expected = worse if found.trial.worse else _in_words(found)
    lacking = f"; missing: {', '.join(found.missing)}" if found.missing else ""
    return f"{found.of}  {found.model.target}{ahead} {expected}{lacking}"


def _own(found: HomePrediction) -> str:
    return escape(_in_words(found))


def _in_words(found: HomePrediction) -> str:
    row = found.row
    if found.model.targets == "continuous":
        low, high = (f"{row[name]:.{_DIGITS}g}" for name in ("low", "high"))
        return f"{plainly(found, row['value'])}, 8 times in 10 from {low} to {high}"
    ordered = sorted(found.classes.items(), key=lambda one: -one[1])
    return ", ".join(f"{name} {share:.0%}" for name, share in ordered)


def _shown(found: HomePrediction, value: float | str) -> str:
    return escape(plainly(found, value))


def plainly(found: HomePrediction, value: float | str) -> str:
    """Return a number with the target's unit, or the name of a class."""
    if isinstance(value, str):
        return value
    unit = found.model.target_unit
    return f"{value:.{_DIGITS}g}{f' {unit}' if unit else ''}"


def origin(model: PersonalModel) -> str:
    """Return where a model comes from and what it is worth, in words."""
    if not model.rows:
        return f"the fleet's, {model.run}: this home has no model of its own that it can use yet"
    text = f"of {model.run}, fitted to {counted(model.rows, 'row')}"
    if {"personalised", "baseline"} <= model.scores.keys():
        own, without = model.scores["personalised"], model.scores["baseline"]
        text += f"; {model.score} {own:.3f} on its test rows, without learning {without:.3f}"
    return text


def _numbers(found: HomePrediction) -> str:
    trial = found.trial
    if found.model.targets != "continuous":
        return f"{trial.wrong:.0%} wrong, without learning {trial.without_learning:.0%}"
    own, without = (_shown(found, error) for error in (trial.wrong, trial.without_learning))
    return f"root mean squared error {own}, without learning {without}"


def checked(found: HomePrediction) -> str:
    """Return how the model does on the home's newest rows, in words."""
    from fedhome.personal.newest_rows import FEWEST_ROWS  # noqa: PLC0415

    rows = found.trial.rows
    if rows < FEWEST_ROWS:
        return (
            f"not checked: {counted(rows, 'row')} newer than those that it was fitted to, and "
            f"{FEWEST_ROWS} are needed"
        )
    return f"{rows:,} that it was not fitted to: {_numbers(found)}"


def followed_in_words(band: FollowedBand) -> str:
    """Return how the band has followed the newest rows, in words."""
    if not band.rows:
        return "of the run's end: no row is newer than those that it was fitted to"
    return (
        f"follows {counted(band.rows, 'newer row')}: it held {band.held:.0%} of them, that of the "
        f"run's end {band.held_before:.0%}"
    )


def _or_none(number: float) -> float | None:
    return number if np.isfinite(number) else None
