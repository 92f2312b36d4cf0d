"""The benchmark of one prediction: every way predicts the same, and tells what it took."""

from __future__ import annotations

import pytest

from fedhome.simulations.benchmarks.prediction import costs_of
from helpers.random_own_models import COMPILER, Shape, own_model


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler, cc, here")
def test_every_way_to_predict_is_measured_and_says_the_same() -> None:
    experts = ("tuned", "ridge", "trees")
    models = {
        "network": own_model(Shape(quarters=True), 1, home="model"),
        "mixture": own_model(Shape(experts=experts), 1, home="model"),
    }
    costs = costs_of(models, repeats=1)
    ways = {(cost.model, cost.way): cost for cost in costs}
    assert [*ways] == [
        *(("network", way) for way in ("numpy", "onnx", "torch", "C", "C, int8")),
        *(("mixture", way) for way in ("numpy", "onnx", "C")),
    ]
    for (_, way), cost in ways.items():
        assert min(cost.one_us, cost.many_us, cost.peak_mb) > 0
        assert cost.off < (0.2 if way == "C, int8" else 1e-5)
    assert ways["network", "C, int8"].off > 1e-5
