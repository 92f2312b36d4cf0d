"""What a real home does when a server cheats with what lies beside a manifest, or with a model.

Each home is a ClientHome on data of its own with its part in the protocol; the server holds the
fleet's true server key and signs what it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from fedhome.clients import client_app
from fedhome.errors import DataError, FedHomeError, ManifestError, UpdateError
from fedhome.flower.messages import array_record, blobs_of, with_sum_record
from fedhome.plan.judged_rounds import adaptation_of
from fedhome.plan.protocol import policy_of
from fedhome.plan.settings import Plan
from fedhome.privacy.noise import Noise
from fedhome.questions.contributions import Terms
from fedhome.questions.empty_handed import EMPTY_HANDED
from fedhome.questions.outcomes import MOST_BINS, bins_for, score_counts
from fedhome.questions.question_table import (
    ADAPTED,
    BLEND,
    CENSUS,
    EVALUATE,
    OUTCOME,
    SHRINK,
    TRAIN,
    TRIAL,
    summed,
)
from fedhome.questions.settings import check_settings
from fedhome.run.compared_models import MODELS
from fedhome.secagg import FixedPoint
from fedhome.secagg.sum_messages import Upload
from helpers import cheated_fleet, tiny
from helpers.cheated_fleet import HOMES, LEARNING, PLAN, ROWS, Fleet
from helpers.secagg_attacker import refused
from helpers.secagg_world import World, form_of, names_of

# --- what lies beside the manifest

Change = Callable[[Fleet, RecordDict], RecordDict | tuple[RecordDict, str]]


def _setting(name: str, value: Any) -> Change:
    def change(fleet: Fleet, content: RecordDict) -> RecordDict:
        changed = dict(fleet.settings)
        if value is None:
            del changed[name]
        else:
            changed[name] = value
        return RecordDict({**content, "config": ConfigRecord(changed)})

    return change


def _another_model(fleet: Fleet, content: RecordDict) -> RecordDict:
    nudged = np.nextafter(fleet.start, np.float32(9))
    return RecordDict({**content, "arrays": array_record(LEARNING.layout, nudged)})


def _one_number(fleet: Fleet, content: RecordDict) -> RecordDict:
    nudged = fleet.start.copy()
    nudged[-1] = np.nextafter(nudged[-1], np.float32(9))
    return RecordDict({**content, "arrays": array_record(LEARNING.layout, nudged)})


def _no_model(_: Fleet, content: RecordDict) -> RecordDict:
    return RecordDict({name: one for name, one in content.items() if name != "arrays"})


def _an_empty_model(_: Fleet, content: RecordDict) -> RecordDict:
    return RecordDict({**content, "arrays": ArrayRecord()})


def _other_settings_first(_: Fleet, content: RecordDict) -> RecordDict:
    return RecordDict({"a": ConfigRecord({"clipping_norm": 0.0, "server-round": 2}), **content})


def _other_settings_last(_: Fleet, content: RecordDict) -> RecordDict:
    return RecordDict({**content, "z": ConfigRecord({"clipping_norm": 0.0})})


def _settings_in_the_sums_record(fleet: Fleet, content: RecordDict) -> RecordDict:
    values = {"manifest": fleet.sum.signed, "clipping_norm": 0.0, "server-round": 1, "round": 1}
    return with_sum_record(content, values)


def _no_settings_but_the_sums_record(fleet: Fleet, content: RecordDict) -> RecordDict:
    values = {"manifest": fleet.sum.signed, "clipping_norm": 0.0, "server-round": 2}
    return RecordDict(
        {"sum": ConfigRecord(values), "arrays": content["arrays"], "config": ConfigRecord()}
    )


def _another_model_first(fleet: Fleet, content: RecordDict) -> RecordDict:
    arrays = array_record(LEARNING.layout, np.zeros_like(fleet.start))
    return RecordDict({"a": arrays, **content})


def _another_model_last(fleet: Fleet, content: RecordDict) -> RecordDict:
    arrays = array_record(LEARNING.layout, np.zeros_like(fleet.start))
    return RecordDict({**content, "z": arrays})


def _another_question(kind: str) -> Change:
    return lambda _, content: (content, kind)


def _in_the_clear(_: Fleet, content: RecordDict) -> RecordDict:
    return RecordDict({name: one for name, one in content.items() if name != "sum"})


CHANGES: dict[str, Change] = {
    "a clip of nothing": _setting("clipping_norm", 0.0),
    "a clip": _setting("clipping_norm", 0.5),
    "a pull": _setting("proximal-mu", 1e9),
    "another round": _setting("server-round", 1),
    "a round as another type": _setting("server-round", 2.0),
    "no round": _setting("server-round", None),
    "a setting that nobody reads": _setting("tea", "green"),
    "another model": _another_model,
    "one number of the model": _one_number,
    "no model": _no_model,
    "an empty model": _an_empty_model,
    "other settings first": _other_settings_first,
    "other settings last": _other_settings_last,
    "settings in the sum's record": _settings_in_the_sums_record,
    "no settings but the sum's record": _no_settings_but_the_sums_record,
    "another model first": _another_model_first,
    "another model last": _another_model_last,
    "an evaluation": _another_question(EVALUATE),
    "a trial": _another_question(TRIAL),
    "an outcome": _another_question(OUTCOME),
    "a census": _another_question("query.census"),
    "in the clear": _in_the_clear,
}
AS_IT_WAS = {"other settings last", "settings in the sum's record", "another model last"}
"""What a home does not even look at."""


@pytest.mark.long
@pytest.mark.parametrize("name", CHANGES)
def test_nothing_outside_the_manifest_changes_what_a_home_computes(name: str) -> None:
    honest = Fleet()
    honest.ask("h00")
    fleet = Fleet()
    changed = CHANGES[name](fleet, fleet.content())
    content, kind = changed if isinstance(changed, tuple) else (changed, TRAIN)
    if name in AS_IT_WAS:
        fleet.ask("h00", content, kind)
        np.testing.assert_array_equal(fleet.parts["h00"].words, honest.parts["h00"].words)
        return
    with pytest.raises(FedHomeError):
        fleet.ask("h00", content, kind)
    assert fleet.parts["h00"].words is None


@pytest.mark.long
def test_settings_that_are_not_compared_change_what_a_home_computes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control: as it was, each home could be told something else."""
    fleet = Fleet()
    monkeypatch.setattr(
        "fedhome.clients.asked_question.settings_hash", lambda _: fleet.sum.manifest.settings
    )
    fleet.ask("h00", _setting("server-round", 1)(fleet, fleet.content()))
    honest = Fleet()
    monkeypatch.undo()
    honest.ask("h00")
    assert not np.array_equal(fleet.parts["h00"].words, honest.parts["h00"].words)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (TRAIN, {"server-round": 4}),  # the plan has three
        (TRAIN, {"server-round": 0}),
        (TRAIN, {"server-round": 2, "clipping_norm": -1.0}),
        (TRAIN, {"server-round": 2, "clipping_norm": 0.05}),  # no wrapper of the plan's clips
        (TRAIN, {"server-round": 2, "proximal-mu": 1e6}),  # nor does its strategy pull
        (CENSUS, {}),  # with a model, of which nothing is asked
        (TRAIN, {"server-round": 2, "clipping_norm": float("nan")}),
        (EVALUATE, {"server-round": 4}),
    ],
)
def test_settings_that_the_plan_does_not_allow_are_refused_though_all_homes_get_them(
    kind: str, settings: dict[str, Any]
) -> None:
    with pytest.raises(FedHomeError):
        Fleet(kind, settings).ask("h00")


