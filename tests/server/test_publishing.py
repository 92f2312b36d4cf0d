"""What a run ends with becomes the release in use, or does not; whatever crashes or fills up."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from rich.console import Console

from fedhome.errors import RegistryError
from fedhome.flower.messages import EXAMPLES, content_of, failure, read_flat, reply
from fedhome.registry import Registry
from fedhome.registry.release import Privacy
from fedhome.run.events import SPENT, EventLog
from fedhome.run.folder import RunFolder
from fedhome.run.progress import ProgressLines
from fedhome.secagg import ServerKeys
from fedhome.server.daemon.beginning import IN_USE
from fedhome.server.daemon.publishing import (
    FAILED,
    KEPT,
    MODELS,
    RELEASED,
    Candidate,
    Publisher,
    promote,
    registry_of,
)
from fedhome.server.rounds.round_loop import RoundLoop
from helpers.publishing import INITIAL, MODEL_OF, NEW, SMALL, Server, home, rising_after, silent_in
from helpers.registry_world import FLEET, SERVER, Crash, draft, failing


def _worse(message: Message, position: int) -> Message:
    """Answer with a loss that rises with each step away from the first model."""
    if message.metadata.message_type == "train":
        return home(message, position)
    flat = read_flat(SMALL, content_of(message)[0])
    return reply(message, {EXAMPLES: 1, "loss": float(flat[1]), "score": 0.0})


def _same(message: Message, position: int) -> Message:
    if message.metadata.message_type == "train":
        return home(message, position)
    return reply(message, {EXAMPLES: 1, "loss": 0.5, "score": 0.0})


def _mute(message: Message, position: int) -> Message:
    if message.metadata.message_type == "train":
        return home(message, position)
    return failure(message, "not today")


# --- one run, one release


def test_a_run_ends_with_one_release_and_its_rounds_with_none(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.play()
    registry = server.registry
    assert (registry.fleet, registry.server) == (FLEET, SERVER.public)
    (release,) = registry.releases()
    manifest = release.manifest
    assert registry.load(release).flat.tolist() == MODEL_OF[3]
    assert (manifest.round, manifest.homes, manifest.run) == (3, 3, "run-1")
    assert manifest.storage == "float32"
    assert manifest.run_hash.hex() == server.run.read_events()[0].hash
    (told,) = server.events(RELEASED)
    assert (told.data["release"], told.data["round"]) == (1, 3)
    assert told.data["hash"] == release.hash.hex()
    assert ProgressLines(Console()).line(told) == (
        "release 1: the model of round 3 is in use from now on: it is the first release"
    )
    assert server.events(FAILED) == server.events(KEPT) == []


def test_a_release_says_what_its_run_has_spent(tmp_path: Path) -> None:
    server = Server(tmp_path)
    real = RoundLoop._round

    def spending(self: RoundLoop, number: int) -> dict[str, Any]:
        self.log.append(
            SPENT,
            epsilon=2.0 * number,
            delta=1e-5,
            mechanism="discrete-gaussian",
            noise_multiplier=6.5,
        )
        return real(self, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RoundLoop, "_round", spending)
        server.play()
    (release,) = server.registry.releases()
    spent = Privacy(mechanism="discrete-gaussian", noise=6.5, epsilon=6.0, delta=1e-5)
    assert release.manifest.privacy == (spent,)
    with EventLog(server.run.events_path) as log:  # as a process that goes on with it
        again = Publisher(server.models, fleet=FLEET, keys=SERVER, run=server.run, log=log)
        assert again._privacy == spent


def test_a_last_round_that_made_no_model_is_not_named(tmp_path: Path) -> None:
    server = Server(tmp_path, silent_in(1, 3), count=3)
    server.play()
    assert server.rounds() == [2]
    assert server.registry.load().flat.tolist() == MODEL_OF[1]


def test_a_run_of_which_no_round_gave_a_model_releases_none(tmp_path: Path) -> None:
    server = Server(tmp_path, silent_in(1, 2, 3))
    server.play()
    assert server.registry.releases() == ()
    assert server.events(KEPT) == []


def test_a_run_that_may_end_early_releases_its_best(tmp_path: Path) -> None:
    server = Server(tmp_path, rising_after(2), count=9, patience=2)
    assert server.play().state.round == 4
    assert server.rounds() == [2]
    assert server.registry.load().flat.tolist() == MODEL_OF[2]
    server.play(resumed=True)  # nothing is left to do
    assert server.rounds() == [2]


# --- a run begins with what is in use, and is held against it


def test_the_next_run_begins_with_the_release(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.play()
    rounds = server.next_run()
    start = server.run.read_start()
    assert start is not None
    assert (start.plan, start.round) == (server.plan.name, 3)
    assert SMALL.flatten(start.parameters).tolist() == MODEL_OF[3]
    assert server.run.read_follows() == "run-1"
    assert rounds.state.flat.tolist() == MODEL_OF[6]
    assert [release.manifest.run for release in server.registry.releases()] == ["run-1", "run-2"]
    (told,) = server.events(RELEASED)
    assert told.data["reason"] == "on the same rows homes' loss is 10 lower with it"
    (known,) = server.events(IN_USE)
    assert ProgressLines(Console()).line(known) == "release 1 is in use: round 3 of run-1"


def test_a_model_that_is_worse_takes_nobodys_place(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.play()
    server.next_run(_worse)
    assert server.rounds() == [3]
    assert server.registry.load().flat.tolist() == MODEL_OF[3]
    server.play(resumed=True)
    (kept,) = server.events(KEPT)
    assert kept.data["reason"] == (
        "homes' loss with it is -17, and would be 22; by hand: `fedhome model promote`"
    )
    assert "the release in use stays: homes' loss" in ProgressLines(Console()).line(kept)


def test_a_model_that_is_as_good_takes_its_place(tmp_path: Path) -> None:
    server = Server(tmp_path, _same)
    server.play()
    server.next_run()
    assert [release.manifest.run for release in server.registry.releases()] == ["run-1", "run-2"]


def test_a_fresh_run_begins_anew_and_is_held_against_the_release_all_the_same(
    tmp_path: Path,
) -> None:
    server = Server(tmp_path)
    server.play()
    asked: list[list[float]] = []

    def noting(message: Message, position: int) -> Message:
        if position == 0:
            asked.append(read_flat(SMALL, content_of(message)[0]).tolist())
        return home(message, position)

    server.plan = server.plan.change(rounds={"count": 2})
    server.next_run(noting, fresh=True)
    assert server.run.read_start() is None
    assert asked[0] == MODEL_OF[0]
    (kept,) = server.events(KEPT)
    assert "is -17, and would be -12" in str(kept.data["reason"])
    server.plan = server.plan.change(rounds={"count": 4})
    server.next_run(home, fresh=True)
    assert server.registry.load().flat.tolist() == MODEL_OF[4]


def test_what_homes_do_not_say_is_asked_again_and_then_takes_nobodys_place(
    tmp_path: Path,
) -> None:
    server = Server(tmp_path)
    server.play()
    server.next_run(_mute)
    (kept,) = server.events(KEPT)
    assert "homes did not say how good this model is" in str(kept.data["reason"])
    assert server.rounds() == [3]


def test_a_release_of_which_nobody_knows_how_good_it_is_stays(tmp_path: Path) -> None:
    server = Server(tmp_path, evaluate_fraction=0.0)
    server.play()
    server.plan = server.plan.change(rounds={"evaluate_fraction": 1.0})
    server.next_run()
    (kept,) = server.events(KEPT)
    assert "homes did not say how good the release in use is" in str(kept.data["reason"])


@pytest.mark.parametrize("text", ["[]", "{", '{"x": "y"}'])
def test_a_damaged_list_of_losses_is_told(tmp_path: Path, text: str) -> None:
    server = Server(tmp_path)
    server.play()
    (server.models / "losses.json").write_text(text)
    with pytest.raises(RegistryError, match="damaged") as told:
        server.next_run(fresh=True)
    assert "fedhome model promote" in told.value.hint
    server.next_run()  # it needs none of them, but cannot add to them
    (failed,) = server.events(FAILED)
    assert "is damaged" in str(failed.data["message"])


def test_a_run_that_may_end_early_is_followed_from_its_last_model(tmp_path: Path) -> None:
    """Homes have trained from its best one already: round 3 did."""
    server = Server(tmp_path, rising_after(2), count=9, patience=2)
    server.play()
    server.plan = server.plan.change(rounds={"count": 1})
    server.next_run(home)
    assert server.run.read_start() is not None
    (note,) = server.events("note")
    assert "homes have trained from release 1 already" in str(note.data["text"])
    assert "of run-1" in str(note.data["text"])
    assert server.registry.load().flat.tolist() == MODEL_OF[5], "4 rounds, and one more"


def test_what_came_of_a_release_is_gone_on_with_though_it_was_not_promoted(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.play()
    server.next_run(_worse)
    server.next_run(home)
    assert server.run.read_follows() == "run-2"
    assert server.registry.load().flat.tolist() == MODEL_OF[9]
    last = server.registry.find("latest")
    assert last.manifest.run == "run-3"
    server.next_run(home)
    assert server.run.read_follows() == "run-3"
    assert server.events("note") == []


def test_after_a_roll_back_a_run_goes_on_from_where_homes_have_trained(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.play()
    server.next_run()
    server.registry.rollback(server.registry.releases()[0], SERVER)
    server.next_run()
    assert server.run.read_follows() == "run-2"
    (told,) = server.events(RELEASED)
    assert told.data["reason"] == "on the same rows homes' loss is 20 lower with it"


def test_the_sums_of_the_run_before_come_along(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.play()
    server.run.sums_path.mkdir()
    (server.run.sums_path / "train-00-0.opened").write_bytes(b"sum")
    server.next_run()
    assert (server.run.sums_path / "train-00-0.opened").read_bytes() == b"sum"


def test_a_run_whose_first_round_was_cut_off_is_followed_with_its_sums(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.play()

    def dying(message: Message, position: int) -> Message:
        if message.metadata.message_type == "evaluate":
            raise Crash
        return home(message, position)

    with pytest.raises(Crash):
        server.next_run(dying)
    server.run.sums_path.mkdir()
    (server.run.sums_path / "train-00-0.opened").write_bytes(b"sum")
    server.next_run(home)
    assert server.run.read_follows() == "run-2"
    assert (server.run.sums_path / "train-00-0.opened").exists()
    assert server.registry.load().flat.tolist() == MODEL_OF[6]


@pytest.mark.parametrize("step", ["read_follows", "write_follows", "write_start"])
def test_a_beginning_that_was_cut_off_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    server = Server(tmp_path)
    server.play()
    server.run.sums_path.mkdir()
    server.next_run()

    def dying(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, step, dying)
        with pytest.raises(Crash):
            server.next_run()
    server.play(resumed=True)
    assert server.run.read_follows() == "run-2"
    assert server.registry.load().flat.tolist() == MODEL_OF[9]


def test_a_run_after_one_that_was_removed_says_what_to_do_if_homes_refuse(tmp_path: Path) -> None:
    """As one may be that made the release to which an owner goes back."""
    server = Server(tmp_path)
    server.play()
    server.next_run()
    assert not server.events("note"), "the control"
    for number in (1, 2):
        shutil.rmtree(server.run.path.parent / f"run-{number}")
    server.next_run()
    assert server.run.read_start() is not None
    (told,) = server.events("note")
    assert "`fedhome server run PLAN --fresh` begins with a new one" in str(told.data["text"])


def test_a_release_of_another_shape_is_nothing_to_begin_with(tmp_path: Path) -> None:
    server = Server(tmp_path)
    registry_of(server.models, fleet=FLEET, keys=SERVER).publish(draft(1), SERVER)
    server.play()
    assert server.run.read_start() is None
    (known,) = server.events(IN_USE)
    assert known.data["reason"] == "release 1 has another shape than this plan's model"
    assert "nothing to begin with" in ProgressLines(Console()).line(known)
    assert server.registry.load().flat.tolist() == MODEL_OF[3]
    (told,) = server.events(RELEASED)
    assert "there is nothing to compare with" in str(told.data["reason"])


def test_a_release_of_other_inputs_is_nothing_to_begin_with(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.play()
    server.plan = server.plan.change(task={"kind": "binary"})
    server.next_run()
    assert server.run.read_start() is None
    (known,) = server.events(IN_USE)
    assert "is of other inputs, or another task" in str(known.data["reason"])


def test_a_release_of_levels_is_nothing_to_begin_changes_with(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.plan = server.plan.change(data={"learns": "level"})
    server.play()
    assert server.registry.find("latest").manifest.learnt == "level"
    server.plan = server.plan.change(data={"learns": "change"})
    shutil.rmtree(server.run.path)  # nothing but the release itself tells
    server.next_run()
    assert server.run.read_start() is None
    (known,) = server.events(IN_USE)
    said = "release 1 states levels, and this plan's model changes of a series (data.learns)"
    assert known.data["reason"] == said
    assert server.registry.find("latest").manifest.learnt == "change"


# --- whatever crashes or fills up


@pytest.mark.long
def test_a_crash_at_any_step_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """The process ends at each step in turn of promoting its model."""
    real, steps = Publisher.promote, 0

    def dying(self: Publisher, *arguments: Any) -> None:
        with failing(at, Crash()) as calls:
            real(self, *arguments)
        nonlocal steps
        steps = max(steps, len(calls))

    for at in range(40):
        server = Server(tmp_path / str(at))
        server.play()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Publisher, "promote", dying)
            if at == 0:
                server.next_run()
            else:
                with pytest.raises(Crash):
                    server.next_run()
        server.play(resumed=True, keep=1)
        assert [one.manifest.run for one in server.registry.releases()] == ["run-1", "run-2"]
        assert [event.data["release"] for event in server.events(RELEASED)] == [2]
        assert server.registry.load().flat.tolist() == MODEL_OF[6]
        server.registry.prune(1)
        assert [release.kept for release in server.registry.releases()] == [False, True]
        if at == steps:
            break
    assert steps > 8


def test_a_crash_between_release_and_log_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path)

    def dying(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "_log_release", dying)
        with pytest.raises(Crash):
            server.play()
    assert server.rounds() == [3]
    assert server.events(RELEASED) == []
    server.play(resumed=True)
    assert server.rounds() == [3]
    assert [event.data["release"] for event in server.events(RELEASED)] == [1]


@pytest.mark.long
def test_a_full_disk_costs_a_release_but_not_the_run(tmp_path: Path) -> None:
    real = Publisher.promote

    def refused(self: Publisher, *arguments: Any) -> None:
        with failing(step, OSError(errno.ENOSPC, "")):
            real(self, *arguments)

    for step in range(1, 9):
        server = Server(tmp_path / str(step))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Publisher, "promote", refused)
            assert server.play().state.flat.tolist() == MODEL_OF[3]
        if step == 1:  # the run's plan cannot be read: there is a release, without slices' scores
            assert server.rounds() == [3]
            notes = [event.data["text"] for event in server.events("note")]
            assert any("tells no scores of slices: " in note for note in notes)
            continue
        failed = [(e.data["round"], e.data["reason"]) for e in server.events(FAILED)]
        assert failed == [(3, "disk-full")]
        server.play(resumed=True)
        assert server.rounds() == [3]
        assert server.registry.load().flat.tolist() == MODEL_OF[3]


def test_a_model_that_cannot_be_published_is_told(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.play()
    with EventLog(server.run.events_path) as log:
        publisher = Publisher(server.models, fleet=FLEET, keys=SERVER, run=server.run, log=log)
        for number, flat in ((4, np.array([np.nan, 1], np.float32)), (2, INITIAL)):
            candidate = Candidate(flat=flat, round=number, homes=3, loss=1.0)
            publisher.promote(candidate, SMALL, "")
    assert [event.data["reason"] for event in server.events(FAILED)] == ["not-finite", "round"]
    assert server.rounds() == [3]


def test_a_model_that_was_replaced_comes_back_as_a_release_of_its_own(tmp_path: Path) -> None:
    registry = registry_of(tmp_path / MODELS, fleet=FLEET, keys=SERVER)
    first, second = draft(1), draft(2)
    assert promote(registry, first, SERVER).number == 1
    assert promote(registry, first, SERVER).number == 1
    assert promote(registry, second, SERVER).number == 2
    back = registry.rollback(1, SERVER)
    assert (back.number, back.manifest.restores) == (3, 1)
    again = promote(registry, second, SERVER)
    assert (again.number, again.manifest.restores) == (4, 2)
    assert promote(registry, second, SERVER).number == 4


def test_old_models_go_and_pinned_ones_stay(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.play()
    server.registry.pin("latest")
    for _ in range(3):
        server.next_run()
    server.play(resumed=True, keep=1)
    kept = [release.kept for release in server.registry.releases()]
    assert kept == [True, False, False, True]


def test_old_models_that_cannot_go_do_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RegistryError("no", reason="disk")

    monkeypatch.setattr(Registry, "prune", refuse)
    server = Server(tmp_path)
    server.play(keep=1)
    assert server.rounds() == [3]
    assert len(server.events("note")) == 1
    assert server.events(FAILED) == []


@pytest.mark.parametrize("reason", ["altered", "missing"])
def test_a_registry_that_cannot_be_used_is_told_before_the_first_round(
    tmp_path: Path, reason: str
) -> None:
    registry_of(tmp_path / MODELS, fleet=FLEET, keys=SERVER)
    if reason == "missing":
        (tmp_path / MODELS / "registry.key").unlink()
    else:
        index = tmp_path / MODELS / "registry.fh"
        index.write_bytes(index.read_bytes()[:-1] + b"x")
    server = Server(tmp_path)
    with pytest.raises(RegistryError) as caught:
        server.play()
    assert caught.value.reason == reason
    assert server.events("round-closed") == []


def test_each_key_has_a_registry_of_its_own(tmp_path: Path) -> None:
    def of(keys: ServerKeys) -> Registry:
        registry = registry_of(tmp_path / MODELS, fleet=FLEET, keys=keys)
        assert registry.server == keys.public
        assert registry.folder == tmp_path / MODELS
        return registry

    of(SERVER).publish(draft(1), SERVER)
    assert of(NEW).releases() == ()
    of(NEW).publish(draft(1), NEW)
    of(NEW).publish(draft(2), NEW)
    old, new = (f"{MODELS}-{keys.public.hex()[:16]}" for keys in (SERVER, NEW))
    assert sorted(path.name for path in tmp_path.iterdir()) == [MODELS, old]
    # A key that comes back goes on with its numbers: homes remember them.
    assert len(of(SERVER).releases()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [MODELS, new]
    assert of(SERVER).publish(draft(2), SERVER).number == 2


@pytest.mark.parametrize("back", [False, True])
def test_a_crash_while_registries_change_places(tmp_path: Path, back: bool) -> None:
    base = tmp_path / "base"
    base.mkdir()
    registry_of(base / MODELS, fleet=FLEET, keys=SERVER).publish(draft(1), SERVER)
    if back:
        registry_of(base / MODELS, fleet=FLEET, keys=NEW).publish(draft(1), NEW)
    keys = SERVER if back else NEW
    ended = False
    for step in range(1, 30):
        place = tmp_path / str(step)
        shutil.copytree(base, place)
        with failing(step, Crash()):
            try:
                registry_of(place / MODELS, fleet=FLEET, keys=keys)
                ended = True
            except Crash:
                pass
        registry = registry_of(place / MODELS, fleet=FLEET, keys=keys)
        assert len(registry.releases()) == back
        other = registry_of(place / MODELS, fleet=FLEET, keys=NEW if back else SERVER)
        assert len(other.releases()) == 1
        if ended:
            break
    assert step > 3
