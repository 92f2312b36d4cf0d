"""A home's own model as C, ONNX and plain arrays says what the model says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedhome.data.series.local_time import CALENDAR, calendar
from fedhome.data.series.seasons import SEASONS
from fedhome.data.table import HomeTable
from fedhome.errors import EngineError, PluginError, RunError
from fedhome.learning.fitted import Perceptron
from fedhome.learning.tasks.segments import Floats
from fedhome.personal.model import PersonalModel
from fedhome.personal.own_module import OwnModule
from fedhome.personal.portable import (
    export_model,
    in_int8,
    inputs_of,
    probe,
    with_experts,
)
from fedhome.personal.portable.onnx_graph import onnx_package
from fedhome.personal.portable.text import comment, identifier, with_names
from fedhome.plan.settings import Plan
from fedhome.simulations.homes import generate
from fedhome.simulations.simulate import Result, simulate
from helpers.examples import share_of
from helpers.random_own_models import (
    COMPILER,
    FEATURES,
    TRAPPED,
    Compiled,
    Shape,
    by_onnx,
    own_model,
    self_tested,
    torch_network,
)

CLOSE = 1e-5
ARM = shutil.which("arm-none-eabi-gcc")
KIB = 1024
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "predict.md"

compiles = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler, cc, here")

ALL = ("tuned", "global", "ridge", "trees", "constant", "lost")
WHOLE = Shape(
    experts=(*ALL, "daily", "weekly", "yearly"),
    indicators=True,
    season=1,
    quarters=True,
    changes=True,
)
NETWORKS = st.builds(
    Shape,
    targets=st.sampled_from(["continuous", "binary", "multi-class"]),
    hidden=st.lists(st.integers(1, 40) | st.sampled_from([8, 32, 64]), max_size=3).map(tuple),
    norm=st.sampled_from(["none", "layer", "group"]),
    experts=st.sampled_from([("tuned",), ("global", "tuned"), ALL]),
    indicators=st.booleans(),
    season=st.integers(0, len(SEASONS)),
    quarters=st.booleans(),
    bounded=st.booleans(),
    changes=st.booleans(),
)


def rows_for(model: PersonalModel, seed: int) -> Floats:
    """Return rows of which some lack what they may lack, and some are far from all others."""
    raw, draw = probe(model, 32), np.random.default_rng(seed)
    features = len(model.scaling.features)
    raw[16:, :features] *= 10.0 ** draw.integers(-2, 4, size=(16, features))
    holes = draw.random(size=raw.shape) < 0.15
    raw[holes] = draw.choice([np.nan, np.inf, -np.inf], size=holes.sum())
    raw[0] = np.nan
    return raw


def same(found: Floats, expected: Floats, model: PersonalModel, raw: Floats) -> None:
    """Hold predictions against each other; float32's terms of far inputs cancel no better."""
    scaling, size = model.scaling, model.unit if model.targets == "continuous" else 1.0
    spreads = np.abs(raw[:, : len(scaling.features)] - scaling.medians) / scaling.spread
    far = np.where(np.isfinite(spreads), spreads, 0.0).max(axis=1)
    close = np.maximum(CLOSE, np.finfo(np.float32).eps * far)[:, None]
    assert np.isclose(found, expected, rtol=CLOSE, atol=close * size, equal_nan=True).all()


@compiles
@pytest.mark.long
@settings(max_examples=share_of(40))
@given(NETWORKS, st.integers(0, 2**32 - 1), st.booleans())
def test_torch_numpy_onnx_and_c_predict_the_same(
    tmp_path_factory: pytest.TempPathFactory, shape: Shape, seed: int, int8: bool
) -> None:
    model = own_model(shape, seed)
    if int8:
        model = in_int8(model)
    raw = rows_for(model, seed)
    expected = by_torch(model, shape).predictor.predict(raw)
    same(model.predictor.predict(raw), expected, model, raw)
    same(by_onnx(export_model(model, "onnx", int8=int8), raw), expected, model, raw)
    library = Compiled(tmp_path_factory.mktemp("c"), {"oak": export_model(model, "c", int8=int8)})
    same(library.predict("oak", raw, len(model.predictor.outputs)), expected, model, raw)


class _ByTorch:
    def __init__(self, net: torch.nn.Module) -> None:
        self.net = net.eval()

    def state(self, rows: Any) -> Floats:
        with torch.no_grad():
            return np.asarray(self.net(torch.from_numpy(rows.x)).numpy(), np.float64)


