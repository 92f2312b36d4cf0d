"""Personalisation by hand: homes whose model is one number, pulled towards their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedhome.data.series.examples import Part
from fedhome.errors import PluginError
from fedhome.learning.alone import FITTERS, linear
from fedhome.learning.cohort import Cohort, Measured
from fedhome.learning.device import Device
from fedhome.learning.personalise import CheckedPersonaliser, choose, fine_tune, personaliser
from fedhome.learning.personalise.experts import Adaptation, Experts
from fedhome.learning.personalise.sound_params import sound_params
from fedhome.plan.settings import PersonaliseSettings
from helpers import tiny
from helpers.examples import share_of
from helpers.points import ROWS, Adapter, Points

_START = np.zeros(1, np.float32)


def _settings(**changes: Any) -> PersonaliseSettings:
    plain = {"epochs": 2, "local_epochs": 4, "patience": 2, "rates": [0.5, 1.0], "refit": False}
    return tiny.plan(personalise=plain | changes).personalise


def _experts(cohort: Cohort, start: NDArray[np.float32] = _START, **changes: Any) -> Experts:
    how = changes.pop("how", fine_tune)
    adaptation = Adaptation(changes.pop("rate", 1.0), changes.pop("epochs", 1))
    return Experts(cohort, _settings(**changes), start=start, how=how, adaptation=adaptation)


# --- how the fleet's model becomes a home's own


def test_a_trial_tells_each_pass_as_a_factor_of_the_loss_before() -> None:
    homes = Points([[4, 4, 0], [4, -4, 0]])
    changes = fine_tune.trial(homes, _START, _settings())
    assert changes.shape == (2, 2, 3)
    # Home 0 goes 0, 1, 1.75 at half the rate and 0, 2, 3 at the whole one, towards 4; after two
    # passes it has 1/5 of the first and 4/5 of the second.
    np.testing.assert_allclose(changes[0] * 16, [[16, 9, 2.4**2], [16, 4, 1.2**2]], rtol=1e-6)
    # Home 1 trains away from its validation: (4 + 1)² / 16, (4 + 1.6)² / 16; or bounded by 2.
    np.testing.assert_allclose(changes[1], [[1, 25 / 16, 5.6**2 / 16], [1, 2, 2]], rtol=1e-6)


def test_an_exploded_trial_counts_as_the_worst_and_nothing_lost_as_no_change() -> None:
    class Exploding(Points):
        def evaluate(self, params: NDArray[np.float32], part: Part) -> Measured:
            measured = super().evaluate(params, part)
            lost = np.where(params.reshape(-1)[-1] > 0, np.nan, measured.losses)
            return Measured(lost, measured.metrics)

    assert fine_tune.trial(Exploding([[4, 4, 0]]), _START, _settings()).tolist() == [
        [[1, 2, 2], [1, 2, 2]]
    ]
    perfect = fine_tune.trial(Points([[0, 0, 0]]), _START, _settings())
    assert perfect.tolist() == [[[1, 1, 1], [1, 1, 1]]]


def test_the_fleet_takes_the_best_rate_and_pass_and_the_gentlest_on_a_tie() -> None:
    assert choose(np.array([[1.0, 0.9, 0.8], [1.0, 0.7, 0.9]]), (0.3, 1.0)) == (1.0, 1)
    assert choose(np.array([[1.0, 1.2], [1.0, 1.1]]), (0.3, 1.0)) == (0.3, 0)
    assert choose(np.array([[1.0, 0.5], [1.0, 0.5]]), (0.3, 1.0)) == (0.3, 1)


def test_a_home_adapts_by_the_rows_and_passes_that_it_is_told() -> None:
    homes = Points([[4, 8, 6], [0, 0, 0]])
    # From 0 half the way to 4, twice: 2, 3; and to 6, the mean of training and validation: 3, 4.5.
    stopped = fine_tune.adapt(homes, _START, rate=1.0, epochs=2, part="train")
    np.testing.assert_allclose(stopped, [[2.8], [0]], rtol=1e-6)
    refitted = fine_tune.adapt(homes, _START, rate=1.0, epochs=2, part="train+validation")
    np.testing.assert_allclose(refitted, [[4.2], [0]], rtol=1e-6)
    streams = {part: {s for p, s, _ in homes.trained if p == part} for part, _, _ in homes.trained}
    assert not streams["train"] & streams["train+validation"]
    assert len(streams["train"]) == 2
    same = fine_tune.adapt(homes, _START, rate=1.0, epochs=0, part="train")
    np.testing.assert_array_equal(same, [[0], [0]])  # no passes give the global model


def test_personalisers_are_found_by_name(tmp_path: Path) -> None:
    assert personaliser("fine-tune") is fine_tune
    own = personaliser("fedhome.learning.personalise:fine_tune")
    assert isinstance(own, CheckedPersonaliser)
    assert own.own is fine_tune
    with pytest.raises(PluginError, match="unknown"):
        personaliser("fine-tuned")
    with pytest.raises(PluginError, match=r"lacks trial\(\) and adapt\(\)\n"):
        personaliser("math:pi")
    (tmp_path / "half.py").write_text("class Half:\n    def trial(self): ...\n")
    with pytest.raises(PluginError, match=r" lacks adapt\(\)\n"):
        personaliser(f"{tmp_path / 'half.py'}:Half")


# --- what is kept


def test_what_is_kept_is_the_first_that_holds() -> None:
    homes = Points([[4, 4, 4]] * 5)
    nan, far = np.nan, 3e38  # finite, and so far off that its loss is not
    refitted = np.array([[1], [nan], [np.inf], [nan], [nan]], np.float32)
    stopped = np.array([[2], [2], [-np.inf], [nan], [nan]], np.float32)
    params, holds = sound_params(homes, [refitted, stopped, np.full(1, 3, np.float32)])
    assert params[:, 0].tolist() == [1, 2, 3, 3, 3]
    assert holds.all()

    class Far(Points):
        def evaluate(self, params: NDArray[np.float32], part: Part) -> Measured:
            measured = super().evaluate(params, part)
            return Measured(np.where(measured.losses > 1e70, np.inf, measured.losses), {})

    lost = [np.full((5, 1), far, np.float32), np.full(1, nan, np.float32)]
    params, holds = sound_params(Far([[4, 4, 4]] * 5), lost)
    assert params.tolist() == [[0]] * 5
    assert not holds.any()


@settings(max_examples=share_of(60))
@given(st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), min_size=1, max_size=4))
def test_nothing_that_is_kept_is_not_finite(candidates: list[list[float]]) -> None:
    tried = [np.array(one, np.float32)[:, None] for one in candidates]
    params, holds = sound_params(Points([[1, 2, 3]] * 3), tried)
    assert np.isfinite(params).all()
    for home in range(3):
        finite = [one[home] for one in tried if np.isfinite(one[home]).all()]
        assert bool(holds[home]) == bool(finite)
        if finite:
            np.testing.assert_array_equal(params[home], finite[0])


def test_a_home_whose_refit_is_no_number_states_what_it_had_before() -> None:
    nan, aims = np.nan, [[4, 5, 6]] * 4
    how = Adapter(stopped=[1, 1, nan, nan], refitted=[2, nan, 2, nan])
    experts = _experts(Points(aims), np.full(1, 7, np.float32), how=how, refit=True)
    validation, test = experts.stated("tuned")
    # Validation rows are stated by what never saw them; then by the global model.
    assert validation[::ROWS, 0].tolist() == [1, 1, 7, 7]
    assert test[::ROWS, 0].tolist() == [2, 1, 2, 7]
    broken = _experts(Points(aims), np.full(1, nan, np.float32), how=how, refit=True)
    validation, test = broken.stated("tuned")
    # Without a global model that holds there is what needs no learning: 5 + 2, and 6 + 2.
    assert validation[::ROWS, 0].tolist() == [1, 1, 7, 7]
    assert test[::ROWS, 0].tolist() == [2, 1, 2, 8]
    assert broken.stated("global").test[::ROWS, 0].tolist() == [8, 8, 8, 8]


# --- what models state


def test_a_season_is_chosen_on_the_rows_before() -> None:
    """Of validation rows training says which, of test rows training and validation."""
    exact, wrong = np.zeros(ROWS), np.full(ROWS, 50.0)
    nan = np.nan
    seasons = {  # yesterday and a week ago; the truth is 4 in every row
        "train": np.stack([exact + 4, wrong], axis=1),
        "validation": np.stack([wrong, [4, 4, nan, 4, 4]], axis=1),
        "test": np.stack([[4, 5, 6, nan, 8], [1, 2, 3, 4, 5]], axis=1),
    }
    homes = Points([[4, 4, 4]], seasons=seasons)
    validation, test = _experts(homes).seasonal().stated
    assert validation[:, 0].tolist() == [50.0] * ROWS  # as it was right before
    # Of ten rows before: yesterday is off by 46 in five, a week ago in five, but where it was not
    # read it is the last value, off by 2, as the last values all are.
    assert test[:, 0].tolist() == [6.0] * ROWS  # the last value
    # Where yesterday was right it is stated, and the last value in its gaps.
    seasons["validation"] = np.stack([exact + 4, wrong], axis=1)
    validation, test = _experts(Points([[4, 4, 4]], seasons=seasons)).seasonal().stated
    assert validation[:, 0].tolist() == [4.0] * ROWS
    assert test[:, 0].tolist() == [4.0, 5.0, 6.0, 6.0, 8.0]


def test_a_week_ago_is_taken_where_that_was_right() -> None:
    seasons = {
        part: np.stack([np.full(ROWS, 9.0), np.full(ROWS, 4.5)], axis=1)
        for part in ("train", "validation", "test")
    }
    validation, test = _experts(Points([[4, 4, 4]], seasons=seasons)).seasonal().stated
    assert validation[:, 0].tolist() == test[:, 0].tolist() == [4.5] * ROWS


@pytest.mark.parametrize("kind", ["binary", "multi-class"])
def test_of_classes_no_learning_states_how_often_each_came(kind: str) -> None:
    plan = tiny.plan(task={"kind": kind})
    home = tiny.home("h", (20, 6, 5), kind=kind)
    experts = _experts(Device(tiny.learning(plan), home, plan.seed), tiny.learning(plan).initial)
    naive, labels = experts.naive(), home.y.reshape(-1).astype(int)
    if kind == "binary":
        expected = [[labels[:20].mean()]], [[labels[:26].mean()]]
    else:
        expected = tuple(
            [(np.bincount(labels[:rows], minlength=3) / rows).tolist()] for rows in (20, 26)
        )
    np.testing.assert_allclose(naive.validation, expected[0] * 6)
    np.testing.assert_allclose(naive.test, expected[1] * 5)
    for stated, said in zip(experts.seasonal().stated, naive, strict=True):
        np.testing.assert_array_equal(stated, said)  # classes have no season


def test_a_model_is_computed_once_for_all_questions_about_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fits: list[int] = []

    def fit(rows: Any) -> Any:
        fits.append(len(rows.y[0]))
        return linear.fit(rows)

    monkeypatch.setattr("fedhome.learning.personalise.experts.FITTERS", {**FITTERS, "linear": fit})
    homes, how = Points([[4, 5, 6], [7, 8, 9]]), Adapter(stopped=[1, 2], refitted=[3, 4])
    for _ in range(3):
        experts = _experts(homes, how=how, refit=True)
        assert experts.stated("tuned").test[::ROWS, 0].tolist() == [3, 4]
        experts.stated("linear")
    assert how.asked == ["train", "train+validation"]
    assert len(fits) == 2
    other = _experts(homes, np.full(1, 5, np.float32), how=how, refit=True)
    other.stated("tuned")
    other.stated("linear")
    assert how.asked == ["train", "train+validation"] * 2  # another model was never asked about
    assert len(fits) == 2  # what is alone does not depend on it
    assert (
        sum(what.startswith("model ") for what in homes.memory) == 1
    )  # and the first is forgotten
    _experts(homes, how=how, refit=True).stated("tuned")
    assert len(how.asked) == 6
    faster = _experts(homes, how=how, refit=True, rate=0.5)
    faster.stated("tuned")
    assert len(how.asked) == 8  # nor is another way to adapt the same


def test_homes_recall_what_they_know_and_compute_what_they_do_not() -> None:
    homes = Points([[1, 1, 1], [2, 2, 2], [3, 3, 3]])
    asked: list[tuple[str, ...]] = []

    def compute(some: Cohort) -> list[str]:
        asked.append(some.homes)
        return [home.upper() for home in some.homes]

    assert homes.pick(np.array([1])).recall("name", compute) == ["HOME-1"]
    assert homes.recall("name", compute) == ["HOME-0", "HOME-1", "HOME-2"]
    assert homes.pick(np.array([2, 0])).recall("name", compute) == ["HOME-2", "HOME-0"]
    assert asked == [("home-1",), ("home-0", "home-2")]
    homes.recall("another", compute)
    assert asked[2:] == [homes.homes]
