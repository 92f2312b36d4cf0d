"""The largest tier that fits a device: texts of budgets, the choice, and shares that follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fedhome
from fedhome.errors import FedHomeError, PlanError
from fedhome.learning.build import learning_of
from fedhome.learning.fitting_tier import lacking, largest_fitting, settle_tiers
from fedhome.learning.slice_costs import SliceCost
from fedhome.ops.device_memory import free_memory
from fedhome.plan.device_budget import DeviceBudget, budget_of, seconds_of, size_told, sizes_told
from fedhome.plan.overrides import process_faults
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import NOT_SETTLED, tiers_of
from fedhome.run.folder import RunFolder
from helpers import tiny

pytestmark = pytest.mark.long

TIERS = [
    {"name": "sensor", "width": 0.25, "depth": 1},
    {"name": "plug", "width": 0.5, "depth": 2},
    {"name": "hub", "width": 1.0, "depth": 2},
]
COSTS = [
    SliceCost(numbers=n, bytes_up=4 * n, memory=100 * n, step_ms=float(n)) for n in (10, 20, 40)
]


def _plan(*budgets: dict[str, Any], **slicing: Any) -> Plan:
    settings = {"tier": "auto", "tiers": TIERS, "budgets": budgets, **slicing}
    return tiny.plan(slicing=settings, model={"hidden": [8, 8]})


def test_budgets_are_read_in_bytes_and_seconds() -> None:
    found = budget_of(memory="64KiB", step="1.5 ms", bytes_up="8kb")
    assert found == DeviceBudget(memory=65_536, step_ms=1.5, bytes_up=8000)
    assert seconds_of("10us") == pytest.approx(1e-5)
    assert seconds_of("10 \N{MICRO SIGN}s") == pytest.approx(1e-5)
    assert str(DeviceBudget()) == "no limit"


@pytest.mark.parametrize("wrong", [{"memory": "64 apples"}, {"step": "0ms"}, {"bytes_up": "-1"}])
def test_what_is_no_size_and_no_time_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(FedHomeError, match=r"is no (size|time)"):
        budget_of(**wrong)


@pytest.mark.parametrize(
    ("budget", "number"),
    [
        (DeviceBudget(), 2),
        (DeviceBudget(memory=4000), 2),
        (DeviceBudget(memory=3999), 1),
        (DeviceBudget(memory=4000, step_ms=39.9), 1),
        (DeviceBudget(step_ms=10), 0),
        (DeviceBudget(bytes_up=39), None),
    ],
)
def test_a_device_takes_the_largest_slice_within_every_limit(
    budget: DeviceBudget, number: int | None
) -> None:
    assert largest_fitting(COSTS, budget) == number


def test_everything_that_a_device_lacks_is_told() -> None:
    told = lacking(COSTS[2], DeviceBudget(memory=1, step_ms=1.0, bytes_up=1))
    assert [words.partition(",")[0] for words in told] == [
        "4 kB of memory",
        "40 ms a step",
        "160 bytes up a round",
    ]


def test_sizes_are_told_in_three_digits_and_in_full_where_these_are_the_same() -> None:
    amounts = (0, 999, 1000, 8712, 77_328, 999_600, 64_000_000, 1_204_000_000_000)
    assert [size_told(amount) for amount in amounts] == [
        "0 bytes",
        "999 bytes",
        "1 kB",
        "8.71 kB",
        "77.3 kB",
        "1 MB",
        "64 MB",
        "1,204 GB",
    ]
    assert sizes_told(64_012, 64_000) == ("64,012 bytes", "64,000 bytes")
    assert sizes_told(77_328, 64_000) == ("77.3 kB", "64 kB")


def test_tiers_get_the_shares_of_the_devices_that_take_them() -> None:
    small = {"share": 0.5, "bytes_up": "100"}  # 17 numbers and less: the smallest has 2·5+2+2+1
    plan = _plan(small, {"share": 0.2}, {"share": 0.3, "memory": "1GB"})
    features = 5
    settled, notes = settle_tiers(plan, learning_of(plan, features), features)
    assert [(t.name, t.share) for t in settled.slicing.in_order()] == [
        ("sensor", 0.5),
        ("hub", 0.5),
    ]
    assert (settled.slicing.tier, settled.slicing.budgets) == ("given", ())
    assert notes[0].startswith(
        "a device with 100 bytes up (a share of 0.5) takes tier sensor: for "
    )
    assert notes[-1] == "tier plug is left out: it is no device's largest that fits"


def test_shares_that_were_rounded_up_settle_to_no_more_than_all() -> None:
    plan = _plan(*[{"share": 0.3333334}] * 3)
    settled, _ = settle_tiers(plan, learning_of(plan, tiny.FEATURES), tiny.FEATURES)
    assert [(t.name, t.share) for t in settled.slicing.in_order()] == [("hub", 1.0)]


def test_devices_that_can_carry_nothing_are_all_named() -> None:
    plan = _plan({"share": 0.4, "memory": "10"}, {"share": 0.6, "bytes_up": "10"})
    with pytest.raises(PlanError) as told:
        settle_tiers(plan, learning_of(plan, tiny.FEATURES), tiny.FEATURES)
    assert str(told.value).count("can carry no tier: sensor, the smallest, needs") == 2


def test_a_run_keeps_who_has_which_tier(tmp_path: Path) -> None:
    plan = _plan({"share": 0.5, "bytes_up": "1KB"}, {"share": 0.5}).change(
        data={"homes": 4}, rounds={"count": 1}, engine={"kernel": "eager"}
    )
    heard = []
    fedhome.simulate(
        plan, out=tmp_path / "run", on_event=lambda e: heard.append(e.data.get("text"))
    )
    kept = Plan.parse(RunFolder.open(tmp_path / "run").read_plan())
    assert kept.slicing.tier == "given"
    assert sum(tier.share for tier in kept.slicing.tiers) == pytest.approx(1)
    assert any(note and "takes tier hub" in note for note in heard)


def test_faults_of_budgets_are_told_together() -> None:
    with pytest.raises(PlanError) as told:
        _plan({"share": 0.4, "memory": "much"}, tiers=[{**TIERS[0], "share": 0.5}, *TIERS[1:]])
    text = str(told.value)
    assert "tier sensor has a share of 0.5" in text
    assert "'much' is no size" in text
    assert "the shares of slicing.budgets are 0.4 = 0.4: together they must be 1" in text


def test_budgets_and_shares_are_not_mixed_and_neither_may_lack() -> None:
    with pytest.raises(PlanError, match=r"slicing\.budgets are set: set slicing\.tier"):
        _plan({"share": 1.0}, tier="given", tiers=[{**TIERS[0], "share": 1.0}])
    with pytest.raises(PlanError, match="tier hub has no share"):
        _plan(tier="given")
    with pytest.raises(PlanError, match="say of no device what it can spare"):
        _plan()
    with pytest.raises(PlanError, match=r"slicing\.tier = auto, but slicing\.tiers name"):
        _plan({"share": 1.0}, tiers=())


def test_outside_of_simulations_devices_say_their_own_tier() -> None:
    with pytest.raises(PlanError, match="elsewhere each device says its own tier"):
        tiers_of(_plan({"share": 1.0}), ["a", "b"])
    assert process_faults(_plan({"share": 1.0})) == [NOT_SETTLED]


def test_free_memory_is_what_linux_says(tmp_path: Path) -> None:
    told = tmp_path / "meminfo"
    told.write_text("MemTotal:  100 kB\nMemAvailable:   12 kB\n")
    assert free_memory(told) == 12 * 1024
    assert free_memory(tmp_path / "none") is None
    told.write_text("MemTotal:  100 kB\n")
    assert free_memory(told) is None
