"""Two models of a chain of runs are held against each other on the same rows, not by the season."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from flwr.app import Message

from fedhome.flower.messages import EXAMPLES, content_of, read_flat, reply
from fedhome.run.folder import RunFolder
from fedhome.server.daemon.publishing import KEPT, RELEASED
from fedhome.server.daemon.run_chain import CHAIN
from helpers.publishing import MODEL_OF, SMALL, How, Server, home
from helpers.registry_world import Crash


def _season(harder: float, *, slope: float = -1.0) -> How:
    """Answer with a loss that is higher by so much, and changes with each step of the model."""

    def answer(message: Message, position: int) -> Message:
        if message.metadata.message_type == "train":
            return home(message, position)
        flat = read_flat(SMALL, content_of(message)[0])
        return reply(message, {EXAMPLES: 1, "loss": harder + slope * float(flat[1]), "score": 0.0})

    return answer


def _dying(message: Message, position: int) -> Message:
    if message.metadata.message_type == "evaluate":
        raise Crash
    return home(message, position)


def _level(run: RunFolder) -> object:
    return json.loads((run.path / CHAIN).read_bytes())


def test_a_better_model_is_promoted_though_readings_became_harder_to_foretell(
    tmp_path: Path,
) -> None:
    server = Server(tmp_path)
    server.play()
    server.next_run(_season(100.0))
    (told,) = server.events(RELEASED)
    assert told.data["reason"] == "on the same rows homes' loss is 10 lower with it"
    assert server.rounds() == [3, 3]


def test_a_worse_model_is_not_promoted_though_readings_became_easier_to_foretell(
    tmp_path: Path,
) -> None:
    """Its best round is worse than what came before, by what the rounds of its day say."""
    server = Server(tmp_path)
    server.play()
    server.next_run(_season(0.0, slope=2.0))  # 10 a round upwards, in the two that are compared
    assert server.rounds() == [3]
    server.next_run(_season(-900.0))  # and 5 downwards: not down to where the release was
    (kept,) = server.events(KEPT)
    assert kept.data["reason"] == (
        "on the same rows homes' loss would be 10 higher; by hand: `fedhome model promote`"
    )
    server.next_run(_season(-900.0, slope=-2.0))
    (told,) = server.events(RELEASED)
    assert told.data["reason"] == "on the same rows homes' loss is 10 lower with it"


def test_a_run_that_goes_on_keeps_its_best_round(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.play()

    def best_in_its_second(message: Message, position: int) -> Message:
        if message.metadata.message_type == "train":
            return home(message, position)
        number = content_of(message)[1]["server-round"]
        return reply(message, {EXAMPLES: 1, "loss": (5.0, 3.0, 4.0)[number - 1], "score": 0.0})

    server.next_run(best_in_its_second)
    assert server.rounds() == [3, 2]
    assert server.registry.load().flat.tolist() == MODEL_OF[5]
    server.next_run(home)  # goes on from its last model, about which nobody was asked to train
    assert server.registry.load().flat.tolist() == MODEL_OF[9]
    assert _level(server.run) == {"first": "run-1", "level": -10.0 - 1.0}


def test_with_other_homes_in_each_round_the_last_one_is_kept(tmp_path: Path) -> None:
    server = Server(tmp_path, evaluate_fraction=0.7)
    server.play()
    server.next_run(_season(0.0, slope=2.0))
    assert server.run.read_start() is not None
    (kept,) = server.events(KEPT)
    assert "would be 20 higher" in str(kept.data["reason"])


def test_a_chain_outlives_the_removal_of_runs_between(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.play()
    for _ in range(3):
        server.next_run(_season(0.0, slope=2.0))
    assert server.rounds() == [3]
    for gone in ("run-2", "run-3"):
        shutil.rmtree(tmp_path / gone)
    server.next_run(home)
    assert server.run.read_follows() == "run-4"
    assert _level(server.run) == {"first": "run-1", "level": -10.0 + 3 * 20.0}
    start = server.run.read_start()
    assert start is not None
    assert SMALL.flatten(start.parameters).tolist() == [1.0, 2.0 + 5.0 * 12]


def test_a_run_that_was_cut_off_early_is_followed_from_where_it_began(tmp_path: Path) -> None:
    """Homes have trained from the release in run-2: nobody asks them about it again."""
    server = Server(tmp_path)
    server.play()
    server.next_run(_season(0.0, slope=2.0))
    with pytest.raises(Crash):
        server.next_run(_dying)
    server.next_run(home)
    assert server.run.read_follows() == "run-3"
    start = server.run.read_start()
    assert start is not None
    assert SMALL.flatten(start.parameters).tolist() == MODEL_OF[6]
    assert _level(server.run) == {"first": "run-1", "level": 10.0}


def test_a_level_that_is_damaged_is_told_and_losses_of_then_are_taken(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.play()
    server.next_run(home)
    (server.run.path / CHAIN).write_text("{")
    server.next_run(home)
    assert any(
        f"{CHAIN} cannot be used" in str(note.data["text"]) for note in server.events("note")
    )
    (told,) = server.events(RELEASED)
    assert told.data["reason"] == "homes' loss was -32, and is -47 with it"


def test_a_run_of_one_round_is_held_against_losses_of_then(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.play()
    server.plan = server.plan.change(rounds={"count": 1})
    server.next_run(_season(100.0))
    (kept,) = server.events(KEPT)
    assert "homes' loss with it is -17, and would be 78" in str(kept.data["reason"])