def by_torch(model: PersonalModel, shape: Shape) -> PersonalModel:
    """Return the same model, whose networks are computed by torch."""
    experts: dict[str, Any] = dict(model.experts)
    for name, one in model.experts.items():
        if isinstance(one, Perceptron):
            first, *_, last = one.layers.values()
            net = torch_network(shape, first.shape[1], len(last))
            net.load_state_dict({n: torch.from_numpy(v) for n, v in one.layers.items()})
            experts[name] = _ByTorch(net)
    return replace(model, experts=experts)


@compiles
@pytest.mark.parametrize(
    ("shape", "int8"),
    [
        (WHOLE, False),
        (WHOLE, True),
        (Shape("binary", (16,), "layer", ALL, indicators=True), True),
        (Shape("multi-class", (33, 8), "group", ALL, bounded=False), False),
        (Shape(hidden=(), experts=("ridge", "tuned")), False),
        (Shape(experts=("lost",), season=2), False),
    ],
)
@pytest.mark.long
def test_a_file_in_c_tests_itself(tmp_path: Path, shape: Shape, int8: bool) -> None:
    model = own_model(shape, 3, home="Oak 7")
    file = tmp_path / "oak.c"
    file.write_bytes(export_model(in_int8(model) if int8 else model, "c", int8=int8))
    assert self_tested(file, TRAPPED) == "oak_7: 16 of 16 rows as expected\n"


@compiles
def test_a_file_in_c_whose_numbers_were_altered_fails_its_test(tmp_path: Path) -> None:
    text = export_model(own_model(Shape(experts=("ridge",)), 3), "c").decode()
    altered = re.sub(r"(expert_ridge_levels\[1\] = \{\n +)", r"\g<1>1.0 + ", text)
    assert altered != text
    (tmp_path / "oak.c").write_text(altered)
    with pytest.raises(AssertionError, match="row 0 is off by"):
        self_tested(tmp_path / "oak.c")


def test_an_export_names_what_it_takes_and_gives() -> None:
    model = own_model(WHOLE, 1)
    names = [one.name for one in inputs_of(model)]
    assert names == [
        *FEATURES,
        *("outdoor is missing", "load 1 before is missing"),
        *("load last", "load one day before", "load seven days before"),
        *("load a year before", "moment"),
    ]
    assert inputs_of(model)[0].unit == "°C"
    assert model.predictor.outputs == ("value", "low", "high")
    assert own_model(Shape("multi-class"), 1).predictor.outputs == ("asleep", "cooking", "out")


@compiles
def test_the_clock_in_c_is_the_homes_clock(tmp_path: Path) -> None:
    model = own_model(Shape(), 1)
    library = Compiled(tmp_path, {"oak": export_model(model, "c")}, ["-DFEDHOME_CALENDAR"])
    local = np.arange(1_700_000_000, 1_700_000_000 + 8 * 86_400, 5_432)
    expected = calendar(local, "UTC")
    found = np.array(
        [library.calendar("oak", int(second), len(inputs_of(model))) for second in local]
    )
    for place, name in enumerate(model.scaling.features):
        if name in CALENDAR:
            np.testing.assert_allclose(found[:, place], expected[name], atol=1e-9)


def _size(folder: Path, data: bytes, *flags: str) -> int:
    (folder / "oak.c").write_bytes(data)
    words = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Os", "-mthumb", *flags]
    subprocess.run([str(ARM), *words, "-c", "oak.c", "-o", "oak.o"], cwd=folder, check=True)
    told = subprocess.run(
        ["arm-none-eabi-size", "oak.o"], cwd=folder, check=True, capture_output=True, text=True
    )
    text, data_size, bss = (int(word) for word in told.stdout.splitlines()[1].split()[:3])
    return text + data_size + bss


@pytest.mark.skipif(ARM is None, reason="arm-none-eabi-gcc is not installed here")
@pytest.mark.long
@pytest.mark.parametrize("target", ["-mcpu=cortex-m4", "-mcpu=cortex-m0plus"])
def test_the_usual_network_fits_a_microcontroller(tmp_path: Path, target: str) -> None:
    """23 inputs, as those of the plan without settings, and layers of 64 units."""
    model = own_model(Shape(hidden=(64, 64)), 1)
    more = 23 - len(FEATURES)
    network = model.experts["tuned"]
    assert isinstance(network, Perceptron)
    first = network.layers["0.weight"]
    wide = np.concatenate([first, first, first], axis=1)[:, :23]
    scaling = model.scaling
    padded = {
        part: np.concatenate([getattr(scaling, part), np.ones(more)])
        for part in ("medians", "middle", "spread")
    }
    features = (*scaling.features, *(f"more {number}" for number in range(more)))
    model = replace(
        model,
        experts={"tuned": Perceptron({**network.layers, "0.weight": wide})},
        scaling=replace(scaling, features=features, **padded),
    )
    assert _size(tmp_path, export_model(model, "c"), target) <= 32 * KIB
    small = export_model(in_int8(model), "c", int8=True)
    assert _size(tmp_path, small, target) <= 8 * KIB