# --- one question under two names

_JUDGED: dict[str, Any] = {"server-round": 2, **adaptation_of(PLAN)}
_BY_NOTHING = {**_JUDGED, "epochs": 0}


@pytest.mark.parametrize(
    "change", [{"epochs": 0}, {"epochs": 2}, {"epochs": None}, {"rate": 0.1}, {"rate": None}]
)
def test_a_judged_model_is_adapted_as_the_plan_says_and_in_no_other_way(
    change: dict[str, Any],
) -> None:
    asked = {name: one for name, one in {**_JUDGED, **change}.items() if one is not None}
    (fault,) = summed(ADAPTED).faults(asked, PLAN)
    assert "this home's plan has it adapted at a rate of" in fault
    assert not list(summed(ADAPTED).faults(_JUDGED, PLAN)), "the control: as it should be"


@pytest.mark.long
def test_the_same_numbers_are_not_asked_twice_the_second_time_without_a_home() -> None:
    """Adapted by nothing, the model is what it was: its losses less a home's show that home's."""
    cheated = Fleet(ADAPTED, _BY_NOTHING)
    with pytest.raises(ManifestError) as refused:
        cheated.ask("h00")
    assert refused.value.reason == "settings"
    assert cheated.parts["h00"].words is None


@pytest.mark.long
def test_control_adapted_by_nothing_a_second_sum_shows_a_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fedhome.clients.sum_checks.check_settings", lambda _: None)
    fleet = Fleet(EVALUATE, {"server-round": 2})
    of_all, others = fleet.open(), Fleet(ADAPTED, _BY_NOTHING).open(without=["h03"])
    alone = fleet.homes["h03"].device.evaluate(LEARNING.initial, "validation")
    shown = {
        name: (of_all.values[name] * of_all.weight - others.values[name] * others.weight)
        / (of_all.weight - others.weight)
        for name in ("loss", "score")
    }
    assert of_all.weight - others.weight == ROWS[1], "and how many examples it has"
    assert shown["loss"] == pytest.approx(alone.losses[0], abs=1e-4)
    assert shown["score"] == pytest.approx(alone.metrics["r2"][0], abs=1e-3)


