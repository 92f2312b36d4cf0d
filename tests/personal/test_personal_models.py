"""A home's own model predicts what its run scored, from readings alone."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
import safetensors
import safetensors.numpy

import fedhome
from fedhome.data.series.windows import examples
from fedhome.data.table import HomeTable
from fedhome.errors import DataError, InputsError, RunError
from fedhome.learning.mixture import FleetsBlend
from fedhome.personal import models_file
from fedhome.personal.horizons import OneOutput
from fedhome.personal.model import PersonalModel
from fedhome.personal.models_file import ModelsFile, to_bytes
from fedhome.personal.own_module import OwnModule
from fedhome.personal.portable import own_code_of
from fedhome.personal.stored_models import MODELS
from fedhome.simulations.homes import generate
from fedhome.simulations.simulate import Result
from helpers.random_own_models import Shape, own_model

HOMES, DAYS = 4, 14
pytestmark = pytest.mark.long

QUICK: dict[str, Any] = {
    "seed": 5,
    "data": {"homes": HOMES, "days": DAYS, "history_days": 8},
    "model": {"hidden": [8]},
    "rounds": {"count": 2},
    "personalise": {"epochs": 2, "local_epochs": 2},
    "aggregation": {"mode": "plain"},
}
WORDS = ("asleep", "cooking", "out")


def _tables() -> dict[str, HomeTable]:
    return {home.home: home for home in generate(homes=HOMES, days=DAYS, seed=QUICK["seed"])}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return fedhome.simulate(fedhome.Plan.load(**QUICK), out=tmp_path_factory.mktemp("r") / "run")


def _row(run: Result, home: str) -> dict[str, Any]:
    rows = run.homes.to_pylist()
    (row,) = [r for r in rows if (r["home"], r["model"]) == (home, "personalised")]
    return dict(row)


def _seconds(predicted: pa.Table) -> list[int]:
    found: list[int] = predicted["time"].cast("int64").to_pylist()
    return found


def test_every_home_predicts_the_rows_that_its_run_scored(run: Result) -> None:
    assert list(run.models) == list(_tables())
    for home, table in _tables().items():
        model, row = run.models[home], _row(run, home)
        predicted = model.predict(table)
        columns = [spec.name for spec in model.plan.data.inputs or ()]
        cut = examples(table, model.plan.data, columns, "continuous")
        at = {moment: place for place, moment in enumerate(_seconds(predicted))}
        places = [at[moment] for moment in cut.time_s[cut.rows("test")].tolist()]
        truth = dict(zip(table.time_s.tolist(), table.columns[model.target], strict=True))
        known = np.array([truth[moment] for moment in cut.time_s[cut.rows("test")].tolist()])
        value, low, high = (predicted[name].to_numpy()[places] for name in ("value", "low", "high"))
        np.testing.assert_allclose(np.abs(value - known).mean(), row["mae"], rtol=1e-5)
        assert np.mean((low <= known) & (known <= high)) == pytest.approx(row["coverage"])
        np.testing.assert_allclose((high - low).mean(), row["width"], rtol=1e-5)
        naive = predicted["without_learning"].to_numpy()[places]
        skill = 1 - np.mean((value - known) ** 2) / np.mean((naive - known) ** 2)
        assert max(skill, -1.0) == pytest.approx(row["skill"], rel=1e-4)  # as scores are bounded
        assert model.scores == {
            "personalised": pytest.approx(row["score"]),
            "baseline": pytest.approx(0.0),
        }
        assert sum(model.weights.values()) == pytest.approx(1.0)


def test_the_next_step_is_predicted_before_it_comes(run: Result) -> None:
    home, table = next(iter(_tables().items()))
    model = run.models[home]
    whole = model.predict(table)
    assert _seconds(whole)[-1] == int(table.time_s[-1]) + 3600
    # What comes later changes nothing of what was said of a moment before.
    some = slice(0, 200)
    before = replace(
        table,
        time_s=table.time_s[some],
        columns={name: values[some] for name, values in table.columns.items()},
    )
    earlier = model.predict(before)
    last = earlier.slice(earlier.num_rows - 1).to_pylist()[0]
    (same,) = [row for row in whole.to_pylist() if row["time"] == last["time"]]
    assert same.pop("time") == last.pop("time")
    assert same == pytest.approx(last)


def test_readings_of_a_file_and_of_columns_give_the_same(run: Result, tmp_path: Path) -> None:
    home, table = next(iter(_tables().items()))
    columns = {"time": pa.array(table.time_s, pa.timestamp("s", tz="UTC"))}
    columns |= {name: pa.array(values) for name, values in table.columns.items()}
    rows = pa.table(columns)
    pyarrow.csv.write_csv(rows, tmp_path / "kitchen.csv")
    model = fedhome.load(run.path, home)
    expected = model.predict(rows)["value"].to_numpy()
    found = model.predict(tmp_path / "kitchen.csv")["value"].to_numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_what_is_missing_is_counted_and_filled_in(run: Result) -> None:
    home, table = next(iter(_tables().items()))
    outdoor = table.columns["outdoor_c"].copy()
    outdoor[-30:] = np.nan
    lacking = replace(table, columns={**table.columns, "outdoor_c": outdoor})
    predicted = run.models[home].predict(lacking)
    assert predicted["missing"].to_pylist()[-1] == 1
    assert np.isfinite(predicted["value"].to_numpy()).all()
    dear = {**table.columns, "price": table.columns["outdoor_c"]}
    (note,) = run.models[home].predictions(replace(table, columns=dear)).notes
    assert note == "not used, as not in all homes or not in the plan: price"
    without = {name: values for name, values in table.columns.items() if name != "outdoor_c"}
    with pytest.raises(InputsError, match="lacks the column outdoor_c"):
        run.models[home].predict(replace(table, columns=without))


def _votes(number: int, rows: int = 90, *, times: bool) -> pa.Table:
    drawn = np.random.default_rng(number)
    warm, mood = drawn.normal(size=rows), drawn.choice(["calm", "loud"], rows)
    signal = warm + (mood == "loud") * 1.5 + 0.3 * drawn.normal(size=rows)
    words = np.array(WORDS)[np.digitize(signal, [0.0, 1.5])]
    columns: dict[str, Any] = {"warm": warm, "mood": mood, "doing": words}
    if times:
        moments = np.datetime64("2024-05-01T00:00:00") + np.arange(rows) * np.timedelta64(3, "h")
        columns = {"time": pa.array(moments, pa.timestamp("s")), **columns}
    return pa.table(columns)


@pytest.mark.parametrize("times", [True, False])
@pytest.mark.parametrize("engine", ["vector", "sequential"])
def test_classes_have_probabilities(tmp_path: Path, engine: str, times: bool) -> None:
    tables = {f"h{number}": _votes(number, times=times) for number in range(3)}
    plan = fedhome.Plan.load(
        **{**QUICK, "data": {"target": "doing", "horizon": 0}, "engine": {"name": engine}}
    )
    run = fedhome.simulate(plan, homes=tables, out=tmp_path / "run")
    row, model = _row(run, "h1"), run.models["h1"]
    assert model.classes == WORDS
    table = tables["h1"]
    # The target need not be there: it is what is asked.
    predicted = model.predict(table.drop_columns(["doing"]))
    shares = np.stack([predicted[f"P({word})"].to_numpy() for word in WORDS], axis=1)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    test = slice(90 - row["examples_test"], 90)
    said, true = predicted["class"].to_pylist()[test], table["doing"].to_pylist()[test]
    hits = np.mean([one == other for one, other in zip(said, true, strict=True)])
    assert hits == pytest.approx(row["accuracy"])
    at = [WORDS.index(word) for word in true]
    found = -np.log(shares[test][np.arange(len(at)), at]).mean()
    assert found == pytest.approx(row["nll"], rel=1e-4)
    assert set(predicted["without_learning"].to_pylist()) <= set(WORDS)
    assert predicted.column_names[0] == ("time" if times else "row")


def test_a_series_without_times_has_rows(tmp_path: Path) -> None:
    drawn = np.random.default_rng(4)
    tables = {
        f"h{n}": {"load": np.sin(np.arange(200) / 5) + drawn.normal(size=200)} for n in (1, 2)
    }
    data = {"target": "load", "horizon": 1, "lags": [1, 2], "gap": 1}
    run = fedhome.simulate(
        fedhome.Plan.load(**{**QUICK, "data": data}), homes=tables, out=tmp_path / "run"
    )
    predicted = run.models["h1"].predict(tables["h1"])
    assert predicted.column_names[0] == "row"
    assert predicted["row"].to_pylist()[-1] == 200


def test_no_torch_no_server_and_no_network_are_needed(run: Result, tmp_path: Path) -> None:
    home, table = next(iter(_tables().items()))
    columns = {"time": pa.array(table.time_s, pa.timestamp("s", tz="UTC"))}
    columns |= {name: pa.array(values) for name, values in table.columns.items()}
    pyarrow.csv.write_csv(pa.table(columns), tmp_path / "kitchen.csv")
    script = (
        "import sys, socket\n"
        "for name in ('torch', 'flwr', 'sklearn', 'scipy'): sys.modules[name] = None\n"
        "def refuse(*words): raise AssertionError('a socket was asked for')\n"
        "socket.socket.connect = refuse\n"
        "import fedhome\n"
        "model = fedhome.load(sys.argv[1], sys.argv[2])\n"
        "print(model.predict(sys.argv[3])['value'].to_pylist()[-1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, run.path, home, tmp_path / "kitchen.csv"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = run.models[home].predict(table)["value"].to_pylist()[-1]
    assert float(done.stdout) == pytest.approx(expected)


def test_a_module_of_ones_own_is_kept_with_its_plan(tmp_path: Path) -> None:
    plan = fedhome.Plan.load(**{**QUICK, "model": {"name": "helpers.elsewhere:Scaled"}})
    run = fedhome.simulate(plan, out=tmp_path / "run")
    home, table = next(iter(_tables().items()))
    predicted = run.models[home].predict(table)
    assert np.isfinite(predicted["value"].to_numpy()).all()
    assert run.models[home].experts.keys() == run.models[home].weights.keys()


@pytest.mark.parametrize("part", ["an expert", "the forecast without learning"])
def test_a_file_runs_no_code_that_it_names_unless_its_reader_says_so(
    run: Result, tmp_path: Path, part: str
) -> None:
    """Any function that is installed can be named, torch's own that fetches and runs code, too."""
    ran = tmp_path / "ran"
    (tmp_path / "hubconf.py").write_text(
        "import pathlib, torch\n"
        "def net(features, outputs):\n"
        f"    pathlib.Path({str(ran)!r}).touch()\n"
        "    return torch.nn.Linear(features, outputs)\n"
    )
    named = {"repo_or_dir": str(tmp_path), "model": "net", "source": "local"}
    model = run.models["home-0002"]
    plan = model.plan.change(model={"name": "torch.hub:load", "args": named})
    size = len(model.scaling.features) + sum(map(len, (model.plan.data.indicators or (),))) + 1
    crafted = OwnModule(plan.to_toml(), np.zeros(size, np.float32))
    experts = {**model.experts, next(iter(model.experts)): crafted}
    altered = {"experts": experts} if part == "an expert" else {"naive": crafted}
    file = tmp_path / "theirs.safetensors"
    file.write_bytes(to_bytes([replace(model, **altered)]))
    for opened in (fedhome.load, lambda path: ModelsFile(path)["home-0002"]):
        with pytest.raises(RunError, match=r"would run 'torch\.hub:load'"):
            opened(file)
    assert own_code_of(ModelsFile(file, own_code=True)["home-0002"]) == "torch.hub:load"
    hidden = {"naive": OneOutput(crafted, 0)}  # as a model of several horizons is seen at one
    assert own_code_of(replace(model, **hidden)) == "torch.hub:load"
    assert not ran.exists()
    fedhome.load(file, own_code=True).predict(_tables()["home-0002"])
    assert ran.exists(), "the control: it would have"


