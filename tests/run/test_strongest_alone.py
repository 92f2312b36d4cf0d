"""What a fleet gives is held against the strongest way to be alone, too, which no home knows."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.run.results import homes_table
from fedhome.run.strongest_alone import over_strongest
from fedhome.run.summary import print_seeds, print_summary

_ALONE = {"seasonal": 0.1, "trees": 0.45, "local": 0.2}
_OWN = [0.4, 0.5, 0.6, 0.7]


def _table(picked: float, own: list[float] = _OWN) -> pa.Table:
    """Homes whose trees have .45 in the mean, .4 and .5 in turns, and that pick something else."""
    scores = {name: [value] * len(own) for name, value in _ALONE.items()}
    scores["trees"] = [0.4, 0.5] * (len(own) // 2)
    scores |= {"alone": [picked] * len(own), "personalised": own}
    rows = [
        {
            "home": f"home-{place}",
            "model": model,
            "score": score,
            "loss": 0.1,
            "examples_train": 6,
            "examples_validation": 2,
            "examples_test": 2,
            **dict.fromkeys(("verdict", "expert", "best")),
        }
        for model, by_home in scores.items()
        for place, score in enumerate(by_home)
    ]
    return homes_table(rows)


def test_the_gain_is_over_the_best_mean_and_paired_by_home() -> None:
    found = over_strongest([_table(0.3)])
    assert found is not None
    assert found.alone == "trees"
    # Home by home: .4 - .4, .5 - .5, .6 - .4 and .7 - .5.
    assert found.gain == pytest.approx(0.1)
    assert found.low < 0.1 < found.high


def test_over_seeds_a_home_counts_with_its_mean() -> None:
    found = over_strongest([_table(0.3), _table(0.3, [0.6, 0.7, 0.8, 0.9])])
    assert found is not None
    assert found.gain == pytest.approx(0.2)


def test_a_way_of_one_seed_alone_is_held_against_what_homes_had_there() -> None:
    """Its mean is above all others only as that seed was an easy one."""
    hard, easy = _table(0.3), _table(0.3, [one + 1 for one in _OWN])
    models = easy["model"].to_pylist()
    scores = easy["score"].to_numpy().copy()
    for place, name in enumerate(models):
        scores[place] += {"personalised": 0, "local": 0.7}.get(name, 1)  # .9, where trees have 1.45
    easy = easy.set_column(easy.schema.get_field_index("score"), "score", [scores])
    hard = hard.filter(pa.array([name != "local" for name in hard["model"].to_pylist()]))
    found = over_strongest([hard, easy])
    assert found is not None
    assert (found.alone, found.gain) == ("trees", pytest.approx(0.1))


def test_where_picks_are_the_strongest_nothing_more_is_said() -> None:
    assert over_strongest([_table(0.45)]) is None
    assert over_strongest([_table(0.6)]) is None


def test_a_score_that_is_no_number_compares_nothing() -> None:
    found = over_strongest([_table(0.3, [np.nan, 0.5, 0.6, 0.7])])
    assert found is not None
    assert found.gain == pytest.approx(0.4 / 3)
    assert over_strongest([_table(0.3, [np.nan] * 4)]) is None
    assert over_strongest([]) is None


def test_it_is_printed_beside_the_gain_over_the_picks(tmp_path: Path) -> None:
    runs = []
    for seed in (1, 2):
        run = RunFolder.create(tmp_path / f"run-{seed}")
        with EventLog(run.events_path) as log:
            log.append("fleet-ready", homes=4, score="skill")
        run.write_homes(_table(0.3))
        runs.append(run)
    out = StringIO()
    print_summary(Console(file=out, width=120), runs[0])
    print_seeds(Console(file=out, width=120), runs)
    said = out.getvalue()
    assert said.count("gain over the best alone: +0.250 (") == 2
    assert said.count("over trees, the strongest of all on test rows: +0.100 (") == 2
