"""A home that cannot even begin refuses what any home refuses, and by the same word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict

from fedhome.clients.agent.known_model import KNOWN, KnownModel, learnt, remember_model
from fedhome.clients.asked_question import AskedQuestion, scalars_of
from fedhome.errors import PluginError
from fedhome.flower.messages import blobs_of, failure, take_identity, with_sum_record
from fedhome.plan.settings import Plan
from fedhome.questions.question_table import TRAIN
from fedhome.questions.settings import SHELL
from fedhome.questions.shells import shell_layout
from fedhome.wire.layout import Layout
from helpers.unable_home import PLAN, SLICED, Home

LIES: dict[str, tuple[dict[str, Any], str]] = {
    "zeros for so many would be a terabyte": ({"elements": 1 << 39}, "form"),
    "other numbers": ({"scalars": True}, "form"),
    "over": ({"expires": 1}, "expired"),
    "another plan": ({"plan": bytes(32)}, "plan"),
    "no numbers": ({"model": Array("float32", (3,), "numpy.ndarray", b"none")}, "malformed"),
    "no model": ({"model": Array(np.zeros((0,), np.float32))}, "layout"),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("begins", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_server_that_lies_hears_the_same_of_homes_that_can_begin_and_of_others(
    tmp_path: Path, lie: str, *, begins: bool
) -> None:
    """Those that could not were known by a word of their own, or by an answer in place of it."""
    home = Home(tmp_path)
    if not begins:
        home.readings.unlink()
    changed, word = LIES[lie]
    if "scalars" in changed:
        (first, *rest) = scalars_of(AskedQuestion(TRAIN, home.settings, home.initial), PLAN)
        changed = {"scalars": (replace(first, high=2.0), *rest)}
    answer = home.train(**changed)  # the agent lives on
    assert answer.has_error()
    assert answer.error.reason == word


def _moved_on(layout: Layout, features: int) -> Layout:
    """Return the layout of the same model over another number of inputs."""
    (units, width), *others = layout.shapes
    return Layout(layout.names, ((units, width + features), *others))


def _of_another_name(layout: Layout) -> Layout:
    return Layout(tuple(f"other.{name}" for name in layout.names), layout.shapes)


@pytest.mark.parametrize("plan", [PLAN, SLICED], ids=["a whole model", "slices"])
@pytest.mark.parametrize("lie", ["another width", "another name", "half a name"])
@pytest.mark.parametrize("begins", [False, pytest.param(True, marks=pytest.mark.long)])
def test_of_another_model_than_a_home_has_learnt_nobody_hears_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: Plan, lie: str, *, begins: bool
) -> None:
    home = Home(tmp_path, plan=plan)
    assert set(blobs_of(home.train())) == {"upload", "bundle"}
    home.refill()
    home.moved = 0.01  # about one model homes answer once
    if not begins:
        monkeypatch.setattr(home.agent._work, "answer", _cannot_begin)
    said: dict[str, Any] = {"layout": _moved_on(home.layout, 1)}
    if lie == "another name":
        said = {"layout": _of_another_name(home.layout)}
    elif lie == "half a name":  # the first half, under which the model travels, is right
        summed = shell_layout(plan, home.layout, home.settings)
        said = {"hash": bytes.fromhex(summed.hash[:32]) + bytes(16)}
    answer = home.train(**said)
    assert answer.has_error()
    assert answer.error.reason == "layout"


@pytest.mark.parametrize("plan", [PLAN, SLICED], ids=["a whole model", "slices"])
def test_an_agent_that_was_started_anew_knows_what_it_had_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: Plan
) -> None:
    home = Home(tmp_path, plan=plan)
    assert set(blobs_of(home.train())) == {"upload", "bundle"}
    kept = (home.folder.path / KNOWN).read_bytes()
    for moved in (0.01, 0.02):
        home.restart()
        home.refill()
        home.moved = moved
        monkeypatch.setattr(home.agent._work, "answer", _cannot_begin)
        answer = home.train(layout=_moved_on(home.layout, 1))
        assert answer.has_error()
        assert answer.error.reason == "layout"
        home.refill()
        assert set(blobs_of(home.train())) == {"upload", "bundle"}, "of its own model it adds zeros"
        home.folder.path.joinpath(KNOWN).write_bytes(kept)


@pytest.mark.parametrize("lost", ["gone", "damaged", "of another plan"])
def test_control_one_that_does_not_know_it_answers_what_others_refuse(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    lost: str,
) -> None:
    home = Home(tmp_path)
    home.train()
    path = home.folder.path / KNOWN
    if lost == "gone":
        path.unlink()
    elif lost == "damaged":
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    else:
        remember_model(home.folder, PLAN.change(seed=4), KnownModel("flat-other", 3))
    home.restart()
    home.refill()
    monkeypatch.setattr(home.agent._work, "answer", _cannot_begin)
    home.moved = 0.01
    answer = home.train(layout=_moved_on(home.layout, 1))
    assert set(blobs_of(answer)) == {"upload", "bundle"}
    told = [one for one in caplog.messages if "until this home has learnt again" in one]
    assert len(told) == (lost == "damaged")


def _cannot_begin(message: Message) -> Message:
    return failure(message, "worker")


@pytest.mark.parametrize("shell", [0, 1])
@pytest.mark.parametrize("begins", [False, pytest.param(True, marks=pytest.mark.long)])
def test_of_a_shell_with_other_numbers_a_home_that_cannot_begin_says_what_others_do(
    tmp_path: Path, shell: int, *, begins: bool
) -> None:
    """It took any number up to the model's size; so a server could tell it from the others."""
    home = Home(tmp_path, plan=SLICED)
    home.settings |= {SHELL: shell} if shell else {}
    if not begins:
        home.readings.unlink()
    answer = home.train(elements=home.layout.size - 1)
    assert answer.has_error()
    assert answer.error.reason == "form"