def test_one_byte_a_weight_is_off_by_half_a_step_at_most() -> None:
    model = own_model(Shape(hidden=(16,)), 5)
    before, after = model.experts["tuned"], in_int8(model).experts["tuned"]
    assert isinstance(before, Perceptron)
    assert isinstance(after, Perceptron)
    for name, weights in before.layers.items():
        off = np.abs(after.layers[name] - weights)
        if weights.ndim == 1:
            assert not off.any()
        else:
            step = np.abs(weights).max(axis=1, keepdims=True) / 127
            assert (off <= 0.5001 * step).all()
            assert off.any()


def test_some_experts_have_the_say_of_all() -> None:
    model = own_model(WHOLE, 1)
    some = with_experts(model, ["tuned", "ridge"])
    assert sum(some.weights.values()) == pytest.approx(1.0)
    assert [*some.experts] == ["tuned", "ridge"]
    assert some.weights["tuned"] / some.weights["ridge"] == pytest.approx(
        model.weights["tuned"] / model.weights["ridge"]
    )
    with pytest.raises(RunError, match="has no expert 'tund': did you mean 'tuned'"):
        with_experts(model, ["tund"])
    with pytest.raises(RunError, match="no weight"):
        with_experts(model, [])


def test_a_module_of_ones_own_is_left_out_or_refused() -> None:
    model = own_model(Shape(experts=("tuned", "ridge")), 1)
    module = OwnModule(model.plan.to_toml(), np.zeros(3, np.float32))
    mixed = replace(model, experts={**model.experts, "tuned": module})
    assert [*with_experts(mixed, None).weights] == ["ridge"]
    with pytest.raises(RunError, match="a module of your own, which needs PyTorch"):
        with_experts(mixed, ["tuned"])
    alone = replace(model, weights={"tuned": 1.0}, experts={"tuned": module})
    with pytest.raises(RunError, match="a module of your own"):
        with_experts(alone, None)
    for kind in ("c", "onnx", "npz"):
        for foreign in (alone, replace(model, naive=module)):
            with pytest.raises(RunError, match=f"needs PyTorch: it cannot be written as {kind}"):
                export_model(foreign, kind)


def test_numbers_that_are_not_finite_are_not_written() -> None:
    model = own_model(Shape(), 1)
    network = model.experts["tuned"]
    assert isinstance(network, Perceptron)
    broken = Perceptron({**network.layers, "0.bias": np.full(8, np.nan, np.float32)})
    with pytest.raises(RunError, match="tuned of 'oak' has numbers that are not finite"):
        export_model(replace(model, experts={"tuned": broken}), "c")
    with pytest.raises(PluginError, match="format 'cpp' is unknown"):
        export_model(model, "cpp")


@compiles
def test_names_from_readings_cannot_leave_their_comments(tmp_path: Path) -> None:
    # A backslash becomes a stroke: after a star it was the end of the comment.
    nasty = "x */ int broken = 1; /* \\\n?? ä *\\ int broken_too = ; //* ???/"
    model = own_model(Shape(), 1, home="int")
    model = replace(
        model, run=nasty, scaling=replace(model.scaling, features=(nasty, *FEATURES[1:]))
    )
    (tmp_path / "oak.c").write_bytes(export_model(model, "c"))
    assert "16 of 16" in self_tested(tmp_path / "oak.c", ["-Wtrigraphs"])
    assert comment("a*/b") == "a* /b"
    assert comment("a*\\b") == "a* /b"
    assert comment("4 m/s *") == "4 m/s *"
    file = f"/* {comment('load @_hub, @@1')} */ void @_run(int x[@@_INPUTS]);"
    assert with_names(file, "own") == "/* load @_hub, @@1 */ void own_run(int x[OWN_INPUTS]);"
    assert identifier("3 Bäume", {"home_3_b_ume"}) == "home_3_b_ume_2"


def test_an_onnx_file_says_what_it_takes_and_which_experts_it_has() -> None:
    model = own_model(WHOLE, 1)
    file = onnx.load_model_from_string(export_model(model, "onnx"))
    about = {entry.key: entry.value for entry in file.metadata_props}
    assert about["home"] == "oak"
    assert json.loads(about["experts"]) == pytest.approx(dict(model.weights))
    assert [one["name"] for one in json.loads(about["inputs"])] == [
        one.name for one in inputs_of(model)
    ]
    assert json.loads(about["outputs"]) == ["value", "low", "high"]
    assert export_model(model, "onnx") == export_model(model, "onnx")


