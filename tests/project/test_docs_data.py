"""The examples of docs/data.md: files as they stand there, and what is then printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from fedhome.data.homes_folder import read_folder
from fedhome.data.series.time_grid import grid_of
from fedhome.plan.data_settings import DataSettings
from helpers.command import fedhome

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "data.md"
FILE = re.compile(r"^`([\w.-]+)`:\n\n```csv\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```console\n\$ (fedhome data .*?)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def written(folder: Path) -> list[tuple[str, str]]:
    """Write the guide's files into a folder; return its commands and what they print."""
    text = GUIDE.read_text("utf-8")
    for name, content in FILE.findall(text):
        (folder / name).write_text(content, encoding="utf-8")
    return [(command, output) for command, output in SHELL.findall(text) if output]


def test_the_examples_print_what_the_guide_shows(tmp_path: Path) -> None:
    examples = written(tmp_path)
    assert len(examples) >= 3
    for command, output in examples:
        said = fedhome(*shlex.split(command)[1:], folder=tmp_path)
        assert (said.returncode, said.stderr) == (0, "")
        shown = "".join(f"{line.rstrip()}\n" for line in said.stdout.splitlines())
        assert shown == output


def on_the_grid(folder: Path, name: str, **settings: object) -> dict[str, list[float]]:
    data = DataSettings.model_validate(settings)
    home = read_folder(folder / name, data).homes[0]
    table = grid_of(home, data, tuple(home.columns)).table
    return {name: values.tolist() for name, values in table.columns.items()}


def test_a_meter_that_counts_up_gives_what_the_guide_says(tmp_path: Path) -> None:
    written(tmp_path)
    rules = {"energy_kwh": "difference"}
    used = on_the_grid(tmp_path, "meter.csv", target="energy_kwh", step="1h", rules=rules)
    assert used["energy_kwh"][:2] == [4, 11]


def test_a_sensor_of_the_guide_keeps_its_value(tmp_path: Path) -> None:
    written(tmp_path)
    target = "sensor.living_temp"
    held = on_the_grid(
        tmp_path,
        "history.csv",
        target=target,
        pivot=["entity_id", "state"],
        step="5min",
        rules={target: "hold", "sensor.heater_power": "hold"},
    )
    np.testing.assert_array_equal(held[target], [20.5, 20.7, 20.7, 20.9])
    assert held["sensor.heater_power"] == [0, 1150, 1150, 1150]


@pytest.mark.parametrize("name", ["meters.csv", "history.csv"])
def test_rows_of_one_time_are_refused_with_the_way_that_the_guide_shows(
    tmp_path: Path, name: str
) -> None:
    written(tmp_path)
    said = fedhome("data", "check", name, folder=tmp_path)
    assert said.returncode == 1
    way = {"meters.csv": 'data.home_column = "meter"', "history.csv": "data.pivot"}
    assert way[name] in said.stderr
