"""The traced kernel computes what a device computes; each pass keeps a graph's result."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils.parametrizations import weight_norm

from fedhome import rng
from fedhome.data.series.examples import HomeExamples
from fedhome.errors import EngineError
from fedhome.learning.cohort import Training
from fedhome.learning.device import Device
from fedhome.learning.local import LocalLearning
from fedhome.learning.methods import FedProx
from fedhome.learning.tasks import Task, kind_of
from fedhome.models.mlp import KeyedDropout, mlp
from fedhome.plan.settings import TrainSettings
from fedhome.simulations.engines.batches import Rows
from fedhome.simulations.engines.stacked_homes import StackedHomes
from fedhome.simulations.engines.traced import TracedKernel, passes
from fedhome.simulations.engines.traced.calls import WITH_OUT
from fedhome.simulations.engines.traced.rewriting import calls, drop_unread
from fedhome.simulations.engines.traced.tracing import BatchShape, Count, record

FEATURES, BATCH, SEED, STREAM = 6, 4, 3, 7
RAGGED = (11, 8, 5, 3, 1)  # one home has ten times as many rows as another
EVEN = (8, 8, 8)


class Convolutions(nn.Module):
    """A user's module: convolutions over the features, a constant, and a gate."""

    scale: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(1, 4, 3, padding=1)
        self.head = nn.Linear(4, outputs)
        self.register_buffer("scale", torch.linspace(0.5, 1.5, FEATURES), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.convolution((x * self.scale).unsqueeze(1))  # [batch, 4, features]
        output: Tensor = self.head(torch.nn.functional.gelu(seen).mean(dim=-1))
        return output


class Branching(nn.Module):
    """A user's module whose control flow hangs on its input."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(FEATURES, 1)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(x if bool(x.sum() >= 0) else -x)
        return output


class Attention(nn.Module):
    """A user's module: its inputs attend to each other, in torch's fused form."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(1, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, outputs)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.embedding(x.unsqueeze(-1))  # [batch, features, 8]
        attended, _ = self.attention(seen, seen, seen, need_weights=False)
        output: Tensor = self.head((seen + attended).mean(dim=1))
        return output


class Recurrent(nn.Module):
    """A user's module: a row is a sequence of one number at a time, for a fused layer."""

    def __init__(self, kind: type[nn.RNNBase], outputs: int) -> None:
        super().__init__()
        self.layer = kind(1, 5, batch_first=True)
        self.head = nn.Linear(5, outputs)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(self.layer(x.unsqueeze(-1))[0][:, -1])
        return output


def tanh_dropout(outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(FEATURES, 12), nn.Tanh(), KeyedDropout(0.3), nn.Linear(12, outputs)
    )


MODULES: dict[str, Callable[[int], nn.Module]] = {
    "plain": lambda outputs: mlp(FEATURES, outputs, hidden=(12, 5)),
    "linear": lambda outputs: mlp(FEATURES, outputs, hidden=()),
    "layer": lambda outputs: mlp(FEATURES, outputs, hidden=(12,), norm="layer"),
    "group": lambda outputs: mlp(FEATURES, outputs, hidden=(16,), norm="group"),
    "dropout": tanh_dropout,
    "convolutions": Convolutions,
    "attention": Attention,
    "GRU": lambda outputs: Recurrent(nn.GRU, outputs),
    "LSTM": lambda outputs: Recurrent(nn.LSTM, outputs),
    "weight norm": lambda outputs: nn.Sequential(
        weight_norm(nn.Linear(FEATURES, 12)), nn.Tanh(), weight_norm(nn.Linear(12, outputs))
    ),
}
ADAM = {"optimiser": "adam", "learning_rate": 0.01}
EVERYTHING = {"weight_decay": 0.1, "proximal_mu": 0.2, "clip_norm": 0.5}  # mu is the method's
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("plain", "mse", {}),
    ("plain", "bce", {"momentum": 0.9}),
    ("plain", "cross-entropy", ADAM),
    ("plain", "mse", {"weight_decay": 0.1}),
    ("plain", "mse", {"proximal_mu": 0.5}),
    ("plain", "mse", {"clip_norm": 0.3}),
    ("plain", "cross-entropy", {"momentum": 0.9, **EVERYTHING}),
    ("linear", "mse", {}),
    ("layer", "mse", {}),
    ("layer", "cross-entropy", {**ADAM, **EVERYTHING}),
    ("group", "bce", {"momentum": 0.9, "weight_decay": 0.1}),
    ("dropout", "mse", {}),
    ("dropout", "cross-entropy", ADAM),
    ("convolutions", "mse", {}),
    ("convolutions", "cross-entropy", {**ADAM, "clip_norm": 0.5}),
    ("attention", "mse", {}),
    ("attention", "cross-entropy", {"momentum": 0.9, "clip_norm": 0.5}),
    ("weight norm", "mse", {"momentum": 0.9}),
    ("GRU", "mse", {}),
    ("LSTM", "cross-entropy", {"momentum": 0.9, "clip_norm": 0.5}),
]