@pytest.mark.parametrize("plan", [PLAN, SLICED], ids=["a whole model", "slices"])
def test_a_model_that_no_home_of_the_plan_has_is_refused_before_any_was_learnt(
    tmp_path: Path, plan: Plan
) -> None:
    home = Home(tmp_path, plan=plan)
    home.readings.unlink()
    answer = home.train(model=Array(np.zeros(home.layout.size + 1, np.float32)), key="flat-other")
    assert answer.has_error()
    assert answer.error.reason == "layout"


def test_a_home_that_has_learnt_another_model_since_knows_the_newer_one() -> None:
    """Such as one that got a sensor: its inputs are more than they were."""
    take_identity(1)
    flats = {"flat-a": np.zeros(3, np.float32), "flat-b": np.zeros(4, np.float32)}
    form = {"form": b"an ideal sum's, of which no agent learns anything"}
    known = KnownModel("flat-a", 3, "aa")
    for key, flat in flats.items():
        content = RecordDict({"arrays": ArrayRecord({key: Array(flat)})})
        assert learnt(Message(with_sum_record(content, form), 7, TRAIN), PLAN, known) is known
        assert learnt(Message(content, 7, TRAIN), PLAN, known) is known
    content = RecordDict({"arrays": ArrayRecord({"flat-b": Array(flats["flat-b"])})})
    told = Message(with_sum_record(content, {"manifest": b"accepted"}), 7, TRAIN)
    assert learnt(told, SLICED, known) == KnownModel("flat-b", 4)


def test_an_agent_that_cannot_tell_what_a_sum_holds_lives_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*_: object) -> int:
        raise PluginError("there is no stage of this name")

    home = Home(tmp_path)
    home.readings.unlink()
    monkeypatch.setattr("fedhome.clients.agent.unable.count_of", missing)
    answer = home.train()
    assert answer.has_error()
    assert answer.error.reason == "readings"
    assert "takes no part in a sum: there is no stage" in caplog.text


def test_a_refusal_is_told(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.settings = {"server-round": 9_999}
    answer = home.train()
    assert answer.has_error()
    assert answer.error.reason == "settings"