def test_a_run_of_somebody_else_runs_no_code_that_it_names(tmp_path: Path) -> None:
    only = {**QUICK["personalise"], "experts": ["tuned"]}
    own = {"model": {"name": "helpers.elsewhere:Scaled"}, "personalise": only}
    plan = fedhome.Plan.load(**{**QUICK, **own})
    home, run = "home-0001", fedhome.simulate(plan, out=tmp_path / "run")
    with pytest.raises(RunError, match=r"would run 'helpers\.elsewhere:Scaled'"):
        _ = Result.open(run.path).models[home]
    own = Result.open(run.path, own_code=True).models[home]
    table = _tables()[home]
    assert own.predict(table).equals(run.models[home].predict(table))


def test_whose_model_has_to_be_said(run: Result) -> None:
    with pytest.raises(RunError, match="holds the models of 4 homes"):
        fedhome.load(run.path)
    with pytest.raises(RunError, match="no model of 'home-001': did you mean 'home-0001'"):
        fedhome.load(run.path, "home-001")
    with pytest.raises(RunError, match="is not there"):
        fedhome.load(run.path / "nowhere", "home-0001")
    first = to_bytes([run.models["home-0002"]])
    assert first == to_bytes([run.models["home-0002"]])
    (run.path / "one.safetensors").write_bytes(first)
    assert fedhome.load(run.path / "one.safetensors").home == "home-0002"


