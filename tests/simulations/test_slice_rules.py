"""Every rule of slicing against a plain loop over homes, in both engines; and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedhome.errors import LayoutError, PlanError
from fedhome.learning.carried_slice import carried_slices
from fedhome.learning.rolling_places import window
from fedhome.learning.slice_rules import SLICE_RULES
from fedhome.learning.slice_rules.fiarse import largest
from fedhome.models.cut_slices import FinishedModel
from fedhome.plan.rule_traits import RULES
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import tiers_of
from fedhome.wire.layout import Layout
from helpers import tiny

pytestmark = pytest.mark.long

ROWS = ((23, 6, 7), (9, 4, 5), (41, 5, 4), (16, 7, 6), (30, 5, 5), (12, 6, 4))
HIDDEN = (8, 6)
RATE, EPOCHS, ROUNDS = 0.05, 2, 3
_WIDE = [
    {"name": "sensor", "width": 0.25, "depth": 2, "share": 0.5},
    {"name": "plug", "width": 0.5, "depth": 2, "share": 0.5},
]
_DEEP = [
    {"name": "sensor", "width": 1.0, "depth": 1, "share": 0.5},
    {"name": "hub", "width": 1.0, "depth": 2, "share": 0.5},
]
TIERS = {"heterofl": _WIDE, "fedrolex": _WIDE, "fiarse": _WIDE, "depthfl": _DEEP}
Weights = dict[str, Tensor]


def _plan(rule: str, **engine: Any) -> Plan:
    return tiny.plan(
        slicing={"rule": rule, "tiers": TIERS[rule]},
        model={"hidden": HIDDEN},
        # One batch a pass.
        train={"batch_size": 64, "epochs": EPOCHS, "learning_rate": RATE, "warm_rate": 1.0},
        rounds={"count": ROUNDS},
    ).change(engine=engine)


def _units(tier: int) -> list[int]:
    """Units of a tier's layers by hand: a quarter or half of 8, and of 6."""
    return [[2, 2], [4, 3]][tier]


def _descend(weights: Weights, loss: Callable[[Weights], Tensor]) -> Weights:
    for _ in range(EPOCHS):
        leaves = {name: w.clone().requires_grad_() for name, w in weights.items()}
        loss(leaves).backward()
        stepped = {}
        for name, leaf in leaves.items():
            assert leaf.grad is not None
            stepped[name] = (leaf - RATE * leaf.grad).detach()
        weights = stepped
    return weights


def _error(output: Tensor, y: Tensor) -> Tensor:
    """Twice Huber's loss, which is what a forecast is learnt by."""
    return 2 * torch.nn.functional.huber_loss(output, y)


