"""Fitted models as arrays: they state what they stated before, and come back whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fedhome.data.series.examples import Targets
from fedhome.errors import PluginError
from fedhome.learning import fitted
from fedhome.learning.alone import FITTERS, FittedAlone, OwnRows
from fedhome.learning.fitted import Constant, Fitted, InputRows, Perceptron, Seasonal, Trees
from fedhome.learning.fitted.trees import OneTree
from fedhome.models.mlp import mlp

OUTPUTS = {"continuous": 1, "binary": 1, "multi-class": 3}


def _rows(targets: Targets, counts: tuple[int, int, int], seed: int) -> OwnRows:
    drawn = np.random.default_rng(seed)
    x = drawn.normal(size=(sum(counts), 4)).astype(np.float32)
    x[:, 3] = np.round(x[:, 3])  # limits of trees lie on readings, too
    signal = x @ np.array([1.0, -2.0, 0.5, 1.0]) + 0.3 * drawn.normal(size=len(x))
    y: NDArray[Any] = signal.astype(np.float32)[:, None]
    if targets == "binary":
        y = (y > 0).astype(np.float32)
    if targets == "multi-class":
        y = np.digitize(signal, [-1.0, 1.0]).astype(np.int64)
    ends = np.cumsum(counts)[:-1]
    first, second, third = np.split(x, ends)
    one, two, three = np.split(y, ends)
    return OwnRows(
        targets=targets,
        outputs=OUTPUTS[targets],
        x=(first, second, third),
        y=(one, two, three),
    )


def _asked(x: NDArray[np.float32]) -> InputRows:
    return InputRows(x, np.zeros(len(x)), np.empty((len(x), 0)))


def _again(model: Fitted) -> Fitted:
    return fitted.read(fitted.kind_of(model), model.arrays())


@pytest.mark.long
@pytest.mark.parametrize("counts", [(40, 12, 30), (400, 60, 500)])
@pytest.mark.parametrize("targets", list(OUTPUTS))
@pytest.mark.parametrize("name", list(FITTERS))
def test_a_model_states_as_arrays_what_scikit_learns_states(
    name: str, targets: Targets, counts: tuple[int, int, int]
) -> None:
    for seed in range(3):
        rows = _rows(targets, counts, seed)
        found: FittedAlone = FITTERS[name](rows)
        stated = found.model.state(_asked(rows.x[2]))
        np.testing.assert_allclose(stated, found.test, rtol=0, atol=2e-6)
        np.testing.assert_array_equal(_again(found.model).state(_asked(rows.x[2])), stated)


@pytest.mark.long
def test_of_classes_that_were_not_seen_nothing_is_expected() -> None:
    rows = _rows("multi-class", (60, 20, 10), 1)
    y = tuple(np.minimum(part, 1) for part in rows.y)
    two = OwnRows(targets="multi-class", outputs=3, x=rows.x, y=(y[0], y[1], y[2]))
    for fit in FITTERS.values():
        found = fit(two)
        stated = found.model.state(_asked(rows.x[2]))
        np.testing.assert_allclose(stated, found.test, rtol=0, atol=2e-6)
        assert (stated[:, 2] == 0).all()


@pytest.mark.parametrize("norm", ["none", "layer", "group"])
@pytest.mark.parametrize("hidden", [(), (5,), (16, 8), (8, 24, 3)])
def test_a_networks_numbers_are_torchs(hidden: tuple[int, ...], norm: str) -> None:
    torch.manual_seed(len(hidden))
    module = mlp(6, 2, hidden=hidden, norm=norm, dropout=0.3)
    for values in module.parameters():
        torch.nn.init.normal_(values, std=0.7)
    layers = {name: values.detach().numpy() for name, values in module.named_parameters()}
    network = Perceptron(layers, grouped=norm == "group")
    x = np.random.default_rng(3).normal(size=(50, 6)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(network.output(x), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(_again(network).state(_asked(x)), network.state(_asked(x)))


def test_a_row_on_a_limit_goes_left_whatever_the_limits_precision() -> None:
    limit = 0.1  # between two float32
    below, above = np.float32(0.1), np.float32(0.1)
    while float(below) > limit:
        below = np.nextafter(below, np.float32(-1))
    while float(above) <= limit:
        above = np.nextafter(above, np.float32(1))
    tree = OneTree(
        np.array([0, -1, -1]),
        np.array([limit, 0.0, 0.0]),
        np.array([1, 0, 0]),
        np.array([2, 0, 0]),
        np.array([[0.0], [1.0], [2.0]]),
    )
    trees = Trees.grown([tree, tree], base=0.5, mean=True, outputs=1)
    stated = trees.state(_asked(np.array([[below], [above]], np.float32)))
    assert stated[:, 0].tolist() == [1.5, 2.5]
    assert trees.state(_asked(np.empty((0, 1), np.float32))).shape == (0, 1)


def test_a_season_that_was_not_read_is_the_last_reading() -> None:
    rows = InputRows(
        np.zeros((2, 1), np.float32), np.array([1.0, 2.0]), np.array([[5.0, 6.0], [np.nan, 7.0]])
    )
    assert _again(Seasonal(1)).state(rows)[:, 0].tolist() == [5.0, 2.0]
    assert Seasonal().state(rows)[:, 0].tolist() == [1.0, 2.0]
    assert _again(Constant(np.array([0.2, 0.8]))).state(rows).tolist() == [[0.2, 0.8]] * 2


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(PluginError, match="tree"):
        fitted.read("tree", {})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("left", [0, 0, 0]),  # back to the root: a row would go round for ever
        ("left", [-1, 0, 0]),
        ("right", [3, 0, 0]),  # beyond the last node
        ("roots", [3]),
        ("roots", [-1]),
        ("feature", [0, -1]),
        ("outputs", [1 << 40]),  # memory without end
        ("outputs", [0]),
        ("classes", [0, 1]),
    ],
)
def test_arrays_that_are_no_trees_are_refused(name: str, change: list[int]) -> None:
    tree = OneTree(
        np.array([0, -1, -1]),
        np.array([0.1, 0.0, 0.0]),
        np.array([1, 0, 0]),
        np.array([2, 0, 0]),
        np.array([[0.0], [1.0], [2.0]]),
    )
    arrays = Trees.grown([tree], mean=True, outputs=1).arrays()
    fitted.read("trees", arrays)  # the control: as they are
    with pytest.raises(ValueError):  # noqa: PT011 - whoever reads the file says so in words
        fitted.read("trees", {**arrays, name: np.array(change, arrays[name].dtype)})
