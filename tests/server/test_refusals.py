"""Why homes refuse reaches whoever runs the server: once, by home and word, and its end too."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fedhome.flower.messages import failure, reply, take_identity
from fedhome.plan.round_settings import RoundSettings
from fedhome.reasons import CLAIMED, OTHER_PLAN, TOLD, in_words, listed, word_in
from fedhome.run.events import EventLog, read_events
from fedhome.run.progress import ProgressLines
from fedhome.run.refusing import Refusing
from fedhome.server.rounds.folded_notes import FoldedNotes
from fedhome.server.rounds.homes_grid import FIRST, HomesGrid
from fedhome.server.rounds.refusals import Refusals
from helpers import tiny
from helpers.wired_fleet import WiredFleet, secure_plan

HOMES = ("elm", "oak", "yew")


class Flower(tiny.FakeGrid):
    """Flower's grid, whose nodes 100, 101, ... answer once with what they are to say."""

    def __init__(self) -> None:
        super().__init__(0, lambda *_: None)
        self.says: dict[int, str] = {}
        self._sent: dict[str, Message] = {}

    def get_node_ids(self) -> Iterable[int]:
        return [100 + place for place in range(len(HOMES))]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        for message in messages:
            name = f"copy-{len(self._sent)}"
            message.metadata.__dict__["_message_id"] = name
            self._sent[name] = message
            yield name

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        for name in message_ids:
            asked = self._sent[name]
            said = self.says.get(asked.metadata.dst_node_id, "")
            yield failure(asked, said) if said else reply(asked, {"num-examples": 1})


class Asked:
    """Homes that are asked, and the log of it."""

    def __init__(self, folder: Path) -> None:
        take_identity(1)
        self.flower = Flower()
        self.path = folder / "events.jsonl"
        self.log = EventLog(self.path)
        self.lines: list[str] = []
        lines = ProgressLines(Console(file=io.StringIO()))
        self.log.subscribe(lambda event: self.lines.append(lines.line(event)))
        self.grid = HomesGrid(
            self.flower,
            HOMES,
            lambda: {home: 100 + place for place, home in enumerate(HOMES)},
            rounds=RoundSettings(),
            hear=Refusals(self.log).hear,
        )

    def ask(self, kind: str = "train", **says: str) -> list[Message]:
        self.flower.says = {100 + HOMES.index(home): word for home, word in says.items()}
        content = RecordDict({"config": ConfigRecord({"x": 1})})
        nodes = [FIRST + place for place in range(len(HOMES))]
        sent = [Message(content, node, kind) for node in nodes]
        return list(self.grid.send_and_receive(sent, timeout=5.0))

    @property
    def events(self) -> list[tuple[str, str]]:
        events = read_events(self.path)
        return [(event.event, str(event.data["home"])) for event in events]

    @property
    def standing(self) -> dict[str, str]:
        return {one.home: one.reason for one in Refusing(read_events(self.path)).standing}


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    asked = Asked(tmp_path)
    yield asked
    asked.log.close()


def test_a_refusal_is_told_once_with_what_to_do_and_its_end_too(asked: Asked) -> None:
    for _ in range(3):
        answers = asked.ask(elm="replayed", oak="replayed", yew="disk-full")
        assert [answer.has_error() for answer in answers] == [True] * 3
    assert sorted(asked.events) == [("home-refused", home) for home in HOMES]
    shown = [line for line in asked.lines if line]
    assert len(shown) == 2, "one for each reason, not for each home"
    assert "refuses train: a sum whose number has passed (replayed); the server came" in shown[0]
    assert "owner: `fedhome fleet directory`" in shown[0]
    assert asked.standing == {"elm": "replayed", "oak": "replayed", "yew": "disk-full"}
    closed = {"round": 2, "homes_answered": 0, "homes_asked": 3}
    losses = dict.fromkeys(("train_loss", "validation_loss", "validation_score"))
    asked.log.append("round-closed", **closed, **losses)
    assert asked.lines[-1].endswith("0/3 homes  refuse: replayed 2, disk-full 1")
    asked.ask(oak="replayed")
    assert asked.standing == {"oak": "replayed"}
    asked.ask()
    assert asked.standing == {}


