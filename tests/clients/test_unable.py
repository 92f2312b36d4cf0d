"""A home that cannot even begin takes part in a sum all the same, with nothing to add."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from fedhome.clients.agent.dispatch import MessageDispatch
from fedhome.clients.agent.work import InProcess, WorkerProcess
from fedhome.clients.asked_question import AskedQuestion, model_hash, scalars_of
from fedhome.clients.home import real_home
from fedhome.clients.membership.home_folder import HomeFolder, HomeSettings
from fedhome.clients.recorded.recording import Recorder
from fedhome.data.files.home_parquet import write_home
from fedhome.errors import PluginError, StateError
from fedhome.fleet.entries import Anchor, home_keys
from fedhome.fleet.freshness import Freshness
from fedhome.flower.messages import (
    array_record,
    blobs_of,
    failure,
    take_identity,
    with_sum_record,
)
from fedhome.plan.protocol import policy_of, terms_hash
from fedhome.plan.settings import Plan
from fedhome.questions.empty_handed import EMPTY_HANDED, empty_words
from fedhome.questions.question_table import TRAIN
from fedhome.questions.settings import SHELL, inputs_hash, settings_hash
from fedhome.questions.shells import shell_layout
from fedhome.questions.transfer import count_of
from fedhome.secagg import FixedPoint, Form, HomeParty, HomeState, MemoryStore
from fedhome.secagg.parameters import corrupt_among
from fedhome.secagg.share_keys import PERIOD_S
from fedhome.secagg.shell_roster import purpose_of
from fedhome.simulations.homes import generate
from fedhome.wire.layout import Layout
from helpers.living import named
from helpers.secagg_world import Sum, World

HOME = "home-0001"
PLAN = named(
    Plan.load(
        name="tiny",
        seed=3,
        data={"homes": 5, "days": 6},
        model={"hidden": [4]},
        aggregation={"mode": "secure", "weight_cap": 64},
        train={"epochs": 1},
    )
)
SETTINGS: dict[str, Any] = {"server-round": 1}
FEWER = PLAN.change(transfer={"stages": ["random-k"], "share": 0.25})
_TIERS = [
    {"name": "hub", "width": 1.0, "share": 0.5},
    {"name": "plug", "width": 0.5, "share": 0.5},
]
SLICED = PLAN.change(
    slicing={"tiers": [{"depth": 1, **tier} for tier in _TIERS]},
    aggregation={"weights": "equal", "weight_cap": None},
)


class FullDisk(MemoryStore):
    """A store that takes some states and then no more."""

    left = 1 << 30

    def save(self, state: HomeState) -> None:
        """Keep the state, while there is room.

        Raises:
            StateError: ``disk-full``.
        """
        if not self.left:
            raise StateError("no room", reason="disk-full")
        self.left -= 1
        super().save(state)


class Home:
    """One home with an agent and readings, five others, and a server's question to it."""

    def __init__(
        self,
        folder: Path,
        work: Callable[[HomeFolder, HomeParty], Any] = InProcess,
        plan: Plan = PLAN,
    ) -> None:
        take_identity(1)
        self.plan, tier = plan, "hub" if plan.slicing.tiers else ""
        self.settings = dict(SETTINGS)
        self.sum: Sum | None = None
        self.moved = 0.0  # the model that is asked about, by how much
        self.world = World.of(5, policy=policy_of(plan), tier=tier)
        self.folder = HomeFolder(folder / HOME)
        keys, _ = home_keys(HOME, self.folder.path)
        self.readings = folder / "readings.parquet"
        write_home(next(iter(generate(homes=1, days=6, seed=3))), self.readings)
        self.folder.fill(
            HomeSettings(
                home=HOME, server="127.0.0.1:1", data=str(self.readings), worker_idle_s=60.0
            ),
            plan=plan,
            anchor=Anchor(fleet=self.world.directory.fleet, authority=self.world.authority.public),
            authorities=b"",
        )
        self.store = FullDisk()
        lasting: Any = SimpleNamespace(keys=keys, state=HomeState(), save=self.store.save)
        self.agent = MessageDispatch(self.folder, lasting, work)
        corrupt = corrupt_among(6, plan.aggregation.corrupt)
        entries = (*self.world.directory.homes, keys.entry(tier=tier))
        issued = self.world.next_epoch(
            homes=tuple(sorted(entries, key=lambda entry: entry.home)),
            committee=6,
            corrupt=corrupt,
            threshold=(6 + corrupt) // 2 + 1,
        )
        for home in self.world.homes.values():
            home.renew(issued)
        said = Freshness.of(self.world.directory, now=time.time())
        self.agent.renew(issued, said.sign(self.world.server))
        self.refill()
        device = real_home(plan, str(self.readings), name=HOME, tier=tier).device
        self.layout = device.fleets_layout
        draw = np.random.default_rng(0)
        self.initial = draw.normal(0, 0.1, self.layout.size).astype(np.float32)

    def refill(self) -> None:
        """Bring keys for the next sum."""
        self.world.now = time.time()  # the agent's clock, which is no test's
        self.world.refill()
        ring = self.world.ring().to_bytes()
        content = with_sum_record(RecordDict(), {"ring": ring})
        asked = self.agent.answer(Message(content, 7, "query.bundle"))
        self.world.pool.add(HOME, blobs_of(asked)["bundle"])

    def train(
        self,
        *,
        elements: int | None = None,
        model: Array | None = None,
        layout: Layout | None = None,
        **lies: Any,
    ) -> Message:
        """Let the server ask for training in a sum: as an honest one does, or with a lie."""
        start, plan = self.initial + np.float32(self.moved), self.plan
        layout = layout or self.layout
        start = np.resize(start, layout.size)
        summed = shell_layout(plan, layout, self.settings)
        form = Form(
            elements=count_of(plan, summed, self.settings),
            layout=bytes.fromhex(summed.hash),
            fixed=FixedPoint(16, 1.0, "linf", 1 if plan.slicing.tiers else 64),
            scalars=scalars_of(AskedQuestion(TRAIN, self.settings, start), plan),
            homes=6,
        )
        self.sum = sum_ = self.world.draw_up(
            [*self.world.homes, HOME],
            plan=terms_hash(plan),
            purpose=purpose_of("train", self.settings.get(SHELL, 0)),
            settings=settings_hash(self.settings),
            model_hash=model_hash(start),
            round=1,
            form=form,
            expires=int(self.world.now) + 600,
        )
        arrays = array_record(layout, start)
        if model is not None:
            arrays = ArrayRecord({lies.pop("key", layout.key): model})
        content = RecordDict({"arrays": arrays, "config": ConfigRecord(self.settings)})
        if "hash" in lies:
            lies["form"] = replace(form, layout=lies.pop("hash"))
        if elements is not None:
            lies["form"] = replace(form, elements=elements)
        if "scalars" in lies:
            lies["form"] = replace(form, scalars=lies.pop("scalars"))
        signed = replace(sum_.manifest, **lies).sign(self.world.server)
        content = with_sum_record(content, {"manifest": signed})
        return self.agent.answer(Message(content, 7, TRAIN))


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


def test_a_home_whose_disk_is_full_after_it_joined_sends_no_keys(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.store.left = 1  # the sum is joined; the next bundle's secrets find no room
    assert set(blobs_of(home.train())) == {"upload"}


def test_a_refusal_is_told(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.settings = {"server-round": 9_999}
    answer = home.train()
    assert answer.has_error()
    assert answer.error.reason == "settings"


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
