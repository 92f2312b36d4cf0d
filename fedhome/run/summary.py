"""Prints a finished run's summary: each model's scores over the homes, and the report's path."""

from __future__ import annotations

import io
import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedhome.counted import counted
from fedhome.errors import RunError
from fedhome.run.cold_start_table import (
    ColdStartPoint,
    best_alone,
    by_days,
    cold_start_points,
    more_than,
)
from fedhome.run.compared_models import MODELS, with_meaning
from fedhome.run.events import Event
from fedhome.run.folder import RunFolder
from fedhome.run.homes_of_seeds import homes_differ, homes_of
from fedhome.run.horizon_scores import HorizonScores, horizon_scores
from fedhome.run.rate_words import rates_in
from fedhome.run.results import SummaryRow, counted_summary, means_of, over_seeds, summary
from fedhome.run.strongest_alone import over_strongest
from fedhome.run.waiting import FAILED, THERE

_TEXT_WIDE = 80
_WIDE = 76  # columns that the table of models takes with its lines
_FOLDED = {"alone", "personalised"}  # what a reader looks for first


def print_summary(console: Console, folder: RunFolder) -> None:
    """Print the table of models and the path of the report."""
    every = folder.read_events()
    events = {event.event: event.data for event in every}
    counted: Any = events.get("scores-counted")
    table = folder.read_homes() if folder.homes_path.exists() else None
    rows: list[SummaryRow] = []
    if table is not None:
        rows = summary(table)
    elif counted is not None:
        rows = counted_summary(counted)
    if rows:
        homes = max(row.homes + row.left_out for row in rows)
        score = str(events["fleet-ready"]["score"])
        at_each = None if table is None else horizon_scores(table, score)
        mean = "" if at_each is None else f", mean of {len(at_each.horizons)} horizons,"
        title = f"{score}{mean} on test rows, over {homes} homes"
        _print_models(console, title, rows, [] if table is None else [table], at_each)
        if table is None:
            for line in _of_sums(rows, counted):
                console.print(line, style="dim")
    if (joined := folder.read_cold_start()) is not None:
        _print_new_homes(console, cold_start_points(joined), str(events["fleet-ready"]["score"]))
    for told in filter(None, (rounds_told(every), rates_in(every))):
        console.print(told, highlight=False)
    console.print(f"report: {escape(str(folder.report_path))}", highlight=False, soft_wrap=True)


def summary_text(folder: RunFolder) -> str:
    """Return the same as text without colours, for whoever looks at a run in a notebook."""
    written = io.StringIO()
    print_summary(Console(file=written, width=_TEXT_WIDE, color_system=None), folder)
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines()).strip("\n")


def print_seeds(console: Console, folders: Sequence[RunFolder]) -> None:
    """Print what several runs of one plan come to that differ in their seeds alone.

    A home's score is its mean over the seeds, but a synthetic home is another one in each;
    intervals are over homes.

    Args:
        console: Where to.
        folders: The runs; of those without a table of homes nothing is said.
    """
    tables = homes_of(folders)
    if len(tables) < 2:  # noqa: PLR2004
        return
    rows = over_seeds(tables)
    score = next(
        str(event.data["score"])
        for event in folders[0].read_events()
        if event.event == "fleet-ready"
    )
    homes = max(row.homes + row.left_out for row in rows)
    title = f"{score} on test rows, over {len(tables)} seeds and {homes} homes"
    _print_models(console, title, rows, tables)
    if any(map(homes_differ, folders)):
        console.print("synthetic homes are others in each seed: each counts by itself", style="dim")
    joined = [new for folder in folders if (new := folder.read_cold_start()) is not None]
    if joined:
        points = cold_start_points(pa.concat_tables(joined))
        _print_new_homes(
            console, points, score, f"new homes of all {len(joined)} seeds, each by itself"
        )
    paths = " ".join(shlex.quote(str(folder.path)) for folder in folders)
    console.print(f"side by side: fedhome report {paths}", highlight=False, soft_wrap=True)


