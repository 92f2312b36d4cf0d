"""NewMethod: a step by hand, what leaves a home, and two engines that agree."""

from pathlib import Path

import numpy as np
import torch
from new_method import NewMethod

import fedhome

METHOD = f"{Path(__file__).with_name('new_method.py')}:NewMethod"
HEAD = ("2.weight", "2.bias")  # the last layer of a model with one hidden layer
TINY = {
    "data": {"homes": 5, "days": 10},
    "model": {"hidden": [8]},
    "personalise": {"name": "none"},
    "aggregation": {"mode": "ideal"},
}


def trained(folder: Path, rounds: int, engine: str = "vector") -> dict[str, np.ndarray]:
    """Return the fleet's model after some rounds by the method."""
    plan = fedhome.Plan.load(
        **TINY, method={"name": METHOD}, rounds={"count": rounds}, engine={"name": engine}
    )
    return dict(fedhome.simulate(plan, out=folder).model.parameters)


def test_a_step_is_what_a_hand_makes_of_it() -> None:
    gradient, params, start = (
        {"w": torch.tensor(values)} for values in ([1.0, -2.0], [3.0, 0.0], [1.0, 4.0])
    )
    found = NewMethod(strength=0.5).gradient(gradient, params, start)
    assert found["w"].tolist() == [2.0, -4.0]  # 1 + (3 - 1) / 2 and -2 + (0 - 4) / 2


def test_what_is_private_does_not_leave_and_all_else_is_learnt(tmp_path: Path) -> None:
    first, later = (trained(tmp_path / f"{rounds}", rounds) for rounds in (1, 3))
    for name, values in later.items():
        assert np.array_equal(values, first[name]) == (name in HEAD), name


def test_homes_that_learn_at_once_and_one_by_one_end_alike(tmp_path: Path) -> None:
    at_once, in_turn = (
        trained(tmp_path / engine, 2, engine) for engine in ("vector", "sequential")
    )
    for name, values in at_once.items():
        np.testing.assert_allclose(values, in_turn[name], rtol=2e-4, atol=2e-5)