_ADAPTING: tuple[dict[str, Any], ...] = (
    {"rate": 0.7},
    {"rate": None},
    {"epochs": 3},  # the plan has two
    {"epochs": -1},
    {"epochs": 1.0},
)
_MATRIX: list[float] = tiny.ending()["matrix"]
_MIXING: tuple[dict[str, Any], ...] = (
    {"matrix": None},
    {"matrix": []},
    {"matrix": 1.0},
    {"matrix": _MATRIX[:-1]},  # of other experts
    {"matrix": [*_MATRIX, 0.0]},
    {"matrix": [*_MATRIX[:-1], float("nan")]},
    {"matrix": [*_MATRIX[:-1], float("inf")]},
    {"matrix": [*_MATRIX[:-1], 16.5]},  # more than errors can go together
    {"matrix": [*_MATRIX[:-1], -16.5]},
    {"matrix": [1] * len(_MATRIX)},  # of whole numbers
    {"homes": 0},
    {"homes": 1.5},
)
_COMPARING: tuple[dict[str, Any], ...] = (
    {"strength": 5.0},  # none of those that there are
    {"strength": None},
    {"strength": float("nan")},
    {"strength": -1.0},
    {"alone-rate": 0.7},
    {"alone-rate": None},
    {"alone-epochs": 4},  # the plan has three
    {"alone-epochs": -1},
    {"alone-epochs": 1.0},
    {"alone-epochs": None},
    {"alone-batch": 8},  # the plan names none for networks alone
    {"alone-batch": 0.0},
    {"alone-batch": None},
)
_FINAL: dict[str, tuple[dict[str, Any], ...]] = {
    BLEND: _ADAPTING,
    SHRINK: (*_ADAPTING, *_MIXING),
    OUTCOME: (*_ADAPTING, *_MIXING, *_COMPARING),
}