def test_a_file_that_was_cut_or_altered_is_refused(run: Result, tmp_path: Path) -> None:
    data = (run.path / MODELS).read_bytes()
    for size in (0, 7, 100, len(data) // 2, len(data) - 1):
        (tmp_path / "cut").write_bytes(data[:size])
        with pytest.raises(RunError, match="cannot be read as homes' models"):
            fedhome.load(tmp_path / "cut", "home-0001")
    other = data.replace(b'"format":"2"', b'"format":"9"')
    with pytest.raises(RunError, match="of format 9"):
        ModelsFile(other)
    earlier = ModelsFile(data.replace(b'"format":"2"', b'"format":"1"'))
    assert earlier["home-0001"].weights == run.models["home-0001"].weights
    unknown = data.replace(b'\\"line\\"', b'\\"lyne\\"')
    assert unknown != data
    with pytest.raises(RunError, match="cannot be read"):
        _ = ModelsFile(unknown)["home-0001"]


def test_a_file_of_before_networks_alone_had_batches_of_their_own_has_the_plans() -> None:
    blend = FleetsBlend(matrix=np.eye(2), strength=3.0, alone=(0.5, 7, 4))
    told = models_file._plain_blend(blend)
    assert models_file._blend_of(told).alone == (0.5, 7, 4)
    assert models_file._blend_of({**told, "alone": [0.5, 7]}).alone == (0.5, 7, 0)


def _written(
    place: Path, model: PersonalModel, arrays: dict[str, Any] | None = None, **told: Any
) -> None:
    """Write a model's file with another header, or other arrays."""
    place.write_bytes(data := to_bytes([model]))
    with safetensors.safe_open(place, framework="numpy") as file:
        header = file.metadata()
    (home,) = json.loads(header["homes"])
    homes = told.pop("homes", lambda home: [home | told])(home)
    header["homes"] = homes if isinstance(homes, str) else json.dumps(homes)
    own = safetensors.numpy.load(data) | (arrays or {})
    place.write_bytes(safetensors.numpy.save(own, header))


HEADERS: dict[str, dict[str, Any]] = {
    "no home": {"homes": lambda _: []},
    "a home twice": {"homes": lambda home: [home, home]},
    "lists without end": {"homes": lambda _: "[" * 100_000},
    "weights without names": {"weights": [1.0]},
    "no weights": {"weights": {}},
    "a text for a number": {"level": "0.0 */ int broken;"},
    "a number beyond all floats": {"unit": 10**400},
    "no number": {"unit": None},
    "not finite": {"level": float("inf")},
    "targets of no kind": {"targets": "all"},
    "targets of another kind": {"targets": "binary"},
    "too few features": {"features": ["load"]},
    "features that are no names": {"features": [["load"]]},
    "a temperature of nothing": {"temperature": 0.0, "targets": "binary"},
}


@pytest.mark.parametrize("part", HEADERS)
def test_a_file_whose_header_fits_no_model_is_refused(
    run: Result, tmp_path: Path, part: str
) -> None:
    """It is when it is read, and not in the middle of a prediction."""
    place = tmp_path / "altered.safetensors"
    _written(place, run.models["home-0002"], **HEADERS[part])
    for opened in (fedhome.load, fedhome.load_predictor):
        with pytest.raises(RunError, match="cannot be read as homes' models"):
            opened(place)


@pytest.mark.parametrize(
    "plan",
    [".".join("a" * 3000) + " = 1", "a = " + "[" * 30_000, "a = 0x" + "f" * 5000, "a ="],
    ids=["deep names", "lists without end", "thousands of digits", "no TOML"],
)
def test_a_file_whose_plan_takes_minutes_to_read_is_refused_unread(
    run: Result, tmp_path: Path, plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TOML's own reader takes the square of a name's parts: fifty seconds for 80 kB of them."""
    place = tmp_path / "altered.safetensors"
    place.write_bytes(data := to_bytes([run.models["home-0002"]]))
    with safetensors.safe_open(place, framework="numpy") as file:
        header = file.metadata()
    place.write_bytes(safetensors.numpy.save(safetensors.numpy.load(data), header | {"plan": plan}))
    if "." in plan:
        assert tomllib.loads(plan), "the control: it is TOML"
        monkeypatch.setattr(tomllib, "loads", lambda _: pytest.fail("it was read"))
    for opened in (fedhome.load, fedhome.load_predictor):
        with pytest.raises(RunError, match=r"cannot be read as homes' models \(PlanError\)"):
            opened(place)


@pytest.mark.parametrize("shape", [(0,), (3,), (2, 3, 4)], ids=["none", "few", "a box"])
def test_a_file_whose_arrays_compute_nothing_is_refused(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    place, model = tmp_path / "altered.safetensors", own_model(Shape(), 1)
    _written(place, model)
    fedhome.load_predictor(place)  # the control: as it was, it is a model
    arrays = safetensors.numpy.load(place.read_bytes())
    ends = (".weight", ".bias", "medians", "middle", "spread")
    needed = [name for name in arrays if name.endswith(ends)]
    assert len(needed) > len(ends)
    for name in (*needed, "0/band"):
        _written(place, model, {name: np.zeros(shape, arrays[name].dtype)})
        for opened in (fedhome.load, fedhome.load_predictor):
            with pytest.raises(RunError, match="cannot be read as homes' models"):
                opened(place)


def test_readings_too_old_for_any_prediction_are_refused(run: Result) -> None:
    home, table = next(iter(_tables().items()))
    target = np.full(table.rows, np.nan)
    with pytest.raises(DataError):
        run.models[home].predict(replace(table, columns={**table.columns, "load_kwh": target}))


def test_a_file_of_models_has_a_greatest_size_and_the_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedhome.simulations.kept_models.MOST_BYTES", 1 << 10)
    told: list[str] = []
    run = fedhome.simulate(
        fedhome.Plan.load(**QUICK),
        out=tmp_path / "run",
        on_event=lambda event: told.append(str(event.data.get("text", ""))),
    )
    assert list(run.models) == ["home-0001"]
    assert any(text.startswith("the own models of 1 of 4 homes are kept") for text in told)


def test_a_run_that_keeps_no_models_says_why(tmp_path: Path) -> None:
    told: list[str] = []
    plan = fedhome.Plan.load(**{**QUICK, "personalise": {"name": "none"}})
    run = fedhome.simulate(
        plan, out=tmp_path / "run", on_event=lambda e: told.append(str(e.data.get("text", "")))
    )
    assert not (run.path / MODELS).exists()
    with pytest.raises(RunError, match="no home's model was kept") as caught:
        _ = run.models
    assert 'personalise.name = "none"' in (caught.value.hint or "")


def test_a_file_of_before_there_were_changes_predicts_as_it_did(tmp_path: Path) -> None:
    plan = fedhome.Plan.load(**{**QUICK, "data": {**QUICK["data"], "learns": "level"}})
    run, home = fedhome.simulate(plan, out=tmp_path / "run"), "home-0001"
    data = (run.path / MODELS).read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    about = header["__metadata__"]
    homes = json.loads(about["homes"])
    for told in homes:
        assert not told.pop("changes")
        assert not any(told.pop("relative"))
    text = "".join(line for line in about["plan"].splitlines(keepends=True) if "learns" not in line)
    about |= {"format": "1", "homes": json.dumps(homes), "plan": text}
    written = json.dumps(header).encode()
    written += b" " * (-len(written) % 8)
    (tmp_path / "old").write_bytes(len(written).to_bytes(8, "little") + written + data[8 + size :])
    table = _tables()[home]
    before = fedhome.load(tmp_path / "old", home).predict(table)
    assert before.equals(run.models[home].predict(table))


def test_a_file_of_changes_that_cannot_be_any_is_refused(run: Result) -> None:
    data = (run.path / MODELS).read_bytes()
    assert b'\\"changes\\": true' in data
    torn = data.replace(b'\\"changes\\": true', b'\\"changes\\":false')
    with pytest.raises(RunError, match="cannot be read"):
        _ = ModelsFile(torn)["home-0001"]
