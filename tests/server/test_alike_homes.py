"""A server asks for sums that members open: homes that went away take some more with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message

from fedhome.errors import OpeningError, StateError
from fedhome.flower.messages import content_of
from fedhome.learning.mixture import FIRST_STRENGTH, knowing_nothing, upper
from fedhome.questions.question_table import ADAPTED, BLEND, EVALUATE, OUTCOME, SHRINK
from fedhome.run.events import read_events
from fedhome.secagg.alike import smallest_lot
from fedhome.server.rounds.alike_homes import AlikeHomes
from fedhome.server.rounds.outcome import personalise
from fedhome.server.rounds.sum_journal import SumJournal, name_of
from helpers.secagg_world import names_of
from helpers.wired_fleet import WiredFleet, secure_plan

HOMES = names_of(12)
MODEL = b"m" * 32
JUDGED = {"count": 1, "judge_every": 1}


def _fleet(folder: Path, homes: int) -> WiredFleet:
    plan = secure_plan(rounds=JUDGED, personalise={"name": "fine-tune", "epochs": 1})
    return WiredFleet(folder, plan, homes)


def _silent(fleet: WiredFleet, home: str, kind: str) -> None:
    """Let a home be away whenever a question of a kind is asked."""

    def deaf(name: str, message: Message) -> bool:
        return name == home and message.metadata.message_type == kind

    fleet.wire.deaf = deaf


def _told(fleet: WiredFleet, event: str) -> list[dict[str, Any]]:
    rows = map(json.loads, fleet.events.splitlines())
    return [row["data"] for row in rows if row["event"] == event]


@pytest.mark.long
def test_a_home_that_goes_away_after_a_round_is_judged_takes_four_with_it(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path, 12)
    _silent(fleet, "h03", EVALUATE)
    with fleet.run() as loop:
        loop.run()
        journal, model = loop.grid.channel.journal, _only_model(tmp_path)
        tested = journal.homes_in(f"evaluate-{model}-0")
        judged = journal.homes_in(f"adapted-{model}-0")
    assert judged == set(HOMES)
    assert tested is not None
    assert (len(tested), "h03" in tested) == (7, False)
    assert smallest_lot([tested, judged]) == 5
    assert fleet.wire.refusals == [], "members open it"
    assert len(_told(fleet, "model-judged")) == 1
    assert "tell fewer than 5 homes apart from that of 'adapted': 4 homes left out" in fleet.events
    row = tmp_path / "run" / "sums" / f"evaluate-{model}-0.missing"
    why = json.loads(row.read_text())
    assert set(why) == set(HOMES) - tested
    assert sum("would tell few homes apart" in reason for reason in why.values()) == 4


def _only_model(folder: Path) -> str:
    (path,) = (folder / "run" / "sums").glob("adapted-*.homes")
    return path.stem.split("-")[1]


@pytest.mark.long
def test_in_a_small_fleet_a_round_is_judged_also_where_a_home_goes_away_after_it(
    tmp_path: Path,
) -> None:
    """The test of the model as it is is done without; what the run ends with is tested later."""
    fleet = _fleet(tmp_path, 7)
    _silent(fleet, "h03", EVALUATE)
    with fleet.run() as loop:
        loop.run()
        (row,) = loop.state.rows
        assert (row["homes_answered"], row["validation_loss"]) == (7, None)
        fleet.wire.deaf = lambda name, message: False  # noqa: ARG005 - it is back
        candidate = loop.candidate()
    assert len(_told(fleet, "model-judged")) == 1
    assert "too few were in that one, or too many are missing" in fleet.events
    assert candidate is not None
    assert candidate.round == 1
    assert candidate.loss is not None
    assert fleet.wire.refusals == []


@pytest.mark.long
def test_in_a_small_fleet_those_that_judge_test_the_model_as_well(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path, 7)
    _silent(fleet, "h03", ADAPTED)
    with fleet.run() as loop:
        loop.run()
        assert loop.state.rows[-1]["validation_loss"] is not None
        journal, model = loop.grid.channel.journal, _only_model(tmp_path)
        tested = journal.homes_in(f"evaluate-{model}-0")
        judged = journal.homes_in(f"adapted-{model}-0")
    assert tested == judged == set(names_of(7)) - {"h03"}
    assert len(_told(fleet, "model-judged")) == 1
    assert fleet.wire.refusals == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("away", "told"),
    [
        (SHRINK, "how far homes follow the fleet's mixture"),
        (BLEND, "how experts' errors go together in the fleet is not learnt"),
    ],
)
def test_where_too_few_can_be_asked_how_to_mix_homes_mix_as_by_default(
    away: str, told: str, tmp_path: Path
) -> None:
    """A home was in the test of the model, and is away when it is asked how experts err on it."""
    fleet = _fleet(tmp_path, 7)
    asked: list[Any] = []
    matrices: list[Any] = []

    def deaf(name: str, message: Message) -> bool:
        if message.metadata.message_type == OUTCOME:
            settings = content_of(message)[1]
            asked.append(settings["strength"])
            matrices.append(settings["matrix"])
        return name == "h03" and message.metadata.message_type == away

    fleet.wire.deaf = deaf
    with fleet.run() as loop:
        loop.run()
        personalise(
            plan=loop.plan,
            grid=loop.grid,
            layout=loop.layout,
            flat=loop.state.flat,
            score="skill",
            log=loop.log,
            name_of=lambda node: fleet.wire.names[node],
        )
    assert asked == [FIRST_STRENGTH] * 7
    (counted,) = _told(fleet, "scores-counted")
    assert counted["homes"] == 7
    notes = [one["text"] for one in _told(fleet, "note")]
    assert any(note.startswith(told) for note in notes)
    nothing = upper(knowing_nothing(len(fleet.plan.personalise.experts))).tolist()
    assert (matrices[0] == nothing) == (away == BLEND)


# --- the choice itself


def _choice(folder: Path | None = None) -> tuple[AlikeHomes, SumJournal]:
    journal = SumJournal(folder)
    return AlikeHomes(secure_plan(), journal, fleet=12), journal


def _fitting(alike: AlikeHomes, homes: list[str], notes: list[str] | None = None) -> set[str]:
    return alike.fitting(
        homes,
        purpose="shrink",
        model_hash=MODEL,
        group=0,
        notes=[] if notes is None else notes,
    )


def test_without_an_earlier_sum_all_that_are_there_are_in_it() -> None:
    alike, journal = _choice()
    assert _fitting(alike, HOMES[:6]) == set(HOMES[:6])
    journal.keep_homes(name_of("blend", b"n" * 32, 0), HOMES)  # about another model
    journal.keep_homes(name_of("blend", MODEL, 1), HOMES)  # of another group
    journal.keep_homes(name_of("train", MODEL, 0), HOMES)  # of other numbers
    notes: list[str] = []
    assert _fitting(alike, HOMES[:11], notes) == set(HOMES[:11])
    assert notes == []


def test_who_was_in_a_sum_is_known_to_the_next_process_and_after_it_was_given_up(
    tmp_path: Path,
) -> None:
    _, journal = _choice(tmp_path)
    name = name_of("blend", MODEL, 0)
    journal.keep_homes(name, HOMES)
    journal.give_up(name)  # members have opened it all the same
    alike, again = _choice(tmp_path)
    notes: list[str] = []
    kept = _fitting(alike, HOMES[1:], notes)
    assert len(kept) == 7
    (note,) = notes
    assert note.endswith("4 homes left out of it")
    with pytest.raises(OpeningError) as refused:
        _fitting(alike, HOMES[:4])
    assert refused.value.reason == "alike"
    again.keep_only([MODEL])
    assert again.homes_in(name) == set(HOMES)
    again.keep_only([b"n" * 32])
    assert again.homes_in(name) is None
    assert not list(tmp_path.glob("*.homes"))


@pytest.mark.parametrize("data", ["no list", "{}", "[1]"])
def test_a_damaged_list_of_homes_is_refused(data: str, tmp_path: Path) -> None:
    _, journal = _choice(tmp_path)
    name = name_of("blend", MODEL, 0)
    (tmp_path / f"{name}.homes").write_text(data)
    with pytest.raises(StateError, match="damaged"):
        journal.homes_in(name)


@pytest.mark.slow
def test_ideal_sums_leave_out_whom_masked_ones_do(tmp_path: Path) -> None:
    """A test of a few homes, and then all judge: those that came are too few to be told apart."""
    import fedhome  # noqa: PLC0415 - what it loads no other test here needs

    def judged(mode: str) -> float:
        sets = (
            f"aggregation.mode={mode}",
            "data.homes=8",
            "data.days=8",
            "rounds.count=1",
            "rounds.judge_every=1",
            "rounds.evaluate_fraction=0.75",
            "personalise.epochs=1",
            "personalise.opponents=['seasonal']",
            "personalise.experts=['tuned']",
        )
        out = tmp_path / mode
        fedhome.simulate(sets=list(sets), out=out)
        (event,) = [one for one in read_events(out / "events.jsonl") if one.event == "model-judged"]
        assert "2 homes left out" in (out / "events.jsonl").read_text()
        loss: float = event.data["loss"]
        return loss

    assert judged("ideal") == judged("secure")