def _settled(kind: str, change: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a question about the end; what is None is left out."""
    names = {BLEND: ("rate", "epochs"), SHRINK: ("rate", "epochs", "matrix", "homes")}
    whole = {**tiny.ending(homes=HOMES), "bins": 0}
    kept = {name: whole[name] for name in names.get(kind, tuple(whole))}
    return {name: value for name, value in {**kept, **change}.items() if value is not None}


@pytest.mark.parametrize(
    ("kind", "change"), [(kind, change) for kind, changes in _FINAL.items() for change in changes]
)
def test_how_homes_are_to_end_is_within_their_plan(kind: str, change: dict[str, Any]) -> None:
    faults = summed(kind).faults(_settled(kind, change), PLAN)
    with pytest.raises(ManifestError) as refused:
        check_settings(faults)
    assert refused.value.reason == "settings"
    assert list(summed(kind).faults(_settled(kind, {}), PLAN)) == [], "the control: as it should be"


@pytest.mark.long
@pytest.mark.parametrize("kind", [BLEND, SHRINK, OUTCOME])
def test_a_home_asks_its_plan_before_it_ends(kind: str) -> None:
    fleet = Fleet(kind, _settled(kind, {}))
    fleet.ask("h00")
    assert fleet.parts["h00"].words is not None
    cheated = Fleet(kind, _settled(kind, _FINAL[kind][-1]))
    with pytest.raises(FedHomeError):
        cheated.ask("h00")
    assert cheated.parts["h00"].words is None


@pytest.mark.parametrize(
    ("named", "form", "fits"),
    [
        ({"clip": 1.0}, {"clip": 0.5}, False),
        ({"clip": 1.0}, {"clip": 1.0}, True),
        ({}, {"clip": 0.5}, True),
        ({"weight_cap": 64}, {"weight_cap": 1}, False),
        ({"weight_cap": 64}, {"weight_cap": 64}, True),
        ({}, {"weight_cap": 1}, True),
        ({"weights": "equal"}, {"weight_cap": 64}, False),
        ({"weights": "equal"}, {"weight_cap": 1}, True),
        ({"weights": "rounded"}, {"weight_cap": 64}, True),
    ],
)
def test_clip_and_weight_are_those_that_the_plan_names(
    named: dict[str, Any], form: dict[str, Any], *, fits: bool
) -> None:
    policy = policy_of(PLAN.change(aggregation=named))
    fixed = replace(FixedPoint(16, 1.0, "linf", 64), **form)
    sum_ = World.of(8, policy=policy).draw_up(
        plan=policy.plan, form=replace(form_of(bits=16), fixed=fixed)
    )
    if fits:
        sum_.join("h00")
    else:
        refused(ManifestError, "encoding", lambda: sum_.join("h00"))


_LONE, _SMALLER = "h03", 6


def _by_two_weights(plan: Plan) -> tuple[float, float]:
    """Return what two tests of nearly one model tell of a home's loss, and the loss.

    All homes are in both sums, which differ in the greatest weight. The one has more validation
    rows than the smaller of these.
    """
    rows = [(*ROWS[:1], _SMALLER, *ROWS[2:])] * HOMES
    rows[3] = (ROWS[0], 40, ROWS[2])
    sums, before = [], None
    for number, cap in enumerate((64, _SMALLER), start=1):
        start = LEARNING.initial.copy()
        if number > 1:
            start[-1] = np.nextafter(start[-1], np.float32(9))
        fixed = FixedPoint(16, 1.0, "linf", cap)
        asked = {"server-round": number}
        before = Fleet(EVALUATE, asked, start, before, rows=rows, plan=plan, fixed=fixed)
        opened = before.open()
        sums.append(opened.values["loss"] * opened.weight)
    assert before is not None
    measured = before.homes[_LONE].device.evaluate(start, "validation")
    return (sums[0] - sums[1]) / (40 - _SMALLER), float(measured.losses[0])


@pytest.mark.long
def test_where_a_plan_names_the_greatest_weight_tests_of_a_model_have_no_other() -> None:
    with pytest.raises(ManifestError, match="counts for 6 at most") as refusal:
        _by_two_weights(PLAN.change(aggregation={"weight_cap": 64}))
    assert refusal.value.reason == "encoding"


@pytest.mark.long
def test_control_by_two_greatest_weights_the_home_with_most_rows_is_alone() -> None:
    """As it was for every plan, and is where a plan names none (docs/security.md): no promise."""
    shown, true = _by_two_weights(PLAN)
    assert shown == pytest.approx(true, abs=1e-4)


@pytest.mark.long
def test_control_by_two_clips_the_home_that_learnt_most_is_alone() -> None:
    """As it is where a plan names no clip (docs/security.md): no promise."""
    whole = Fleet(TRAIN, {"server-round": 1})
    opened = whole.open()
    own = [
        whole.sum.manifest.form.decode(part.words, 1).mean
        for part in whole.parts.values()
        if part.words is not None
    ]
    sizes = np.array([np.abs(one).max() for one in own])
    largest, second = np.sort(sizes)[::-1][:2]
    between = FixedPoint(16, float(largest + second) / 2, "linf", 64)
    nearly = LEARNING.initial.copy()
    nearly[-1] = np.nextafter(nearly[-1], np.float32(9))
    again = Fleet(TRAIN, {"server-round": 1}, nearly, whole, fixed=between).open()
    shown = opened.mean * opened.weight - again.mean * again.weight
    assert np.corrcoef(shown, own[int(sizes.argmax())])[0, 1] > 0.99


@pytest.mark.parametrize("kind", [TRIAL, BLEND, SHRINK, OUTCOME])
def test_where_every_home_counts_once_none_counts_for_more(kind: str) -> None:
    settings = _settled(kind, {}) if kind in _FINAL else {}
    cheated = Fleet(kind, settings, fixed=FixedPoint(16, 1.0, "linf", 64))
    refused(ManifestError, "encoding", lambda: cheated.ask("h00"))


@pytest.mark.long
@pytest.mark.parametrize("bins", [2, 80, 81, -1, 1.0, None])
def test_scores_are_not_counted_in_steps_that_tell_single_homes(
    bins: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six homes, of which five must be in the sum: 80 steps would be the list of their scores."""
    settings: dict[str, Any] = tiny.ending()
    if bins is not None:
        settings["bins"] = bins
    with pytest.raises(FedHomeError):
        Fleet(OUTCOME, settings).ask("h00")
    if bins == MOST_BINS:
        monkeypatch.setattr("fedhome.clients.sum_checks._check_fewest", lambda *_: None)
        Fleet(OUTCOME, settings).ask("h00")  # as it was


@pytest.mark.long
def test_of_few_homes_the_mean_score_is_counted_and_no_step() -> None:
    values = Fleet(OUTCOME, tiny.ending(bins=0)).open().values
    names = {name.rpartition("-")[2] for name in values}
    assert not any(name.isdigit() for name in names)
    assert all(0 <= values[f"{model}-score"] <= 2 * HOMES for model in MODELS)
    counts = score_counts(np.array(list(values.values())[:-1]), 0)
    assert counts["homes"] == HOMES
    assert counts["models"]["global"]["median"] is None
    assert -1 <= counts["models"]["global"]["mean"] <= 1
    assert sum(counts["experts"].values()) == sum(counts["best"].values()) == HOMES
    assert sum(counts["weights"].values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("homes", "cohort", "bins"),
    [(5, 5, 0), (19, 5, 0), (20, 5, 4), (70, 5, 14), (399, 5, 79), (10_000, 5, 80), (70, 20, 0)],
)
def test_bins_are_as_coarse_as_the_cohort(homes: int, cohort: int, bins: int) -> None:
    assert bins_for(homes, cohort=cohort) == bins


# --- noise that a plan does not have

_EUCLID = PLAN.change(aggregation={"clip_in": "l2"})
_NEXT_TO_NONE = Noise(1.0, HOMES - 1)  # a step, of the 32 767 that a flag has
_BY_SCORE = tiny.ending(bins=MOST_BINS)


def _with_noise(kind: str, settings: dict[str, Any]) -> Fleet:
    fixed = FixedPoint(16, 1.0, "l2", 1)
    return Fleet(kind, settings, plan=_EUCLID, fixed=fixed, noise=_NEXT_TO_NONE)


@pytest.mark.parametrize("kind", [TRAIN, EVALUATE, OUTCOME])
def test_homes_refuse_noise_that_their_plan_does_not_have(kind: str) -> None:
    """What noise would hide is not checked where there is some: how little is for the server."""
    fleet = _with_noise(kind, _BY_SCORE if kind == OUTCOME else {"server-round": 2})
    refused(ManifestError, "noise", lambda: fleet.ask("h00"))
    assert fleet.parts["h00"].words is None


@pytest.mark.long
def test_control_with_next_to_no_noise_scores_were_counted_in_steps_that_tell_single_homes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        cheated_fleet, "policy_of", lambda plan: replace(policy_of(plan), noise=None)
    )
    fleet = _with_noise(OUTCOME, _BY_SCORE)
    values = fleet.open().values
    names = [f"global-{number}" for number in range(MOST_BINS) if f"global-{number}" in values]
    counts = np.array([values[name] for name in names])
    assert np.abs(counts - np.round(counts)).max() < 0.001
    assert np.round(counts).sum() == HOMES
    assert (np.round(counts) == 1).any(), "a step with one home: its score"


