"""What a report shows of tiers: their slices, what these cost, and what the homes came to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from test_report import fake_run, page_of, results_of

from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import tiers_of
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.run.progress import ProgressLines
from fedhome.server.report.homes_list import homes_list
from fedhome.server.report.tiers_table import CARRIED, TIER_COLUMNS, home_tiers, tier_rows

pytestmark = pytest.mark.long

PLAN = Plan.parse(
    {
        "aggregation": {"mode": "plain"},
        "slicing": {
            "tiers": [
                {"name": "hub", "depth": 2, "share": 0.4},
                {"name": "sensor", "width": 0.25, "depth": 1, "share": 0.6},
            ]
        },
    }
)
SAID = "said on a screen"
COSTS = {
    "sensor": {"numbers": 401, "bytes_up": 1604, "memory": 8712, "step_ms": 1.115},
    "hub": {"numbers": 5778, "bytes_up": 23112, "memory": 77328, "step_ms": 3.234},
}


def _sliced(run: RunFolder, *, told: bool = True) -> RunFolder:
    run.write_plan(PLAN.to_toml())
    with EventLog(run.events_path) as log:
        for tier, cost in COSTS.items() if told else ():
            log.append(
                "tier-carried", tier=tier, carries=f"{tier}'s units", homes=1, text=SAID, **cost
            )
            log.append("tier-scored", tier=tier, text=SAID)
    return run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return fake_run(tmp_path / "run")


def test_each_tier_has_its_cost_and_its_homes_scores(run: RunFolder) -> None:
    results = results_of(_sliced(run))
    names = [column for column, _, _ in TIER_COLUMNS]
    rows = {row[0]: dict(zip(names, row, strict=True)) for row in tier_rows(results)}
    assert list(rows) == ["sensor", "hub"]
    homes = sorted(results.scores["personalised"])
    tiers = tiers_of(PLAN, homes)
    for number, (tier, row) in enumerate(rows.items()):
        own = [home for home, at in zip(homes, tiers, strict=True) if at == number]
        ends, alone = (results.scores[model] for model in ("personalised", "alone"))
        assert row["Homes"] == str(len(own))
        assert row["Ends with"] == f"{np.mean([ends[home] for home in own]):.3f}"
        gain = np.mean([ends[home] - alone[home] for home in own])
        assert row["Gain"] == f"{gain:+.3f}".replace("-", "\N{MINUS SIGN}")
        assert row["Numbers"] == f"{COSTS[tier]['numbers']:,}"
    assert rows["sensor"]["Up a round"] == "1.6 kB"
    assert rows["hub"]["Memory"] == "77.3 kB"
    assert rows["hub"]["ms a step"] == "3.23"


def test_the_page_has_the_table_and_each_home_its_tier(run: RunFolder) -> None:
    _sliced(run)
    text = page_of(run).text
    assert "Tiers" in text
    assert "sensor's units" in text
    listed = homes_list(results_of(run))
    assert listed is not None
    assert [name for name, _, _ in listed.columns][:3] == ["Home", "Tier", "kB up"]
    by_home = home_tiers(results_of(run))
    assert {row[1] for row in listed.rows} == {"sensor", "hub"}
    for row in listed.rows:
        assert len(row) == len(listed.columns)
        assert row[1] == by_home[row[0]].tier
        assert row[2] == {"sensor": "1.60", "hub": "23.11"}[row[1]]


def test_what_the_table_has_is_on_a_screen_a_sentence_and_on_the_page_no_second_time(
    run: RunFolder,
) -> None:
    _sliced(run)
    lines = ProgressLines(Console())
    said = [lines.line(event) for event in run.read_events() if event.event.startswith("tier-")]
    assert said == [f"note: {SAID}"] * 4
    assert SAID not in page_of(run).text


def test_a_run_whose_log_tells_no_costs_still_says_who_has_which_tier(run: RunFolder) -> None:
    results = results_of(_sliced(run, told=False))
    assert tier_rows(results) == []
    listed = homes_list(results)
    assert listed is not None
    assert {row[2] for row in listed.rows} == {"\N{EN DASH}"}


def test_of_a_fleet_the_log_tells_who_has_which_tier(run: RunFolder) -> None:
    """Its plan does not: devices say it, and their owner signs it."""
    results = results_of(_sliced(run))
    homes = sorted(results.scores["personalised"])
    events = []
    for event in results.events:
        data = {name: value for name, value in event.data.items() if name != "engine"}
        if event.event == CARRIED and data["tier"] == "hub":
            data["names"] = homes[:1]
        events.append(replace(event, data=data))
    fleets = replace(results, events=events)
    assert [home_tiers(fleets)[home].tier for home in homes[:2]] == ["hub", "\N{EN DASH}"]
    listed = homes_list(fleets)
    assert listed is not None
    assert {len(row) for row in listed.rows} == {len(listed.columns)}
    (sensor, hub) = tier_rows(fleets)
    assert (sensor[2], hub[2]) == ("1", "1")
    assert hub[-2] == f"{results.scores['personalised'][homes[0]]:.3f}"


def test_where_not_all_of_a_simulations_homes_are_scored_nobodys_tier_is_guessed(
    run: RunFolder,
) -> None:
    """Tiers are dealt to all homes together: the same seed deals fewer homes other tiers."""
    with EventLog(_sliced(run).events_path) as log:
        log.append("fleet-ready", homes=17)
    results = results_of(run)
    assert results.homes is not None
    assert {own.tier for own in home_tiers(results).values()} == {"sensor", "hub"}
    kept = [home != "home-003" for home in results.homes["home"].to_pylist()]
    fewer = replace(results, homes=results.homes.filter(kept))
    assert {own.tier for own in home_tiers(fewer).values()} == {"\N{EN DASH}"}
    assert {row[-1] for row in tier_rows(fewer)} == {"\N{EN DASH}"}


def test_where_all_carry_all_there_is_no_word_of_tiers(run: RunFolder) -> None:
    listed = homes_list(results_of(run))
    assert listed is not None
    assert "Tier" not in [name for name, _, _ in listed.columns]
    assert "Tiers" not in page_of(run).text
