"""What a report shows of single homes, of new ones, and what it says where there is none of it."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_report import HOSTILE, Page, fake_run, page_of, results_of

from fedhome.plan.settings import Plan
from fedhome.run.cold_start_table import cold_start_table
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.run.mean_intervals import mean_interval
from fedhome.run.shown_homes import PLACES, Reliability, Shown, ShownHome
from fedhome.server.report.facts import facts
from fedhome.server.report.figure_drawing import drawings
from fedhome.server.report.homes_list import MOST_HOMES, homes_list
from fedhome.server.report.html import write_report
from fedhome.server.report.run_figures import figures

pytestmark = pytest.mark.long

NOON_S = 1_700_006_400


def shown(targets: str = "continuous", name: str = "home-000", **changes: Any) -> Shown:
    """Return three homes with two days each."""
    rows = 48
    values = tuple(np.linspace(0, 1, rows).round(3).tolist())
    labels = tuple(float(at % 2) for at in range(rows))
    numbers = targets == "continuous"
    homes = tuple(
        ShownHome(
            home=f"{name}{place}",
            place=place,
            score=0.5,
            time_s=tuple(NOON_S + 3600 * at for at in range(rows)),
            true=values if numbers else labels,
            predicted=labels if targets == "multi-class" else values,
            low=tuple(value - 0.1 for value in values) if numbers else (),
            high=tuple(value + 0.1 for value in values) if numbers else (),
        )
        for place in PLACES
    )
    found = Shown(
        targets=targets,
        target="load",
        unit="kWh",
        classes=("away", name) if targets == "multi-class" else (),
        homes=homes,
        reliability=Reliability(
            along="hour" if numbers else "probability",
            places=(0.0, 0.5, 1.0),
            right=(0.7, 0.8, 0.9),
            rows=(100, 200, 100),
        ),
        blocks={f"home-{number:03}": 2 for number in range(100)},
        strength=6.0,
    )
    return replace(found, **changes)


def new_homes(run: RunFolder, count: int = 5) -> None:
    run.write_cold_start(
        cold_start_table(
            {
                "home": f"new-{number}",
                "days": days,
                "model": model,
                "score": score + days / 100 + number / 1000,
                "examples_train": 16,
                "examples_validation": 6,
                "examples_test": 100,
                "expert": "naive",
            }
            for model, score in (("personalised", 0.4), ("global", 0.3), ("trees", 0.2))
            for days in (1.0, 3.0, 7.0)
            for number in range(count)
        )
    )


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return fake_run(tmp_path / "run")


@pytest.mark.parametrize("targets", ["continuous", "binary", "multi-class"])
def test_predictions_are_drawn_beside_what_was_true(run: RunFolder, targets: str) -> None:
    run.write_shown(shown(targets))
    page = page_of(run)
    assert {"portraits", "reliability"} <= set(page.plots)
    names = {trace["name"] for trace in page.plots["portraits"]["data"]}
    expected = {
        "continuous": {"band of 80 %", "predicted", "true"},
        "binary": {"stated probability", "true"},
        "multi-class": {"true", "right", "wrong"},
    }
    assert names == expected[targets]
    assert "load in kWh" in page.text
    assert "evaluation.predictions = false leaves them out" in page.text
    right = next(f for f in figures(results_of(run)) if f.key == "reliability")
    assert "Over 400 test rows, 80.0%" in right.alt


def test_a_band_is_an_area(run: RunFolder) -> None:
    run.write_shown(shown())
    made = next(f for f in figures(results_of(run)) if f.key == "portraits")
    wide, narrow = drawings(made.plot)
    for drawing in (wide, narrow):
        assert (
            drawing.count('z" style="fill:var(--figure-') == 4
        )  # of three homes, and in the legend
        assert 'stroke-width="0"' not in drawing


def test_new_homes_are_a_curve_of_means_and_of_percentiles(run: RunFolder) -> None:
    new_homes(run)
    page = page_of(run)
    data = page.plots["cold-start"]["data"]
    gets = [trace for trace in data if trace.get("name") == "what a new home gets"]
    assert gets[0]["y"] == pytest.approx([0.412, 0.432, 0.472])
    assert gets[1]["y"] == pytest.approx([0.4104, 0.4304, 0.4704])
    strongest = next(trace for trace in data if trace["name"].startswith("strongest"))
    assert strongest["customdata"] == ["trees"] * 3
    made = next(figure for figure in figures(results_of(run)) if figure.key == "cold-start")
    assert ", minus global " in made.alt
    assert ", minus the strongest alone " in made.alt
    assert page.plots["cold-start"]["layout"]["xaxis"]["ticktext"] == ["1<br>5", "3<br>5", "7<br>5"]


@pytest.mark.parametrize("count", [5, 6])
def test_of_six_new_homes_the_curve_has_intervals(run: RunFolder, count: int) -> None:
    new_homes(run, count)
    data = page_of(run).plots["cold-start"]["data"]
    strokes = [trace["y"] for trace in data if "name" not in trace and trace["x"] == [0, 0]]
    scores = 0.4 + 1.0 / 100 + np.arange(6) / 1000
    assert strokes == ([pytest.approx(list(mean_interval(scores)))] if count == 6 else [])


def test_gains_have_intervals_over_homes(run: RunFolder) -> None:
    result = results_of(run)
    made = next(figure for figure in figures(result) if figure.key == "gains")
    gaps = np.array(
        [
            result.scores["personalised"][home] - score
            for home, score in result.scores["global"].items()
        ]
    )
    low, high = mean_interval(gaps)
    assert f"against global {gaps.mean():+.3f} ({low:+.3f} to {high:+.3f})" in made.alt
    strokes = [list(trace.x) for trace in made.plot.data if trace.mode == "lines"]
    assert pytest.approx([low, high]) in strokes


def test_homes_are_listed_with_what_they_keep_and_why(run: RunFolder) -> None:
    run.write_shown(shown())
    found = homes_list(results_of(run))
    assert found is not None
    assert len(found.rows) == 17
    gains = [float(row[5].replace("\N{MINUS SIGN}", "-")) for row in found.rows]
    assert gains == sorted(gains)
    assert {row[3] for row in found.rows} == {"local"}
    assert {row[8] for row in found.rows} == {"25 %"}  # two blocks of eight
    assert {row[7] for row in found.rows} <= {"tuned", "global"}
    page = page_of(run)
    assert "least gain first" in page.text


def test_the_list_of_many_homes_says_what_it_leaves_out(tmp_path: Path) -> None:
    found = homes_list(results_of(fake_run(tmp_path / "big", homes=MOST_HOMES + 7, rounds=2)))
    assert found is not None
    assert (len(found.rows), found.left_out) == (MOST_HOMES, 7)


def test_the_one_script_is_named_by_its_hash(run: RunFolder) -> None:
    page = page_of(run)
    ((attributes, script),) = page.blocks
    assert attributes == {}
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(
        str(attributes["content"])
        for tag, attributes in page.tags
        if tag == "meta" and attributes.get("http-equiv")
    )
    assert f"script-src 'sha256-{digest}';" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    for word in ("fetch", "XMLHttp", "innerHTML", "eval", "http", "storage", "cookie"):
        assert word not in script


def test_a_report_of_a_hundred_homes_stays_small(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", homes=100, rounds=40)
    run.write_shown(shown())
    new_homes(run)
    assert write_report([run], run.report_path).stat().st_size < 300_000


@pytest.mark.parametrize("targets", ["continuous", "multi-class"])
def test_hostile_names_of_homes_and_classes_are_text(tmp_path: Path, targets: str) -> None:
    run = fake_run(tmp_path / "run", first_home=HOSTILE)
    run.write_shown(shown(targets, HOSTILE, target=HOSTILE))
    page = Page(write_report([run], run.report_path).read_text(encoding="utf-8"))
    assert (page.open, page.unbalanced) == ([], [])
    assert not [tag for tag, _ in page.tags if tag in {"img", "b"}]
    assert len(page.blocks) == 1
    assert f"{HOSTILE} in kWh. These are readings" in page.text, "escaped once"


def test_a_hostile_score_is_read_out_as_it_is(run: RunFolder) -> None:
    results = results_of(run)
    events = [replace(one, data={**one.data, "score": HOSTILE}) for one in results.events]
    made = figures(replace(results, events=events))
    told = next(figure.alt for figure in made if figure.key == "curves")
    assert f"validation {HOSTILE} " in told


def test_a_fleet_of_real_homes_says_what_it_cannot_show(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "real")
    run.write_plan("")
    with EventLog(run.events_path) as log:
        log.append("run-started", plan="real", data="homes")
        log.append("fleet-ready", homes=9, parameters=100, aggregation="secure", score="skill")
    page = page_of(run)
    assert "no server sees predictions or readings of a home" in page.text
    assert "Nor is there a table of homes" in page.text
    assert page.blocks == []


@pytest.mark.parametrize(
    ("source", "told"), [("synthetic", "the homes' own"), ("energy-homes17", "energy-homes17")]
)
def test_a_fleets_readings_are_called_synthetic_by_no_default(
    source: str, told: str, tmp_path: Path
) -> None:
    """Plans of fleets name no source, and their default is that of simulations."""
    run = RunFolder.create(tmp_path / "real")
    run.write_plan(Plan.load(sets=[f"data.source={source}"]).to_toml())
    with EventLog(run.events_path) as log:
        log.append("run-started", plan="real", data=source)
        log.append("fleet-ready", homes=9, parameters=100, aggregation="secure", score="skill")
    found = facts(results_of(run))
    assert found["Data"] == told
    assert "Engine" not in found


def test_a_simulation_says_nothing_of_what_a_real_fleet_lacks(run: RunFolder) -> None:
    assert "What is not shown" not in page_of(run).text


def test_a_home_that_only_follows_the_fleet_has_no_say_with_or_without_a_pull(
    run: RunFolder,
) -> None:
    for strength in (0.0, 6.0):
        run.write_shown(shown(blocks={f"home-{i:03}": 0 for i in range(100)}, strength=strength))
        found = homes_list(results_of(run))
        assert found is not None
        assert {row[8] for row in found.rows} == {"0 %"}
