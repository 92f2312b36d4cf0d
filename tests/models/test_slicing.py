"""Slices of a network: where they lie by hand, what they compute, how they are put together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call, grad

from fedhome.errors import LayoutError, ModelError, PlanError
from fedhome.models.cut_slices import FinishedModel
from fedhome.models.mlp import build_model, mlp
from fedhome.models.slice_cut import SliceCut, largest_within
from fedhome.models.sliced_mlp import SlicedMLP
from fedhome.models.slicing import SlicedShape, integrate
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import check_whole
from fedhome.wire.layout import Layout

TINY = SlicedShape(2, 1, ((1,), (3, 2)))
"""Two inputs; layers of 3 and 2 units; exits after the first unit, and at the end.

Its numbers lie so: first layer's weights 0-5 and biases 6-8, second layer's weights 9-14 and biases
15-16, the first exit's weight 17 and bias 18, the last exit's weights 19-20 and bias 21.
"""


def _tiers(*tiers: tuple[str, float, int, float]) -> dict[str, Any]:
    names = ("name", "width", "depth", "share")
    return {"slicing": {"tiers": [dict(zip(names, tier, strict=True)) for tier in tiers]}}


PLAIN = {"aggregation": {"mode": "plain"}}


def test_a_slice_lies_where_it_was_counted_by_hand() -> None:
    assert TINY.layout.size == 22
    assert TINY.path(0).tolist() == [0, 1, 6, 17, 18]
    assert TINY.path(1).tolist() == [*range(17), 19, 20, 21]
    assert TINY.carried(0).tolist() == TINY.path(0).tolist()
    assert TINY.carried(1).tolist() == list(range(22))
    assert TINY.size(0) == 5
    assert TINY.size(1) == 20


def test_a_second_layer_takes_the_first_columns_of_its_weights() -> None:
    shape = SlicedShape(2, 1, ((2, 1), (3, 2)))
    # First layer's weights 0-5, biases 6-8; second layer's 9-14, 15-16; the exit's 17-18, 19.
    assert shape.path(0).tolist() == [0, 1, 2, 3, 6, 7, 9, 10, 15, 17, 19]


def test_shells_are_disjoint_and_all_there_is() -> None:
    assert TINY.shell(0).tolist() == [0, 1, 6, 17, 18]
    assert TINY.shell(1).tolist() == [2, 3, 4, 5, 7, *range(8, 17), 19, 20, 21]


@st.composite
def _shapes(draw: st.DrawFn) -> SlicedShape:
    steps = draw(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 1)), min_size=1, max_size=5))
    slices, widths = [], (1,)
    for wider, deeper in steps:
        widths = tuple(units + wider for units in widths) + (1,) * deeper
        slices.append(widths)
    return SlicedShape(draw(st.integers(1, 3)), draw(st.integers(1, 3)), tuple(slices))


@given(_shapes())
@settings(max_examples=50, deadline=None)
def test_each_slice_is_within_the_next_and_shells_cover_all_once(shape: SlicedShape) -> None:
    count = len(shape.slices)
    for number in range(count):
        carried = set(shape.carried(number).tolist())
        assert set(shape.path(number).tolist()) <= carried
        assert len(carried) == shape.within(number).layout.size
        if number:
            assert set(shape.carried(number - 1).tolist()) < carried
    shells = np.concatenate([shape.shell(number) for number in range(count)])
    assert np.array_equal(np.sort(shells), np.arange(shape.layout.size))


def _flat(module: torch.nn.Module) -> np.ndarray[Any, Any]:
    return np.concatenate([p.detach().numpy().ravel() for p in module.parameters()])


def _load(module: torch.nn.Module, flat: np.ndarray[Any, Any]) -> torch.nn.Module:
    layout = Layout.of({n: p.detach().numpy() for n, p in module.named_parameters()})
    values = {n: torch.tensor(a) for n, a in layout.unflatten(flat.astype(np.float32)).items()}
    module.load_state_dict(values)
    return module


SHAPE = SlicedShape(4, 3, ((2,), (4,), (6, 5)))


def test_the_modules_parameters_lie_as_the_layout_says() -> None:
    module = SlicedMLP(SHAPE)
    assert Layout.of({n: p.detach().numpy() for n, p in module.named_parameters()}) == SHAPE.layout


@pytest.mark.parametrize("number", range(3))
def test_a_slice_by_itself_says_what_the_whole_says_with_the_rest_cut_away(number: int) -> None:
    torch.manual_seed(4)
    whole, x = SlicedMLP(SHAPE), torch.randn(7, 4)
    flat, widths = _flat(whole), SHAPE.slices[number]
    alone = _load(mlp(4, 3, hidden=widths), flat[SHAPE.path(number)])
    assert Layout.of(
        {n: p.detach().numpy() for n, p in alone.named_parameters()}
    ) == SHAPE.plain_layout(number)
    said = alone(x)
    torch.testing.assert_close(whole(x, every=True)[number], said)
    # The same of the whole network with zeros everywhere else, read at the slice's exit.
    cut = np.zeros_like(flat)
    cut[SHAPE.path(number)] = flat[SHAPE.path(number)]
    zeroed = SHAPE.layout.unflatten(cut)
    hidden = x.numpy()
    for layer in range(len(widths)):
        weights, bias = zeroed[f"layers.{layer}.weight"], zeroed[f"layers.{layer}.bias"]
        hidden = np.maximum(hidden @ weights.T + bias, 0)
    exit_ = zeroed[f"exits.{len(widths)}.weight"]
    read = hidden[:, : exit_.shape[1]] @ exit_.T + zeroed[f"exits.{len(widths)}.bias"]
    np.testing.assert_allclose(read, said.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("number", range(3))
def test_a_slices_gradient_is_the_wholes_at_its_places_and_zero_elsewhere(number: int) -> None:
    torch.manual_seed(5)
    whole, x, y = SlicedMLP(SHAPE), torch.randn(9, 4), torch.randn(9, 3)
    alone = _load(mlp(4, 3, hidden=SHAPE.slices[number]), _flat(whole)[SHAPE.path(number)])

    def of_whole(params: dict[str, torch.Tensor]) -> torch.Tensor:
        said = functional_call(whole, params, (x,), {"every": True})
        return ((said[number] - y) ** 2).mean()

    def of_slice(params: dict[str, torch.Tensor]) -> torch.Tensor:
        return ((functional_call(alone, params, (x,)) - y) ** 2).mean()

    found = grad(of_whole)({n: p.detach() for n, p in whole.named_parameters()})
    own = grad(of_slice)({n: p.detach() for n, p in alone.named_parameters()})
    expected = np.zeros(SHAPE.layout.size, np.float32)
    expected[SHAPE.path(number)] = np.concatenate([g.numpy().ravel() for g in own.values()])
    flat = np.concatenate([g.numpy().ravel() for g in found.values()])
    np.testing.assert_allclose(flat, expected, rtol=1e-4, atol=1e-6)
    assert np.abs(expected).max() > 1e-3


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_what_is_integrated_is_what_a_plain_loop_over_homes_gives(seed: int) -> None:
    drawn = np.random.default_rng(seed)
    start = drawn.normal(size=SHAPE.layout.size).astype(np.float32)
    homes = [(int(drawn.integers(3)), int(drawn.integers(1, 50))) for _ in range(7)]
    changes = [drawn.normal(size=len(SHAPE.carried(tier))) for tier, _ in homes]
    expected = start.astype(np.float64)
    for place in range(len(start)):
        moved = weight = 0.0
        for (tier, own), change in zip(homes, changes, strict=True):
            at = np.flatnonzero(SHAPE.carried(tier) == place)
            if len(at):
                moved += own * change[at[0]]
                weight += own
        if weight:
            expected[place] += moved / weight
    by_tier = []
    for tier in range(3):
        some = [n for n, (own, _) in enumerate(homes) if own == tier]
        weight = sum(homes[n][1] for n in some)
        mean = sum((homes[n][1] * changes[n] for n in some), np.zeros(len(SHAPE.carried(tier))))
        by_tier.append((SHAPE.carried(tier), mean / max(weight, 1), float(weight)))
    np.testing.assert_allclose(integrate(start, by_tier), expected, rtol=1e-9, atol=1e-12)


def test_a_place_that_nobody_carried_stays_bit_for_bit() -> None:
    start = np.arange(22, dtype=np.float32) / 7
    moved = integrate(start, [(TINY.path(0), np.ones(5), 3.0), (TINY.carried(1), np.ones(22), 0.0)])
    assert np.array_equal(np.flatnonzero(moved != start), TINY.path(0))


def test_slices_that_do_not_lie_within_each_other_are_refused() -> None:
    with pytest.raises(ModelError, match="3-1 does not lie within the next one, 2-2-2"):
        SlicedShape(2, 1, ((3, 1), (2, 2, 2)))
    with pytest.raises(ModelError, match="does not lie within"):
        SlicedShape(2, 1, ((3,), (3,)))
    with pytest.raises(ModelError, match="at least one slice"):
        SlicedShape(2, 1, ())


def test_a_finished_model_is_cut_where_the_slice_lies() -> None:
    torch.manual_seed(7)
    flat = _flat(SlicedMLP(SHAPE))
    model = FinishedModel(SHAPE.layout.unflatten(flat))
    assert (model.hidden, dict(model.exits)) == ((6, 5), {1: 4, 2: 5})
    for number, widths in enumerate(SHAPE.slices):
        assert model.layout(widths) == SHAPE.plain_layout(number)
        cut = SHAPE.plain_layout(number).flatten(model.cut(widths))
        assert np.array_equal(cut, flat[SHAPE.path(number)])


def test_a_slice_that_a_model_does_not_have_is_refused() -> None:
    model = FinishedModel(SHAPE.layout.unflatten(_flat(SlicedMLP(SHAPE))))
    assert model.widths(0.5, 1) == (3,)
    with pytest.raises(ModelError, match="no exit at depth 3"):
        model.widths(0.5, 3)
    with pytest.raises(ModelError, match="the exit reads 4 units, and a slice of width 1 has 6"):
        model.widths(1.0, 1)
    with pytest.raises(ModelError, match=r"width 1\.5 is none"):
        model.widths(1.5, 1)
    with pytest.raises(LayoutError, match="no exits"):
        FinishedModel(SHAPE.plain_layout(2).unflatten(np.zeros(SHAPE.size(2), np.float32)))


def test_slices_of_a_model_that_does_not_say_what_was_trained_are_those_that_width_names() -> None:
    model = FinishedModel(SHAPE.layout.unflatten(_flat(SlicedMLP(SHAPE))))
    named = {model.widths(width, 2) for width in (0.25, 0.5, 0.75, 1.0)}
    assert (3, 3) in named  # half of five units are three
    assert {one for one in model.slices if len(one) == 2} == named


def test_a_budget_takes_the_largest_slice_that_fits() -> None:
    parameters = SHAPE.layout.unflatten(_flat(SlicedMLP(SHAPE)))
    model = FinishedModel(parameters, trained=SHAPE.slices)
    cuts = [
        SliceCut(hidden=one, width=1.0, depth=len(one), parameters=model.cut(one), tier=None)
        for one in model.slices
    ]
    sizes = [SHAPE.size(number) * 4 for number in range(3)]
    assert [largest_within(cuts, size).hidden for size in sizes] == list(SHAPE.slices)
    assert largest_within(cuts, sizes[1] - 1).hidden == SHAPE.slices[0]
    assert largest_within(cuts, SHAPE.size(2), lambda one: one.size).hidden == SHAPE.slices[2]
    with pytest.raises(ModelError, match=f"the smallest, layers 2, takes {sizes[0]}") as refused:
        largest_within(cuts, sizes[0] - 1)
    assert refused.value.hint == "give more, or name a smaller one with --width and --depth"
    own = replace(cuts[0], hidden=())  # of a module that has its tiers' slices and no others
    with pytest.raises(ModelError, match="width 1 and depth 1") as refused:
        largest_within([own], sizes[0] - 1)
    assert refused.value.hint == "give more"


def test_a_plan_builds_the_model_that_its_largest_tier_carries() -> None:
    tiers = _tiers(("small", 0.25, 1, 0.5), ("half", 0.5, 2, 0.5))
    plan = Plan.parse({**PLAIN, **tiers, "model": {"hidden": [8, 6]}})
    model = build_model(plan, 3, 1)
    assert isinstance(model, SlicedMLP)
    assert model.shape == SlicedShape(3, 1, ((2,), (4, 3)))


@pytest.mark.parametrize(
    ("tiers", "fault"),
    [
        ([("a", 0.5, 1, 0.5), ("b", 1.0, 2, 0.4)], "0.5 + 0.4 = 0.9: together they must be 1"),
        ([("a", 0.5, 1, 0.5), ("a", 1.0, 2, 0.5)], "two tiers of the name a"),
        ([("a", 1.0, 1, 0.5), ("b", 0.5, 2, 0.5)], "tier b is deeper than tier a, but narrower"),
        ([("a", 0.50, 1, 0.5), ("b", 0.51, 1, 0.5)], "carry the same slice, of 4 units"),
        ([("a", 0.5, 3, 1.0)], "depth 3, and model.hidden has 2 layers"),
        ([("a", 1.5, 1, 1.0)], "slicing.tiers.0.width"),
    ],
)
def test_tiers_that_do_not_fit_together_are_told(
    tiers: list[tuple[str, float, int, float]], fault: str
) -> None:
    with pytest.raises(PlanError) as caught:
        Plan.parse({**PLAIN, **_tiers(*tiers), "model": {"hidden": [8, 8]}})
    assert fault in str(caught.value)


def test_an_unknown_key_of_a_tier_is_told() -> None:
    tiers = {"slicing": {"tiers": [{"name": "a", "depth": 1, "share": 1.0, "height": 2}]}}
    with pytest.raises(PlanError, match=r"slicing\.tiers\.0\.height is not a setting"):
        Plan.parse({**PLAIN, **tiers})


@pytest.mark.parametrize(
    ("besides", "fault"),
    [
        (
            {"aggregation": {"weights": "equal", "groups": 2}},
            "aggregation.groups = 2: a group of a tier would hold too few; set",
        ),
        (
            {"strategy": {"wrap": "differentialprivacyclientsidefixedclipping"}},
            "strategy.wrap = ",
        ),
        (
            {"aggregation": {"weights": "equal"}, "transfer": {"stages": ["random-k"]}},
            "random-k is of whole models (int8, int4 go); set slicing.tiers = []",
        ),
    ],
)
def test_what_slices_do_not_go_with_is_told_with_what_to_set(
    besides: dict[str, Any], fault: str
) -> None:
    tiers = _tiers(("a", 0.5, 1, 0.5), ("b", 1.0, 2, 0.5))
    with pytest.raises(PlanError) as caught:
        Plan.parse({**PLAIN, **tiers, **besides})
    assert fault in str(caught.value)


def test_homes_behind_flowers_own_nodes_have_no_tiers() -> None:
    plan = Plan.parse({**PLAIN, **_tiers(("a", 0.5, 1, 0.5), ("b", 1.0, 2, 0.5))})
    with pytest.raises(PlanError, match="have no owner who says which tier") as refused:
        check_whole(plan)
    assert "`fedhome up`" in str(refused.value)
    check_whole(Plan.parse(PLAIN))


def test_all_that_slices_do_not_go_with_is_told_at_once() -> None:
    with pytest.raises(PlanError) as caught:
        Plan.parse(
            {
                **_tiers(("a", 0.5, 1, 0.5), ("a", 1.0, 2, 0.4)),
                "model": {"norm": "layer"},
                "engine": {"device": "cuda"},
                "evaluation": {"unseen": 0.5},
                "privacy": {"mechanism": "discrete-gaussian", "noise_multiplier": 1.0},
            }
        )
    told = str(caught.value)
    for part in ("two tiers", "together they must be 1", "model.norm", "engine.device"):
        assert part in told
    for part in ("evaluation.unseen", "privacy.mechanism", "aggregation.weights"):
        assert part in told