def test_where_homes_refuse_the_plan_it_is_told_what_to_type(asked: Asked) -> None:
    failed = {"round": 41, "homes": 0, "needed": 3, "attempt": 1, "again_s": 10.0}
    asked.ask(elm="replayed")
    asked.log.append("round-failed", **failed)
    assert "another plan" not in asked.lines[-1]
    asked.ask(elm="settings", oak="settings", yew="plan")
    for _ in range(2):
        asked.log.append("round-failed", **failed)
    first, second = asked.lines[-2:]
    assert first.startswith(second), "what to do is said once"
    told = first.removeprefix(second).strip()
    assert told.startswith("elm, oak, yew agreed to another plan than this one (plan, settings).")
    for command in ("server cancel", "fleet invite HOME --again", "client join"):
        assert command in told
    asked.ask()
    asked.log.append("round-failed", **failed)
    assert asked.lines[-1] == second


def test_words_of_another_plan_are_those_whose_remedy_is_the_homes_plan() -> None:
    theirs = {word for word, one in TOLD.items() if "homes' plan" in one.remedy}
    theirs |= {word for word, one in TOLD.items() if "that the homes agreed to" in one.remedy}
    assert theirs == OTHER_PLAN


def test_another_question_is_another_matter(asked: Asked) -> None:
    for _ in range(2):
        asked.ask("query.help", elm="not-member")
        asked.ask("train", elm="replayed")
    assert len(asked.events) == 2
    asked.ask("train")
    assert asked.standing == {"elm": "not-member"}


def test_a_home_that_says_more_is_held_to_the_words(asked: Asked) -> None:
    answers = asked.ask(elm="at 21.5 degrees, my \x1b[2J kitchen is too warm")
    assert [one.error.reason for one in answers if one.has_error()] == ["unlisted"]
    assert "kitchen" not in asked.path.read_text("utf-8")


@given(st.sampled_from(sorted(TOLD)))
def test_a_word_is_found_in_what_it_means(word: str) -> None:
    assert word_in(in_words(word)) == word == word_in(word) == listed(word)


@given(st.text())
def test_what_is_no_word_stays_as_it_is(text: str) -> None:
    if text not in TOLD:
        assert (in_words(text), listed(text)) == (text, "unlisted")


def test_no_word_means_two_things_to_who_is_told() -> None:
    shared = [word for word in TOLD if CLAIMED[word] != TOLD[word]]
    assert shared == []


def test_notes_that_come_again_are_folded(tmp_path: Path) -> None:
    with EventLog(tmp_path / "events.jsonl") as log:
        notes = FoldedNotes(log)
        for _ in range(120):
            notes.tell("elm is away")
        notes.tell("oak is away")
    texts = [event.data["text"] for event in read_events(tmp_path / "events.jsonl")]
    ten, hundred = "elm is away (10 times so far)", "elm is away (100 times so far)"
    assert texts == ["elm is away", ten, hundred, "oak is away"]


@pytest.mark.long
def test_a_server_that_came_back_from_a_backup_reads_why_nobody_answers(tmp_path: Path) -> None:
    fleet = WiredFleet(tmp_path, secure_plan(rounds={"count": 2}, aggregation={"weight_cap": None}))
    with fleet.run() as rounds:
        rounds.run()
    (tmp_path / "turns").unlink()  # as of yesterday, and as the homes would see it
    fleet.name = "again"
    with fleet.run() as rounds:
        rounds.state.flat = rounds.state.flat + 1
        rounds._round(1)
    assert "7 of 7 homes said: a sum whose number has passed (replayed)" in fleet.events
    assert fleet.events.count('"reply-dropped"') >= 7
    assert {reason for _, reason in fleet.wire.refusals} == {"replayed"}
