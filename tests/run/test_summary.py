"""The table that a run prints at its end, and what it says below."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from fedhome.run.cold_start_table import cold_start_table
from fedhome.run.compared_models import ALONE, EXPERTS, FEDERATED, MODELS
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.run.results import homes_table, means_of, over_seeds, summary
from fedhome.run.summary import print_seeds, print_summary

_HOMES = 8


def _run(folder: Path, **counted: Any) -> RunFolder:
    run = RunFolder.create(folder)
    with EventLog(run.events_path) as log:
        log.append("fleet-ready", homes=_HOMES, score="skill")
        if counted:
            log.append("scores-counted", **counted)
    return run


def _printed(run: RunFolder, width: int = 120) -> str:
    out = StringIO()
    print_summary(Console(file=out, width=width), run)
    return out.getvalue()


def _rows(more: float = 0.0) -> list[dict[str, Any]]:
    gains = np.array([0.1, 0.2, 0.3, 0.1, 0.2, 0.3, -0.2, 0.0]) + more
    told = ["helped"] * 4 + ["no difference"] * 3 + ["hurt"]
    return [
        {
            "home": f"home-{home}",
            "model": model,
            "score": 0.5 + (gains[home] if model == "personalised" else 0.0),
            "loss": 0.1,
            "examples_train": 6,
            "examples_validation": 2,
            "examples_test": 2,
            "verdict": told[home] if model in FEDERATED else None,
            "expert": "tuned",
            "best": "linear",
            "coverage": home / 10 if model == "personalised" else None,
        }
        for model in MODELS
        for home in range(_HOMES)
    ]


def test_every_model_is_printed_and_the_gain_has_its_interval(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    run.write_homes(homes_table(_rows()))
    said = _printed(run)
    assert "skill on test rows, over 8 homes" in said
    for name in ("baseline (no learning)", "trees (alone)", "settings (network, alone)", "global "):
        assert name in said
    (personalised,) = [line for line in said.splitlines() if "personalised" in line]
    cells = [cell.strip() for cell in personalised.strip("│").split("│")]
    assert cells[-2:] == ["12%", "50%"]
    assert "gain over the best alone: +0.125 (" in said
    assert "settings: with the rate and passes that suit all homes together" in said
    assert "bands of 80 % hold 35% of the test rows" in said
    assert " of the test rows (20% to 51%, 95 % over homes)" in said
    (held,) = means_of([run.read_homes()], ["coverage", "ece"]).values()
    assert held.mean == pytest.approx(np.mean(range(8)) / 10)
    assert held.low < held.mean < held.high


def test_an_interval_of_a_share_is_one_of_shares() -> None:
    """Of two homes with 0.5 and 1 Student's would end above one."""
    rows = [{**row, "coverage": share} for row, share in zip(_rows(), (0.5, 1.0), strict=False)]
    table = homes_table({**row, "model": "personalised"} for row in rows)
    (held,) = means_of([table], ["coverage"]).values()
    assert (held.mean, held.low, held.high) == (0.75, 0.0, 1.0)


@pytest.mark.parametrize("width", [65, 45])
def test_in_a_narrow_terminal_every_number_of_the_table_stays_whole(
    tmp_path: Path, width: int
) -> None:
    run = _run(tmp_path / "run")
    run.write_homes(homes_table(_rows(-2.0)))
    said = _printed(run, width)
    assert "…" not in said
    table = said[: said.index("settings: with")].splitlines()
    assert max(map(len, table)) <= width
    (personalised,) = [line for line in table if line.startswith("personalised")]
    assert not any("(" in line for line in table[1:13])
    assert "baseline (no learning), seasonal (naive)" in " ".join(said.split())
    assert personalised.split() == ["personalised", "-1.375", "-1.350", "-1.560", "12%", "50%"]


def test_of_counts_no_single_home_and_no_interval_is_printed(tmp_path: Path) -> None:
    models = {
        model: {"mean": 0.5, "median": None, "p10": None}
        | ({"hurt": 0.25, "helped": 0.5} if model in FEDERATED else {})
        for model in MODELS
    }
    said = _printed(
        _run(
            tmp_path / "run",
            homes=_HOMES,
            models=models,
            experts=dict.fromkeys(EXPERTS, 0),
            best=dict.fromkeys(ALONE, 0),
        )
    )
    (tuned,) = [line for line in said.splitlines() if "tuned (fine-tuned)" in line]
    assert [cell.strip() for cell in tuned.strip("│").split("│")][1:] == [
        "0.500",
        "-",
        "-",
        "25%",
        "50%",
    ]
    assert "gain over" not in said
    assert "no single home's score is shown" in said
    assert "too few homes for median and percentile" in said


