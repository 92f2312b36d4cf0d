"""Secure sums in a simulation: ideal ones' model, bit for bit, and nothing in the clear."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from numpy.typing import NDArray

import fedhome
from fedhome.errors import EngineError, FedHomeError, OpeningError, PlanError
from fedhome.flower.messages import array_record, with_sum_record
from fedhome.plan.protocol import check_groups
from fedhome.plan.settings import Plan
from fedhome.run.compared_models import ALONE, EXPERTS, FEDERATED, MODELS
from fedhome.run.events import read_events
from fedhome.run.results import homes_table, summary
from fedhome.server.rounds.masked_sums import ProtocolChannel
from fedhome.server.rounds.outcome import personalise
from fedhome.server.rounds.secure_grid import SecureGrid
from fedhome.server.rounds.sums import Channel, GroupSum, IdealChannel, SumRequest
from fedhome.simulations import taken_fleet
from fedhome.simulations.engines.by_name import ENGINES
from fedhome.simulations.engines.joint_grid import JointGrid
from fedhome.simulations.secure.masked_adding import MaskedSumResponder
from fedhome.simulations.secure.worker_parties import WorkerParties
from helpers import tiny
from helpers.sum_rounds import sum_rounds, sum_world

pytestmark = pytest.mark.long

COUNTS = ((23, 6, 7), (9, 4, 5), (41, 5, 4), (16, 7, 6), (30, 6, 5), (12, 5, 5), (27, 4, 6))


def _plan(mode: str, **sections: Any) -> Plan:
    aggregation = {"mode": mode, **sections.pop("aggregation", {})}
    return tiny.plan(aggregation=aggregation, data={"homes": None}).change(**sections)


def _run(plan: Plan, folder: Path) -> tuple[NDArray[np.float32], list[dict[str, Any]]]:
    with sum_rounds(plan, tiny.homes(COUNTS, kind=plan.task.kind), folder) as rounds:
        rounds.run()
    return rounds.state.flat, rounds.state.rows


def _numbers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = ("homes_answered", "train_loss", "validation_loss", "validation_score")
    return [{name: row[name] for name in names} for row in rows]


_PLANS: dict[str, dict[str, Any]] = {
    "one group": {},
    "nine bits, clipped in L2": {"aggregation": {"bits": 9, "clip": 0.5, "clip_in": "l2"}},
    "weights by powers of two": {"aggregation": {"weights": "rounded"}},
    "all homes alike": {"aggregation": {"weights": "equal"}},
    "eight bits, a cap of weights": {"aggregation": {"bits": 8, "weight_cap": 20}},
    "two groups of few": {"aggregation": {"groups": 2, "min_cohort": 3}},
    "half of the homes drop": {
        "aggregation": {"dropped": 0.6, "min_cohort": 3},
        "faults": {"dropout": 0.3},
        "rounds": {"quorum": 0.3, "count": 4},
    },
    "multi-class with clipping of a wrapper": {
        "task": {"kind": "multi-class"},
        "strategy": {
            "wrap": "dp-client-fixed",
            "wrap_args": {"noise_multiplier": 0.0, "clipping_norm": 0.4},
        },
    },
}


@pytest.mark.parametrize("engine", ["vector", "sequential"])
@pytest.mark.parametrize("name", _PLANS)
def test_secure_is_ideal_bit_for_bit(name: str, engine: str, tmp_path: Path) -> None:
    chosen = _PLANS[name] | {"engine": {"name": engine}}
    secure, told = _run(_plan("secure", **chosen), tmp_path / "secure")
    ideal, expected = _run(_plan("ideal", **chosen), tmp_path / "ideal")
    np.testing.assert_array_equal(secure, ideal)
    assert _numbers(told) == _numbers(expected)
    assert not np.allclose(secure, tiny.learning(_plan("ideal", **chosen)).initial, atol=1e-3)


@pytest.mark.parametrize(
    "name", ["half of the homes drop", pytest.param("one group", marks=pytest.mark.slow)]
)
def test_homes_in_other_processes_give_the_ideal_model_too(name: str, tmp_path: Path) -> None:
    many = [(count[0] + place, *count[1:]) for place in range(5) for count in COUNTS]
    chosen = _PLANS[name] | {"engine": {"name": "vector", "threads": 2}}
    told = {}
    for mode in ("secure", "ideal"):
        plan = _plan(mode, **chosen)
        with sum_rounds(plan, tiny.homes(many), tmp_path / mode) as rounds:
            rounds.run()
            told[mode] = rounds.state
            if mode == "secure":
                assert isinstance(rounds.grid, SecureGrid)
                assert isinstance(rounds.grid.channel.grid, JointGrid)
                assert isinstance(rounds.grid.channel.grid._adding, MaskedSumResponder)
                assert isinstance(rounds.grid.channel.grid._adding.parties, WorkerParties)
    np.testing.assert_array_equal(told["secure"].flat, told["ideal"].flat)
    assert _numbers(told["secure"].rows) == _numbers(told["ideal"].rows)
    assert told["secure"].rows[-1]["homes_answered"] >= 10


def test_sums_are_the_plain_mean_to_the_step_of_the_grid(tmp_path: Path) -> None:
    plan = _plan("secure", rounds={"count": 1}, aggregation={"bits": 16})
    secure, told = _run(plan, tmp_path / "secure")
    rounds = tiny.run(_plan("plain", rounds={"count": 1}), tiny.homes(COUNTS), tmp_path / "plain")
    plain, expected = rounds.state.flat, rounds.state.rows
    # The step is clip * cap / 32767 with clip 1 and cap 64; 7 homes, 158 rows: s * n / sum(w).
    np.testing.assert_allclose(secure, plain, rtol=0, atol=64 / 32767 * 7 / 158)
    assert told[0]["train_loss"] == pytest.approx(expected[0]["train_loss"], abs=1e-6)
    assert told[0]["validation_loss"] == pytest.approx(expected[0]["validation_loss"], abs=1e-3)


@pytest.mark.parametrize("engine", ["vector", "sequential"])
def test_homes_end_the_same_whichever_way_their_numbers_travel(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One model in the end: in the clear, in sums and in masked sums homes mix it alike."""
    monkeypatch.setattr("fedhome.learning.alone.trees._TREES", 5)  # a tenth of the time
    ended = {mode: _ended(mode, engine, tmp_path / mode) for mode in ("plain", "ideal", "secure")}
    (plain, rows, _), (ideal, same, counts), (secure, other, counted) = ended.values()
    assert (ideal, same, counts) == (secure, other, counted)  # bit for bit
    assert plain.pop("weights") == pytest.approx(ideal.pop("weights"), abs=1e-6)
    assert plain.pop("matrix") == pytest.approx(ideal.pop("matrix"), abs=1e-6)
    assert plain == ideal
    assert len(rows) == len(same) == len(COUNTS) * len(MODELS)
    for row, again in zip(rows, same, strict=True):
        assert row.keys() == again.keys()
        for name, value in row.items():
            if value is None or isinstance(value, str):
                assert again[name] == value, name
            else:
                assert again[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
    # What the server learns of it is what the simulation sees of its own homes.
    table = homes_table(same)
    assert counted["homes"] == len(COUNTS)
    assert counted["best"] == _how_many(table, "best", ALONE)
    assert counted["experts"] == _how_many(table, "expert", EXPERTS)
    for row in summary(table):
        told = counted["models"][row.model]
        assert told["mean"] == pytest.approx(row.mean, abs=1e-6)
        if row.model in FEDERATED:
            assert (told["hurt"], told["helped"]) == pytest.approx((row.hurt, row.helped))


def _how_many(table: pa.Table, column: str, names: tuple[str, ...]) -> dict[str, int]:
    own = [row[column] for row in table.to_pylist() if row["model"] == "personalised"]
    return {name: own.count(name) for name in names}


def _ended(
    mode: str, engine: str, folder: Path
) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """Return what the fleet chose, the rows of the table of homes, and what was counted."""
    plan = _plan(mode, engine={"name": engine}, personalise={"name": "fine-tune"})
    with contextlib.ExitStack() as stack:
        fleet = tiny.homes(COUNTS)
        if mode == "plain":
            grid = stack.enter_context(ENGINES[engine](tiny.world(plan, fleet)))
            start = tiny.learning(plan)
            rounds = stack.enter_context(
                tiny.rounds_on(grid, plan, start.layout, folder, start.initial)
            )
        else:
            rounds = stack.enter_context(sum_rounds(plan, fleet, folder))
        learning = tiny.learning(plan)
        rows = personalise(
            plan=plan,
            grid=rounds.grid,
            layout=learning.layout,
            flat=learning.initial,
            score=learning.task.score,
            log=rounds.log,
            name_of=str,
        )
    events = {event.event: dict(event.data) for event in read_events(folder / "events.jsonl")}
    return events["personalisation-chosen"], rows, events.get("scores-counted", {})


def test_too_few_homes_fail_the_round_and_the_run_goes_on(tmp_path: Path) -> None:
    plan = _plan(
        "secure",
        faults={"dropout": 0.5},
        rounds={"count": 6, "quorum": 0.1},
        aggregation={"dropped": 0.25},
    )
    flat, rows = _run(plan, tmp_path)
    answered = [row["homes_answered"] for row in rows]
    assert 0 in answered
    assert max(answered) >= 6
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    failed = [event["data"] for event in events if event["event"] == "sum-failed"]
    assert len(failed) == answered.count(0)
    assert "are needed" in failed[0]["reason"]
    assert np.isfinite(flat).all()


@pytest.mark.parametrize("silent", [2, 3])
def test_members_may_be_silent_up_to_the_threshold(
    silent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of seven members five must answer; without five nothing opens, and the run goes on."""
    replies = Channel.replies

    def some(self: Channel, messages: Any, timeout_s: Any, **more: Any) -> Any:
        helped = messages and messages[0].metadata.message_type == "query.help"
        for place, answer in replies(self, messages, timeout_s, **more):
            if not helped or messages[place].metadata.dst_node_id >= 2 + silent:
                yield place, answer

    monkeypatch.setattr(Channel, "replies", some)
    secure, rows = _run(_plan("secure"), tmp_path / "secure")
    if silent == 2:
        monkeypatch.undo()
        np.testing.assert_array_equal(secure, _run(_plan("ideal"), tmp_path / "ideal")[0])
        return
    assert [row["homes_answered"] for row in rows] == [0, 0]
    np.testing.assert_array_equal(secure, tiny.learning(_plan("secure")).initial)
    told = (tmp_path / "secure" / "events.jsonl").read_text()
    assert told.count('"sum-failed"') >= 2


def test_a_strategy_that_needs_single_updates_sees_groups(tmp_path: Path) -> None:
    strategy = {"name": "fedmedian"}
    with pytest.raises(PlanError, match=r"aggregation\.groups to 2 or more"):
        _plan("secure", strategy=strategy)
    plan = _plan("secure", strategy=strategy, aggregation={"groups": 2, "min_cohort": 3})
    secure, rows = _run(plan, tmp_path / "secure")
    ideal, _ = _run(plan.change(aggregation={"mode": "ideal"}), tmp_path / "ideal")
    np.testing.assert_array_equal(secure, ideal)
    assert rows[-1]["homes_answered"] == len(COUNTS)


def test_a_home_answers_nothing_in_the_clear() -> None:
    """A server that just asks, without a manifest, gets a refusal from every home."""
    for engine in ("vector", "sequential"):
        plan = _plan("secure", engine={"name": engine})
        world = sum_world(plan, tiny.homes(COUNTS))
        layout, initial = world.learning.layout, world.learning.initial
        config = ConfigRecord({"server-round": 1})
        plainly = RecordDict({"arrays": array_record(layout, initial), "config": config})
        forged = with_sum_record(plainly, {"manifest": b"not one"})
        ideal = with_sum_record(plainly, {"form": b"no form", "round": 1})
        with ENGINES[engine](world) as grid:
            for content in (plainly, forged, ideal):
                for kind in (
                    "train",
                    "evaluate",
                    "evaluate.trial",
                    "evaluate.blend",
                    "query.census",
                ):
                    asked = [
                        Message(content, dst_node_id=node, message_type=kind) for node in (2, 3)
                    ]
                    answers = list(grid.send_and_receive(asked))
                    assert [answer.has_error() for answer in answers] == [True, True]


def test_the_server_receives_nothing_of_a_single_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a home's encoded numbers nor its losses are in anything that reaches the server."""
    received: list[bytes] = []
    encoded: list[bytes] = []
    replies, encode = Channel.replies, fedhome.secagg.Form.encode

    def listening(self: Channel, messages: Any, timeout_s: Any, **more: Any) -> Any:
        for place, answer in replies(self, messages, timeout_s, **more):
            received.append(_all_bytes(answer))
            yield place, answer

    def keeping(self: Any, *arguments: Any) -> Any:
        words = encode(self, *arguments)
        encoded.extend(row.tobytes() for row in words)
        return words

    monkeypatch.setattr(Channel, "replies", listening)
    monkeypatch.setattr(fedhome.secagg.Form, "encode", keeping)
    _run(_plan("secure"), tmp_path)
    assert len(encoded) == len(COUNTS) * (1 + 2 * 2)  # census, then training and evaluation twice
    everything = b"|".join(received)
    for words in encoded:
        for start in range(0, len(words) - 16, 16):
            piece = words[start : start + 16]
            # A run of one byte may stand anywhere; any other 16 bytes would not by chance.
            assert len(set(piece)) == 1 or piece not in everything
    # The control: the same search finds what an ideal run hands over in the clear.
    received.clear()
    encoded.clear()
    _run(_plan("ideal", engine={"name": "sequential"}), tmp_path / "ideal")
    assert all(words in b"|".join(received) for words in encoded)


def _all_bytes(message: Message) -> bytes:
    if message.has_error():
        return message.error.reason.encode() if message.error.reason else b""
    return (
        b"|".join(
            bytes(array.data) if array.stype == "fedhome.bytes" else array.numpy().tobytes()
            for record in message.content.array_records.values()
            for array in record.values()
        )
        + repr(dict(message.content.metric_records)).encode()
    )


def test_a_stopped_run_goes_on_to_the_same_model(tmp_path: Path) -> None:
    plan = _plan("secure", rounds={"count": 4}, strategy={"name": "fedadam"})
    whole, _ = _run(plan, tmp_path / "whole")
    half = plan.change(rounds={"count": 2})
    with sum_rounds(half, tiny.homes(COUNTS), tmp_path / "run") as rounds:
        rounds.run()
    with sum_rounds(plan, tiny.homes(COUNTS), tmp_path / "run") as rounds:
        assert rounds.resume()
        rounds.run()
    np.testing.assert_array_equal(rounds.state.flat, whole)
    assert isinstance(rounds.grid, SecureGrid)
    assert rounds.grid.scale.sum_number == 1 + 2 * 4


def test_the_scale_follows_the_fleet(tmp_path: Path) -> None:
    clips = []
    for rate in (0.05, 0.0005):
        plan = _plan("ideal", rounds={"count": 2}, train={"learning_rate": rate})
        with sum_rounds(plan, tiny.homes(COUNTS), tmp_path / f"{rate}") as rounds:
            rounds.run()
        assert isinstance(rounds.grid, SecureGrid)
        # The most examples are 41: up to 64 are counted. One in ten may lie: of seven, none.
        assert rounds.grid.scale.weight_cap == 64
        clips.append(rounds.grid.scale.clip)
    # A hundredth of the rate makes updates of about a hundredth: between 2^6 and 2^7.
    assert clips[0] / clips[1] in {64.0, 128.0}


def test_what_cannot_be_added_up_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no sum is opened over fewer than 5"):
        Plan.load(data={"homes": 4})
    plan = Plan.load(data={"homes": 8, "days": 20}, rounds={"fraction": 0.5})
    with pytest.raises(PlanError, match=r"4 homes are asked, .* a larger rounds\.fraction"):
        fedhome.simulate(plan, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()  # so that the mended plan can run there
    drops = plan.change(
        rounds={"fraction": 1.0}, model={"dropout": 0.5}, engine={"kernel": "fused"}
    )
    with pytest.raises(EngineError, match=r"engine\.kernel = fused does not fit"):
        fedhome.simulate(drops, out=tmp_path / "run")
    assert not (tmp_path / "run").exists(), "nor does one that its engine refuses leave a run"
    with pytest.raises(PlanError, match="belongs to sums"):
        Plan.load(aggregation={"mode": "plain", "bits": 9})


def test_too_few_homes_are_refused_before_one_of_them_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "homes"
    folder.mkdir()
    for name in "abcdefghi":  # not one can be read
        (folder / f"{name}.csv").write_text("time,load\nnone,1\n")

    def refused(share: float = 1.0, **data: Any) -> str:
        own = {"source": str(folder), "target": "load", **data}
        plan = Plan.load(data=own, rounds={"fraction": share})
        with pytest.raises(FedHomeError) as caught:
            fedhome.simulate(plan, out=tmp_path / "run")
        return caught.value.message

    few = "4 homes are asked, but no sum is opened over fewer than 5"
    assert few in refused(0.5)
    assert few in refused(0.6, homes=7)
    assert "no home in" in refused()
    for name in "efghi":
        (folder / f"{name}.csv").unlink()
    assert few in refused()
    assert "no column 'meter'" in refused(home_column="meter")  # one file may hold many homes
    with pytest.raises(PlanError, match="1 home is asked"):  # and is not downloaded
        fedhome.simulate(sets=["data.source=appliances-uci"], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_too_few_of_a_million_homes_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each number of homes takes a quarter of a millisecond to look at: minutes, for all below."""
    looked: list[int] = []

    def check(plan: Plan, homes: int) -> str:
        looked.append(homes)
        return check_groups(plan, homes)

    monkeypatch.setattr(taken_fleet, "check_groups", check)
    plan = Plan.load(data={"homes": 1_000_000}, rounds={"fraction": 1e-5})
    with pytest.raises(PlanError, match="10 homes are asked"):
        taken_fleet.check_most(plan)
    assert looked == [1_000_000]


_CHANNELS: dict[str, type[Channel]] = {"ideal": IdealChannel, "secure": ProtocolChannel}


@pytest.mark.parametrize("mode", _CHANNELS)
def test_a_run_asks_no_question_twice(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a round that failed the model is the one that was tested: homes are not asked again."""
    asked: list[tuple[str, bytes]] = []
    collect = _CHANNELS[mode].collect

    def counted(self: Channel, group: GroupSum, request: SumRequest) -> Any:
        asked.append((request.purpose, request.model_hash))
        if request.purpose == "train" and request.round == 2:
            raise OpeningError("nobody came", reason="a-min")
        return collect(self, group, request)

    monkeypatch.setattr(_CHANNELS[mode], "collect", counted)
    _, rows = _run(_plan(mode, rounds={"count": 3}), tmp_path)
    assert [row["homes_answered"] for row in rows] == [7, 0, 7]
    assert rows[1]["validation_loss"] == rows[0]["validation_loss"] != rows[2]["validation_loss"]
    evaluations = [model for purpose, model in asked if purpose == "evaluate"]
    assert len(evaluations) == len(set(evaluations)) == 2


@pytest.mark.parametrize("mode", _CHANNELS)
def test_too_few_homes_for_a_round_are_asked_again_about_the_same_model(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is opened of a round below its quorum: what is opened is opened once."""
    collect = _CHANNELS[mode].collect

    def fewer(self: Channel, group: GroupSum, request: SumRequest) -> Any:
        if request.purpose == "train" and request.round == 1:
            del group.messages[6:]
        return collect(self, group, request)

    monkeypatch.setattr(_CHANNELS[mode], "collect", fewer)
    flat, rows = _run(_plan(mode, rounds={"count": 2, "quorum": 1.0}), tmp_path)
    assert [row["homes_answered"] for row in rows] == [6, 7]
    assert rows[0]["train_loss"] is None
    assert rows[1]["train_loss"] is not None
    told = (tmp_path / "events.jsonl").read_text()
    assert "6 homes answered, but 7 are needed" in told
    assert not np.allclose(flat, tiny.learning(_plan(mode)).initial, atol=1e-3)
