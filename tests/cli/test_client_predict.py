"""`fedhome client predict` and `rollback`: a home's own model, as its people use it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from fedhome.cli import ages, app
from fedhome.cli.predict_look import look
from fedhome.clients.agent.own_model import OwnModelKeeper, keep_ended
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.own_readings import read_own
from fedhome.errors import DataError, InputsError, RunError, StateError
from fedhome.plan.settings import Plan
from helpers.client_world import fedhome, refused
from helpers.kept_home import (
    CLASSES,
    HOME,
    HOURS,
    MEAN,
    WORDS,
    kept_home,
    runs_of,
    write_readings,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks")

GOOD, POOR = 0.0, 3.0  # spreads from the mean
LAST = 1_700_006_400 + 3600 * (HOURS - 1)  # 2023-11-28 23:00 UTC


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HomeFolder:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(ages, "now", lambda: LAST + 600.0)
    return kept_home(tmp_path)


def end(place: HomeFolder, *statement: float, run: int = 1) -> None:
    keep_ended(runs_of(place, *statement), OwnModelKeeper(place), run=run)


def told(place: HomeFolder, *words: object) -> dict[str, Any]:
    done = fedhome("predict", place.path, *words, "--json")
    assert done.exit_code == 0, done.exception
    return dict(json.loads(done.output))


def without(place: HomeFolder, column: str, since: int) -> None:
    """Take a column's last readings away."""
    path = Path(place.settings.data)
    table = pq.read_table(path)
    at = table.column_names.index(column)
    values = table[column].to_pylist()
    kept = [*values[:since], *([None] * (len(values) - since))]
    pq.write_table(table.set_column(at, column, [kept]), path)


@pytest.mark.long
def test_a_prediction_is_one_of_now_while_its_readings_are(place: HomeFolder) -> None:
    end(place, MEAN)
    hour = 3600.0
    assert look(place, None, as_json=True)["of_now"] == [
        (LAST - 3 * hour - hour, LAST + 3 * hour + 300.0)
    ]


@pytest.mark.long
def test_a_home_without_a_model_is_told_how_it_gets_one(place: HomeFolder) -> None:
    error = refused(fedhome("predict", place.path), RunError, "has no model of its own yet")
    assert "until it has taken part in a run to its end, it predicts by the fleet's" in error.hint
    refused(fedhome("rollback", place.path), StateError, "there is none to go back to")
    assert "none yet: a run ends with one" in fedhome("status", place.path).output


@pytest.mark.long
def test_the_next_step_is_told_with_all_that_stands_behind_it(place: HomeFolder) -> None:
    end(place, GOOD)
    shown = fedhome("predict", place.path).output
    assert "load of kitchen, 2023-11-29 00:00 UTC" in shown
    assert "kWh, 8 times in 10 from" in shown
    assert "without learning" in shown
    assert "2023-11-28 23:00 UTC, 10 minutes ago" in shown
    assert "of run 1 of tiny, fitted to 266 rows; skill 0." in shown
    assert "that it was not fitted to: root mean squared error" in shown
    assert "missing          │ nothing" in shown
    assert "of run 1 of tiny, fitted to 266 rows" in fedhome("status", place.path).output


def test_scripts_get_the_same_as_json(place: HomeFolder) -> None:
    end(place, GOOD)
    found = told(place)
    assert (found["home"], found["target"], found["unit"]) == (HOME, "load", "kWh")
    assert found["time"] == "2023-11-29T00:00:00+00:00"
    assert found["value"] == pytest.approx(MEAN, abs=0.3)
    assert found["low"] < found["value"] < found["high"]
    last = pq.read_table(place.settings.data)["load"].to_pylist()[-1]
    assert found["without_learning"] == pytest.approx(last)
    assert (found["by"], found["missing"], found["newest_reading_age_s"]) == ("model", [], 600.0)
    assert found["score"]["personalised"] > found["score"]["baseline"]
    assert found["newest_rows"]["wrong"] < found["newest_rows"]["without_learning"]