def test_without_the_package_for_onnx_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(EngineError, match="onnx, which is not installed") as error:
        onnx_package()
    assert "fedhome[export]" in error.value.hint


def _guides_reader() -> str:
    text = GUIDE.read_text("utf-8")
    every = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (snippet,) = [one for one in every if "def predict(" in one]
    assert len(snippet.splitlines()) <= 20
    return str(snippet)


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("hidden", [(), (16, 8)])
def test_the_guides_reader_of_plain_arrays_predicts_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hidden: tuple[int, ...], int8: bool
) -> None:
    model = own_model(Shape(hidden=hidden, changes=int8), 4)
    if int8:
        model = in_int8(model)
    (tmp_path / "oak.npz").write_bytes(export_model(model, "npz", int8=int8))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(_guides_reader(), "guide", "exec"), names)  # noqa: S102 - our own words
    raw = probe(model)
    found = np.array([names["predict"](row) for row in raw])
    same(found, model.predictor.predict(raw), model, raw)


def test_plain_arrays_hold_every_expert_and_nothing_pickled() -> None:
    model = in_int8(own_model(WHOLE, 4))
    with np.load(BytesIO(export_model(model, "npz", int8=True)), allow_pickle=False) as file:
        about = json.loads(file["about"].tobytes())
        arrays: dict[str, NDArray[Any]] = {name: file[name] for name in file.files}
    assert about["weights"] == pytest.approx(dict(model.weights))
    assert about["kinds"]["trees"] == "trees"
    network = model.experts["tuned"]
    assert isinstance(network, Perceptron)
    weight = arrays["tuned/000 0.weight"] * arrays["tuned/000 0.weight scale"][:, None]
    np.testing.assert_array_equal(weight, network.layers["0.weight"])
    for part, values in model.experts["trees"].arrays().items():
        np.testing.assert_array_equal(arrays[f"trees/{part}"], values)


DATA: dict[str, Any] = {"homes": 2, "days": 14, "history_days": 9}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    plan = Plan.load(
        seed=5,
        data={**DATA, "indicators": ["outdoor_c"]},
        model={"hidden": [8]},
        rounds={"count": 2},
        personalise={"epochs": 2, "local_epochs": 2},
        aggregation={"mode": "plain"},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedhome.simulations.simulate.write_report", lambda *_: None)
        return simulate(plan, out=tmp_path_factory.mktemp("r") / "run")


@compiles
@pytest.mark.long
def test_a_homes_export_predicts_from_its_readings_what_its_model_does(
    run: Result, tmp_path: Path
) -> None:
    """Raw numbers are taken from the home's readings as the file says, hours counted by hand."""
    home, table = "home-0002", [*generate(homes=2, days=14, seed=5)][1]
    outdoor = table.columns["outdoor_c"].copy()
    outdoor[200:203] = np.nan
    table = replace(table, columns={**table.columns, "outdoor_c": outdoor})
    model = run.models[home]
    assert table.home == home
    rows = range(190, 220)
    raw = np.array(
        [[_read(one.name, one.role, table, row) for one in inputs_of(model)] for row in rows]
    )
    predicted = model.predict(table)
    at = {moment: place for place, moment in enumerate(predicted["time"].cast("int64").to_pylist())}
    places = [at[int(table.time_s[row])] for row in rows]
    expected = np.array([predicted[name].to_numpy()[places] for name in model.predictor.outputs]).T
    same(model.predictor.predict(raw), expected, model, raw)
    library = Compiled(tmp_path, {home: export_model(model, "c")})
    same(library.predict(home, raw, 3), expected, model, raw)
    same(by_onnx(export_model(model, "onnx"), raw), expected, model, raw)


def _read(name: str, role: str, table: HomeTable, row: int) -> float:
    """Return one input of one hour, as its name says."""
    columns, target = table.columns, table.columns["load_kwh"]
    if name in CALENDAR:
        return float(calendar(table.time_s[row : row + 1], table.time_zone)[name][0])
    if role == "moment":
        return float(table.time_s[row])
    if name == "outdoor_c is missing":
        return float(np.isnan(columns["outdoor_c"][row - 1]))
    hours = {"load_kwh last": 1, "load_kwh one day before": 24, "load_kwh seven days before": 168}
    if name.endswith("before") and name not in hours:
        lag = name.split()[1]
        return float(target[row - int(lag[:-1]) * {"h": 1, "d": 24}[lag[-1]]])
    if name in hours:
        return float(target[row - hours[name]])
    value = float(columns[name][row - 1])
    # What is missing is the last reading of the day before.
    return value if np.isfinite(value) else float(columns[name][199])
