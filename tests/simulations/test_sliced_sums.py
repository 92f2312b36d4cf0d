"""Sums of slices: shell by shell, each over those that carry it and never over too few."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedhome.errors import PlanError
from fedhome.flower.messages import ARRAYS, CONFIG, array_record
from fedhome.models.slicing import slices_of
from fedhome.plan.protocol import least_in_a_sum
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import tiers_of
from fedhome.questions.settings import SHELL
from fedhome.run.events import EventLog, read_events
from fedhome.run.folder import RunFolder
from fedhome.server.rounds.round_loop import RoundLoop
from fedhome.server.rounds.shell_sums import ShellSums
from fedhome.server.rounds.sums import IdealChannel
from fedhome.server.strategies import strategy_of
from fedhome.simulations.engines.by_name import ENGINES
from fedhome.simulations.engines.sliced_homes import SlicedHomes
from fedhome.simulations.faults import ANSWERS
from fedhome.simulations.secure.secure_fleet import secure_grid
from helpers import tiny

pytestmark = pytest.mark.long

ROWS = ((23, 6, 7), (9, 4, 5), (41, 5, 4), (16, 7, 6), (30, 5, 5), (12, 6, 4)) * 2
LEAST = 3


def _tiers(hub: float = 0.34) -> list[dict[str, Any]]:
    return [
        {"name": "hub", "width": 1.0, "depth": 2, "share": hub},
        {"name": "plug", "width": 0.5, "depth": 2, "share": 0.66 - hub + 0.01},
        {"name": "sensor", "width": 0.25, "depth": 1, "share": 0.33},
    ]


def _plan(hub: float = 0.34, **changes: Any) -> Plan:
    sums = {"mode": "ideal", "weights": "equal", "min_cohort": LEAST, "corrupt": 0.0}
    sums |= {"dropped": 0.75}
    return tiny.plan(
        slicing={"tiers": _tiers(hub)},
        model={"hidden": [8, 8]},
        aggregation=sums,
        rounds={"count": 1, "evaluate_fraction": 0.0},
        engine={"kernel": "eager"},
    ).change(**changes)


def _in_the_clear(plan: Plan) -> Plan:
    return Plan.parse({**plan.model_dump(), "aggregation": {"mode": "plain"}, "transfer": {}})


def _run(plan: Plan, folder: Path) -> NDArray[np.float32]:
    """Run a plan's rounds over twelve homes, added up as the plan says."""
    world = replace(tiny.world(plan, tiny.homes(ROWS)), mode=plan.aggregation.mode)
    layout = world.learning.layout
    place = RunFolder.create(folder)
    with ENGINES[plan.engine.name](world) as grid, EventLog(place.events_path) as log:
        over = grid
        if world.mode != "plain":
            over = secure_grid(grid, plan=plan, layout=layout, log=log, fleet=None)  # type: ignore[assignment]
        return RoundLoop(
            plan=plan,
            strategy=strategy_of(plan, len(ROWS)),
            grid=over,
            layout=layout,
            initial=world.learning.initial,
            folder=place,
            log=log,
        ).run()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Round, shell and homes of every sum of updates that is opened."""
    found: list[tuple[int, int, int]] = []
    keep = IdealChannel.keep

    def noted(self: IdealChannel, group: Any, request: Any) -> None:
        if request.kind == "train":
            found.append((request.round, request.shell, group.homes))
        keep(self, group, request)

    monkeypatch.setattr(IdealChannel, "keep", noted)
    return found


def _single_updates(plan: Plan) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the first model, and how each home would change it ``[homes, size]``."""
    world = tiny.world(_in_the_clear(plan), tiny.homes(ROWS))
    start = world.learning.initial
    with ExitStack() as open_:
        homes = SlicedHomes(world, open_)
        found = homes.respond("train", np.arange(len(ROWS)), start, {"server-round": 1})
    assert found.params is not None
    return start, found.params.astype(np.float64) - start


