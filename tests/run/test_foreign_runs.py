"""A run's folder that somebody else filled: what is no run's is refused in a sentence."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from fedhome.cli import app
from fedhome.errors import FedHomeError, RunError
from fedhome.run.folder import RunFolder
from fedhome.run.folder_tables import FolderTables
from fedhome.run.shown_homes import Shown
from fedhome.run.written_whole import read_table


def often(value: Any, kind: pa.DataType, times: int) -> pa.Array:
    """Return an array of one value, which Parquet writes in a few bytes."""
    coded = pa.DictionaryArray.from_arrays(np.zeros(times, np.int32), pa.array([value], kind))
    return coded.cast(kind)


@pytest.mark.parametrize(
    "columns",
    [
        {f"score-{number}": (0.5, pa.float64(), 4_000_000) for number in range(9)},
        {"home": ("oak" * 100_000, pa.string(), 2000)},
        {"home": ([0.5] * 100, pa.list_(pa.float64()), 1)},
    ],
)
def test_a_table_that_grows_without_measure_is_not_read(
    columns: dict[str, tuple[Any, pa.DataType, int]], tmp_path: Path
) -> None:
    """Two megabytes took 8 GB and a minute and a half of `fedhome report`."""
    place, arrays = tmp_path / "homes.parquet", {}
    for name, (value, kind, times) in columns.items():
        nested = pa.types.is_list(kind)
        arrays[name] = pa.array([value], kind) if nested else often(value, kind, times)
    pq.write_table(pa.table(arrays), place, compression="zstd")
    assert pq.read_metadata(place).num_columns == len(columns)  # the control: Arrow takes it
    assert place.stat().st_size < 1 << 20
    with pytest.raises(RunError, match="cannot be read"):
        read_table(place)


def test_a_table_of_ours_is_read_as_it_was_written(tmp_path: Path) -> None:
    place = tmp_path / "homes.parquet"
    numbers = np.random.default_rng(1).standard_normal(5000)
    table = pa.table(
        {"home": [f"home-{row // 10}" for row in range(5000)], "score": numbers},
        schema=pa.schema({"home": pa.string(), "score": pa.float64()}, metadata={"made": "here"}),
    )
    pq.write_table(table, place, row_group_size=1024)
    assert read_table(place).equals(table, check_metadata=True)
    pq.write_table(table.slice(0, 0), place)
    assert read_table(place).equals(table.slice(0, 0), check_metadata=True)


SHOWN: dict[str, Any] = {
    "targets": "continuous",
    "target": "load",
    "unit": "kW",
    "classes": [],
    "homes": [
        {"home": "oak", "place": "best", "score": 0.5, "time_s": [0, 3600], "true": [1.0, 2.0]}
        | {"predicted": [1.0, float("nan")], "low": [0.0, 1.0], "high": [2.0, 3.0]}
    ],
    "reliability": {"along": "hour", "places": [0.0], "right": [0.8], "rows": [2]},
    "blocks": {"oak": 3},
    "strength": 10.0,
}


def _home(**changes: Any) -> dict[str, Any]:
    return SHOWN | {"homes": [SHOWN["homes"][0] | changes]}


@pytest.mark.parametrize(
    "told",
    [
        _home(true=["1.0", "2.0"]),
        _home(true=[[1], [2]]),
        _home(predicted=[1e301, -1e301]),
        _home(predicted=[float("inf"), 1.0]),
        _home(time_s=[0, 10**30]),
        _home(time_s=[0, 0.5]),
        _home(home=5),
        _home(score="best"),
        SHOWN | {"blocks": {"oak": "three"}},
        SHOWN | {"strength": None},
        SHOWN | {"classes": [5]},
        "[" * 100_000,
        "5",
    ],
)
def test_what_is_shown_is_numbers_that_can_be_drawn(told: Any) -> None:
    """`fedhome report` ended in a traceback at each of them, from within what draws."""
    text = told if isinstance(told, str) else json.dumps(told)
    with pytest.raises(RunError, match="is damaged"):
        Shown.from_json(text.encode(), where="shown.json")
    whole = Shown.from_json(json.dumps(SHOWN).encode(), where="shown.json")  # the control
    assert whole.homes[0].true == (1.0, 2.0)


def test_readings_within_readings_have_an_end(tmp_path: Path) -> None:
    tables = FolderTables(tmp_path)
    tables.readings_path.write_text("[" * 100_000)
    with pytest.raises(RunError, match="is damaged"):
        tables.read_readings()


HOLE = 5 << 30
FILES: dict[str, Callable[[RunFolder], object]] = {
    "plan.toml": RunFolder.plan_text,
    "shown.json": RunFolder.read_shown,
    "readings.json": RunFolder.read_readings,
    "events.jsonl": RunFolder.read_events,
    "homes.parquet": RunFolder.read_homes,
}


@pytest.mark.parametrize("name", FILES)
def test_a_hole_of_gigabytes_takes_no_memory(name: str, tmp_path: Path) -> None:
    """`fedhome report` ended without memory: 5 GB that take no place on a disk."""
    (tmp_path / name).write_bytes(b"")
    os.truncate(tmp_path / name, HOLE)
    tracemalloc.start()
    with pytest.raises(FedHomeError, match=r"longer than|cannot be read"):
        FILES[name](RunFolder(tmp_path))
    assert tracemalloc.get_traced_memory()[1] < 1 << 29
    tracemalloc.stop()


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_is_not_waited_for(name: str, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(FedHomeError):
        FILES[name](RunFolder(tmp_path))


def test_a_folders_name_is_no_style(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended the command in a traceback, after its work was done."""
    run = tmp_path / "runs[" / "x]"
    monkeypatch.setattr(RunFolder, "open", RunFolder)
    monkeypatch.setattr("fedhome.server.report.html.write_report", lambda _runs, out: out)
    result = CliRunner().invoke(app, ["report", str(run)])
    assert result.exit_code == 0, result.output
    assert f"report: {run}" in result.output.replace("\n", "")
