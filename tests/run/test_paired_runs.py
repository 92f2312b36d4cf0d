"""Two plans held against each other home by home, and where a plan's runs lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedhome.errors import RunError
from fedhome.run.folder import RunFolder
from fedhome.run.paired_runs import not_paired, paired_gains, runs_at
from fedhome.run.results import homes_table
from helpers.command import fedhome
from helpers.home_rows import home_row

FIRST = {"oak": 0.1, "elm": 0.2, "fir": 0.4}


def run(
    path: Path, by_home: dict[str, float | None], *, seed: int = 1, source: str = "village"
) -> RunFolder:
    folder = RunFolder.create(path)
    folder.write_plan(f'seed = {seed}\n[data]\nsource = "{source}"\n')
    folder.events_path.touch()
    folder.write_homes(
        homes_table(
            home_row(home, model, score)
            for home, score in by_home.items()
            for model in ("baseline", "global", "personalised")
        )
    )
    return folder


def test_a_gain_is_over_homes_each_with_its_mean_over_seeds(tmp_path: Path) -> None:
    first = [run(tmp_path / f"a/{seed}", FIRST, seed=seed) for seed in (1, 2)]
    # In the other order of seeds, and ash is in one alone: gaps of .1 and .3, 0 and .2, 0 and .4.
    second = [
        run(tmp_path / "b/2", {"oak": 0.4, "elm": 0.4, "fir": 0.8, "ash": 1.0}, seed=2),
        run(tmp_path / "b/1", {"oak": 0.2, "elm": 0.2, "fir": 0.4}, seed=1),
    ]
    assert not_paired(first, second) == ""
    gains = paired_gains(first, second)
    assert [gain.model for gain in gains] == ["global", "personalised"]
    for gain in gains:
        assert gain.homes == 3
        assert gain.mean == pytest.approx(0.5 / 3)  # of .2, .1 and .2
        # Student's with two degrees of freedom: 4.3027 times .057735 / sqrt(3).
        assert (gain.low, gain.high) == pytest.approx((0.0232, 0.3101), abs=1e-4)


def test_synthetic_homes_are_others_in_each_seed(tmp_path: Path) -> None:
    """Gaps of 0, 0 and 0 with one seed, of 0.3, 0.2 and 0.4 with the other: six homes."""
    made = "synthetic"
    first = [run(tmp_path / f"a/{seed}", FIRST, seed=seed, source=made) for seed in (1, 2)]
    more = {"oak": 0.4, "elm": 0.4, "fir": 0.8}
    second = [
        run(tmp_path / "b/2", more, seed=2, source=made),
        run(tmp_path / "b/1", FIRST, seed=1, source=made),
    ]
    (_, gain) = paired_gains(first, second)
    assert gain.homes == 6
    assert gain.mean == pytest.approx(0.9 / 6)
    assert gain.low < 0.1  # those without a gain are no part of those with one


def test_a_home_without_a_number_in_one_of_them_counts_in_neither(tmp_path: Path) -> None:
    first = run(tmp_path / "a", FIRST | {"ash": None})
    second = run(tmp_path / "b", {"oak": 0.3, "elm": None, "ash": 0.9})
    (_, gain) = paired_gains([first], [second])
    assert (gain.homes, gain.mean) == (1, pytest.approx(0.2))


def test_a_seed_that_is_no_number_ends_nothing(tmp_path: Path) -> None:
    """The folder may be somebody else's: a list has no hash."""
    first, second = run(tmp_path / "a", FIRST), run(tmp_path / "b", FIRST)
    for folder in (first, second):
        folder.write_plan("seed = [1]\n")
    assert not_paired([first], [second]) == ""


def test_what_is_not_alike_is_not_compared(tmp_path: Path) -> None:
    one = run(tmp_path / "a", FIRST)
    assert "seeds" in not_paired([one], [run(tmp_path / "b", FIRST, seed=2)])
    assert "seeds" in not_paired([one, one], [one, one])
    assert "the same runs" in not_paired([one], [one])
    assert "settings of data" in not_paired([one], [run(tmp_path / "c", FIRST, source="town")])
    bare = RunFolder.create(tmp_path / "d")
    bare.write_plan(one.plan_text())
    assert "scores of homes" in not_paired([one], [bare])


def test_a_folder_of_runs_stands_for_them_and_a_plan_alone_is_no_run(tmp_path: Path) -> None:
    for seed in (10, 9, 1):
        run(tmp_path / f"runs/seed-{seed}", FIRST, seed=seed)
    (tmp_path / "runs/notes").mkdir()
    found = [folder.path.name for folder in runs_at(tmp_path / "runs")]
    assert found == ["seed-1", "seed-9", "seed-10"]
    assert [folder.path.name for folder in runs_at(tmp_path / "runs/seed-9")] == ["seed-9"]
    lost = tmp_path / "runs/seed-11"  # a run of which the scores alone are left: not passed over
    lost.mkdir()
    (lost / "homes.parquet").write_bytes((tmp_path / "runs/seed-9/homes.parquet").read_bytes())
    with pytest.raises(RunError, match="seed-11 holds no run"):
        runs_at(tmp_path / "runs")
    app = tmp_path / "app"
    app.mkdir()
    (app / "plan.toml").write_text("seed = 1\n")
    for none in (app, tmp_path / "nowhere", app / "plan.toml"):
        with pytest.raises(RunError, match="holds no run"):
            runs_at(none)


def test_report_says_what_the_second_of_two_gives_more(tmp_path: Path) -> None:
    run(tmp_path / "a/seed-1", FIRST)
    run(tmp_path / "b/seed-1", {home: score + 0.25 for home, score in FIRST.items()})
    said = fedhome("report", "a", "b", folder=tmp_path)
    assert said.returncode == 0, said.stderr
    told = " ".join(said.stdout.split())
    assert "b minus a, personalised: +0.250 (+0.250 to +0.250, 95 % over homes), 3 homes" in told
    assert (tmp_path / "comparison.html").exists()
    run(tmp_path / "c/seed-1", {home: score - 0.00021 for home, score in FIRST.items()})
    run(tmp_path / "d/seed-2", FIRST, seed=2)
    told = " ".join(fedhome("report", "a", "c", "d", "b", folder=tmp_path).stdout.split())
    assert "c minus a, personalised: -0.00021 (-0.00021 to -0.00021, 95 % over homes)" in told
    assert "b minus a, personalised: +0.250 (" in told
    assert "not compared home by home with a: d: their seeds are not the same" in told
