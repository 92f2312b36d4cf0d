"""A home's own model of several horizons predicts each as its run scored it."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

import fedhome
from fedhome.cli.model_for_devices import OwnExport, write_own
from fedhome.data.series.local_time import CALENDAR, calendar
from fedhome.data.series.windows import examples
from fedhome.data.table import HomeTable
from fedhome.errors import DataError, RunError
from fedhome.learning.fitted import Perceptron
from fedhome.personal.horizons import at_horizon
from fedhome.personal.models_file import ModelsFile, to_bytes
from fedhome.personal.portable import export_model, inputs_of
from fedhome.personal.portable.raw_inputs import own_name
from fedhome.run.folder import RunFolder
from fedhome.run.summary import print_summary
from fedhome.simulations.homes import generate
from fedhome.simulations.simulate import Result
from helpers.random_own_models import COMPILER, Compiled, by_onnx

HOMES, DAYS, HOUR = 3, 16, 3600
AHEAD = {"1h": 1, "6h": 6, "24h": 24}
pytestmark = pytest.mark.long

QUICK: dict[str, Any] = {
    "seed": 5,
    "data": {"homes": HOMES, "days": DAYS, "history_days": 10, "horizon": list(AHEAD)},
    "model": {"hidden": [8]},
    "rounds": {"count": 2},
    "personalise": {"epochs": 2, "local_epochs": 2},
    "aggregation": {"mode": "plain"},
}


def _tables() -> dict[str, HomeTable]:
    return {home.home: home for home in generate(homes=HOMES, days=DAYS, seed=QUICK["seed"])}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return fedhome.simulate(fedhome.Plan.load(**QUICK), out=tmp_path_factory.mktemp("r") / "run")


def _row(run: Result, home: str, model: str = "personalised") -> dict[str, Any]:
    rows = run.homes.to_pylist()
    (row,) = [r for r in rows if (r["home"], r["model"]) == (home, model)]
    return dict(row)


def test_every_horizon_predicts_the_rows_that_its_run_scored(run: Result) -> None:
    for home, table in _tables().items():
        model, row = run.models[home], _row(run, home)
        columns = [spec.name for spec in model.plan.data.inputs or ()]
        cut = examples(table, model.plan.data, columns, "continuous")
        nearest = cut.time_s[cut.rows("test")]
        truth = dict(zip(table.time_s.tolist(), table.columns[model.target], strict=True))
        skills, errors = [], []
        for horizon, hours in AHEAD.items():
            predicted = model.predict(table, horizon)
            assert "horizon" not in predicted.column_names
            moments = (nearest + (hours - 1) * HOUR).tolist()
            at = {t: i for i, t in enumerate(predicted["time"].cast("int64").to_pylist())}
            places = [at[moment] for moment in moments]
            known = np.array([truth[moment] for moment in moments])
            value, low, high, naive = (
                predicted[name].to_numpy()[places]
                for name in ("value", "low", "high", "without_learning")
            )
            error = np.abs(value - known).mean()
            assert error == pytest.approx(row[f"mae@{horizon}"], rel=1e-5)
            inside = np.mean((low <= known) & (known <= high))
            assert inside == pytest.approx(row[f"coverage@{horizon}"])
            # What was read when it was said, whatever the horizon.
            earlier = np.array([truth[moment - HOUR] for moment in nearest.tolist()])
            np.testing.assert_allclose(naive, earlier, rtol=1e-5)
            skill = 1 - np.mean((value - known) ** 2) / np.mean((naive - known) ** 2)
            assert max(skill, -1.0) == pytest.approx(row[f"skill@{horizon}"], rel=1e-4)
            skills.append(max(skill, -1.0))
            errors.append(error)
        assert row["score"] == pytest.approx(np.mean(skills), rel=1e-4)
        assert row["mae"] == pytest.approx(np.mean(errors), rel=1e-5)
        assert model.scores["personalised"] == pytest.approx(row["score"])


def test_all_horizons_come_in_one_table_in_the_order_of_time(run: Result) -> None:
    home, table = next(iter(_tables().items()))
    model = run.models[home]
    whole = model.predict(table)
    assert whole.column_names[:3] == ["time", "horizon", "value"]
    rows = whole.to_pylist()
    assert [(r["time"], AHEAD[r["horizon"]]) for r in rows] == sorted(
        (r["time"], AHEAD[r["horizon"]]) for r in rows
    )
    for horizon, hours in AHEAD.items():
        one = model.predict(table, horizon)
        same = [
            {k: v for k, v in r.items() if k != "horizon"} for r in rows if r["horizon"] == horizon
        ]
        assert one.to_pylist() == same
        assert one["time"].cast("int64")[-1].as_py() == int(table.time_s[-1]) + hours * HOUR


def test_what_comes_later_changes_no_horizon(run: Result) -> None:
    home, table = next(iter(_tables().items()))
    model, some = run.models[home], slice(0, 200)
    before = replace(
        table,
        time_s=table.time_s[some],
        columns={name: values[some] for name, values in table.columns.items()},
    )
    for horizon in AHEAD:
        (last,) = model.predict(before, horizon).to_pylist()[-1:]
        (same,) = [
            r for r in model.predict(table, horizon).to_pylist() if r["time"] == last["time"]
        ]
        assert same.pop("time") == last.pop("time")
        assert same == pytest.approx(last)


def test_a_horizon_goes_by_any_name_of_its_length_and_no_other_is_guessed(run: Result) -> None:
    home, table = next(iter(_tables().items()))
    model = run.models[home]
    assert at_horizon(model, "1d").ahead == "24h"
    assert model.predict(table, "1d").equals(model.predict(table, "24h"))
    with pytest.raises(RunError, match="no horizon '2h'") as refused:
        model.predict(table, "2h")
    assert "1h, 6h, 24h" in str(refused.value.hint)


def test_a_model_of_several_horizons_is_kept_as_it_is(run: Result) -> None:
    model = next(iter(run.models.values()))
    data = to_bytes([model])
    again = ModelsFile(data)[model.home]
    assert to_bytes([again]) == data
    table = _tables()[model.home]
    assert again.predict(table).equals(model.predict(table))


def test_bands_and_opponents_are_of_each_horizon(run: Result) -> None:
    home = next(iter(_tables()))
    model = run.models[home]
    low, high = model.by
    assert low.shape == high.shape == (4, len(AHEAD))
    for opponent in ("seasonal", "linear", "trees", "local", "alone", "global"):
        row = _row(run, home, opponent)
        assert np.mean([row[f"rmse@{one}"] for one in AHEAD]) == pytest.approx(row["rmse"])
        assert len({row[f"rmse@{one}"] for one in AHEAD}) == len(AHEAD)


def test_what_is_kept_is_read_from_its_folder(run: Result) -> None:
    home, table = next(iter(_tables().items()))
    loaded = fedhome.load(run.path, home)
    assert loaded.horizons == tuple(AHEAD)
    assert loaded.predict(table, "6h").equals(run.models[home].predict(table, "6h"))


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_model_is_exported_at_one_horizon_and_says_which(run: Result, tmp_path: Path) -> None:
    home = next(iter(_tables()))
    model = run.models[home]
    with pytest.raises(RunError, match="several horizons, and a file predicts one"):
        export_model(model, "c")
    with pytest.raises(DataError, match="several horizons, and plain numbers give one"):
        model.predictor.predict(np.zeros((1, 9)))
    asked = OwnExport(run.path, home, "c", "float", None, None, tmp_path / "six.c", horizon="6h")
    said = list(write_own(asked))
    assert "6h ahead" in said[0]
    text = (tmp_path / "six.c").read_text()
    assert "home_0001_6h_predict" in text
    assert "6h ahead: the model of" in text
    assert "before the moment 1h ahead" in text
    binary = tmp_path / "six"
    made = ["cc", "-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    made += ["-DFEDHOME_SELF_TEST", str(tmp_path / "six.c"), "-lm", "-o", str(binary)]
    subprocess.run(made, check=True)
    done = subprocess.run([binary], check=True, capture_output=True, text=True)
    assert "16 of 16 rows as expected" in done.stdout
    about = json.loads(
        np.load(io.BytesIO(export_model(at_horizon(model, "6h"), "npz")))["about"].tobytes()
    )
    assert about["horizon"] == "6h"


@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
@pytest.mark.parametrize("horizon", list(AHEAD))
def test_exports_at_a_horizon_predict_from_readings_what_the_model_does(
    run: Result, tmp_path: Path, horizon: str
) -> None:
    """Numbers are taken from the readings as an export says, hours counted by hand."""
    home, table = list(_tables().items())[1]
    model = at_horizon(run.models[home], horizon)
    predicted, rows = run.models[home].predict(table, horizon), np.arange(200, 230)
    at = {t: i for i, t in enumerate(predicted["time"].cast("int64").to_pylist())}
    later = AHEAD[horizon] - 1
    places = [at[moment] for moment in (table.time_s[rows] + later * HOUR).tolist()]
    expected = np.array([predicted[name].to_numpy()[places] for name in ("value", "low", "high")]).T
    raw = np.stack([_read(one.name, one.role, table, rows, later) for one in inputs_of(model)], 1)
    close = {"rtol": 1e-5, "atol": 1e-5 * model.unit}
    np.testing.assert_allclose(model.predictor.predict(raw), expected, **close)
    np.testing.assert_allclose(by_onnx(export_model(model, "onnx"), raw), expected, **close)
    library = Compiled(tmp_path, {own_name(model): export_model(model, "c")})
    np.testing.assert_allclose(library.predict(own_name(model), raw, 3), expected, **close)


def _read(
    name: str, role: str, table: HomeTable, rows: NDArray[np.int64], later: int
) -> NDArray[np.float64]:
    """Return an input of the rows that are predicted ``later`` hours after the nearest horizon."""
    target = table.columns["load_kwh"]
    if name in CALENDAR:
        return calendar(table.time_s[rows], table.time_zone)[name]
    if role == "moment":
        return table.time_s[rows].astype(np.float64)
    if role == "season":
        return target[rows + later - (24 if "one day" in name else 168)]
    if role == "last":
        return target[rows - 1]
    if name.endswith("before"):
        lag = name.split()[1]
        return target[rows - int(lag[:-1]) * {"h": 1, "d": 24}[lag[-1]]]
    return table.columns[name][rows - 1]


def test_plain_arrays_at_a_horizon_are_its_own_last_unit(run: Result) -> None:
    model = next(iter(run.models.values()))
    network = model.experts["tuned"]
    assert isinstance(network, Perceptron)
    for place, horizon in enumerate(AHEAD):
        data = export_model(at_horizon(model, horizon), "npz")
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            assert json.loads(file["about"].tobytes())["horizon"] == horizon
            band = np.stack([side[:, place] for side in model.by])
            np.testing.assert_array_equal(file["band"], band)
            for number, (name, values) in enumerate(network.layers.items()):
                last = number >= len(network.layers) - 2
                found = file[f"tuned/{number:03d} {name}"]
                np.testing.assert_array_equal(found, values[[place]] if last else values)


def test_a_run_tells_what_each_horizon_is_worth(run: Result) -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    print_summary(console, RunFolder(run.path))
    shown = console.export_text()
    assert f"skill, mean of {len(AHEAD)} horizons, on test rows" in " ".join(shown.split())
    assert "skill at each horizon, mean over homes" in shown
    page = (run.path / "report.html").read_text()
    section = page[page.index('<h2 id="horizons">') :]
    cells = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", section[: section.index("</table>")])
    assert cells[:4] == ["Model", *(f"{one} ahead" for one in AHEAD)]
    rows = [_row(run, home) for home in _tables()]
    for place, one in enumerate(AHEAD):
        mean = float(np.mean([row[f"skill@{one}"] for row in rows]))
        at = cells.index("personalised")
        assert float(cells[at + 1 + place].replace("\N{MINUS SIGN}", "-")) == pytest.approx(
            mean, abs=6e-4
        )
        coverage = float(np.mean([row[f"coverage@{one}"] for row in rows]))
        assert cells[cells.index("Bands of 80 % hold") + 1 + place] == f"{coverage:.0%}"


@pytest.mark.parametrize("kernel", ["traced", "eager"])
def test_every_kernel_trains_several_horizons_alike(
    run: Result, tmp_path: Path, kernel: str
) -> None:
    plan = fedhome.Plan.load(**QUICK).change(
        engine={"kernel": kernel}, personalise={"name": "none"}
    )
    again = fedhome.simulate(plan, out=tmp_path / "run")
    for name in ("train_loss", "validation_loss", "validation_score"):
        same = run.rounds[name].to_pylist()
        assert again.rounds[name].to_pylist() == pytest.approx(same, rel=1e-4)