def _answer(weights: Weights, x: Tensor, factors: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    x = torch.relu(factors[0] * (x @ weights["0.weight"].T + weights["0.bias"]))
    x = torch.relu(factors[1] * (x @ weights["2.weight"].T + weights["2.bias"]))
    return x @ weights["4.weight"].T + weights["4.bias"]


def _windowed(
    whole: Weights, x: Tensor, y: Tensor, rows: list[Tensor], factors: tuple[float, float]
) -> tuple[Weights, Weights]:
    """Return what a home changed of a plain network of which it has some units, and which it has.

    Units are given for each hidden layer.
    """
    out = [*rows, torch.arange(1)]
    into = [torch.arange(tiny.FEATURES), *rows]
    small = {}
    for n in range(3):
        small[f"{2 * n}.weight"] = whole[f"{2 * n}.weight"][out[n]][:, into[n]]
        small[f"{2 * n}.bias"] = whole[f"{2 * n}.bias"][out[n]]
    learnt = _descend(small, lambda w: _error(_answer(w, x, factors), y))
    change = {name: torch.zeros_like(w) for name, w in whole.items()}
    has = {name: torch.zeros_like(w) for name, w in whole.items()}
    for n in range(3):
        for i, row in enumerate(out[n]):
            change[f"{2 * n}.bias"][row] = (learnt[f"{2 * n}.bias"] - small[f"{2 * n}.bias"])[i]
            has[f"{2 * n}.bias"][row] = 1
            for j, column in enumerate(into[n]):
                name = f"{2 * n}.weight"
                change[name][row, column] = (learnt[name] - small[name])[i, j]
                has[name][row, column] = 1
    return change, has


def _heterofl(
    whole: Weights, x: Tensor, y: Tensor, tier: int, number: int
) -> tuple[Weights, Weights]:
    del number
    a, b = _units(tier)
    of = _units(1)  # no device carries more: the covered part is the whole
    factors = (of[0] / a, of[1] / b)
    return _windowed(whole, x, y, [torch.arange(a), torch.arange(b)], factors)


def _fedrolex(
    whole: Weights, x: Tensor, y: Tensor, tier: int, number: int
) -> tuple[Weights, Weights]:
    rows = [
        torch.tensor([(number - 1 + step) % units for step in range(own)])
        for own, units in zip(_units(tier), HIDDEN, strict=True)
    ]
    return _windowed(whole, x, y, rows, (1.0, 1.0))


def _fiarse(
    whole: Weights, x: Tensor, y: Tensor, tier: int, number: int
) -> tuple[Weights, Weights]:
    del number
    a, b = _units(tier)
    count = a * (tiny.FEATURES + 1) + b * (a + 1) + b + 1
    border = sorted((float(v.abs()) for w in whole.values() for v in w.ravel()), reverse=True)[
        count - 1
    ]
    has = {name: (w.abs() >= border).float() for name, w in whole.items()}
    assert sum(int(mask.sum()) for mask in has.values()) == count
    start = {name: whole[name] * has[name] for name in whole}

    def loss(weights: Weights) -> Tensor:
        kept = {name: weights[name] * has[name] for name in weights}
        return _error(_answer(kept, x), y)

    learnt = _descend(start, loss)
    return {name: learnt[name] - start[name] for name in whole}, has


def _depthfl(
    whole: Weights, x: Tensor, y: Tensor, tier: int, number: int
) -> tuple[Weights, Weights]:
    del number
    own = {n: w for n, w in whole.items() if tier or n.startswith(("layers.0", "exits.1"))}

    def loss(w: Weights) -> Tensor:
        first = torch.relu(x @ w["layers.0.weight"].T + w["layers.0.bias"])
        one = first @ w["exits.1.weight"].T + w["exits.1.bias"]
        if not tier:
            return _error(one, y)
        second = torch.relu(first @ w["layers.1.weight"].T + w["layers.1.bias"])
        two = second @ w["exits.2.weight"].T + w["exits.2.bias"]
        alone = _error(one, y) + _error(two, y)
        taught = ((one - two.detach()) ** 2).mean() / 2 + ((two - one.detach()) ** 2).mean() / 2
        return alone + taught

    learnt = _descend(own, loss)
    zeros = {name: torch.zeros_like(w) for name, w in whole.items()}
    ones = {name: torch.ones_like(w) for name, w in own.items()}
    return {**zeros, **{n: learnt[n] - own[n] for n in own}}, {**zeros, **ones}


REFERENCES: Mapping[str, Any] = {
    "heterofl": _heterofl,
    "fedrolex": _fedrolex,
    "fiarse": _fiarse,
    "depthfl": _depthfl,
}


def _by_plain_loop(rule: str, plan: Plan) -> NDArray[np.float64]:
    fleet, learning = tiny.homes(ROWS), tiny.learning(plan)
    tiers = tiers_of(plan, [home.home for home in fleet])
    named = learning.layout.unflatten(learning.initial)
    whole = {name: torch.tensor(array).double() for name, array in named.items()}
    for number in range(1, ROUNDS + 1):
        moved = {name: torch.zeros_like(w) for name, w in whole.items()}
        weight = {name: torch.zeros_like(w) for name, w in whole.items()}
        for home, tier in zip(fleet, tiers.tolist(), strict=True):
            rows = home.counts[0]
            x, y = torch.tensor(home.x[:rows]).double(), torch.tensor(home.y[:rows]).double()
            change, has = REFERENCES[rule](whole, x, y, tier, number)
            for name in whole:
                moved[name] += rows * change[name]
                weight[name] += rows * has[name]
        whole = {n: w + moved[n] / weight[n].clamp(min=1) for n, w in whole.items()}
    return np.concatenate([w.numpy().ravel() for w in whole.values()])


@pytest.mark.parametrize("engine", ["vector", "sequential"])
@pytest.mark.parametrize("rule", REFERENCES)
def test_a_rule_trains_what_a_plain_loop_over_homes_does(
    rule: str, engine: str, tmp_path: Path
) -> None:
    plan = _plan(rule, name=engine, **({"kernel": "eager"} if engine == "vector" else {}))
    found = tiny.run(plan, tiny.homes(ROWS), tmp_path).state.flat
    expected = _by_plain_loop(rule, plan)
    assert np.abs(expected - tiny.learning(plan).initial).max() > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("rule", REFERENCES)
def test_the_kernel_that_is_taken_by_itself_trains_the_same(rule: str, tmp_path: Path) -> None:
    found = tiny.run(_plan(rule, name="vector"), tiny.homes(ROWS), tmp_path).state.flat
    np.testing.assert_allclose(found, _by_plain_loop(rule, _plan(rule)), rtol=1e-4, atol=2e-6)


def test_every_rule_that_a_plan_may_name_is_there() -> None:
    assert list(SLICE_RULES) == list(RULES)


def test_a_window_goes_on_with_the_first_unit_after_the_last() -> None:
    layout = Layout(("0.weight", "0.bias", "2.weight", "2.bias"), ((3, 2), (3,), (1, 3), (1,)))
    # Units 2 and 0 of the hidden layer: rows 4-5 and 0-1, biases 8 and 6, columns 11 and 9.
    assert window(layout, (2,), 2).tolist() == [4, 5, 0, 1, 8, 6, 11, 9, 12]
    assert np.array_equal(window(layout, (2,), 5), window(layout, (2,), 2))


def test_a_window_over_all_units_covers_every_number_in_some_round() -> None:
    plan = _plan("fedrolex")
    small = carried_slices(plan, tiny.learning(plan), tiny.FEATURES)[0]
    size, first = small.rounds.places.layout.size, tiny.learning(plan).initial
    seen = {n for t in range(1, 49) for n in small.rounds.places.in_round(t).covered(first)}
    assert len(small.rounds.places.in_round(3).covered(first)) == small.numbers < size
    # First layer and output: all. Between: pairs that meet as both windows roll (8 and 6 units).
    assert {*range(32), *range(80, 93)} <= seen


def test_the_largest_numbers_are_kept_and_of_equal_ones_the_first() -> None:
    whole = np.array([0.5, -2.0, 0.5, 1.0, 0.5], np.float32)
    assert largest(whole, 3).tolist() == [0, 1, 3]


@pytest.mark.parametrize("rule", ["heterofl", "fiarse"])
def test_what_a_home_keeps_of_the_whole_goes_back_where_it_came_from(rule: str) -> None:
    plan = _plan(rule)
    learning = tiny.learning(plan)
    for carried in carried_slices(plan, learning, tiny.FEATURES):
        for part in (carried.own, carried.rounds):
            own = part.places.of_whole(learning.initial)
            back = part.places.in_whole(learning.initial, own[None])[0]
            np.testing.assert_allclose(back, learning.initial, rtol=1e-6)
            where, change = part.places.changed(learning.initial, own + 1.0)
            assert len(where) == len(change)
            assert np.array_equal(np.sort(where), np.sort(part.places.covered(learning.initial)))


def test_a_narrow_slice_says_alone_what_it_says_in_training() -> None:
    plan = _plan("heterofl")
    learning = tiny.learning(plan)
    small = carried_slices(plan, learning, tiny.FEATURES)[0]
    x = torch.tensor(np.random.default_rng(2).normal(size=(5, tiny.FEATURES)).astype(np.float32))
    said = []
    for part in (small.own, small.rounds):
        params = part.learning.tensors(part.places.of_whole(learning.initial))
        said.append(part.learning.predict(params, x))
    torch.testing.assert_close(said[0], said[1])


@pytest.mark.parametrize("rule", ["heterofl", "fedrolex"])
def test_a_finished_model_is_cut_into_what_a_home_of_the_tier_has(rule: str) -> None:
    plan = _plan(rule)
    learning = tiny.learning(plan)
    finished = FinishedModel.of_run(plan, learning.layout.unflatten(learning.initial))
    for number, carried in enumerate(carried_slices(plan, learning, tiny.FEATURES)):
        assert finished.trained[number] == tuple(_units(number))
        cut = carried.own.learning.layout.flatten(finished.cut(finished.trained[number]))
        np.testing.assert_allclose(cut, carried.own.places.of_whole(learning.initial), rtol=1e-6)


def test_a_model_of_picked_weights_is_not_cut() -> None:
    plan = _plan("fiarse")
    learning = tiny.learning(plan)
    with pytest.raises(LayoutError, match="fiarse picks single weights"):
        FinishedModel.of_run(plan, learning.layout.unflatten(learning.initial))


@pytest.mark.slow
@pytest.mark.parametrize("rule", REFERENCES)
def test_a_whole_run_ends_with_a_model_for_each_home(rule: str, tmp_path: Path) -> None:
    import fedhome  # noqa: PLC0415 - loads Flower

    plan = _plan(rule, name="vector").change(
        data={"homes": 6}, personalise={"name": "fine-tune", "experts": ["tuned", "global"]}
    )
    result = fedhome.simulate(plan, out=tmp_path / "run")
    assert len(result.models) == 6
    assert set(result.homes["model"].to_pylist()) >= {"local", "global", "tuned"}


@pytest.mark.parametrize(
    ("rule", "tiers", "mode", "fault"),
    [
        ("heterofl", [("a", 0.5, 1)], "plain", "cuts width alone: set its depth = 2"),
        ("fedrolex", [("a", 0.5, 1)], "plain", "cuts width alone: set its depth = 2"),
        ("depthfl", [("a", 0.5, 1)], "plain", "cuts depth alone: set its width = 1"),
        ("fedrolex", [("a", 0.5, 2)], "ideal", "its windows move on each round"),
        ("fiarse", [("a", 0.5, 2)], "secure", "so that there are no shells"),
        ("rolex", [("a", 0.5, 2)], "plain", "slicing.rule 'rolex' is unknown"),
        ("heterofl", [], "plain", "slicing.tiers name no device"),
    ],
)
def test_what_a_rule_does_not_go_with_is_told(
    rule: str, tiers: list[tuple[str, float, int]], mode: str, fault: str
) -> None:
    told = [{"name": n, "width": w, "depth": d, "share": 1.0} for n, w, d in tiers]
    with pytest.raises(PlanError) as caught:
        tiny.plan(
            slicing={"rule": rule, "tiers": told},
            model={"hidden": HIDDEN},
            aggregation={"mode": mode, **({} if mode == "plain" else {"weights": "equal"})},
        )
    assert fault in str(caught.value)


def test_an_unknown_rule_is_told_with_those_that_there_are() -> None:
    with pytest.raises(PlanError, match="nested, heterofl, fedrolex, depthfl, fiarse"):
        tiny.plan(slicing={"rule": "slimmable"})
