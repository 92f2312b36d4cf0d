"""A run that waits: for homes, for members, and before it repeats a round; its clock is ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from numpy.typing import NDArray
from rich.console import Console

from fedhome.errors import RoundError
from fedhome.flower.messages import content_of
from fedhome.plan.protocol import absence_told, fewest_there
from fedhome.plan.settings import Plan
from fedhome.run.events import EventLog, read_events
from fedhome.run.folder import RunFolder
from fedhome.run.progress import ProgressLines
from fedhome.run.summary import rounds_told
from fedhome.run.waiting import what_it_waits_for
from fedhome.server.rounds.model_questions import ModelQuestions
from fedhome.server.rounds.patience import Patience
from fedhome.server.rounds.round_loop import RoundLoop
from fedhome.server.rounds.sum_journal import MOST_TRIES
from fedhome.server.rounds.sum_needs import HOMES, MEMBERS, SumNeeds
from fedhome.server.strategies import strategy_of
from helpers import tiny
from helpers.publishing import INITIAL, MODEL_OF, SMALL, home
from helpers.wired_fleet import WiredFleet, secure_plan

FIVE = ("ash", "elm", "fir", "oak", "yew")


class Clock:
    """A clock that goes on when somebody sleeps, and homes that come and go with it.

    Args:
        there: Returns who is there, by the seconds that have passed.
    """

    def __init__(self, there: Callable[[float], set[str]]) -> None:
        self.now, self._there = 0.0, there

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds

    def there(self) -> set[str]:
        return self._there(self.now)


def patient(plan: Plan, clock: Clock, log: EventLog, needs: SumNeeds | None = None) -> Patience:
    return Patience(
        plan.rounds,
        needs=needs or SumNeeds(plan=plan, homes=FIVE),
        there=clock.there,
        log=log,
        clock=clock,
        sleep=clock.sleep,
    )


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    moment = datetime(2026, 11, 28, 17, 41, tzinfo=UTC)
    with EventLog(tmp_path / "events.jsonl", clock=lambda: moment) as opened:
        yield opened


# --- what a sum takes


@pytest.mark.parametrize(
    ("homes", "settings", "needed"),
    [
        (5, {}, 5),
        (6, {}, 5),
        (4, {}, 5),  # one more than there are: it is never enough
        (20, {"rounds": {"fraction": 0.5}}, 10),
        (20, {"aggregation": {"mode": "plain"}}, 1),
    ],
)
def test_how_many_homes_must_be_there(homes: int, settings: dict[str, Any], needed: int) -> None:
    assert fewest_there(Plan.load(**settings), fleet=homes, group=homes) == needed


def test_a_fleet_that_tolerates_no_absence_is_told_what_to_do() -> None:
    told = absence_told(Plan.load(), 5)
    assert "a sum takes 5 homes" in told
    assert "Invite one home more" in told
    assert absence_told(Plan.load(), 6) == ""
    assert absence_told(Plan.load(), 4) == "", "no run begins with it at all, as is said elsewhere"
    assert absence_told(Plan.load(aggregation={"mode": "plain"}), 5) == ""


def test_what_is_lacking_is_named() -> None:
    needs = SumNeeds(plan=Plan.load(), homes=FIVE, members=FIVE[:3], threshold=2)
    assert needs.lack(FIVE) is None
    lack = needs.lack({"ash", "elm", "fir", "oak"})
    assert lack is not None
    assert (lack.what, lack.there, lack.of, lack.needed) == (HOMES, 4, 5, 5)
    assert (lack.missing, lack.left_out) == (("yew",), ())
    lack = needs.lack(FIVE, left_out={"oak"})
    assert lack is not None
    assert (lack.there, lack.missing, lack.left_out) == (4, (), ("oak",))


def test_a_committee_that_is_away_is_a_lack_too() -> None:
    homes = tuple(f"home-{n}" for n in range(8))
    needs = SumNeeds(plan=Plan.load(), homes=homes, members=homes[:3], threshold=2)
    lack = needs.lack(homes[2:])
    assert lack is not None
    assert (lack.what, lack.there, lack.needed) == (MEMBERS, 1, 2)
    assert lack.missing == homes[:2]
    assert needs.lack(homes[1:]) is None


def test_groups_without_a_sum_are_no_lack_while_the_others_are_a_quorum() -> None:
    plan = Plan.load(aggregation={"groups": 2, "min_cohort": 3}, rounds={"quorum": 0.5})
    homes = tuple(f"home-{n}" for n in range(8))
    needs = SumNeeds(plan=plan, homes=homes, seed=b"seed")
    first = needs._groups[0]
    assert needs.lack(first) is None
    assert needs.lack(first[:2] + needs._groups[1][:2]) is not None
    # Four of six homes have a sum: enough for a quorum of a half, and not for one of four fifths.
    there = first + needs._groups[1][:2]
    assert needs.lack(there) is None
    strict = SumNeeds(plan=plan.change(rounds={"quorum": 0.8}), homes=homes, seed=b"seed")
    lack = strict.lack(there)
    assert lack is not None
    assert (lack.there, lack.of, lack.needed) == (2, 4, 3)


# --- waiting


def test_a_run_waits_for_the_home_that_is_missing_and_says_so_once(log: EventLog) -> None:
    clock = Clock(lambda now: set(FIVE) if now >= 140 else set(FIVE) - {"yew"})
    patient(Plan.load(), clock, log).await_homes(3)
    assert clock.now == 140
    waiting, over = read_events(log.path)
    assert what_it_waits_for([waiting]) == (
        "waiting since 2026-11-28 17:41 UTC for yew: 4 of 5 homes, 5 are needed"
    )
    assert (over.event, over.data) == ("waiting-over", {"round": 3, "seconds": 140.0})
    assert what_it_waits_for([waiting, over]) == ""
    lines = ProgressLines(Console())
    assert lines.line(waiting) == (
        f"{what_it_waits_for([waiting])}; `fedhome server status` says whom the server "
        "turns away and why, and `fedhome client status`, at the home, whether its agent runs"
    )
    assert lines.line(over) == "enough are there, after 140 s"


def test_homes_that_are_left_out_are_named_among_what_it_waits_for(log: EventLog) -> None:
    clock = Clock(lambda _: set(FIVE))
    waits = patient(Plan.load(rounds={"give_up_s": 10}), clock, log)
    waits.left_out = lambda: {"oak"}
    with pytest.raises(RoundError, match=r"no round for 10 s: 4 of 5 homes are there, 5"):
        waits.await_homes(1)
    assert what_it_waits_for(read_events(log.path)).endswith("5 are needed; oak left out")


def test_homes_that_were_left_out_are_asked_again_while_a_run_waits_for_them(
    log: EventLog,
) -> None:
    """Their owner may have mended them; if not, they are asked less and less often."""
    clock, out = Clock(lambda _: set(FIVE)), {"oak"}
    waits = patient(Plan.load(rounds={"pause_s": 10, "most_pause_s": 60}), clock, log)
    waits.left_out, waits.ask_again = lambda: out, out.clear
    took = []
    for _ in range(5):
        out.add("oak")  # it is asked, and does not fit yet
        began = clock.now
        waits.await_homes(1)
        took.append(clock.now - began)
    assert took == [11, 21, 41, 61, 61]
    waits.held()
    out.add("oak")
    began = clock.now
    waits.await_homes(2)
    assert clock.now - began == 11


def test_nobody_waits_where_enough_are_there(log: EventLog) -> None:
    clock = Clock(lambda _: set(FIVE))
    patient(Plan.load(), clock, log).await_homes(1)
    assert clock.now == 0
    assert read_events(log.path) == []


# --- pauses


def test_pauses_grow_up_to_the_longest_and_begin_anew(log: EventLog) -> None:
    clock = Clock(lambda _: set(FIVE))
    plan = Plan.load(rounds={"pause_s": 10, "most_pause_s": 60})
    waits, took = patient(plan, clock, log), []
    for _ in range(5):
        began = clock.now
        waits.pause(2, homes=3, needed=5, reason="no keys")
        took.append(clock.now - began)
    assert took == [10, 20, 40, 60, 60]
    waits.held()
    began = clock.now
    waits.pause(3, homes=3, needed=5)
    assert clock.now - began == 10
    first = read_events(log.path)[0]
    assert what_it_waits_for([first]) == (
        "round 2 failed once: 3 homes answered, 5 are needed (no keys); it is repeated at "
        "2026-11-28 17:41 UTC, or when another home comes"
    )


def test_a_sum_that_could_not_be_opened_is_told_by_its_cause(log: EventLog) -> None:
    """Five of five had answered, and five are needed: "0 homes answered, 3 are needed", it said."""
    clock = Clock(lambda _: set(FIVE))
    why = "4 homes are fewer than min_cohort = 5; 1 of 5 homes said: its disk is full"
    patient(Plan.load(), clock, log).pause(1, homes=0, needed=3, reason=why)
    assert what_it_waits_for(read_events(log.path)) == (
        f"round 1 failed once: {why}; it is repeated at 2026-11-28 17:41 UTC, or when another "
        "home comes"
    )


def test_a_pause_ends_when_another_home_comes_but_not_before_the_first_one(log: EventLog) -> None:
    plan = Plan.load(rounds={"pause_s": 10, "most_pause_s": 1000})
    six = {*FIVE, "ivy"}
    clock = Clock(lambda now: six if int(now / 3) % 2 else set(FIVE))
    waits = patient(plan, clock, log)
    for _ in range(6):
        began = clock.now
        waits.pause(2, homes=5, needed=6)
        assert 10 <= clock.now - began <= 17, "a home that comes and goes sets no pace below that"


def test_who_is_away_is_waited_for_and_costs_no_pause_besides(log: EventLog) -> None:
    clock = Clock(lambda now: set(FIVE) if now >= 30 else set(FIVE) - {"yew"})
    waits = patient(Plan.load(), clock, log)
    waits.pause(2, homes=4, needed=5)
    assert what_it_waits_for(read_events(log.path)) == (
        "round 2 failed once: 4 homes answered, 5 are needed; it is repeated"
    )
    waits.await_homes(2)
    assert clock.now == 30


def test_a_search_needs_no_pause(log: EventLog) -> None:
    clock = Clock(lambda _: set(FIVE))
    patient(Plan.load(), clock, log).pause(2, homes=0, needed=5, searching=True)
    assert clock.now == 0


def test_a_run_gives_up_after_the_time_that_its_plan_says(log: EventLog) -> None:
    clock = Clock(lambda _: set(FIVE))
    waits = patient(Plan.load(rounds={"give_up_s": 100, "pause_s": 10}), clock, log)

    def wait_for_ever() -> None:
        while True:
            waits.pause(2, homes=0, needed=5, reason="no keys")

    with pytest.raises(RoundError, match=r"no round for 100 s: 0 homes .*no keys") as over:
        wait_for_ever()
    assert "rounds.give_up_s = 100" in over.value.hint
    assert clock.now == 100


# --- the rounds of a run


class _World:
    """Three homes that may fail, and a run over them that waits."""

    def __init__(self, folder: Path, how: Callable[[Message, int], Message | None]) -> None:
        self.clock = Clock(lambda _: set(FIVE))
        self.plan = tiny.plan(rounds={"count": 3})
        self.folder = RunFolder.create(folder)
        self.grid = tiny.FakeGrid(3, how)

    def play(self) -> RoundLoop:
        with EventLog(self.folder.events_path) as log:
            rounds = RoundLoop(
                plan=self.plan,
                strategy=strategy_of(self.plan, 3),
                grid=self.grid,
                layout=SMALL,
                initial=INITIAL,
                folder=self.folder,
                log=log,
                patience=patient(self.plan, self.clock, log),
            )
            rounds.run()
        return rounds


def test_a_failed_round_is_repeated_under_its_number_and_costs_no_round(tmp_path: Path) -> None:
    asked: list[tuple[str, object]] = []
    left = [7]

    def how(message: Message, position: int) -> Message | None:
        kind, number = message.metadata.message_type, content_of(message)[1]["server-round"]
        if position == 0:
            asked.append((kind, number))
        if kind == "train" and number == 2 and left[0]:
            left[0] -= position == 2
            return None
        return home(message, position)

    world = _World(tmp_path / "run", how)
    rounds = world.play()
    assert rounds.state.flat.tolist() == MODEL_OF[3], "as if nothing had happened"
    assert [row["round"] for row in rounds.state.rows] == [1, 2, 3]
    assert [row["homes_answered"] for row in rounds.state.rows] == [3, 3, 3]
    assert asked.count(("train", 2)) == 8
    assert asked.count(("evaluate", 2)) == 1, "what did not change is not evaluated anew"
    assert world.clock.now == sum(10.0 * 2**n for n in range(7))
    told = rounds_told(world.folder.read_events())
    assert told == "3 rounds changed the model; 7 attempts failed, and were repeated"


def test_who_was_drawn_and_does_not_answer_is_not_drawn_again_and_again(tmp_path: Path) -> None:
    """Of ten homes half are drawn for a round, and three of them never answer."""
    plan = tiny.plan(rounds={"count": 1, "fraction": 0.5, "quorum": 1.0, "evaluate_fraction": 0.0})

    def how(message: Message, position: int) -> Message | None:
        return home(message, position % 3) if position > 2 else None

    grid, folder = tiny.FakeGrid(10, how), RunFolder.create(tmp_path / "run")
    with EventLog(folder.events_path) as log:
        RoundLoop(
            plan=plan,
            strategy=strategy_of(plan, 10),
            grid=grid,
            layout=SMALL,
            initial=INITIAL,
            folder=folder,
            log=log,
            patience=patient(plan, Clock(lambda _: set(FIVE)), log),
        ).run()
    assert folder.read_events()[-1].event == "round-closed"


@pytest.mark.long
def test_the_model_of_a_fleet_with_outages_is_that_of_one_without(tmp_path: Path) -> None:
    """Homes are away before a round, and vanish within one; then all of them are back."""
    plan = secure_plan(rounds={"count": 3, "evaluate_fraction": 0.0}, aggregation={"min_cohort": 7})
    quiet = WiredFleet(tmp_path / "quiet", plan)
    with quiet.run() as rounds:
        expected = rounds.run().copy()
    fleet = WiredFleet(tmp_path / "stormy", plan)
    directory = fleet.world.directory
    needs = SumNeeds(
        plan=plan,
        homes=directory.names,
        seed=directory.seed,
        members=directory.members,
        threshold=directory.threshold,
    )
    fleet.wire.away = {"h03", "h06"}
    lost = [2]

    def vanishes(name: str, message: Message) -> bool:
        gone = name == "h01" and message.metadata.message_type == "train" and lost[0] > 0
        lost[0] -= gone
        return gone

    fleet.wire.deaf = vanishes

    def there(now: float) -> set[str]:
        if now >= 60:
            fleet.wire.away = set()
        return set(fleet.wire.homes) - fleet.wire.away

    with fleet.run() as rounds:
        rounds._patience = patient(plan, Clock(there), rounds.log, needs)
        flat = rounds.run()
        assert [row["homes_answered"] for row in rounds.state.rows] == [7, 7, 7]
    np.testing.assert_array_equal(flat, expected)
    assert rounds_told(RunFolder(fleet.folder / "run").read_events()) == (
        "3 rounds changed the model; 2 attempts failed, and were repeated; waited 60 s for homes"
    )


def _spoils_what_is_asked_between_rounds(fleet: WiredFleet, cheat: str) -> None:
    """Let a home add numbers beyond all bounds where no update is summed."""

    def forge(words: NDArray[Any]) -> NDArray[Any]:
        return words if words.size > fleet.learning.layout.size // 2 else ~words

    fleet.parts[cheat].forge = forge


def _spoilt(folder: Path, *, judged: bool) -> tuple[float, int]:
    """Return how long a run of three rounds waited, s, and how often a home was asked for nothing.

    One of seven homes spoils each sum that trains nothing.
    """
    rounds = {"count": 3, "judge_every": int(judged), "evaluate_fraction": float(not judged)}
    plan = secure_plan(rounds=rounds, personalise={"name": "fine-tune"})
    fleet = WiredFleet(folder, plan)
    _spoils_what_is_asked_between_rounds(fleet, "h03")
    clock = Clock(lambda _: set(fleet.wire.homes))
    needs = SumNeeds(plan=plan, homes=fleet.world.directory.names)
    with fleet.run() as run:
        run._patience = patient(plan, clock, run.log, needs)
        run.run()
        candidate = run.candidate()
    assert candidate is not None
    assert (candidate.round, candidate.loss) == (3, None)
    assert "an opened sum is not between 0 and what 7 homes" in fleet.events
    return clock.now, sum(reason == "opened-before" for _, reason in fleet.wire.refusals)


@pytest.mark.long
@pytest.mark.parametrize("judged", [True, False], ids=["judged", "measured"])
def test_what_a_home_has_spoilt_is_not_waited_for(*, judged: bool, tmp_path: Path) -> None:
    """Homes open no second sum about a model: to pause and ask again would cost time alone."""
    assert _spoilt(tmp_path, judged=judged)[0] == 0


@pytest.mark.long
def test_control_each_judged_round_that_was_spoilt_was_asked_for_six_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        ModelQuestions, "_over", lambda _, patience: patience.failures + 1 >= MOST_TRIES
    )
    waited_s, refused = _spoilt(tmp_path, judged=True)
    assert waited_s >= 10 * (2**5 - 1)
    assert refused > 0
