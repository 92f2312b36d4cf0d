"""``fedhome model slices`` and ``slice``: from a run or a release to a small network."""

from __future__ import annotations

import ctypes
import math
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import fedhome
from fedhome.cli import app
from fedhome.errors import FedHomeError, LayoutError, ModelError, PluginError
from fedhome.learning.fitted import Perceptron
from fedhome.models.cut_slices import FinishedModel
from fedhome.personal.own_slice import slices_in
from fedhome.plan.device_budget import bytes_of
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import tiers_of
from fedhome.registry import Registry, run_origin
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.run.model_file import read_model_file
from fedhome.run.results import homes_table
from helpers import tiny
from helpers.home_rows import home_row
from helpers.json_guide import checked
from helpers.random_own_models import COMPILER, STRICT, TRAPPED

pytestmark = pytest.mark.long

TIERS = [
    {"name": "sensor", "width": 0.25, "depth": 1, "share": 0.5},
    {"name": "hub", "width": 1.0, "depth": 2, "share": 0.5},
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two tiers, one round of two homes each."""
    plan = tiny.plan(
        slicing={"tiers": TIERS},
        model={"hidden": [8, 8]},
        rounds={"count": 1},
        engine={"kernel": "eager"},
    )
    path: Path = fedhome.simulate(plan, out=tmp_path_factory.mktemp("sliced") / "run").path
    return path


compiles = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler, cc, here")


def _say(*words: object) -> str:
    done = CliRunner().invoke(app, ["model", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_the_slices_that_tiers_trained_are_listed(run: Path) -> None:
    features = int(fedhome.Result.open(run).model.parameters["layers.0.weight"].shape[1])
    shown = _say("slices", run)
    assert "sensor" in shown
    assert "8-8" in shown
    small, whole = checked("model slices", _say("slices", run, "--json"))
    numbers = (features + 1) * 2 + 3
    assert small["hidden"] == [2]
    assert (small["width"], small["depth"], small["tier"]) == (0.25, 1, "sensor")
    assert (small["parameters"], small["bytes"]) == (numbers, 4 * numbers)
    assert small["bytes_int8"] == numbers + 4 * 4
    assert whole["parameters"] == (features + 1) * 8 + 9 * 8 + 9
    assert small["microseconds"] > 0


def test_a_narrow_screen_gets_lines_in_place_of_a_table(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "45")
    first = _say("slices", run).splitlines()[0]
    assert first.startswith("2: width 0.25, depth 1, ")
    assert first.endswith(" µs, tier sensor")


def test_a_slice_is_a_network_that_says_what_the_model_says_at_its_exit(
    run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "small.safetensors"
    said = _say("slice", run, out, "--width", 0.25, "--depth", 1)
    assert "layers 2, " in said
    assert "it is what tier sensor trained" in said
    whole = fedhome.Result.open(run).model.parameters
    cut = Perceptron(dict(read_model_file(out).parameters))
    x = np.random.default_rng(1).normal(size=(5, whole["layers.0.weight"].shape[1]))
    x = x.astype(np.float32)
    hidden = np.maximum(x @ whole["layers.0.weight"][:2].T + whole["layers.0.bias"][:2], 0)
    expected = hidden @ whole["exits.1.weight"].T + whole["exits.1.bias"]
    np.testing.assert_allclose(cut.output(x), expected, rtol=1e-5, atol=1e-6)


def test_a_budget_chooses_and_a_slice_that_no_tier_trained_is_told(
    run: Path, tmp_path: Path
) -> None:
    assert "layers 2, " in _say("slice", run, tmp_path / "a.npz", "--budget", "0.3KB")
    with np.load(tmp_path / "a.npz") as held:
        assert held["0.weight"].shape[0] == 2
    told = _say("slice", run, tmp_path / "b.npz", "--width", 0.5)
    assert "note: no tier trained just these layers (2, 8-8): it may say little" in told


def test_a_budget_counts_the_bytes_that_are_written(run: Path, tmp_path: Path) -> None:
    out, whole = tmp_path / "a.c", fedhome.Result.open(run).model.parameters
    inputs, outputs = whole["layers.0.weight"].shape[1], len(whole["exits.2.bias"])
    weights, units = 8 * inputs + 8 * 8 + 8 * outputs, 8 + 8 + outputs
    coarse = weights + 8 * units  # of each unit a float32 bias and a float32 scale
    for precision, budget in (("int8", coarse), ("float", 4 * (weights + units))):
        words = ("slice", run, out, "--precision", precision, "--budget")
        assert "layers 8-8, " in _say(*words, f"{budget}B")
        assert f"constants: {budget:,} bytes" in _say(*words, f"{budget}B")
        assert "layers 2, " in _say(*words, f"{budget - 1}B")
    with pytest.raises(ModelError, match="no slice fits 10 bytes: the smallest, layers 2, takes"):
        _say(*words, "10B")


def test_a_release_says_in_which_slices_it_was_trained(run: Path, tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    _say("publish", run, registry)
    assert "sensor 2, hub 8-8, by the rule nested" in _say("show", "latest", registry)
    shown = checked("model show", _say("show", "latest", registry, "--json"))
    unscored = {"rule": "nested", "score": None, "tuned": None, "homes": None}
    assert shown["slices"] == [
        {"tier": "sensor", "hidden": [2], **unscored},
        {"tier": "hub", "hidden": [8, 8], **unscored},
    ]
    plan = fedhome.Result.open(run).plan
    assert Registry.open(registry).find("latest").manifest.slices == (slices_in(plan),)
    small, whole = checked("model slices", _say("slices", "latest", registry, "--json"))
    assert (small["tier"], whole["tier"]) == ("sensor", "hub")
    said = _say("slice", "latest", tmp_path / "c.npz", registry, "--width", 0.25, "--depth", 1)
    assert "a slice of release 1, layers 2, " in said
    assert "it is what tier sensor trained" in said


@pytest.mark.parametrize(("storage", "kept"), [("int8", 1.0), ("sparse-int8", 0.2)])
def test_a_slice_is_cut_out_of_what_a_coarse_release_kept(
    run: Path, tmp_path: Path, storage: str, kept: float
) -> None:
    registry, out = tmp_path / "registry", tmp_path / "cut.npz"
    _say("publish", run, registry, "--storage", storage)
    said = _say("slice", "latest", out, registry, "--width", 0.25, "--depth", 1)
    assert "it is what tier sensor trained" in said
    result = fedhome.Result.open(run)
    whole = result.model.parameters
    flat = np.concatenate([np.abs(one).ravel() for one in whole.values()])
    least = np.sort(flat)[-math.ceil(kept * len(flat))]  # of the whole model, not of a slice
    with np.load(out) as held:
        for name, one in FinishedModel.of_run(result.plan, whole).cut((2,)).items():
            step = max(np.abs(array).max() for array in whole.values()) / 127
            expected = np.where(np.abs(one) >= least, one, 0)
            np.testing.assert_allclose(held[name], expected, atol=0.501 * step)
            assert not held[name][np.abs(one) < least].any()


SCORED = {"sensor": (0.5, 0.25, 0.125, 0.0, -0.125), "hub": (0.75, 0.25)}
"""Scores of each tier's homes: of one tier as many as a sum takes, of the other fewer."""


def _scored(run: Path, folder: Path, *, counted: bool = False) -> RunFolder:
    """Return a fleet's finished run, with its homes' scores or only with their counts."""
    found = RunFolder(folder)
    found.path.mkdir()
    for name in ("plan.toml", "model.safetensors", "rounds.parquet"):
        shutil.copy(run / name, found.path / name)
    rows = [
        home_row(f"{tier}-{number}", model, score + more)
        for model, more in (("global", 0.0), ("tuned", 0.125))
        for tier, scores in SCORED.items()
        for number, score in enumerate(scores)
    ]
    if not counted:
        found.write_homes(homes_table(rows))
    with EventLog(found.events_path) as log:
        log.append("fleet-ready", homes=7, rounds=1, score="skill")
        for tier, scores in SCORED.items():
            names = [f"{tier}-{number}" for number in range(len(scores))]
            log.append("tier-carried", tier=tier, homes=len(names), names=names, text="")
        if counted:
            log.append("scores-counted", score="skill")
        log.append("run-finished", seconds=1.0)
    return found


def test_a_release_tells_what_slices_are_worth_of_as_many_homes_as_a_sum_takes(
    run: Path, tmp_path: Path
) -> None:
    folder, registry = _scored(run, tmp_path / "run"), tmp_path / "registry"
    assert Plan.parse(folder.read_plan()).aggregation.min_cohort == 5
    _say("publish", folder.path, registry)
    known = {"score": 0.15, "tuned": 0.275, "homes": 5}
    small, whole = checked("model slices", _say("slices", "latest", registry, "--json"))
    assert {name: small[name] for name in known} == pytest.approx(known)
    assert [whole[name] for name in known] == [None, None, None]
    shown = checked("model show", _say("show", "latest", registry, "--json"))["slices"]
    assert [one["homes"] for one in shown] == [5, None]
    told = " ".join(_say("show", "latest", registry).split())
    assert "skill: sensor 0.150, tuned 0.275 over 5 homes" in told
    said = " ".join(_say("slices", "latest", registry).split())
    assert "score: skill, mean over the tier's homes on their test rows" in said
    assert said.count("-: no score where this release tells none") == 1
    # Whoever has the run's folder sees single homes, and so means over few.
    whole = checked("model slices", _say("slices", folder.path, "--json"))[1]
    assert (whole["score"], whole["tuned"], whole["homes"]) == (0.5, 0.625, 2)
    assert "no score" not in _say("slices", folder.path)


def test_under_masks_nobody_knows_what_a_slice_is_worth_which_is_told_once(
    run: Path, tmp_path: Path
) -> None:
    folder, registry = _scored(run, tmp_path / "run", counted=True), tmp_path / "registry"
    assert _say("slices", folder.path).count("added up over all tiers together") == 1
    _say("publish", folder.path, registry)
    assert Registry.open(registry).find("latest").manifest.scores == ()
    assert _say("slices", "latest", registry).count("added up over all tiers together") == 1


def test_an_older_release_is_cut_and_what_it_does_not_tell_is_told(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_origin, "_slices", lambda _: ())
    registry = tmp_path / "registry"
    _say("publish", run, registry)
    assert "none: each home had all of it, or it is older" in _say("show", "latest", registry)
    listed = _say("slices", "latest", registry)
    assert "this release does not say which widths devices trained" in listed
    said = _say("slice", "latest", tmp_path / "c.npz", registry, "--width", 0.25, "--depth", 1)
    assert "a slice of release 1, layers 2, " in said
    assert "this release does not say which widths devices trained" in said


def test_a_slice_in_c_says_whose_it_is_as_it_is_called(run: Path, tmp_path: Path) -> None:
    """An @ stands for the file's names, and was filled in here, too."""
    there, out = tmp_path / "me@host", tmp_path / "small.c"
    there.symlink_to(run)
    _say("slice", there, out, "--width", 0.25, "--depth", 1)
    text = out.read_text()
    assert f"A slice of run {there}: layers 2, round " in text
    assert text.count("@") == 1
    assert "void small_state(const float x[SMALL_INPUTS]" in text


@compiles
@pytest.mark.parametrize("precision", ["float", "int8"])
def test_a_slice_in_c_says_what_the_slice_says(precision: str, run: Path, tmp_path: Path) -> None:
    out, arrays = tmp_path / "small one.c", tmp_path / "small.npz"
    said = _say("slice", run, out, "--width", 0.25, "--depth", 1, "--precision", precision)
    assert "layers 2, " in said
    assert ("its outputs differ by" in said) == (precision == "int8")
    _say("slice", run, arrays, "--width", 0.25, "--depth", 1)
    tested = tmp_path / "tested"
    words = [COMPILER, *STRICT, "-O2", *TRAPPED, "-DFEDHOME_SELF_TEST", out, "-o", tested]
    subprocess.run(list(map(str, words)), check=True)
    done = subprocess.run([str(tested)], check=True, capture_output=True, text=True)
    assert done.stdout == "small_one: 16 of 16 rows as expected\n"

    library = tmp_path / "small.so"
    words = [COMPILER, *STRICT, "-O2", "-shared", "-fPIC", out, "-o", library]
    subprocess.run(list(map(str, words)), check=True)
    with np.load(arrays) as held:
        network = Perceptron(dict(held))
    inputs = network.layers["0.weight"].shape[1]
    x = np.random.default_rng(3).normal(size=(7, inputs)).astype(np.float32)
    found = np.zeros((len(x), 1))
    state = ctypes.CDLL(str(library)).small_one_state
    for row, stated in zip(x, found, strict=True):
        state(ctypes.c_void_p(row.ctypes.data), ctypes.c_void_p(stated.ctypes.data))
    # A weight in int8 is off by half of a 127th of its unit's largest at most.
    close = 1e-5 if precision == "float" else 0.05
    np.testing.assert_allclose(found, network.output(x), rtol=close, atol=close)


@compiles
def test_a_slice_in_c_that_were_another_network_fails_its_own_test(
    run: Path, tmp_path: Path
) -> None:
    out, tested = tmp_path / "small.c", tmp_path / "tested"
    _say("slice", run, out, "--budget", "0.3KB")
    text = out.read_text()
    weight = re.search(r"small_network_0_weight\[\d+\] = \{\s*(\S+),", text)
    assert weight is not None
    out.write_text(text.replace(weight[1], "9.5f", 1))
    words = [COMPILER, *STRICT, "-DFEDHOME_SELF_TEST", out, "-o", tested]
    subprocess.run(list(map(str, words)), check=True)
    done = subprocess.run([str(tested)], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "is off by" in done.stdout


@pytest.mark.parametrize(
    ("words", "kind", "fault"),
    [
        (["a.npz", "--width", "0.5", "--precision", "int8"], FedHomeError, "for weights in C"),
        (["a.c", "--width", "0.5", "--precision", "int4"], PluginError, "precision 'int4'"),
        (["a.npz"], FedHomeError, "say one of the three"),
        (["a.npz", "--width", "0.5", "--budget", "1KB"], FedHomeError, "say one of the three"),
        (["a.bin", "--width", "0.5"], FedHomeError, "ends neither with"),
        (["a.npz", "--depth", "3"], ModelError, "no exit at depth 3"),
        (["a.npz", "--depth", "1"], ModelError, "the exit reads 2 units"),
        (["a.npz", "--depth", "0"], ModelError, "no exit at depth 0"),
        (["a.npz", "--budget", "10B"], ModelError, "no slice fits 10 bytes"),
        (["a.npz", "--budget", "much"], FedHomeError, "'much' is no size"),
    ],
)
def test_what_cannot_be_cut_is_refused(
    words: list[str], kind: type[FedHomeError], fault: str, run: Path, tmp_path: Path
) -> None:
    asked = ["model", "slice", str(run), str(tmp_path / words[0]), *words[1:]]
    done = CliRunner().invoke(app, asked)
    assert isinstance(done.exception, kind)
    assert fault in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_a_model_that_was_not_trained_in_slices_is_refused(tmp_path: Path) -> None:
    run = fedhome.simulate(tiny.plan(rounds={"count": 1}), out=tmp_path / "run").path
    done = CliRunner().invoke(app, ["model", "slices", str(run)])
    assert isinstance(done.exception, LayoutError)
    assert "no exits" in str(done.exception)


def test_sizes_are_read_with_their_units() -> None:
    assert [bytes_of(text) for text in ("4096", "64KB", "64 kib", "1.5MB")] == [
        4096,
        64_000,
        65_536,
        1_500_000,
    ]
    for text in ("9" * 400, "0", "64 stones"):
        with pytest.raises(FedHomeError, match="is no size"):
            bytes_of(text)


def test_a_device_is_told_the_largest_tier_that_fits(run: Path) -> None:
    shown = checked("model tier", _say("tier", run, "--memory", "1GB", "--json"))
    assert shown["tier"] == "hub"
    small, whole = shown["tiers"]
    assert small["bytes_up"] == 4 * small["parameters"] < whole["bytes_up"]
    assert (small["lacks"], whole["lacks"]) == ([], [])
    assert (small["score"], shown["scored"]) == (None, None)  # the run scored no home
    tight = checked(
        "model tier", _say("tier", run, "--bytes-up", str(whole["bytes_up"] - 1), "--json")
    )
    assert tight["tier"] == "sensor"
    said = " ".join(_say("tier", run, "--memory", whole["memory"] - 1).split())
    assert "it takes tier sensor, the largest that fits" in said
    assert f"does not fit: needs {whole['memory']:,} bytes of memory" in said


def test_where_a_run_scored_homes_a_tier_has_their_mean(run: Path, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(run, tmp_path / "run"))
    names = ["a", "b", "c", "d"]
    by_home = dict(zip(names, (0.5, 0.25, 0.125, 0.0625), strict=True))
    rows = [
        home_row(home, model, score / of)
        for model, of in (("global", 4), ("tuned", 1))
        for home, score in by_home.items()
    ]
    folder.write_homes(homes_table(rows))
    tiers = tiers_of(Plan.parse(folder.read_plan()), names).tolist()
    own = [score for score, tier in zip(by_home.values(), tiers, strict=True) if tier == 0]
    shown = checked("model tier", _say("tier", folder.path, "--memory", "1GB", "--json"))
    assert shown["scored"] == "tuned"
    assert shown["tiers"][0]["score"] == sum(own) / len(own)
    said = " ".join(_say("tier", folder.path, "--memory", "1GB").split())
    assert f"score {sum(own) / len(own):.3f} once fine-tuned at home" in said


def test_of_a_fleets_run_tiers_are_scored_by_what_its_owner_signed(
    run: Path, tmp_path: Path
) -> None:
    """Its plan does not: it would deal homes to both tiers."""
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    for name in ("plan.toml", "model.safetensors"):
        shutil.copy(run / name, folder.path / name)
    scored = {"a": 0.5, "b": 0.25, "c": 0.125}
    folder.write_homes(
        homes_table(home_row(home, "tuned", score) for home, score in scored.items())
    )
    with EventLog(folder.events_path) as log:
        log.append("fleet-ready", homes=3, rounds=1)
        for tier, names in (("sensor", []), ("hub", sorted(scored))):
            log.append("tier-carried", tier=tier, homes=len(names), names=names, text="")
    shown = checked("model tier", _say("tier", folder.path, "--memory", "1GB", "--json"))
    mean = sum(scored.values()) / 3
    assert [one["score"] for one in shown["tiers"]] == [None, pytest.approx(mean)]


def test_a_tier_of_a_release_is_asked_of_its_plan_or_run() -> None:
    with pytest.raises(FedHomeError, match="no plan latest, nor a run's folder") as refused:
        _say("tier", "latest", "--memory", "1GB")
    assert "`fedhome model show` says which" in str(refused.value.hint)


def test_a_device_that_can_carry_no_tier_is_told_so(run: Path) -> None:
    done = CliRunner().invoke(app, ["model", "tier", str(run), "--memory", "10"])
    assert done.exit_code == 1
    assert "it can carry no tier" in done.output


def test_of_a_plan_the_data_say_how_wide_the_input_is(tmp_path: Path) -> None:
    plan = tiny.plan(slicing={"tiers": TIERS}, model={"hidden": [8, 8]}, data={"homes": 2})
    (tmp_path / "plan.toml").write_text(plan.to_toml())
    said = " ".join(_say("tier", tmp_path / "plan.toml", "--memory", "1GB").split())
    assert "it takes tier hub, the largest that fits" in said
    assert "no score is known" in said
    whole = tiny.plan(data={"homes": 2})
    (tmp_path / "whole.toml").write_text(whole.to_toml())
    with pytest.raises(FedHomeError, match="name no device: all carry the whole model"):
        CliRunner().invoke(
            app, ["model", "tier", str(tmp_path / "whole.toml")], catch_exceptions=False
        )


def test_a_slice_is_chosen_by_the_time_of_a_prediction(run: Path, tmp_path: Path) -> None:
    assert "layers 8-8, " in _say("slice", run, tmp_path / "a.npz", "--latency", "10s")
    assert len(checked("model slices", _say("slices", run, "--latency", "10s", "--json"))) == 2
    with pytest.raises(ModelError, match="no slice predicts within"):
        _say("slices", run, "--latency", "1ns")
    with pytest.raises(FedHomeError, match="say one of the three"):
        _say("slice", run, tmp_path / "a.npz", "--latency", "10s", "--budget", "1KB")
