"""A round is closed when that is reasonable, and no home holds two of them up: by our own clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from flwr.app import ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.app.message import make_message

from fedhome.flower.messages import AWAY, SERVER_NODE, identify
from fedhome.plan.round_settings import RoundSettings
from fedhome.plan.settings import Plan
from fedhome.server.rounds.homes_grid import HomesGrid
from fedhome.server.rounds.punctuality import Punctuality
from fedhome.server.rounds.reply_stream import replies_of
from fedhome.simulations.engines.grid import InProcessGrid

HOMES = ("ash", "elm", "fir", "oak", "yew")
NUMBERS = {name: number for number, name in enumerate(HOMES, 2)}


def _settings(**rounds: Any) -> RoundSettings:
    return Plan.load(rounds=rounds).rounds


class _Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class _Question:
    """A question to the five homes, each message called like its home."""

    def __init__(self, enough: int = 3, **rounds: Any) -> None:
        self.clock, self.enough = _Time(), enough
        self.homes = Punctuality(_settings(**rounds), clock=self.clock)

    def ask(self) -> None:
        self.began = self.clock.now
        self.homes.ask(NUMBERS)

    def at(self, seconds: float, *names: str, useful: bool = True) -> bool:
        """Let homes answer some time after the question, and say whether it is closed then."""
        self.clock.now = self.began + seconds
        for name in names:
            self.homes.answer(name, useful=useful)
        return self.homes.closes(HOMES, self.enough)


# --- when a question is closed


def test_it_is_closed_after_a_multiple_of_the_time_in_which_half_answered() -> None:
    asked = _Question(close_after=5, close_least_s=30)
    asked.ask()
    assert not asked.at(10, "ash", "elm")
    assert not asked.at(20, "fir")  # half have answered after 20 s
    assert not asked.at(99, "oak")
    assert asked.at(100)


def test_it_is_not_closed_before_the_least_time() -> None:
    asked = _Question(close_after=5, close_least_s=30)
    asked.ask()
    assert not asked.at(1, "ash", "elm", "fir", "oak")
    assert not asked.at(29)
    assert asked.at(30)


def test_it_is_closed_at_a_share_of_answers() -> None:
    asked = _Question(close_share=0.8)
    asked.ask()
    assert not asked.at(1, "ash", "elm", "fir")
    assert asked.at(2, "oak")


@pytest.mark.parametrize("share", [0.6, 1.0])
def test_it_is_not_closed_before_enough_answered(share: float) -> None:
    asked = _Question(enough=5, close_share=share)
    asked.ask()
    assert not asked.at(1, "ash", "elm", "fir", "oak")
    assert not asked.at(3599), "a sum needs all of them: the deadline is left to end it"
    assert not asked.at(3600, "yew", useful=False), "a refusal adds nothing"


def test_what_nobody_need_answer_is_closed_after_the_least_time() -> None:
    asked = _Question(enough=0, close_least_s=30)
    asked.ask()
    assert not asked.at(29)
    assert asked.at(30)


def test_who_is_away_is_not_waited_for() -> None:
    asked = _Question(close_least_s=30)
    asked.ask()
    asked.homes.leave("yew")
    assert asked.at(2, "ash", "elm", "fir", "oak"), "all that are left have answered"
    assert asked.homes.close(HOMES) == set()


# --- who was late


def test_no_home_holds_two_questions_up() -> None:
    asked = _Question(close_least_s=30)
    asked.ask()
    others = ("ash", "elm", "fir", "oak")
    assert not asked.at(4, *others)
    assert asked.at(30)
    assert asked.homes.close(HOMES) == {NUMBERS["yew"]}
    assert asked.homes.silent == set()
    asked.ask()
    assert not asked.at(4, *others)
    assert not asked.at(10.9)
    assert asked.at(11), "twice what the others took, and three seconds"
    assert asked.homes.close(HOMES) == asked.homes.silent == {NUMBERS["yew"]}


def test_who_was_late_once_and_then_answers_in_time_is_as_good_as_any() -> None:
    asked = _Question(close_least_s=30)
    asked.ask()
    others = ("ash", "elm", "fir", "oak")
    asked.at(4, *others)
    asked.homes.close(HOMES)
    asked.ask()
    asked.at(4, *others)
    asked.at(9, "yew")
    assert asked.homes.close(HOMES) == set()
    asked.ask()
    asked.at(4, *others)
    assert not asked.at(20), "it is waited for again"


def test_who_is_heard_is_asked_again_and_is_silent_when_late_once_more() -> None:
    asked = _Question(close_least_s=30)
    for _ in range(2):
        asked.ask()
        asked.at(4, "ash", "elm", "fir", "oak")
        asked.homes.close(HOMES)
    yew = NUMBERS["yew"]
    assert asked.homes.silent == {yew}
    asked.homes.hear(yew)
    assert asked.homes.silent == set()
    asked.ask()
    assert asked.at(11, "ash", "elm", "fir", "oak") is False
    assert asked.at(25), "doubtful: for twice 11 s and three"
    asked.homes.close(HOMES)
    assert asked.homes.silent == {yew}


def test_a_question_that_needed_no_more_answers_makes_nobody_late() -> None:
    asked = _Question()
    asked.ask()
    asked.at(1, "ash")
    assert asked.homes.close(HOMES, over=False) == set()
    assert asked.homes.closes(HOMES, 0) is False, "it is forgotten"


# --- over Flower's grid


class _Nodes(InProcessGrid):
    """Flower's grid: nodes answer after some time, by the clock, or never."""

    def __init__(self, clock: _Time) -> None:
        super().__init__(HOMES)
        self.clock = clock
        self.takes: dict[str, float] = dict.fromkeys(HOMES, 2.0)
        self.online = set(HOMES)
        self.sent: list[tuple[str, str]] = []
        self._due: dict[str, tuple[float, Message]] = {}

    def get_node_ids(self) -> Iterable[int]:
        return [100 + number for name, number in NUMBERS.items() if name in self.online]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        names = []
        for message in messages:
            home = HOMES[message.metadata.dst_node_id - 102]
            name = f"m{len(self.sent)}"
            self.sent.append((home, message.metadata.message_type))
            identify(message, name)
            content = RecordDict({"metrics": MetricRecord({"num-examples": 1})})
            answer = Message(content, reply_to=message)
            self._due[name] = self.clock.now + self.takes[home], answer
            names.append(name)
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        due = [n for n in message_ids if n in self._due and self._due[n][0] <= self.clock.now]
        return [self._due.pop(name)[1] for name in due]

    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    def answer(self, messages: list[Message]) -> list[Message]:
        raise NotImplementedError

    observe = answer