def _print_models(
    console: Console,
    title: str,
    rows: Sequence[SummaryRow],
    tables: Sequence[pa.Table],
    at_each: HorizonScores | None = None,
) -> None:
    """Print the table of models, that of their scores at each horizon, and what they mean."""
    narrow = console.width < _WIDE
    console.print(_models(title, rows, narrow=narrow))
    if at_each is not None:
        console.print(_horizons(at_each))
    for line in _explained(rows, tables, narrow=narrow):
        console.print(line, style="dim")


def _of_sums(rows: Sequence[SummaryRow], counted: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is not to be seen where scores were counted in sums over homes, a line each."""
    told = "counted in sums over homes: no single home's score is shown"
    if "noise_homes" in counted:
        told += f"; each count has noise of about {counted['noise_homes']:.2g} homes"
    yield told
    if any(math.isnan(row.median) for row in rows):
        yield "too few homes for median and percentile: steps of the score would tell single homes"


def _print_new_homes(
    console: Console, points: Sequence[ColdStartPoint], score: str, *told: str
) -> None:
    """Print the table of new homes, and what it means."""
    console.print(_new_homes(points, score))
    for line in (*told, *_of_new_homes(points)):
        console.print(line, style="dim")


def _new_homes(points: Sequence[ColdStartPoint], score: str) -> Table:
    """Return what new homes got, a row for each number of days; narrow enough for a phone."""
    homes = max(point.homes for point in points)
    title = f"{counted(homes, 'new home')}, by days of own readings: {score}, mean/10th pct"
    table = Table(title=title, title_style="", box=box.SIMPLE, show_edge=False)
    for name in ("days", "get", "global", "alone"):
        table.add_column(name, justify="right")
    for days, some in by_days(points).items():
        alone = best_alone(some.values())
        told = (some.get("personalised"), some.get("global"), alone)
        table.add_row(f"{days:g}", *map(_pair, told))
    return table


def _of_new_homes(points: Sequence[ColdStartPoint]) -> Iterator[str]:
    """Yield what the table of new homes means, and how sure its differences are, a line each."""
    yield _strongest(points)
    for name in ("global", "alone"):
        gains = []
        for days, some in by_days(points).items():
            other = best_alone(some.values()) if name == "alone" else some.get(name)
            gain = more_than(some.get("personalised"), other)
            if gain is not None and not math.isnan(gain.low):
                gains.append(f"{gain.mean:+.2f} ({gain.low:+.2f} to {gain.high:+.2f}) at {days:g}")
        if gains:
            yield f"get minus {name}: {', '.join(gains)}, {_SURELY}"


def _strongest(points: Sequence[ColdStartPoint]) -> str:
    found: dict[str, list[str]] = {}
    for days, some in by_days(points).items():
        if (alone := best_alone(some.values())) is not None:
            found.setdefault(alone.model, []).append(f"{days:g}")
    which = "; ".join(f"{name} at {', '.join(days)}" for name, days in found.items())
    return (
        "alone: what was best on test rows, harder to beat than what a home knows beforehand "
        f"({which or 'nothing'})"
    )


def _pair(point: ColdStartPoint | None) -> str:
    return "-" if point is None else f"{point.mean:.2f}/{point.p10:.2f}"


def _models(title: str, rows: Sequence[SummaryRow], *, narrow: bool) -> Table:
    """Return the table of models; where it is narrow, the names alone, and numbers stay whole."""
    table = Table(title=title, title_style="")
    if narrow:
        table.box, table.pad_edge, table.padding = None, False, (0, 1, 0, 0)
    table.add_column("model")
    for name in ("mean", "median", "10th\npct" if narrow else "10th pct", "hurt", "helped"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.model if narrow else with_meaning(row.model),
            _score(row.mean),
            _score(row.median),
            _score(row.p10),
            _share(row.hurt),
            _share(row.helped),
            style="bold" if row.model in _FOLDED else None,
        )
    return table


def _horizons(found: HorizonScores) -> Table:
    table = Table(title=f"{found.metric} at each horizon, mean over homes", title_style="")
    table.add_column("model")
    for name in found.horizons:
        table.add_column(name, justify="right")
    for model in MODELS:
        if model in found.models:
            scores = map(_score, found.models[model])
            table.add_row(with_meaning(model), *scores, style="bold" if model in _FOLDED else None)
    if found.coverage:
        table.add_row("bands of 80 % hold", *(_share(one) or "unknown" for one in found.coverage))
    return table


_SURE = ("coverage", "ece")
_SURELY = "95 % over homes"
_UNUSED = ("sum-failed", "round-unused")  # events that say why a round changed nothing


def _explained(
    rows: Sequence[SummaryRow], tables: Sequence[pa.Table], *, narrow: bool
) -> Iterator[str]:
    """Yield what the table means, a line each."""
    sure = means_of(tables, _SURE)
    if narrow:
        told = (with_meaning(row.model) for row in rows if with_meaning(row.model) != row.model)
        yield ", ".join(told)
    if any(row.model == "settings" for row in rows):
        yield "settings: with the rate and passes that suit all homes together"
    yield (
        "alone: what was best in a home's validation; hurt, helped: homes that are surely "
        "worse, better off than with that"
    )
    learnt = next((row for row in rows if row.model == "personalised"), None)
    if learnt is not None and not math.isnan(learnt.gain_low):
        yield (
            f"gain over the best alone: {learnt.gain:+.3f} "
            f"({learnt.gain_low:+.3f} to {learnt.gain_high:+.3f}, {_SURELY})"
        )
        if (hardest := over_strongest(tables)) is not None:
            yield (
                f"over {hardest.alone}, the strongest of all on test rows: {hardest.gain:+.3f} "
                f"({hardest.low:+.3f} to {hardest.high:+.3f})"
            )
    if (held := sure.get("coverage")) is not None:
        between = "" if math.isnan(held.low) else f" ({held.low:.0%} to {held.high:.0%}, {_SURELY})"
        yield f"bands of 80 % hold {held.mean:.0%} of the test rows{between}"
    if (off := sure.get("ece")) is not None:
        between = "" if math.isnan(off.low) else f" ({off.low:.3f} to {off.high:.3f}, {_SURELY})"
        yield f"stated probabilities are off by {off.mean:.3f}{between}"


def rounds_told(events: Iterable[Event]) -> str:
    """Return how many rounds of a run were real, and what it took; empty where none was closed."""
    every = list(events)
    real = _real(every)
    if not real:
        return ""
    count = sum(real.values())
    some = f"{count} of {len(real)}" if count < len(real) else f"{count}"
    parts = [f"{some} round{'s' if len(real) > 1 else ''} changed the model"]
    if repeated := sum(event.event == FAILED and "again_s" in event.data for event in every):
        parts.append(f"{repeated} attempts failed, and were repeated")
    reasons: list[Any] = [e.data["reason"] for e in every if e.event in _UNUSED]
    if not count and reasons:
        parts.append(f"the last one failed: {reasons[-1]}")
    seconds: list[Any] = [event.data["seconds"] for event in every if event.event == THERE]
    if waited_s := sum(seconds):
        parts.append(f"waited {waited_s:.0f} s for homes")
    return "; ".join(parts)


def check_learnt(folder: RunFolder) -> None:
    """Refuse to call a run a success in which rounds were closed and none changed the model.

    Raises:
        RunError: It was one.
    """
    real = _real(folder.read_events())
    if real and not any(real.values()):
        raise RunError(
            f"no round of {folder.path} changed the model: it is the one that the run began with",
            hint="the events round-failed, sum-failed, reply-dropped and round-unused of "
            f"{folder.events_path} say why",
        )


def _real(events: Iterable[Event]) -> dict[int, bool]:
    """Return of each round that was closed whether it changed the model."""
    real: dict[int, bool] = {}
    failed = False
    for event in events:
        data: Any = event.data
        if event.event == "round-unused" or (event.event == FAILED and "again_s" not in data):
            failed = True
        elif event.event == "round-closed":
            real[data["round"]], failed = not failed, False
    return real


def _score(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.0%}"