@pytest.mark.long
def test_the_band_follows_rows_that_the_model_has_not_seen(place: HomeFolder) -> None:
    end(place, GOOD)
    found = told(place)
    band = found["band"]
    # One spread around the mean holds two in three of what is normal: the band has grown.
    assert band["rows"] >= 64
    assert band["held_before"] == pytest.approx(0.68, abs=0.12)
    assert band["held"] > band["held_before"]
    own = found["model"]
    assert found["high"] - found["low"] > own["high"] - own["low"] == pytest.approx(2.0, abs=0.3)
    assert "newer rows: it held" in fedhome("predict", place.path).output
    again = told(place)
    assert (again["low"], again["high"]) == (found["low"], found["high"]), "nothing is kept"


@pytest.mark.long
def test_before_the_first_new_row_the_band_is_the_runs(place: HomeFolder) -> None:
    end(place, GOOD)
    cut = pq.read_table(place.settings.data)
    seen = cut.slice(0, told(place)["band"]["rows"] // 2)
    pq.write_table(seen, Path(place.settings.data))
    found = told(place)
    assert found["band"] == {"rows": 0, "held": None, "held_before": None}
    assert {name: found[name] for name in ("low", "high")} == {
        name: found["model"][name] for name in ("low", "high")
    }
    assert "no row is newer" in fedhome("predict", place.path).output


@pytest.mark.long
def test_a_model_that_is_worse_than_no_learning_gives_way_and_says_so(place: HomeFolder) -> None:
    end(place, POOR)
    found = told(place)
    assert found["by"] == "without-learning"
    assert found["value"] == found["without_learning"] != found["model"]["value"]
    assert (found["low"], found["high"]) == (None, None)
    shown = fedhome("predict", place.path).output
    assert "on the newest rows its model was worse than the forecast without learning" in " ".join(
        shown.replace("│", " ").split()
    )


@pytest.mark.long
def test_a_model_that_cannot_be_checked_is_used_and_says_so(
    place: HomeFolder, tmp_path: Path
) -> None:
    end(place, POOR)
    write_readings(tmp_path / "few.parquet", hours=24 * 11 + 10)
    found = told(place, "--from", tmp_path / "few.parquet")
    assert found["by"] == "model"
    assert found["newest_rows"]["rows"] == 6
    assert found["newest_rows"]["wrong"] > found["newest_rows"]["without_learning"]
    shown = fedhome("predict", place.path, "--from", tmp_path / "few.parquet").output
    assert "not checked: 6 rows newer than those that it was fitted to, and 20 are needed" in shown


def test_what_is_missing_is_named(place: HomeFolder) -> None:
    end(place, GOOD)
    without(place, "outdoor", HOURS - 5)
    assert told(place)["missing"] == ["outdoor"]


def test_a_sensor_that_has_never_said_anything_is_named_and_stood_in_for(place: HomeFolder) -> None:
    end(place, GOOD)
    without(place, "outdoor", 0)
    found = told(place)
    assert found["missing"] == ["outdoor"]
    assert any(note.startswith("nothing was read in outdoor") for note in found["notes"])
    with pytest.raises(InputsError) as error:  # to learn from, it is not there
        read_own(Plan.load(place.plan_path), Path(place.settings.data))
    assert "there is nothing in its outdoor: check the sensor" in error.value.hint


@pytest.mark.long
def test_any_moment_that_the_readings_allow_can_be_asked(place: HomeFolder) -> None:
    end(place, GOOD)
    found = told(place, "--at", "2023-11-20T10:30+01:00")
    assert found["time"] == "2023-11-20T09:00:00+00:00"  # the step that has begun by then
    assert told(place, "--at", "2023-11-20T09:00")["time"] == found["time"]  # the zone is UTC
    readings = pq.read_table(place.settings.data)["load"].to_pylist()
    hours = (1_700_470_800 - 1_700_006_400) // 3600
    assert found["without_learning"] == pytest.approx(readings[hours - 1])
    for at, words in (
        ("2023-12-24", "the readings allow it from 2023-11-15 01:00 UTC to 2023-11-29 00:00 UTC"),
        ("2020-01-01", "nothing can be predicted of 2020-01-01"),
        ("tomorrow", "'tomorrow' is no moment"),
    ):
        refused(fedhome("predict", place.path, "--at", at), DataError, words)


@pytest.mark.long
def test_readings_may_come_from_elsewhere_and_are_read_as_the_homes_own(
    place: HomeFolder, tmp_path: Path
) -> None:
    end(place, GOOD)
    own = told(place)
    table = pq.read_table(place.settings.data)
    names = ["Garten" if name == "outdoor" else name for name in table.column_names]
    pyarrow.csv.write_csv(table.rename_columns(names), tmp_path / "other.csv")
    refused(fedhome("predict", place.path, "--from", tmp_path / "other.csv"), DataError, "outdoor")
    place.change_settings(replace(place.settings, reading={"rename": {"Garten": "outdoor"}}))
    found = told(place, "--from", tmp_path / "other.csv")
    assert found["value"] == pytest.approx(own["value"])
    assert found["time"] == own["time"]


@pytest.mark.long
def test_classes_have_probabilities(tmp_path: Path) -> None:
    place = kept_home(tmp_path, CLASSES)
    end(place, 0.2, 0.1, 0.7)
    found = told(place)
    assert found["class"] == "out"
    assert found["probabilities"] == pytest.approx(dict(zip(WORDS, (0.2, 0.1, 0.7), strict=True)))
    assert found["without_learning"] == "out"
    shown = fedhome("predict", place.path).output
    assert "out 70%, asleep 20%, cooking 10%" in " ".join(shown.split())


@pytest.mark.long
def test_going_back_takes_the_model_before(place: HomeFolder) -> None:
    end(place, POOR, run=1)
    end(place, GOOD, run=2)
    assert told(place)["run"] == "run 2 of tiny"
    assert "predicts by the model of run 1 of tiny now" in fedhome("rollback", place.path).output
    assert told(place)["run"] == "run 1 of tiny"
    assert "run 2 of tiny" in fedhome("rollback", place.path).output


def test_a_narrow_terminal_loses_nothing(
    place: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    end(place, POOR)
    monkeypatch.setenv("COLUMNS", "45")
    shown = fedhome("predict", place.path).output
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 45
    assert "…" not in shown


@pytest.mark.long
def test_no_torch_no_server_and_no_network_are_needed(place: HomeFolder) -> None:
    end(place, GOOD)
    script = (
        "import sys, socket\n"
        "for name in ('torch', 'sklearn', 'scipy'): sys.modules[name] = None\n"
        "def refuse(*words): raise AssertionError('a socket was asked for')\n"
        "socket.socket.connect = refuse\n"
        "sys.argv = ['fedhome', 'client', 'predict', sys.argv[1], '--json']\n"
        "from fedhome.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, place.path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["value"] == pytest.approx(told(place)["value"])


@pytest.mark.long
def test_the_commands_of_the_guide_run(place: HomeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    end(place, POOR, run=1)
    end(place, GOOD, run=2)
    monkeypatch.chdir(place.path.parent)
    place.path.rename("oak")
    guide = Path(__file__).parents[2] / "docs" / "predict.md"
    commands = re.findall(r"^\$ fedhome (.*)$", guide.read_text("utf-8"), re.MULTILINE)
    assert {command.split()[1] for command in commands} == {
        *("predict", "rollback", "record", "inspect", "exclude", "export"),
    }
    monkeypatch.setattr(ages, "now", lambda: LAST + 600.0)
    Path("today.csv").write_text("time,load,outdoor\n2023-11-29T00:00Z,1.5,3\n")
    for command in commands:
        done = CliRunner().invoke(app, command.split())
        assert done.exit_code == 0, done.exception
    assert f"{HOME}_predict" in Path(f"{HOME}.c").read_text()
    for option in ("--at", "--from", "--json"):
        assert f"| `{option}" in guide.read_text("utf-8")
