"""The table of what homes gain, over several seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fedhome.run.compared_models import ALONE, EXPERTS
from fedhome.run.results import homes_table, mean_interval
from fedhome.simulations.benchmarks.learning import gains_over, hurt_homes, table, told_hurt


def _run(name: str, seed: int, gains: dict[str, float]) -> dict[str, Any]:
    models = ("baseline", *ALONE, "alone", "global", "tuned", "personalised")
    return {
        "set": name,
        "seed": seed,
        "score": "skill",
        "models": {model: [0.5, 0.5, 0.25] for model in models},
        "gains": dict.fromkeys((*ALONE, "alone"), gains),
        "verdicts": {"personalised": [0.0, 0.5], "local": [0.1, 0.2]},
    }


def test_a_real_home_counts_once_over_seeds_and_synthetic_ones_each_time() -> None:
    runs = [_run("s", 1, {"a": 0.1, "b": 0.3}), _run("s", 2, {"a": 0.3, "b": 0.5})]
    assert gains_over(runs, "alone", same_homes=True).tolist() == pytest.approx([0.2, 0.4])
    assert gains_over(runs, "alone", same_homes=False).tolist() == [0.1, 0.3, 0.3, 0.5]


def test_the_interval_of_a_set_of_few_homes_is_in_the_table() -> None:
    homes = {f"room-{i}": i / 10 for i in range(4)}
    text = table([_run("robod", 1, homes), _run("robod", 2, homes)])
    low, high = mean_interval(np.array(list(homes.values())))
    assert "robod (2), skill | 0.500/0.250 | " in text
    assert f"+0.150 ({low:+.3f} to {high:+.3f})" in text
    assert text.endswith("| 0% / 50% | 10% / 20% |")
    assert "nan" not in text


def test_of_homes_told_hurt_the_list_says_what_was_better_alone() -> None:
    def row(home: str, model: str, score: float, verdict: str | None) -> dict[str, Any]:
        own = {"home": home, "model": model, "score": score, "loss": 1 - score}
        own |= dict.fromkeys(("examples_train", "examples_validation", "examples_test"), 9)
        weights = {f"weight_{name}": 0.0 for name in EXPERTS} | {"weight_naive": 1.0}
        return {**own, **weights, "verdict": verdict, "expert": "naive", "best": "trees"}

    told = [
        row(home, model, score, verdict if model == "personalised" else None)
        for home, verdict in (("a", "hurt"), ("b", "helped"))
        for model, score in (("trees", 0.5), ("personalised", 0.25))
    ]
    found = hurt_homes(homes_table(told))
    assert list(found) == ["a"]
    assert found["a"]["best"] == "trees"
    assert found["a"]["scores"] == {"trees": 0.5, "personalised": 0.25}
    (line,) = told_hurt([_run("s", 1, {}) | {"hurt": found}, _run("s", 2, {})])
    assert line == (
        "s, seed 1, a: best alone trees; mixture naive 1.00; skill trees 0.500, personalised 0.250"
    )
