"""What was tried for slices: each idea does what it says, on rows that no other table scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedhome.data.table import HomeTable
from fedhome.learning.build import learning_of
from fedhome.learning.local import Batch
from fedhome.learning.slice_rules import CarriedSlice, Slicing
from fedhome.learning.slice_rules.nested import nested
from fedhome.models.slicing import integrate
from fedhome.plan.settings import Plan
from fedhome.simulations.benchmarks.learning_sets import SETS
from fedhome.simulations.benchmarks.slice_ideas import IDEAS, TiersOwn, weighed
from fedhome.simulations.benchmarks.slices_tried import (
    known_rows,
    run_tried,
    tried_table,
    tried_ways,
)
from fedhome.simulations.benchmarks.slicing import TIERS, plan_of
from fedhome.simulations.homes import generate

pytestmark = pytest.mark.long

FEATURES, OUTPUTS, ROWS = 3, 2, 5


def _slicing() -> Slicing:
    plan = Plan.parse(
        {
            "aggregation": {"mode": "plain"},
            "slicing": {"tiers": list(TIERS)},
            "model": {"hidden": [8, 8]},
            "task": {"kind": "multi-class"},
        }
    )
    whole = learning_of(plan, FEATURES, ("a", "b"))
    return Slicing(
        plan=plan,
        whole=whole,
        features=FEATURES,
        alone=lambda hidden: learning_of(
            plan.change(model={"hidden": hidden}, slicing={"tiers": ()}), FEATURES, ("a", "b")
        ),
    )


def _batch() -> Batch:
    drawn = np.random.default_rng(3)
    return Batch(
        x=torch.from_numpy(drawn.normal(size=(ROWS, FEATURES)).astype(np.float32)),
        y=torch.from_numpy(drawn.integers(0, OUTPUTS, ROWS)),
        mask=torch.ones(ROWS),
        key=torch.tensor(-1),
    )


def _loss_and_gradient(
    carried: CarriedSlice, whole: np.ndarray, *, own: bool = False
) -> tuple[float, np.ndarray]:
    """Return a batch's loss and its gradient in the whole's places."""
    part = carried.own if own else carried.rounds
    named = part.learning.layout.unflatten(part.places.of_whole(whole))
    params = {n: torch.from_numpy(v.copy()).requires_grad_() for n, v in named.items()}
    loss = part.learning.row_losses(params, _batch()).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    gradient = np.zeros(len(whole))
    flat = [
        torch.zeros_like(p).ravel() if p.grad is None else p.grad.ravel() for p in params.values()
    ]
    gradient[part.places.places] = torch.cat(flat).numpy()
    return loss.item(), gradient


def test_a_larger_slices_gradient_counts_less_in_what_smaller_ones_have() -> None:
    slicing = _slicing()
    whole = slicing.whole.initial
    tiers = [nested(slicing, number) for number in range(3)]
    alone = [_loss_and_gradient(tier, whole, own=True) for tier in tiers]
    expected = sum(gradient for _, gradient in alone)
    for number in (1, 2):
        inner = tiers[number - 1].rounds.places.places
        expected[inner] -= 0.7 * alone[number][1][inner]  # type: ignore[index]
    loss, found = _loss_and_gradient(IDEAS["damped"].rule(slicing, 2), whole)
    assert loss == pytest.approx(sum(loss for loss, _ in alone))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - _loss_and_gradient(tiers[2], whole)[1]).max() > 0.01


def test_two_slices_learn_alone_or_the_smaller_are_taught() -> None:
    slicing = _slicing()
    whole = slicing.whole.initial
    alone = [_loss_and_gradient(nested(slicing, n), whole, own=True)[0] for n in range(3)]
    ends = IDEAS["ends"].rule(slicing, 2)
    assert _loss_and_gradient(ends, whole)[0] == pytest.approx(alone[0] + alone[2])
    assert ends.rounds.learning.terms == 2
    assert _loss_and_gradient(IDEAS["ends"].rule(slicing, 0), whole)[0] == pytest.approx(alone[0])

    said = []
    for number in range(3):
        own = nested(slicing, number).own
        params = own.learning.layout.unflatten(own.places.of_whole(whole))
        output = own.learning.forward({n: torch.tensor(v) for n, v in params.items()}, _batch().x)
        odds = np.exp(output.numpy().astype(np.float64))
        said.append(odds / odds.sum(axis=1, keepdims=True))
    apart = sum(float(np.sum(said[2] * np.log(said[2] / said[n]))) for n in range(2))
    taught = _loss_and_gradient(IDEAS["taught"].rule(slicing, 2), whole)[0]
    assert taught == pytest.approx(sum(alone) + apart, rel=1e-5)


def test_larger_slices_learn_slower() -> None:
    slicing = _slicing()
    usual = slicing.whole.train.learning_rate
    rates = [
        IDEAS["slower"].rule(slicing, number).rounds.learning.train.learning_rate / usual
        for number in range(3)
    ]
    assert rates == pytest.approx([1, 0.7, 0.5])


def test_a_tiers_devices_weigh_what_the_idea_says() -> None:
    start = np.zeros(2, np.float32)
    changes = [(np.array([0]), np.array([3.0]), 2.0), (np.array([0, 1]), np.array([6.0, 5.0]), 2.0)]
    assert weighed(start, changes, by=(1, 2)).tolist() == [5.0, 5.0]  # (1·3 + 2·6) / 3
    assert integrate(start, changes).tolist() == [4.5, 5.0]


@pytest.mark.parametrize("biases", [False, True])
def test_tiers_have_exits_and_biases_of_their_own(biases: bool) -> None:
    torch.manual_seed(5)
    whole = TiersOwn(FEATURES, OUTPUTS, hidden=(8, 8), biases=biases)
    for parameter in whole.parameters():
        torch.nn.init.normal_(parameter)
    flat = torch.cat([p.detach().ravel() for p in whole.parameters()])
    taken = []
    for tier in TIERS:
        part, places = whole.slice(tier["width"], tier["depth"])  # type: ignore[arg-type]
        part.load_state_dict({name: flat[torch.from_numpy(at)] for name, at in places.items()})
        taken.append({int(at) for one in places.values() for at in one.ravel()})
    assert set.union(*taken) == set(range(len(flat)))
    shared = sum(p.numel() for p in whole.layers[0].parameters() if p.ndim > 1 or not biases)
    assert len(taken[0] & taken[2]) == shared // 4  # the first quarter of the first layer
    x = _batch().x
    torch.testing.assert_close(part(x), whole(x))


def test_the_last_fifth_of_each_class_is_left_out() -> None:
    truth = np.array([0.0] * 5 + [1.0] * 10 + [np.nan])
    home = HomeTable(
        home="one",
        time_s=np.arange(16),
        columns={"kind": truth, "x": np.arange(16.0)},
        labels={"kind": ("a", "b")},
    )
    (known,) = known_rows([home], "kind")
    assert known.time_s.tolist() == [0, 1, 2, 3, *range(5, 13)]
    assert known.columns["x"].tolist() == [0, 1, 2, 3, *range(5, 13)]


@pytest.mark.slow
def test_what_follows_begins_with_the_slices_and_scores_a_tiers_own_homes() -> None:
    sets = ("rounds.count=1", "rounds.judge_every=0", "personalise.epochs=1")
    default = next(one for one in SETS if one.name == "default")
    plan = plan_of(default, 11, sets).change(data={"history_days": 5.0})
    tables = list(generate(homes=6, days=35, seed=11))
    ways = ("as-is", "by-tier", "tail", "own-exits")
    found = {run["way"]: run["tiers"] for run in run_tried(plan, tables, ways)}
    assert list(found) == list(ways)
    before = [tier["global"] for tier in found["as-is"]]
    assert [tier["global"] for tier in found["by-tier"]] == pytest.approx(before, abs=1e-3)
    for other in ("tail", "own-exits"):
        assert [tier["global"] for tier in found[other]] != pytest.approx(before, abs=1e-3)


def test_a_table_has_a_row_for_each_way_that_was_run() -> None:
    def run(way: str, seed: int, *scores: float) -> dict[str, object]:
        tiers = [{"tuned": score, "global": score / 2} for score in scores]
        return {"set": "wisdm51", "seed": seed, "way": way, "tiers": tiers}

    seeds = [run("as-is", 11, 0.5, 0.7), run("as-is", 12, 0.9, 0.7)]
    told = tried_table([*seeds, run("tail", 12, 0.8, 0.9), run("tail", 13, 0.1, 0.1)])
    assert "| as it is | 0.700 / 0.700 (2) |" in told
    assert f"| {tried_ways()['tail']} | -0.100 / +0.200 (1) |" in told  # 13 has nothing beside it
    assert len(told.splitlines()) == 4
    assert {"as-is", "by-tier", "tail", "all"} < set(tried_ways())
