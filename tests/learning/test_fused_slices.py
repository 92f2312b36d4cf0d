"""Slices within each other by the compiled kernel, held against the three functions in torch."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedhome.learning.batch_order import passes
from fedhome.learning.compiled import kernel_for
from fedhome.learning.fused import FusedMLP
from fedhome.learning.fused.apart import CompileRequest
from fedhome.learning.fused.compiler import native
from fedhome.learning.fused.emit import Tile
from fedhome.learning.fused.memory_map import ProgramShape
from fedhome.learning.fused.nesting import Nesting
from fedhome.learning.fused.rule import Rule
from fedhome.learning.local import Batch
from fedhome.learning.slice_rules.nested import SandwichLearning
from fedhome.models.sliced_mlp import SlicedMLP
from fedhome.models.slicing import SlicedShape, Widths
from fedhome.plan.settings import Plan
from helpers import tiny
from helpers.examples import share_of

COUNTS = (19, 6, 5)
EPOCHS = 2
ROUNDING = {"rtol": 2e-4, "atol": 2e-5}
TIERS = ((4,), (8, 8), (16, 16))
KINDS = {
    "mse": "regression",
    "huber": "regression",
    "bce": "binary",
    "cross-entropy": "multi-class",
}
RULES: list[dict[str, Any]] = [
    {"train": {"clip_norm": 0.0}},
    {"train": {"clip_norm": 0.05, "momentum": 0.9, "weight_decay": 0.03}},
    {"train": {"clip_norm": 0.0, "optimiser": "adam", "learning_rate": 0.01}, **tiny.fedprox(0.4)},
    {"train": {"clip_norm": 1e6, "weight_decay": 0.03}, **tiny.fedprox(0.4)},
]


def _plan(loss: str, sections: dict[str, Any]) -> Plan:
    return tiny.plan(task={"kind": KINDS[loss]}).change(**sections)


def _sandwich(plan: Plan, loss: str, slices: tuple[Widths, ...]) -> SandwichLearning:
    plain = tiny.learning(plan)
    torch.manual_seed(5)
    model = SlicedMLP(SlicedShape(tiny.FEATURES, plain.task.outputs, slices))
    return SandwichLearning(model, replace(plain.task, loss=loss), plain.train, plain.method)


def _orders(plan: Plan) -> list[NDArray[np.int64]]:
    keys = np.array([plan.seed], np.uint64)
    found = passes(keys, np.array([COUNTS[0]]), stream=1, epochs=EPOCHS, rows=0)
    return [rows[0] for _, rows in found]


def _by_torch(
    learning: SandwichLearning, data: Any, orders: list[NDArray[np.int64]]
) -> tuple[NDArray[np.float32], float]:
    size = learning.train.batch_size
    state, mean = learning.init(learning.tensors(learning.initial.copy())), 0.0
    for order in orders:
        mean = 0.0
        for rows in np.split(order, range(size, len(order), size)):
            x, y = torch.from_numpy(data.x[rows]), torch.from_numpy(data.y[rows])
            batch = Batch(x, y, torch.ones(len(rows)), torch.tensor(0))
            state, loss = learning.step(state, batch)
            mean += float(loss) * len(rows) / len(order)
    return learning.flat(learning.finish(state)), mean


def _assert_same(
    sections: dict[str, Any], loss: str, slices: tuple[Widths, ...], *, least: float = 1e-3
) -> None:
    plan = _plan(loss, sections)
    learning, data = _sandwich(plan, loss, slices), tiny.home("h", COUNTS, kind=KINDS[loss])
    sizes = (tiny.FEATURES, *slices[-1], learning.task.outputs)
    kernel, orders = kernel_for(learning, sizes, slices=slices), _orders(plan)
    assert kernel.parameters == learning.layout.size
    params = learning.initial[None].copy()
    losses = kernel.train(
        params,
        data.x,
        data.y,
        np.concatenate(orders),
        np.array([COUNTS[0]]),
        batch_size=plan.train.batch_size,
        epochs=EPOCHS,
        learning_rate=plan.train.learning_rate,
    )
    expected, mean = _by_torch(learning, data, orders)
    np.testing.assert_allclose(params[0], expected, **ROUNDING)
    np.testing.assert_allclose(losses, [mean], rtol=1e-4)
    assert np.abs(params[0] - learning.initial).max() > least


@pytest.mark.long
@pytest.mark.parametrize(("sections", "loss"), list(zip(RULES, cycle(KINDS), strict=False)))
def test_each_rule_and_loss_equals_torch(sections: dict[str, Any], loss: str) -> None:
    _assert_same(sections, loss, TIERS)


@st.composite
def _tiers(draw: st.DrawFn) -> tuple[Widths, ...]:
    """Return slices within each other, some of equal depth and some of equal widths."""
    found, widths = [], tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=2)))
    for _ in range(draw(st.integers(1, 3))):
        found.append(widths)
        grown = tuple(units + draw(st.sampled_from((0, 1, 7, 12))) for units in widths)
        deeper = draw(st.lists(st.integers(1, 20), max_size=2))
        if (*grown, *deeper) == widths:
            deeper = [1]
        widths = (*grown, *deeper)
    return (*found, widths)


@pytest.mark.long
@settings(max_examples=share_of(6))
@given(slices=_tiers(), sections=st.sampled_from(RULES), loss=st.sampled_from(sorted(KINDS)))
def test_slices_of_any_widths_and_depths_equal_torch(
    slices: tuple[Widths, ...], sections: dict[str, Any], loss: str
) -> None:
    _assert_same(sections, loss, slices, least=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("tile", [Tile(4, 2, 6), Tile(8, 2, 6), Tile(16, 2, 12)])
def test_the_register_blocks_of_other_processors_give_the_same(tile: Tile) -> None:
    plan = _plan("mse", {"train": {"clip_norm": 0.1, "batch_size": 7}})
    slices = ((5,), (9, 17), (19, 33))
    learning, data = _sandwich(plan, "mse", slices), tiny.home("h", COUNTS)
    orders = _orders(plan)
    rule = Rule("sgd", clip_norm=0.1, summed=True)
    code = native(ProgramShape((tiny.FEATURES, 19, 33, 1), "mse", rule, tile.panel, tile, slices))
    params, losses = learning.initial[None].copy(), np.zeros(1)
    order, counts = np.concatenate(orders), np.array([COUNTS[0]])
    workspace = np.zeros(code.workspace, np.float32)
    arrays = (params, data.x, data.y, order, counts, losses, workspace)
    code.call(*(array.ctypes.data for array in arrays), None, None, 1, 7, EPOCHS, 0.05)
    expected, mean = _by_torch(learning, data, orders)
    np.testing.assert_allclose(params[0], expected, **ROUNDING)
    np.testing.assert_allclose(losses, [mean], rtol=1e-4)


def test_one_step_of_two_slices_by_hand() -> None:
    # One input of 2; units 1 * 2 + 0 = 2 and 3 * 2 - 1 = 5; exit's weights 1 and 2, bias 1. The
    # small slice says 1 * 2 + 1 = 3 and the large one 3 + 2 * 5 = 13; of a target of 3 the errors
    # are 0 and 10, the gradients 0 and 20, the mean loss 50. Into the exit's weights goes 20 * 2
    # and 20 * 5, into its bias 20, into the units' biases 20 * 1 and 20 * 2, into their weights
    # twice as much.
    params = np.array([[1.0, 3.0, 0.0, -1.0, 1.0, 2.0, 1.0]], np.float32)
    x, y = np.array([[2.0]], np.float32), np.array([[3.0]], np.float32)
    losses = FusedMLP((1, 2, 1), loss="mse", optimiser="sgd", slices=((1,), (2,))).train(
        params, x, y, np.array([0]), np.array([1]), batch_size=1, epochs=1, learning_rate=0.5
    )
    assert losses.tolist() == [50.0]
    assert params.tolist() == [[-19.0, -37.0, -10.0, -21.0, -19.0, -48.0, -9.0]]


def test_parameters_lie_as_in_the_networks_layout() -> None:
    shape = SlicedShape(3, 2, ((4,), (5, 5), (7, 6), (8, 8, 8)))
    nesting = Nesting((3, 8, 8, 8, 2), shape.slices)
    weights = [shape for shape in shape.layout.shapes if len(shape) > 1]
    assert [(outputs, inputs) for inputs, outputs in nesting.layers] == weights
    assert nesting.parameters == shape.layout.size
    for number, path in enumerate(reversed(nesting.paths)):
        plain = [s for s in shape.plain_layout(number).shapes if len(s) > 1]
        assert [(outputs, inputs) for inputs, outputs in pairwise(path.sizes)] == plain


@pytest.mark.parametrize(
    ("sizes", "slices", "told"),
    [
        ((3, 8, 1), ((4,), (9,)), "last slice is not what sizes says"),
        ((3, 8, 1), ((), (8,)), "needs a hidden layer"),
        ((3, 8, 1), ((0,), (8,)), "needs a hidden layer"),
        ((3, 8, 1), ((9,), (8,)), r"[9] does not lie within the next, [8]"),
        ((3, 8, 1), ((8,), (8,)), r"[8] does not lie within the next, [8]"),
        ((3, 8, 1), ((4, 4), (8,)), r"[4, 4] does not lie within the next, [8]"),
    ],
)
def test_what_does_not_lie_within_the_next_is_refused(
    sizes: tuple[int, ...], slices: tuple[Widths, ...], told: str
) -> None:
    reason = FusedMLP.supports(sizes, loss="mse", optimiser="sgd", slices=slices)
    assert told in (reason or "")


def test_a_request_keeps_its_slices_on_the_way_to_the_compiler() -> None:
    slices, rule = ((2,), (4, 4)), Rule("adam", summed=True)
    request = CompileRequest(sizes=(3, 4, 4, 1), loss="mse", rule=rule, rows=8, slices=slices)
    assert CompileRequest.from_text(request.to_text()) == request
