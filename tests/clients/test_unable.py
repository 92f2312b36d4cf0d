"""A home that cannot even begin takes part in a sum all the same, with nothing to add."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from fedhome.clients.agent.work import InProcess, WorkerProcess
from fedhome.clients.recorded.recording import Recorder
from fedhome.flower.messages import (
    blobs_of,
)
from fedhome.plan.settings import Plan
from fedhome.questions.empty_handed import EMPTY_HANDED, empty_words
from fedhome.questions.settings import SHELL, inputs_hash
from fedhome.secagg.share_keys import PERIOD_S
from fedhome.store import disk
from helpers.unable_home import FEWER, HOME, PLAN, SLICED, Home


def _adds_nothing(home: Home, answer: Message) -> bool:
    """Whether a home's answer, opened with those of the others, says that it had nothing."""
    assert home.sum is not None
    home.sum.aggregator.receive(HOME, blobs_of(answer)["upload"])
    for name in home.world.homes:
        layout = home.sum.manifest.form.layout
        asked = {"purpose": home.sum.manifest.purpose, "layout": layout}
        joined = home.sum.join(name, now=home.world.now, **asked)
        nothing = empty_words(home.sum.manifest.form)
        home.sum.aggregator.receive(name, joined.upload(nothing))
    members = [name for name in home.world.directory.members if name != HOME]
    home.sum.answer(members)
    opened = home.sum.open()
    total = home.sum.manifest.form.decode(opened.words, 6)
    if EMPTY_HANDED not in home.sum.manifest.form.scalars:  # of a later shell
        return not total.mean.any()
    return round(total.values[EMPTY_HANDED.name]) == 6


def _joined(home: Home) -> bool:
    """Whether a home took part in a sum, whatever came of it."""
    return len(home.store.load().answered) > 0


@pytest.mark.long
def test_where_nothing_fails_a_home_uploads(tmp_path: Path) -> None:
    home = Home(tmp_path)
    answer = home.train()
    assert set(blobs_of(answer)) == {"upload", "bundle"}
    assert not _adds_nothing(home, answer)


def test_a_home_whose_readings_cannot_be_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = Home(tmp_path)
    home.readings.unlink()
    answer = home.train()
    assert _adds_nothing(home, answer)
    assert "a question was not answered" in caplog.text  # in its own log


@pytest.mark.parametrize("work", [InProcess, WorkerProcess], ids=["in one process", "a worker"])
def test_a_home_whose_store_cannot_be_opened(tmp_path: Path, work: Any) -> None:
    """It said so in the clear, in a word that no question is refused by."""
    home = Home(tmp_path, work)
    recorder = Recorder(home.folder)
    recorder.begin(filled=False)
    recorder.file(home.readings)
    (home.folder.path / disk.HOME_KEY).write_bytes(bytes(32))
    answer = home.train()
    home.agent.close()
    assert _adds_nothing(home, answer)


@pytest.mark.long
def test_a_home_without_readings_adds_nothing_until_it_has_some(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = Home(tmp_path)
    recorder = Recorder(home.folder)
    recorder.begin(filled=False)
    assert _adds_nothing(home, home.train())
    shape = Message(RecordDict({"config": ConfigRecord({"inputs": inputs_hash(PLAN)})}), 7, "query")
    answer = home.agent.answer(shape)
    assert (answer.has_error(), answer.error.reason) == (True, "no-readings")
    trouble = home.agent.trouble
    assert trouble is not None
    assert "client record" in trouble.hint
    assert caplog.text == "", "the agent says it once, when it starts"
    recorder.file(home.readings)
    home.refill()
    home.moved = 0.01  # about one model homes answer once
    assert not _adds_nothing(home, home.train())
    assert home.agent.trouble is None


def test_a_home_whose_worker_dies_before_it_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    home = Home(tmp_path, WorkerProcess)
    monkeypatch.setattr("sys.executable", "/bin/false")  # such as one that memory is refused
    answer = home.train()
    home.agent.close()
    assert _joined(home)
    assert _adds_nothing(home, answer)
    assert "the worker is lost" in caplog.text


@pytest.mark.parametrize(
    ("plan", "settings"),
    [(FEWER, {"server-round": 2}), (SLICED, {}), (SLICED, {SHELL: 1})],
    ids=["a part of the numbers", "the first shell", "a later shell"],
)
def test_a_home_that_cannot_begin_adds_nothing_to_a_part_of_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: Plan, settings: dict[str, Any]
) -> None:
    """It said so in the clear: to each round's server, which did not even ask for it."""
    home = Home(tmp_path, WorkerProcess, plan)
    home.settings |= settings
    monkeypatch.setattr("sys.executable", "/bin/false")
    answer = home.train()
    home.agent.close()
    assert set(blobs_of(answer)) == {"upload", "bundle"}
    assert _adds_nothing(home, answer)


def test_a_home_whose_disk_is_full_after_it_joined_sends_no_keys(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.store.left = 1  # the sum is joined; the next bundle's secrets find no room
    assert set(blobs_of(home.train())) == {"upload"}


def _later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now = time.time() + seconds
    monkeypatch.setattr("fedhome.clients.agent.dispatch.time.time", lambda: now)


def test_a_waiting_agent_erases_old_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    kept = dict(home.store.load().periods)
    assert kept, "it has sealed shares of its own"
    home.agent.rest()
    assert home.store.load().periods == kept, "in their time they stay"
    _later(monkeypatch, 2 * PERIOD_S)
    home.agent.rest()
    assert home.store.load().periods == {}
    for secret in kept.values():
        assert secret not in home.store.data


def test_a_full_disk_that_keeps_them_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    home = Home(tmp_path)
    _later(monkeypatch, 2 * PERIOD_S)
    home.store.left = 0
    for _ in range(3):
        home.agent.erase()
    told = [one.message for one in caplog.records if "cannot be erased" in one.message]
    assert told == ["keys whose time is over cannot be erased: no room"]
    home.store.left = 1
    home.agent.erase()
    assert home.store.load().periods == {}


def test_where_no_sum_is_asked_for_one_word_tells_that_readings_cannot_be_used(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path)
    home.readings.unlink()
    answer = home.agent.answer(Message(RecordDict(), 7, "query"))
    assert answer.has_error()
    assert answer.error.reason == "readings"