def learning_of(
    module: Callable[[int], nn.Module], loss: str, settings: dict[str, Any]
) -> LocalLearning:
    outputs = 3 if loss == "cross-entropy" else 1
    kind = {"mse": "regression", "bce": "binary", "cross-entropy": "multi-class"}[loss]
    task = Task(
        kind=kind_of(kind),
        outputs=outputs,
        loss=loss,
        score="loss",
        metrics=("loss",),
        series=False,
    )
    torch.manual_seed(SEED)
    own = {name: value for name, value in settings.items() if name in FedProx.model_fields}
    train = TrainSettings(batch_size=BATCH, **{n: v for n, v in settings.items() if n not in own})
    return LocalLearning(module(outputs), task, train, FedProx(**own) if own else None)


def homes_of(counts: tuple[int, ...], loss: str) -> list[HomeExamples]:
    homes = []
    for home, rows in enumerate(counts):
        drawn = np.random.default_rng(home)
        x = drawn.standard_normal((rows, FEATURES)).astype(np.float32)
        y: Any = x[:, :1] + 0.1 * drawn.standard_normal((rows, 1)).astype(np.float32)
        if loss == "bce":
            y = (y > 0).astype(np.float32)
        elif loss == "cross-entropy":
            y = drawn.integers(0, 3, rows)
        homes.append(
            HomeExamples(
                home=f"home{home}", x=x, y=y, naive=np.zeros(rows, np.float32), counts=(rows, 0, 0)
            )
        )
    return homes


def rows_of(fleet: StackedHomes, epochs: int) -> Rows:
    counts = fleet.sizes[:, 0]
    keys = [
        rng.epoch_keys(rng.home_keys(SEED, fleet.homes), STREAM, epoch) for epoch in range(epochs)
    ]
    orders = [fleet.begin[:, None] + rng.shuffles(key, counts) for key in keys]
    return Rows(orders=orders, counts=counts, keys=keys)


@pytest.mark.long
@pytest.mark.parametrize(("module", "loss", "settings"), CASES)
def test_homes_learn_what_their_devices_would(
    module: str, loss: str, settings: dict[str, Any]
) -> None:
    learning = learning_of(MODULES[module], loss, settings)
    kernel = TracedKernel(learning)
    for counts in (RAGGED, EVEN):
        homes = homes_of(counts, loss)
        fleet = StackedHomes.of(homes)
        start = learning.initial + 0.01 * np.arange(len(homes), dtype=np.float32)[:, None]
        params = start.copy()
        losses = kernel.train(params, fleet, rows_of(fleet, epochs=2))
        for home, examples in enumerate(homes):
            alone = Device(learning, examples, SEED).train(
                start[home], Training(stream=STREAM, epochs=2)
            )
            np.testing.assert_allclose(params[home], alone.params[0], rtol=2e-4, atol=2e-6)
            assert losses[home] == pytest.approx(alone.losses[0], rel=1e-4)
        assert np.abs(params - start).max() > 1e-3  # they did learn something