class _Fleet:
    def __init__(self, **rounds: Any) -> None:
        self.clock = _Time()
        self.nodes = _Nodes(self.clock)
        claims = {name: 100 + number for name, number in NUMBERS.items()}
        self.grid = HomesGrid(
            self.nodes, HOMES, lambda: claims, rounds=_settings(**rounds), clock=self.clock
        )

    def ask(self, enough: int | None = 3, *, deadline_s: float = 3600.0) -> tuple[set[str], float]:
        """Ask all that are there; return who answered, and how long it took."""
        began = self.clock.now
        content = RecordDict({"config": ConfigRecord()})
        numbers = list(self.grid.get_node_ids())
        messages = [Message(content, number, "train") for number in numbers]
        replies = list(replies_of(self.grid, messages, deadline_s, enough=enough))
        names = {HOMES[reply.metadata.src_node_id - 2] for _, reply in replies}
        return names, self.clock.now - began


def test_a_home_that_takes_for_ever_costs_one_round_and_comes_back() -> None:
    fleet = _Fleet(close_least_s=30)
    others = set(HOMES) - {"yew"}
    assert fleet.ask() == (set(HOMES), 2)
    fleet.nodes.takes["yew"] = 1e9
    assert fleet.ask() == (others, 30)
    assert fleet.grid.late == 1
    names, took = fleet.ask()
    assert (names, took <= 8) == (others, True)
    assert fleet.grid.present() == others
    before = len(fleet.nodes.sent)
    assert fleet.ask() == (others, 2)
    asked = fleet.nodes.sent[before:]
    assert [kind for home, kind in asked if home == "yew"] in ([], ["query.help"])
    fleet.nodes.takes["yew"] = 1.0  # it is there again: the next time that it is asked at all
    for _ in range(700):
        fleet.clock.now += 2
        if "yew" in fleet.grid.present():
            break
    assert fleet.clock.now < 1000, "homes are asked at least every ten minutes"
    assert fleet.ask() == (set(HOMES), 2)
    fleet.nodes.takes["yew"] = 20.0
    assert fleet.ask() == (set(HOMES), 20), "it is waited for again"


def test_a_late_answer_shows_that_a_home_is_there() -> None:
    fleet = _Fleet(close_least_s=30)
    fleet.nodes.takes["yew"] = 40.0
    others = set(HOMES) - {"yew"}
    assert fleet.ask() == (others, 30)
    assert fleet.ask()[0] == others
    assert "yew" not in fleet.grid.present()
    fleet.clock.now += 5
    assert "yew" in fleet.grid.present(), "its answer to the first question has come"


def test_where_all_are_needed_all_are_waited_for() -> None:
    fleet = _Fleet(close_least_s=30)
    fleet.nodes.takes["yew"] = 500.0
    assert fleet.ask(enough=5) == (set(HOMES), 500)


def test_a_question_without_a_number_is_not_closed_early() -> None:
    fleet = _Fleet(close_least_s=30)
    fleet.nodes.takes["yew"] = 500.0
    assert fleet.ask(enough=None) == (set(HOMES), 500)


def test_the_deadline_ends_what_too_few_answer() -> None:
    fleet = _Fleet()
    fleet.nodes.takes = dict.fromkeys(HOMES, 1e9)
    assert fleet.ask(deadline_s=0.0)[0] == set()
    assert fleet.grid.late == 5


def test_who_was_late_too_often_is_told_so_in_place_of_its_answer() -> None:
    fleet = _Fleet(close_least_s=30)
    fleet.nodes.takes["yew"] = 1e9
    fleet.ask()
    fleet.ask()
    message = Message(RecordDict({"config": ConfigRecord()}), NUMBERS["yew"], "train")
    (answer,) = fleet.grid.send_and_receive([message], timeout=5.0)
    assert answer.has_error()
    assert answer.error.reason == "the home was late too often"


def test_a_home_that_goes_away_is_not_late() -> None:
    fleet = _Fleet(close_least_s=30)
    pull: Callable[[Iterable[str]], Iterable[Message]] = fleet.nodes.pull_messages

    def gone(message_ids: Iterable[str]) -> Iterable[Message]:
        replies = list(pull(message_ids))
        for reply in [one for one in replies if one.metadata.src_node_id == 106]:
            replies.remove(reply)
            reply.metadata._src_node_id = SERVER_NODE
            away = make_message(metadata=reply.metadata, error=Error(AWAY, "Node Unavailable"))
            replies.append(away)
        return replies

    fleet.nodes.pull_messages = gone  # type: ignore[method-assign]
    for _ in range(3):
        fleet.ask()
    assert fleet.grid.late == 0
    assert "yew" in fleet.grid.present()