# --- what a failure tells


@pytest.mark.long
def test_where_nothing_fails_the_sum_says_so() -> None:
    total = Fleet().open()
    assert total.values[EMPTY_HANDED.name] == 0
    assert total.weight == HOMES * ROWS[0]


@pytest.fixture
def overflowing(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """A fleet of which one home's training is not finite, as a crafted model makes it."""
    fleet = Fleet()
    row = client_app.SUMMED[TRAIN]

    def overflow(cohort: Any, start: Any, given: Any) -> Any:
        response = row.respond(cohort, start, given)
        if cohort.homes[0] == "h03":
            response.params[0, 3] = np.inf
        return response

    monkeypatch.setitem(client_app.SUMMED, TRAIN, replace(row, respond=overflow))
    return fleet


def test_a_home_that_overflows_answers_as_every_other(overflowing: Fleet) -> None:
    sizes = set()
    for home in overflowing.world.homes:
        answer = overflowing.ask(home)
        assert not answer.has_error()
        blobs = blobs_of(answer)
        assert set(blobs) == {"upload", "bundle"}
        sizes.add(tuple(map(len, blobs.values())))
        upload = Upload.from_bytes(blobs["upload"])
        assert len(set(upload.vector)) > 100  # masked: it looks like noise
    assert len(sizes) == 1


def test_as_it_was_an_error_told_the_server(
    overflowing: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def untouched(update: Any, terms: Terms) -> tuple[Any, Terms]:
        flags = np.zeros((len(terms.weights), 1))
        return update, Terms(terms.weights, np.concatenate([terms.values, flags], axis=1))

    monkeypatch.setattr(client_app, "settled", untouched)
    overflowing.ask("h00")
    with pytest.raises(UpdateError, match="not finite"):
        overflowing.ask("h03")


def test_the_sum_counts_who_had_nothing_to_add(overflowing: Fleet) -> None:
    total = overflowing.open()
    assert total.values[EMPTY_HANDED.name] == 1
    assert total.weight == (HOMES - 1) * ROWS[0]
    assert np.isfinite(total.mean).all()


@pytest.mark.parametrize("error", [ValueError("17.25"), MemoryError(), DataError("row 3")])
def test_whatever_fails_at_home_is_not_told(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = Fleet()

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(type(fleet.homes["h00"].device), "train", fail)
    answer = fleet.ask("h00")
    assert set(blobs_of(answer)) == {"upload", "bundle"}
    # Only the home's own log has it, and no number of the readings.
    assert any(record.name == "fedhome.agent" for record in caplog.records)
    assert "17.25" not in caplog.text


def test_names_are_those_of_the_fleet() -> None:
    assert list(Fleet().homes) == names_of(HOMES)
