"""How long it takes from a reading to the prediction that follows from it.

``python -m fedhome.simulations.benchmarks.event_to_prediction`` lets a few synthetic homes learn,
and gives one of them, in a folder as on a device, one reading after another. Seconds on the clock:

* recorded: until :func:`fedhome.record` has it on the disk;
* watched: from then until `fedhome client predict --watch`, a process of its own, has printed
  what is to be expected now;
* asked: what :func:`fedhome.load` and a prediction from the home's files take, in this process;
* numbers: what :func:`fedhome.load_predictor`'s predictor takes for a row of numbers.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Annotated, Final

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from fedhome.clients.kept_model import load, load_predictor
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.membership.own_models import OwnModels
from fedhome.clients.own_readings import read_files, source_of
from fedhome.clients.recorded.recording import Recorder
from fedhome.data.table import HomeTable
from fedhome.errors import EngineError
from fedhome.personal.models_file import to_bytes
from fedhome.personal.portable import probe
from fedhome.plan.settings import Plan
from fedhome.simulations.homes import generate
from fedhome.simulations.local_fleet import named, prepare

_HOMES, _DAYS = 6, 14
_AT_LEAST: Final = 3


@dataclass(frozen=True, kw_only=True)
class EventCosts:
    """Seconds on the clock, one of each for each reading.

    Args:
        recorded: Until a reading is on the disk.
        watched: From then on, until the process that watches has printed a prediction.
        asked: To open the home's model and predict from its files.
        numbers: To predict from a row of numbers.
        rows: Rows that the home had at the end.
    """

    recorded: list[float]
    watched: list[float]
    asked: list[float]
    numbers: list[float]
    rows: int


def event_costs(*, events: int, folder: Path, seed: int = 0) -> EventCosts:
    """Give a home one reading after another.

    Args:
        events: How many.
        folder: An empty folder.
        seed: Of the homes.

    Raises:
        EngineError: The process that watches ended.
    """
    home_folder, newer = _home(events, folder, seed)
    recorder = Recorder(home_folder)
    recorder.begin()
    costs = EventCosts(recorded=[], watched=[], asked=[], numbers=[], rows=0)
    predictor = load_predictor(home_folder.path)
    row = probe(load(home_folder.path), 1)
    with _watching(home_folder) as lines:
        _line(lines)
        for table in newer:
            costs.recorded.append(_seconds(partial(recorder.rows, table)))
            costs.watched.append(_seconds(lambda: _line(lines)))
            costs.asked.append(_seconds(lambda: _asked(home_folder)))
            costs.numbers.append(_seconds(lambda: predictor.predict(row)))
    return replace(costs, rows=_read(home_folder).rows)


def _home(events: int, folder: Path, seed: int) -> tuple[HomeFolder, list[HomeTable]]:
    """Return a home with a model of its own, and readings of it that are still to come."""
    from fedhome.simulations.simulate import simulate  # noqa: PLC0415 - it loads torch and Flower

    plan = Plan.load(
        seed=seed,
        data={"homes": _HOMES, "days": _DAYS, "history_days": _DAYS},
        rounds={"count": 2},
        aggregation={"mode": "plain"},
    )
    tables = list(generate(homes=_HOMES, days=_DAYS, seed=seed))
    run = simulate(plan, homes=tables, out=folder / "run")
    cut = [_part(table, 0, table.rows - events) for table in tables]
    _, home_folders = prepare(folder / "deployment", named(plan, cut), cut)
    home_folder, whole = home_folders[0], tables[0]
    model = run.models[whole.home]
    OwnModels(home_folder.path, whole.home).replace(to_bytes([model]))
    first = whole.rows - events
    return home_folder, [_part(whole, row, row + 1) for row in range(first, whole.rows)]


def _part(table: HomeTable, begin: int, end: int) -> HomeTable:
    columns = {name: column[begin:end] for name, column in table.columns.items()}
    return replace(table, time_s=table.time_s[begin:end], columns=columns)


@contextmanager
def _watching(home_folder: HomeFolder) -> Iterator[IO[str]]:
    words = ("client", "predict", str(home_folder.path), "--watch", "--every", "1s", "--json")
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "fedhome", *words], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.terminate()


def _line(lines: IO[str]) -> None:
    line = lines.readline()
    if not line:
        raise EngineError("what watches the home's readings has ended")
    json.loads(line)


def _asked(home_folder: HomeFolder) -> None:
    load(home_folder.path).predict(_read(home_folder))


def _read(home_folder: HomeFolder) -> HomeTable:
    plan, settings = Plan.load(home_folder.plan_path), home_folder.settings
    source = source_of(home_folder)
    return read_files(plan, source, name=settings.home, reading=settings.reading).table


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def table_of(costs: EventCosts) -> Table:
    """Return the figures as a table."""
    title = f"from a reading to its prediction, {len(costs.recorded)} times"
    table = Table("", title=title, title_style="")
    for name in ("median, ms", "most, ms"):
        table.add_column(name, justify="right")
    rows = {
        "recorded: until it is on the disk": costs.recorded,
        "watched: then until `predict --watch` has printed": costs.watched,
        f"asked: model and {costs.rows} rows read, and a prediction": costs.asked,
        "numbers: a prediction from a row of numbers": costs.numbers,
    }
    for name, seconds in rows.items():
        table.add_row(name, f"{1e3 * np.median(seconds):.3g}", f"{1e3 * max(seconds):.3g}")
    return table


def main(
    events: Annotated[int, typer.Option(min=_AT_LEAST, help="How many readings come.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the homes.")] = 0,
) -> None:
    """Show what comes between a reading and its prediction."""
    with tempfile.TemporaryDirectory() as folder:
        Console().print(table_of(event_costs(events=events, folder=Path(folder), seed=seed)))


if __name__ == "__main__":
    typer.run(main)