@pytest.mark.long
def test_a_home_stands_still_once_its_rows_are_used_up() -> None:
    learning = learning_of(MODULES["layer"], "mse", {"momentum": 0.9, "weight_decay": 0.1})
    kernel = TracedKernel(learning)
    trained = []
    for others in (4, 12):  # the first home's further batches are none of the second one's
        fleet = StackedHomes.of(homes_of((others, 3), "mse"))
        params = np.repeat(learning.initial[None], 2, axis=0)
        kernel.train(params, fleet, rows_of(fleet, epochs=1))
        trained.append(params[1].tobytes())
    assert trained[0] == trained[1]


@pytest.mark.long
def test_threads_and_repetitions_give_the_same_bytes() -> None:
    learning = learning_of(MODULES["dropout"], "mse", ADAM)
    kernel = TracedKernel(learning)
    fleet = StackedHomes.of(homes_of(RAGGED, "mse"))
    rows = rows_of(fleet, epochs=3)

    def train(_: int) -> bytes:
        params = np.repeat(learning.initial[None], len(RAGGED), axis=0)
        losses = kernel.train(params, fleet, rows)
        return params.tobytes() + losses.tobytes()

    with ThreadPoolExecutor(2) as pool:
        results = set(pool.map(train, range(12)))
    assert results == {train(0)}


def test_what_cannot_be_traced_says_so() -> None:
    learning = learning_of(lambda _: Branching(), "mse", {})
    assert "cannot be traced" in TracedKernel.fits(learning, FEATURES)
    fleet = StackedHomes.of(homes_of(EVEN, "mse"))
    with pytest.raises(EngineError, match="cannot be traced"):
        TracedKernel(learning).train(
            np.repeat(learning.initial[None], 3, axis=0), fleet, rows_of(fleet, epochs=1)
        )


@pytest.mark.long
def test_what_can_be_traced_fits() -> None:
    assert TracedKernel.fits(learning_of(Convolutions, "mse", {}), FEATURES) == ""


@pytest.mark.long
def test_a_step_of_an_mlp_is_what_one_would_write_by_hand() -> None:
    learning = learning_of(lambda outputs: mlp(10, outputs), "mse", {"clip_norm": 0})
    trace = TracedKernel(learning).trace(BatchShape(rows=BATCH, masked=False, features=10))
    counts: dict[str, int] = {}
    for node in calls(trace.graph):
        name = str(node.target).split(".")[1]
        counts[name] = counts.get(name, 0) + 1
    views = counts.pop("view") + counts.pop("transpose")
    assert views <= 15
    assert counts == {
        "baddbmm": 9,  # three layers, three weights' and three biases' updates
        "bmm": 1,  # the gradient of the hidden layer
        "relu": 2,
        "threshold_backward": 2,
        "ones": 1,
        "sub": 1,
        "pow": 1,
        "sum": 1,
        "mul": 3,  # mean of the losses, gradient of the loss, the gradient of the last layer
    }


@pytest.mark.long
def test_every_pass_finds_something_to_do() -> None:
    """A torch that records steps differently must not switch passes off unnoticed."""
    found: dict[str, int] = {}
    free = {"clip_norm": 0.0}  # a norm over all gradients has them all made first
    for module, settings in (("plain", free), ("plain", {**ADAM, **free}), ("dropout", free)):
        learning = learning_of(MODULES[module], "mse", settings)
        trace = TracedKernel(learning).trace(BatchShape(rows=4, masked=False, features=FEATURES))
        for name, count in trace.rewrites.items():
            found[name] = found.get(name, 0) + count
    assert [one.__name__ for one in passes.PASSES if not found.get(one.__name__)] == []


@pytest.mark.long
def test_operations_of_a_step_write_in_place() -> None:
    learning = learning_of(lambda outputs: mlp(10, outputs), "cross-entropy", ADAM)
    trace = TracedKernel(learning).trace(BatchShape(rows=BATCH, masked=True, features=10))
    names = {
        "aten.lerp.Scalar",
        "aten.addcmul.default",
        "aten.addcdiv.default",
        "aten.sqrt.default",
    }
    used = {str(node.target): node.target for node in calls(trace.graph)}
    assert names <= set(used)
    assert all(used[name] in WITH_OUT for name in names)


