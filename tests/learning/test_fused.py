"""The fused engine against a plain loop over torch.nn.Sequential and torch.optim."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Sequence
from itertools import cycle, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedhome.errors import EngineError
from fedhome.learning.fused import FusedMLP
from fedhome.learning.fused.client_work import shares_of
from fedhome.learning.fused.compiler import native
from fedhome.learning.fused.emit import Tile
from fedhome.learning.fused.memory_map import ProgramShape
from fedhome.learning.fused.rule import Rule
from helpers.examples import share_of

LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "mse": nn.functional.mse_loss,
    "bce": nn.functional.binary_cross_entropy_with_logits,
    "cross-entropy": nn.functional.cross_entropy,
    "huber": lambda output, y: 2 * nn.functional.huber_loss(output, y),
}
RULES = [
    {"optimiser": "sgd"},
    {"optimiser": "sgd", "momentum": 0.9},
    {"optimiser": "sgd", "momentum": 0.5, "weight_decay": 0.03, "proximal_mu": 0.4},
    {"optimiser": "sgd", "clip_norm": 0.05, "proximal_mu": 0.4},
    {"optimiser": "sgd", "clip_norm": 1e6, "weight_decay": 0.03},
    {"optimiser": "adam"},
    {"optimiser": "adam", "weight_decay": 0.03, "proximal_mu": 0.4},
    {"optimiser": "adam", "clip_norm": 0.05},
]
DEPTHS = [
    (4, 1),
    (10, 64, 64, 1),
    (33, 130, 3),
    (1, 1, 1, 1, 1),
    (5, 2),
    (20, 40, 40, 40, 12),
    (131, 20, 3),  # so many inputs that the first layer's weights stay as PyTorch stores them
    (140, 18, 9, 1),
    (33, 7, 1),
]


class Fleet:
    """Clients with random starts, rows and orders."""

    def __init__(
        self, sizes: Sequence[int], loss: Any, counts: Sequence[int], *, epochs: int, seed: int = 0
    ) -> None:
        rng = np.random.default_rng(seed)
        self.sizes, self.loss, self.epochs = sizes, loss, epochs
        self.counts = np.array(counts, np.int64)
        rows = int(self.counts.sum()) + 3  # a few that nobody uses
        size = sum(inputs * outputs + outputs for inputs, outputs in pairwise(sizes))
        scale = 1.0 / np.sqrt(max(sizes[:-1]))
        self.start = (scale * rng.normal(size=(len(counts), size))).astype(np.float32)
        self.x = rng.normal(size=(rows, sizes[0])).astype(np.float32)
        if loss == "cross-entropy":
            self.y = rng.integers(0, sizes[-1], rows)
        elif loss == "bce":
            self.y = rng.integers(0, 2, (rows, sizes[-1])).astype(np.float32)
        else:
            self.y = rng.normal(size=(rows, sizes[-1])).astype(np.float32)
        where = rng.permutation(rows)[: self.counts.sum()]
        own = np.split(where, np.cumsum(self.counts)[:-1])
        self.orders = [
            np.concatenate([rng.permutation(mine) for _ in range(epochs)]) for mine in own
        ]

    def fused(
        self, *, batch_size: int, learning_rate: float, threads: int = 1, **rule: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        params = self.start.copy()
        model = FusedMLP(self.sizes, loss=self.loss, **rule)
        losses = model.train(
            params,
            self.x,
            self.y,
            np.concatenate(self.orders),
            self.counts,
            batch_size=batch_size,
            epochs=self.epochs,
            learning_rate=learning_rate,
            threads=threads,
        )
        return params, losses

    def reference(
        self, *, batch_size: int, learning_rate: float, **rule: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        results = [
            self._reference(client, batch_size, learning_rate, **rule)
            for client in range(len(self.counts))
        ]
        return np.stack([params for params, _ in results]), np.array([loss for _, loss in results])

    def _reference(
        self,
        client: int,
        batch_size: int,
        learning_rate: float,
        *,
        optimiser: str,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        proximal_mu: float = 0.0,
        clip_norm: float | None = None,
    ) -> tuple[np.ndarray, float]:
        linears = [nn.Linear(inputs, outputs) for inputs, outputs in pairwise(self.sizes)]
        modules = [module for linear in linears for module in (linear, nn.ReLU())][:-1]
        model = nn.Sequential(*modules)
        nn.utils.vector_to_parameters(torch.tensor(self.start[client]), model.parameters())
        start = [p.detach().clone() for p in model.parameters()]
        if optimiser == "sgd":
            step: torch.optim.Optimizer = torch.optim.SGD(
                model.parameters(), learning_rate, momentum, weight_decay=weight_decay
            )
        else:
            step = torch.optim.Adam(model.parameters(), learning_rate, weight_decay=weight_decay)
        summed, count = 0.0, int(self.counts[client])
        for epoch in np.split(self.orders[client], self.epochs):
            summed = 0.0
            for rows in np.split(epoch, range(batch_size, count, batch_size)):
                if not rows.size:
                    continue
                loss = LOSSES[self.loss](
                    model(torch.tensor(self.x[rows])), torch.tensor(self.y[rows])
                )
                step.zero_grad()
                torch.autograd.backward(loss)
                with torch.no_grad():
                    for p, origin in zip(model.parameters(), start, strict=True):
                        assert p.grad is not None
                        p.grad += proximal_mu * (p - origin)
                if clip_norm is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
                step.step()
                summed += loss.item() * len(rows)
        flat = nn.utils.parameters_to_vector(model.parameters()).detach().numpy()
        return flat, summed / count if count else 0.0


def assert_same(fleet: Fleet, **settings_: Any) -> None:
    params, losses = fleet.fused(**settings_)
    expected, expected_losses = fleet.reference(**settings_)
    np.testing.assert_allclose(params, expected, rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5, atol=1e-6)
    trained = fleet.counts > 0
    assert (np.abs(params - fleet.start).max(axis=1)[trained] > 1e-4).all()


# A loss only writes the outputs' gradient and a rule only reads gradients, so that each rule
# with one loss, in turn, and each depth with one loss, in turn, meets every line of the program.
@pytest.mark.long
@pytest.mark.parametrize(("rule", "loss"), list(zip(RULES, cycle(LOSSES), strict=False)))
def test_every_rule_equals_torch(rule: dict[str, Any], loss: str) -> None:
    fleet = Fleet((3, 17, 5, 2), loss, [13, 0, 1, 30], epochs=3)
    assert_same(fleet, batch_size=8, learning_rate=0.02, **rule)


@pytest.mark.long
@pytest.mark.parametrize(("sizes", "loss"), list(zip(DEPTHS, cycle(LOSSES), strict=False)))
def test_every_depth_and_width_equals_torch(sizes: tuple[int, ...], loss: str) -> None:
    fleet = Fleet(sizes, loss, [37, 8], epochs=2)
    assert_same(fleet, batch_size=16, learning_rate=0.05, optimiser="sgd")


@pytest.mark.long
@settings(max_examples=share_of(25))
@given(counts=st.lists(st.integers(0, 50), min_size=1, max_size=4), batch_size=st.integers(1, 70))
def test_every_batch_size_equals_torch(counts: list[int], batch_size: int) -> None:
    fleet = Fleet((3, 9, 2), "mse", counts, epochs=1)
    params, losses = fleet.fused(batch_size=batch_size, learning_rate=0.02, optimiser="sgd")
    rule: dict[str, Any] = {"batch_size": batch_size, "learning_rate": 0.02, "optimiser": "sgd"}
    expected, expected_losses = fleet.reference(**rule)
    np.testing.assert_allclose(params, expected, rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5, atol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize(
    ("tile", "loss"),
    [(Tile(4, 2, 6), "mse"), (Tile(8, 2, 6), "bce"), (Tile(16, 2, 12), "cross-entropy")],
)
def test_the_register_blocks_of_other_processors_give_the_same(tile: Tile, loss: Any) -> None:
    sizes = (5, 40, 19, 3)
    fleet = Fleet(sizes, loss, [45], epochs=1)
    rule: dict[str, Any] = {"optimiser": "adam", "momentum": 0.0, "clip_norm": 0.2}
    code = native(ProgramShape(sizes, loss, Rule("adam", clip_norm=0.2), 2 * tile.panel, tile))
    params, losses = fleet.start.copy(), np.zeros(1)
    workspace = np.zeros(code.workspace, np.float32)
    arrays = (params, fleet.x, fleet.y, fleet.orders[0], fleet.counts, losses, workspace)
    code.call(*(array.ctypes.data for array in arrays), None, None, 1, 13, 1, 0.01)
    expected, expected_losses = fleet.reference(batch_size=13, learning_rate=0.01, **rule)
    np.testing.assert_allclose(params, expected, rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)


def test_one_step_by_hand() -> None:
    # Outputs 2 * 3 + 1 = 7 and 2 * -1 + 1 = -1 against 5 and 0: errors 2 and -1, loss 2.5;
    # the weight's gradient is 2/2 * (2 * 3 + -1 * -1) = 7, the bias's 2/2 * (2 - 1) = 1.
    params = np.array([[2.0, 1.0]], np.float32)
    x, y = np.array([[3.0], [-1.0]], np.float32), np.array([[5.0], [0.0]], np.float32)
    losses = FusedMLP((1, 1), loss="mse", optimiser="sgd").train(
        params, x, y, np.array([1, 0]), np.array([2]), batch_size=2, epochs=1, learning_rate=0.125
    )
    assert losses.tolist() == [2.5]
    assert params.tolist() == [[1.125, 0.875]]


@pytest.mark.long
@pytest.mark.parametrize("loss", ["bce", "cross-entropy"])
@pytest.mark.parametrize("scale", [1e-3, 30.0, 1e4])
def test_losses_hold_for_logits_of_any_size(loss: str, scale: float) -> None:
    fleet = Fleet((6, 4), loss, [40], epochs=1)
    fleet.x *= np.float32(scale)
    rule: dict[str, Any] = {"batch_size": 40, "learning_rate": 1.0 / scale, "optimiser": "sgd"}
    params, losses = fleet.fused(**rule)
    expected, expected_losses = fleet.reference(**rule)
    np.testing.assert_allclose(params, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)


@pytest.mark.long
def test_same_bytes_whatever_the_threads_and_the_neighbours() -> None:
    fleet = Fleet((10, 33, 2), "mse", [20, 0, 7, 64, 31], epochs=2)
    rule: dict[str, Any] = {
        "batch_size": 16,
        "learning_rate": 0.05,
        "optimiser": "adam",
        "clip_norm": 0.5,
    }
    params, losses = fleet.fused(**rule)
    for threads in (1, 2, 3, 9):
        again, losses_again = fleet.fused(threads=threads, **rule)
        assert again.tobytes() == params.tobytes()
        assert losses_again.tobytes() == losses.tobytes()


@pytest.mark.long
def test_first_use_from_many_threads_at_once() -> None:
    fleet = Fleet((6, 11, 2), "mse", [20], epochs=1)
    barrier, results = threading.Barrier(4), []

    def work() -> None:
        barrier.wait()
        results.append(fleet.fused(batch_size=8, learning_rate=0.05, optimiser="sgd")[0])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({result.tobytes() for result in results}) == 1
    assert len(results) == 4


@pytest.mark.long
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_numbers_that_are_not_finite_show_and_spoil_no_neighbour(
    bad: float, loss: str, clip_norm: float | None
) -> None:
    fleet = Fleet((3, 9, 2), loss, [11, 11, 11], epochs=2)
    rule: dict[str, Any] = {"optimiser": "sgd", "clip_norm": clip_norm, "proximal_mu": 0.1}
    clean, _ = fleet.fused(batch_size=4, learning_rate=0.05, **rule)
    fleet.x[fleet.orders[1][0]] = bad
    params, _ = fleet.fused(batch_size=4, learning_rate=0.05, **rule)
    assert not np.isfinite(params[1]).all()
    assert params[[0, 2]].tobytes() == clean[[0, 2]].tobytes()


@pytest.mark.long
def test_memory_around_the_parameters_is_left_alone() -> None:
    fleet = Fleet((3, 9, 2), "mse", [11, 11, 11], epochs=1)
    model = FusedMLP((3, 9, 2), loss="mse", optimiser="sgd")
    whole = fleet.start.copy()
    order = np.concatenate(fleet.orders)[11:22].astype(np.int32)
    settings_: dict[str, Any] = {"batch_size": 4, "epochs": 1, "learning_rate": 0.05}
    model.train(whole[1:2], fleet.x, fleet.y, order, np.array([11]), **settings_)
    assert whole[[0, 2]].tobytes() == fleet.start[[0, 2]].tobytes()
    assert (whole[1] != fleet.start[1]).any()


@pytest.mark.long
@pytest.mark.parametrize(
    ("sizes", "loss"),
    [
        ((10, 33, 18, 1), "mse"),
        ((4, 2), "huber"),
        ((130, 9, 1), "bce"),
        ((3, 20, 4), "cross-entropy"),
    ],
)
def test_a_sum_over_clients_is_that_of_what_each_ends_with(
    sizes: tuple[int, ...], loss: str
) -> None:
    fleet = Fleet(sizes, loss, [20, 0, 7, 33], epochs=2)
    fleet.start[:] = fleet.start[0]
    rule: dict[str, Any] = {"optimiser": "adam", "proximal_mu": 0.1}
    each, losses = fleet.fused(batch_size=16, learning_rate=0.02, **rule)
    shares = np.array([0.4, 0.2, 0.1, 0.3], np.float32)
    start = fleet.start[0].copy()
    told: dict[str, Any] = {"batch_size": 16, "epochs": 2, "learning_rate": 0.02}
    model = FusedMLP(sizes, loss=loss, **rule)  # type: ignore[arg-type]
    rows = (fleet.x, fleet.y, np.concatenate(fleet.orders), fleet.counts)
    total, summed_losses = model.train_sum(start, *rows, shares=shares, **told)
    expected = shares.astype(np.float64) @ each.astype(np.float64)
    assert total.shape == (1, len(start))
    np.testing.assert_allclose(total[0], expected, rtol=1e-6, atol=1e-7)
    assert summed_losses.tobytes() == losses.tobytes()
    assert start.tobytes() == fleet.start[0].tobytes()
    assert np.abs(total - start).max() > 1e-4
    again, _ = model.train_sum(start, *rows, shares=shares, **told)
    assert again.tobytes() == total.tobytes()
    apart, losses_apart = model.train_sum(start, *rows, shares=shares, each=3, **told)
    first = shares[:3].astype(np.float64) @ each[:3].astype(np.float64)
    np.testing.assert_allclose(apart[0], first, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(apart[1], shares[3] * each[3], rtol=1e-6, atol=1e-7)
    assert losses_apart.tobytes() == losses.tobytes()


def test_a_sum_by_hand_and_shares_that_do_not_fit() -> None:
    # Two clients begin with weight 2 and bias 1; the first, with 3 -> 5, has an error of 2, so its
    # gradients are 12 and 4; the second has no rows. Shares of a quarter and a half.
    model = FusedMLP((1, 1), loss="mse", optimiser="sgd")
    x, y = np.array([[3.0]], np.float32), np.array([[5.0]], np.float32)
    start, shares = np.array([2.0, 1.0], np.float32), np.array([0.25, 0.5], np.float32)
    rows = (x, y, np.array([0]), np.array([1, 0]))
    told: dict[str, Any] = {"batch_size": 1, "epochs": 1, "learning_rate": 0.125}
    total, losses = model.train_sum(start, *rows, shares=shares, **told)
    assert total.tolist() == [[0.25 * 0.5 + 0.5 * 2.0, 0.25 * 0.5 + 0.5 * 1.0]]
    assert losses.tolist() == [4.0, 0.0]
    wrong: Any
    for wrong in (shares[:1], shares.astype(np.float64), np.repeat(shares, 2)[::2]):
        with pytest.raises(EngineError, match="shares is"):
            model.train_sum(start, *rows, shares=wrong, **told)
    with pytest.raises(EngineError, match=r"params is float32 \[1, 1\], not float32 \[1, 2\]"):
        model.train_sum(start[:1], *rows, shares=shares, **told)
    with pytest.raises(EngineError, match="each is -1, not at least 0"):
        model.train_sum(start, *rows, shares=shares, each=-1, **told)


def test_clients_without_rows() -> None:
    fleet = Fleet((3, 9, 2), "mse", [0, 0], epochs=2)
    params, losses = fleet.fused(batch_size=4, learning_rate=0.05, optimiser="adam")
    assert params.tobytes() == fleet.start.tobytes()
    assert losses.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"params": np.zeros((1, 3), np.float32)}, r"params is float32 \[1, 3\]"),
        ({"params": np.zeros((2, 10), np.float32)[:, ::2]}, "params is not C-contiguous"),
        ({"params": np.zeros((1, 5), np.float32)}, "params has 1 clients, counts has 2"),
        ({"x": np.zeros((4, 4))}, "x is float64"),
        ({"y": np.array([0, 1, 1, 0], np.int64)}, "y is int64"),
        ({"order": np.array([0, 1, 4])}, "outside 0 to 3"),
        ({"order": np.array([0, 1, -1])}, "outside 0 to 3"),
        ({"order": np.array([0, 1])}, "order has 2 row numbers"),
        ({"order": np.array([0.0, 1.0, 2.0])}, "order is float64"),
        ({"counts": np.array([4, -1])}, "counts has numbers below 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_arguments_that_would_reach_outside_memory_are_refused(
    change: dict[str, Any], reason: str
) -> None:
    arguments: dict[str, Any] = {
        "params": np.zeros((2, 5), np.float32),
        "x": np.zeros((4, 4), np.float32),
        "y": np.zeros((4, 1), np.float32),
        "order": np.array([0, 1, 2]),
        "counts": np.array([1, 2]),
        "batch_size": 2,
        "epochs": 1,
        "learning_rate": 0.1,
    }
    model = FusedMLP((4, 1), loss="mse", optimiser="sgd")
    model.train(**arguments)
    with pytest.raises(EngineError, match=reason):
        model.train(**(arguments | change))


def test_classes_that_do_not_exist_are_refused() -> None:
    model = FusedMLP((1, 3), loss="cross-entropy", optimiser="sgd")
    params, x = np.zeros((1, 6), np.float32), np.zeros((1, 1), np.float32)
    with pytest.raises(EngineError, match="classes outside 0 to 2"):
        model.train(
            params,
            x,
            np.array([3]),
            np.array([0]),
            np.array([1]),
            batch_size=1,
            epochs=1,
            learning_rate=0.1,
        )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sizes": (3,)}, "an input and an output width"),
        ({"sizes": ()}, "an input and an output width"),
        ({"sizes": (3, 0, 1)}, "each at least 1"),
        ({"loss": "hinge"}, "'hinge', not one of mse, huber, bce, cross-entropy"),
        ({"optimiser": "lamb"}, "'lamb', not one of sgd, adam"),
        ({"optimiser": "adam", "momentum": 0.9}, "momentum goes with SGD only"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"clip_norm": float("inf")}, "clip_norm is inf"),
    ],
)
def test_settings_without_a_program_are_named(change: dict[str, Any], reason: str) -> None:
    wanted: dict[str, Any] = {"sizes": (3, 2), "loss": "mse", "optimiser": "sgd"}
    assert FusedMLP.supports(**wanted) is None
    assert reason in (FusedMLP.supports(**(wanted | change)) or "")
    with pytest.raises(EngineError, match="cannot train this model"):
        FusedMLP(**(wanted | change))


def test_without_llvmlite_only_the_use_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert FusedMLP.supports((3, 2), loss="mse", optimiser="sgd") == "llvmlite is not installed"
    with pytest.raises(EngineError, match="pip install llvmlite"):
        FusedMLP((3, 2), loss="mse", optimiser="sgd")


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(1, 30))
def test_shares_cover_every_client_once(counts: list[int], threads: int) -> None:
    shares = shares_of(np.concatenate(([0], np.cumsum(counts))), threads)
    clients = [client for share in shares for client in range(share.start, share.stop)]
    assert clients == list(range(len(counts)))
    assert len(shares) <= threads