@pytest.mark.parametrize(
    ("engine", "stage", "bits"),
    [
        ("vector", "", 16),
        ("sequential", "", 16),
        ("vector", "int8", 8),
        ("sequential", "int8", 8),
        ("vector", "int4", 4),
    ],
)
def test_sums_of_shells_are_the_mean_over_those_that_carry_a_place(
    engine: str, stage: str, bits: int, tmp_path: Path, opened: list[tuple[int, int, int]]
) -> None:
    """Each home rounds its numbers up or down to the grid of the sum: by less than a step of it."""
    clip = 1.0
    plan = _plan(
        engine={"name": engine},
        transfer={"stages": [stage] if stage else []},
        aggregation={"clip": clip},
    )
    step = clip / (2 ** (bits - 1) - 1)
    start, changes = _single_updates(plan)
    shape = slices_of(plan, tiny.FEATURES, 1)
    tiers = tiers_of(plan, [f"home-{n}" for n in range(len(ROWS))])
    expected = start.astype(np.float64)
    for place in range(len(start)):
        some = [n for n, tier in enumerate(tiers) if place in shape.carried(int(tier))]
        expected[place] += changes[some, place].mean()
    found = _run(plan, tmp_path / "run")
    np.testing.assert_allclose(found, expected, atol=step + 1e-6)
    assert np.abs(found - expected).max() > step / 50, "the grid is no finer than it says"
    assert clip > np.abs(changes).max() > np.abs(expected - start).max() > 0.01
    assert [(shell, homes) for _, shell, homes in opened] == [(0, 12), (1, 8), (2, 4)]


def test_a_small_device_adds_no_number_that_it_does_not_have(tmp_path: Path) -> None:
    plan = _plan()
    _run(plan, tmp_path / "run")
    closed = [e.data for e in read_events(tmp_path / "run" / "events.jsonl")]
    (row,) = [data for data in closed if "bytes_up" in data]
    shape = slices_of(plan, tiny.FEATURES, 1)
    shells = [len(shape.shell(number)) for number in range(3)]
    elements = 12 * shells[0] + 8 * shells[1] + 4 * shells[2]
    whole = 12 * shape.layout.size
    # A number takes two bytes and some bits more; beside them are bounded numbers, few of them.
    assert elements < 0.6 * whole
    assert row["bytes_up"] < 4 * whole * 0.75


def test_a_part_that_too_few_carry_is_never_summed_and_stays_as_it_was(
    tmp_path: Path, opened: list[tuple[int, int, int]]
) -> None:
    plan = _plan(hub=0.17)  # two homes
    found = _run(plan, tmp_path / "run")
    start = tiny.learning(plan).initial
    shape = slices_of(plan, tiny.FEATURES, 1)
    assert np.array_equal(found[shape.shell(2)], start[shape.shell(2)])
    assert (found[shape.shell(1)] != start[shape.shell(1)]).mean() > 0.5
    assert [shell for _, shell, _ in opened] == [0, 1]
    notes = [
        e.data["text"] for e in read_events(tmp_path / "run" / "events.jsonl") if e.event == "note"
    ]
    assert any("2 homes were asked that carry what tier hub has" in note for note in notes)


def test_also_when_homes_vanish_no_part_is_opened_with_too_few(
    tmp_path: Path, opened: list[tuple[int, int, int]]
) -> None:
    plan = _plan(faults={"dropout": 0.45}, rounds={"count": 6, "quorum": 0.1})
    _run(plan, tmp_path / "secret")
    least = min(least_in_a_sum(plan, fleet=12, roster=n) for n in (12, 8, 4))
    assert least >= LEAST
    assert all(homes >= LEAST for _, _, homes in opened)
    silent = tiny.world(plan, tiny.homes(ROWS)).silent()
    assert silent is not None
    hubs = np.flatnonzero(tiers_of(plan, [f"home-{n}" for n in range(len(ROWS))]) == 2)
    there = {n: int((silent(n, hubs) == ANSWERS).sum()) for n in range(2, 7)}
    few = [number for number, count in there.items() if 0 < count < LEAST]
    assert few, "some round has one or two hubs"
    assert not {(number, 2) for number in few} & {(r, s) for r, s, _ in opened}
    assert any((number, 2) in {(r, s) for r, s, _ in opened} for number in there)
    # The control: in the clear the same homes vanish, and the hubs' part moves by one or two.
    number, shell = few[0], slices_of(plan, tiny.FEATURES, 1).shell(2)
    clear = _in_the_clear(plan)
    for summed, moved in ((plan, False), (clear, True)):
        before, after = (
            _run(summed.change(rounds={"count": count}), tmp_path / f"{moved} {count}")
            for count in (number - 1, number)
        )
        assert bool((before[shell] != after[shell]).mean() > 0.3) is moved
        if not moved:
            assert np.array_equal(before[shell], after[shell])