@pytest.mark.long
def test_one_trace_serves_any_number_of_homes() -> None:
    learning = learning_of(MODULES["plain"], "mse", {})
    trace = record(learning, BatchShape(rows=BATCH, masked=True, features=FEATURES))
    count = Count(trace.prime, 25)
    assert count([trace.prime, BATCH, 3 * trace.prime]) == [25, BATCH, 75]
    assert count((True, 0.5, 0, None)) == [True, 0.5, 0, None]


# What each pass is to find, and an operation that it is to remove; a [2, 4, 5] and b [2, 5, 3]
# are multiplied to c's shape [2, 4, 3].
GRAPHS: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], Tensor], str]] = {
    "drop_no_ops": (lambda a, b, c: torch.bmm(a, b).view(2, 4, 3).clone() * 1.0 + c, "view"),
    "merge_views": (
        lambda a, b, c: (a.flatten() * b.sum()).view(4, 10).view(2, 20) * c[0, 0, 0],
        "",
    ),
    "share_equal_nodes": (lambda a, b, c: torch.exp(a) * b.sum() + torch.exp(a) * c.sum(), ""),
    "fold_constants": (lambda a, b, c: torch.bmm(a * torch.ones(2, 1, 5), b) + c, "ones"),
    "merge_scales": (lambda a, b, c: torch.bmm(a * 3.0 / 7.0, b) + c, "div"),
    "transpose_factors": (
        lambda a, b, c: torch.bmm(a, b).transpose(1, 2) * c.transpose(1, 2),
        "",
    ),
    "multiply_thin_matrices": (lambda a, b, c: torch.bmm(a[:, :, :1], b[:, :1]) + c, "bmm"),
    "scale_while_adding": (lambda a, b, c: c - 0.3 * torch.bmm(a, b), "mul"),
    "add_into_products": (lambda a, b, c: c + torch.bmm(a, b), "bmm"),
    "sum_in_products": (
        lambda a, b, c: torch.sub(b[:, 0], (c * a.sum()).sum(1), alpha=0.1),
        "sub",
    ),
    "move_towards": (lambda a, b, c: torch.add(c * 0.75, torch.bmm(a, b), alpha=0.25), "add"),
    "fuse_products_and_sums": (
        lambda a, b, c: torch.sub(c, torch.bmm(a, b) * torch.exp(c), alpha=0.1),
        "sub",
    ),
    "widen_masks": (lambda a, b, c: torch.bmm(a, b) * (c > 0), ""),
}


def test_a_division_by_nothing_stays_as_it_is() -> None:
    """A model of one's own that has one ended the run: its inverse was to be taken."""
    with FakeTensorMode():
        module = make_fx(lambda a: a / 0 + a / 2)(torch.empty(3))
    passes.merge_scales(module.graph)
    module.recompile()
    found = fx.Interpreter(module).run(torch.tensor([2.0, -2.0, 0.0]))
    assert found[:2].tolist() == [float("inf"), float("-inf")]
    assert found[2].isnan()


@pytest.mark.parametrize("name", [one.__name__ for one in passes.PASSES])
def test_a_pass_keeps_the_result(name: str) -> None:
    function, gone = GRAPHS[name]
    shapes = [(2, 4, 5), (2, 5, 3), (2, 4, 3)]
    generator = torch.Generator().manual_seed(SEED)
    inputs = [torch.randn(shape, generator=generator) for shape in shapes]
    with FakeTensorMode():
        module = make_fx(function)(*[torch.empty(shape) for shape in shapes])
    before = fx.Interpreter(module).run(*inputs)
    assert getattr(passes, name)(module.graph) > 0
    drop_unread(module.graph)
    module.graph.lint()
    module.recompile()
    torch.testing.assert_close(fx.Interpreter(module).run(*inputs), before)
    left = {str(node.target).split(".")[1] for node in calls(module.graph)}
    assert gone not in left