@pytest.mark.long
def test_over_seeds_a_home_counts_with_its_mean() -> None:
    one, other = homes_table(_rows()), homes_table(_rows(0.1))
    assert [str(row) for row in over_seeds([one])] == [str(row) for row in summary(one)]
    rows = {row.model: row for row in over_seeds([one, other])}
    (first,) = [row for row in summary(one) if row.model == "personalised"]
    both = rows["personalised"]
    assert both.homes == _HOMES
    assert both.compared == 2 * _HOMES
    assert (both.hurt, both.helped) == (0.125, 0.5)
    assert both.gain == pytest.approx(first.gain + 0.05)
    assert both.gain_low < both.gain < both.gain_high
    assert (rows["tuned"].gain, rows["alone"].mean) == (0.0, 0.5)
    assert over_seeds([homes_table([])]) == []


def test_seeds_are_printed_together_where_there_are_several(tmp_path: Path) -> None:
    runs = [_run(tmp_path / f"seed {seed}") for seed in (1, 2)]
    for more, run in enumerate(runs):
        run.write_homes(homes_table(_rows(more / 10)))
    out = StringIO()
    print_seeds(Console(file=out, width=120), runs[:1])
    assert out.getvalue() == ""
    print_seeds(Console(file=out, width=120), runs)
    said = out.getvalue()
    assert "skill on test rows, over 2 seeds and 8 homes" in said
    assert "gain over the best alone: +0.175 (" in said
    assert f"side by side: fedhome report '{runs[0].path}' '{runs[1].path}'" in said


def test_synthetic_homes_of_several_seeds_count_each_by_itself(tmp_path: Path) -> None:
    """The mean of two strangers is less uneven than they: 16 homes here, and not 8 means."""
    runs = [_run(tmp_path / f"seed {seed}") for seed in (1, 2)]
    for seed, run in enumerate(runs, 1):
        run.write_plan(f'seed = {seed}\n[data]\nsource = "synthetic"\n')
        run.write_homes(homes_table(_rows(seed - 1.0)))
    out = StringIO()
    print_seeds(Console(file=out, width=120), runs)
    said = out.getvalue()
    assert "over 2 seeds and 16 homes" in said
    assert "synthetic homes are others in each seed: each counts by itself" in said
    assert "bands of 80 % hold 35% of the test rows (" in said
    scores = [0.5 + gain for run in runs for gain in _personalised(run)]
    (line,) = [line for line in said.splitlines() if "personalised" in line]
    assert f"{np.percentile(scores, 10):.3f}" in line
    assert "gain over the best alone: +0.625 (" in said


def _personalised(run: RunFolder) -> list[float]:
    rows = run.read_homes().to_pylist()
    return [row["score"] - 0.5 for row in rows if row["model"] == "personalised"]


def test_new_homes_of_several_seeds_are_one_table(tmp_path: Path) -> None:
    """Homes of one name in two seeds are two: 0.1 to 0.4 have the mean 0.25."""
    runs = [_run(tmp_path / f"seed {seed}") for seed in (1, 2)]
    for more, run in enumerate(runs):
        run.write_homes(homes_table(_rows()))
        rows = [
            {
                "home": f"new-{i}",
                "days": 1.0,
                "model": model,
                "score": 0.1 + 0.1 * i + 0.2 * more,
                "examples_train": 10,
                "examples_validation": 5,
                "examples_test": 5,
                "expert": "global",
            }
            for i in range(2)
            for model in ("personalised", "global", "trees")
        ]
        run.write_cold_start(cold_start_table(rows))
    out = StringIO()
    print_seeds(Console(file=out, width=80), runs)
    said = " ".join(out.getvalue().split())
    assert "4 new homes, by days of own readings: skill, mean/10th pct" in said
    assert "new homes of all 2 seeds, each by itself" in out.getvalue()
    assert "0.25/0.13" in out.getvalue()
    assert "get minus global: +0.00 (+0.00 to +0.00) at 1, 95 % over homes" in said