@st.composite
def _fleets(draw: st.DrawFn) -> tuple[Plan, list[str], list[int]]:
    homes = draw(st.integers(4, 40))
    count = draw(st.integers(1, 4))
    widths = sorted(draw(st.sets(st.integers(1, 8), min_size=count, max_size=count)))
    parts = draw(st.lists(st.integers(1, 9), min_size=count, max_size=count))
    tiers = [
        {"name": f"t{n}", "width": width / 8, "depth": 1, "share": part / sum(parts)}
        for n, (width, part) in enumerate(zip(widths, parts, strict=True))
    ]
    sums: dict[str, Any] = {"mode": "ideal", "weights": "equal", "corrupt": 0.0}
    sums["min_cohort"] = draw(st.integers(2, 8))
    plan = tiny.plan(
        seed=draw(st.integers(1, 99)),
        slicing={"tiers": tiers},
        aggregation=sums,
        data={"homes": 40},
    )
    names = [f"home-{n}" for n in range(homes)]
    return plan, names, draw(st.lists(st.integers(0, homes - 1), unique=True, min_size=1))


class _Heard:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def append(self, event: str, **data: Any) -> None:
        assert event == "note"
        self.texts.append(data["text"])


@given(_fleets())
@settings(max_examples=60, deadline=None)
def test_no_shell_is_asked_of_fewer_than_a_sum_may_hold(
    fleet: tuple[Plan, list[str], list[int]],
) -> None:
    plan, names, asked = fleet
    try:
        tiers = tiers_of(plan, sorted(names))
    except PlanError:
        return  # a tier without a home
    by_name = dict(zip(sorted(names), tiers.tolist(), strict=True))
    shape, heard = slices_of(plan, 3, 1), _Heard()
    shells = ShellSums(plan, shape.layout, lambda: by_name, heard)  # type: ignore[arg-type]
    content = RecordDict(
        {
            ARRAYS: array_record(shape.layout, np.zeros(shape.layout.size, np.float32)),
            CONFIG: ConfigRecord({"server-round": 1}),
        }
    )
    nodes = dict(enumerate(names, start=2))
    messages = [Message(content, dst_node_id=n + 2, message_type="train") for n in asked]
    for shell in range(1, shells.count):
        found = shells.asked(shell, messages, nodes)
        carrying = [n for n in asked if by_name[names[n]] >= shell]
        least = least_in_a_sum(plan, fleet=len(names), roster=len(carrying))
        assert least >= plan.aggregation.min_cohort
        if len(carrying) < least:
            assert not found
            assert any(f"tier t{shell} " in text for text in heard.texts)
        else:
            assert [m.metadata.dst_node_id - 2 for m in found] == carrying
            assert all(m.content.config_records[CONFIG][SHELL] == shell for m in found)


def test_a_home_refuses_a_part_that_its_device_does_not_carry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []
    keep = IdealChannel.keep

    def noted(self: IdealChannel, group: Any, request: Any) -> None:
        refused.extend(f"{request.shell}: {reason}" for _, reason in group.failed)
        keep(self, group, request)

    monkeypatch.setattr(IdealChannel, "keep", noted)
    made = ShellSums.__init__

    def cheating(self: ShellSums, *given: Any) -> None:
        made(self, *given)
        self._tiers = dict.fromkeys(self._tiers, 2)  # as if all carried all

    monkeypatch.setattr(ShellSums, "__init__", cheating)
    _run(_plan(engine={"name": "sequential"}), tmp_path / "run")
    of_shell = [[text for text in refused if text.startswith(f"{n}: ")] for n in range(3)]
    # The third shell is left with four of twelve, too few to be opened.
    assert [len(texts) for texts in of_shell] == [0, 4, 0]
    assert all("a part of the model that its device does not carry" in text for text in refused)


def test_sums_of_slices_count_all_homes_alike() -> None:
    with pytest.raises(PlanError, match=r'aggregation\.weights = "examples": sums over more'):
        _plan(aggregation={"weights": "examples"})
