"""What is told of many homes: in a line, whatever the numbers of each."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fedhome.data.classes import in_blocks
from fedhome.data.told_once import told_once
from fedhome.plan.settings import Plan
from fedhome.run.events import EventLog
from fedhome.run.progress import ProgressLines
from fedhome.simulations.gather import gather


def test_sentences_that_differ_in_numbers_alone_are_one_line() -> None:
    few = [(f"h{n}", f"home 'h{n}' has {n},5{n} rows") for n in range(4)]
    assert told_once(few) == [f"h{n}: home 'h{n}' has {n},5{n} rows" for n in range(4)]
    many = [(f"h{n}", f"h{n}.csv, row {n}: an odd cell") for n in range(6)]
    assert told_once([*many, ("h9", "is empty"), ("", "in 3 rows"), ("", "in 4 rows")]) == [
        "h0, h1, h2, h3 and 2 more, each with its own numbers; h0: h0.csv, row 0: an odd cell",
        "h9: is empty",
        "in 3 rows",
        "in 4 rows",
    ]


def test_words_that_differ_are_never_told_as_one() -> None:
    notes = [(f"h{n}", f"column {word!r} is in kWh") for n, word in enumerate("abcdef")]
    assert len(told_once(notes)) == 6


@pytest.mark.parametrize("name", ["x{}", "{}"])
def test_columns_that_are_called_by_numbers_are_told_apart(name: str) -> None:
    """Only the first of six columns was named, and each home six times."""
    columns = [name.format(number) for number in range(6)]
    notes = [("oak", f"column {one!r}: read as kWh") for one in columns]
    assert told_once(notes) == [f"oak: column {one!r}: read as kWh" for one in columns]
    both = [*notes, *[(f"h{n}", f"column {columns[n]!r}: read as kWh") for n in range(6)]]
    assert len(told_once(both)) == 6


def test_a_home_is_named_once_whatever_it_says() -> None:
    rows = [("oak", f"row {number} is odd") for number in range(6)]
    assert len(told_once(rows)) == 6  # of one home, each with its number
    more = [(f"h{number}", f"row {number + 9} is odd") for number in range(5)]
    told = "oak, h0, h1, h2 and 2 more, each with its own numbers; oak: row 0 is odd"
    assert told_once([*rows, *more]) == [told]


def test_homes_that_are_left_out_beyond_the_first_are_counted(tmp_path: Path) -> None:
    shown = io.StringIO()
    log = EventLog(tmp_path / "events.jsonl")
    log.subscribe(ProgressLines(Console(file=shown, width=200)))
    for number in range(7):
        log.append("home-excluded", home=f"h{number}", reason="it is empty")
    log.append("fleet-ready", rounds=2, homes=3, parameters=4, score="r2")
    log.close()
    assert shown.getvalue().splitlines() == [
        *(f"left out: h{number}: it is empty" for number in range(5)),
        "left out: 2 homes more; home-excluded in events.jsonl says why",
        "3 homes, 4 parameters",
    ]


def test_what_a_run_before_said_of_the_same_readings_is_not_said_again(tmp_path: Path) -> None:
    said: set[str] = set()
    shown = [io.StringIO(), io.StringIO()]
    for seed, file in enumerate(shown):
        with EventLog(tmp_path / f"{seed}.jsonl") as log:
            log.subscribe(ProgressLines(Console(file=file, width=200), said=said))
            log.append("readings", text="oak: a.csv: CSV")
            log.append("home-excluded", home="elm", reason="it is empty")
            log.append("note", text=f"seed {seed} is odd")
            log.append("fleet-ready", rounds=2, homes=3, parameters=4, score="r2")
            log.append("note", text="a round is odd")
    first, second = (file.getvalue().splitlines() for file in shown)
    told = ["read: oak: a.csv: CSV", "left out: elm: it is empty"]
    ready = ["3 homes, 4 parameters", "note: a round is odd"]
    assert first == [*told, "note: seed 0 is odd", *ready]
    assert second == ["note: seed 1 is odd", "2 notes, as before", *ready]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([0, 0, 1, 1, 2], True),
        ([2, 2, np.nan, 2, 0, 1, 1], True),
        ([0, 1, 0, 1], False),
        ([1, 1, np.nan], None),
        ([], None),
    ],
)
def test_blocks_of_classes(values: list[float], told: bool | None) -> None:
    assert in_blocks(np.array(values, np.float64)) is told


def _activities(folder: Path, homes: dict[str, str]) -> None:
    folder.mkdir()
    rng = np.random.default_rng(3)
    for home, classes in homes.items():
        rows = [f"{rng.normal():.3f},{name}" for name in classes]
        (folder / f"{home}.csv").write_text("\n".join(["x,doing", *rows, ""]))


def test_rows_that_are_sorted_by_class_are_told(tmp_path: Path) -> None:
    one, two, mixed = "a" * 30 + "b" * 30 + "c" * 30, "c" * 40 + "a" * 50, "abccba" * 15
    _activities(tmp_path / "sorted", {"oak": one, "elm": two, "ash": mixed, "fir": "a" * 60})
    plan = Plan.load(data={"source": str(tmp_path / "sorted"), "target": "doing"})
    (told,) = [note for note in gather(plan).notes if "sorted by class" in note]
    assert told.startswith("rows seem to be sorted by class: in elm, oak all rows of a class of")
    assert 'data.split_by = "class"' in told
    by_class = gather(plan.change(data={"split_by": "class"}))
    assert not [note for note in by_class.notes if "sorted by class" in note]
    _activities(tmp_path / "mixed", {"oak": one, "elm": mixed, "ash": mixed})
    plan = plan.change(data={"source": str(tmp_path / "mixed")})
    assert not [note for note in gather(plan).notes if "sorted by class" in note]


def _levels(folder: Path, homes: dict[str, float]) -> None:
    """Write homes of which the load rises to a level after the first eight days of ten."""
    folder.mkdir()
    for home, level in homes.items():
        load = np.sin(np.arange(240.0)) + level * (np.arange(240) >= 192)
        times = np.datetime64("2024-01-01T00", "h") + np.arange(240)
        rows = [f"{time}:00Z,{one:.3f},{one:.3f}" for time, one in zip(times, load, strict=True)]
        (folder / f"{home}.csv").write_text("\n".join(["time,load,heat", *rows, ""]))


def test_inputs_beyond_what_training_saw_are_told_with_their_homes(tmp_path: Path) -> None:
    _levels(tmp_path / "risen", {"elm": 0, "oak": 9, "yew": 20})
    plan = Plan.load(
        data={"source": str(tmp_path / "risen"), "target": "load", "lags": [1, 2]},
        aggregation={"mode": "plain"},
    )

    def told(**changes: object) -> list[str]:
        notes = gather(plan.change(data=changes)).notes
        return [note for note in notes if "spreads from the mean of training" in note]

    (note,) = told()
    assert note.startswith("in oak, yew, in a tenth or more of the rows after training, inputs lie")
    assert "(heat)" in note  # the load itself is followed: what is learnt is its change
    (note,) = told(learns="level")
    assert "(heat, load 1 before, load 2 before)" in note
    assert not told(scale="none")
