"""The three pure functions against torch.optim, for every setting of the optimiser."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from fedhome.errors import UpdateError
from fedhome.learning.local import Batch, LocalLearning
from fedhome.learning.losses import row_losses
from fedhome.learning.methods import FedAvg, FedProx
from fedhome.learning.params import Params
from fedhome.learning.update_clipping import UpdateClipping
from fedhome.plan.settings import Plan
from fedhome.questions.train_config import TrainConfig
from helpers import tiny
from helpers.examples import share_of

_SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "momentum": {"momentum": 0.9},
    "decay": {"weight_decay": 0.1},
    "clipped": {"clip_norm": 0.2},
    "proximal": {"proximal_mu": 0.7},  # the method's, as below
    "adam": {"optimiser": "adam", "learning_rate": 0.01},
    "adam with decay": {"optimiser": "adam", "learning_rate": 0.01, "weight_decay": 0.1},
    "everything": {"momentum": 0.8, "weight_decay": 0.05, "clip_norm": 0.5, "proximal_mu": 0.3},
}
_DATA: dict[str, dict[str, Any]] = {
    "regression": {},
    "binary": {"task": {"kind": "binary"}},
    "multi-class": {"task": {"kind": "multi-class"}},
}


def _batches(kind: str, count: int = 6, rows: int = 5) -> list[tuple[Tensor, Tensor]]:
    data = tiny.home("h", (count * rows, 0, 0), kind=kind)
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    return list(zip(torch.split(x, rows), torch.split(y, rows), strict=True))


def _batch(x: Tensor, y: Tensor, key: int = -1) -> Batch:
    return Batch(x, y, torch.ones(len(x)), torch.tensor(key))


def _ours(learning: LocalLearning, batches: list[tuple[Tensor, Tensor]]) -> NDArray[np.float32]:
    state = learning.init(learning.tensors(learning.initial.copy()))
    for x, y in batches:
        state, _ = learning.step(state, _batch(x, y))
    return learning.flat(learning.finish(state))


def _torchs(plan: Plan, batches: list[tuple[Tensor, Tensor]], mu: float) -> NDArray[np.float32]:
    """Train by the textbook: torch.nn, torch.optim, a plain loop."""
    learning, train = tiny.learning(plan), plan.train
    module = learning.model
    anchor = [p.detach().clone() for p in module.parameters()]
    kind: Any = torch.optim.Adam if train.optimiser == "adam" else torch.optim.SGD
    more = {} if train.optimiser == "adam" else {"momentum": train.momentum}
    optimiser = kind(
        module.parameters(), lr=train.learning_rate, weight_decay=train.weight_decay, **more
    )
    loss_of: Any = {
        "regression": lambda output, y: 2 * F.huber_loss(output, y),  # a series
        "binary": F.binary_cross_entropy_with_logits,
        "multi-class": F.cross_entropy,
    }[plan.task.kind or "regression"]
    for x, y in batches:
        optimiser.zero_grad()
        loss = loss_of(module(x), y)
        for p, start in zip(module.parameters(), anchor, strict=True):
            loss = loss + mu / 2 * ((p - start) ** 2).sum()
        loss.backward()
        if train.clip_norm:
            torch.nn.utils.clip_grad_norm_(module.parameters(), train.clip_norm)
        optimiser.step()
    return learning.layout.flatten(
        {name: p.detach().numpy() for name, p in module.named_parameters()}
    )


@pytest.mark.long
@pytest.mark.parametrize("kind", _DATA)
@pytest.mark.parametrize("name", _SETTINGS)
def test_a_round_is_what_torch_makes_of_it(kind: str, name: str) -> None:
    train = dict(_SETTINGS[name])
    mu = train.pop("proximal_mu", 0.0)
    plan = tiny.plan(train=train, **_DATA[kind], **tiny.fedprox(mu))
    batches = _batches(kind)
    learning = tiny.learning(plan)
    ours = _ours(learning, batches)
    assert not np.allclose(ours, learning.initial, atol=1e-3)
    np.testing.assert_allclose(ours, _torchs(plan, batches, mu), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", _DATA)
def test_padding_counts_for_nothing(kind: str) -> None:
    learning = tiny.learning(tiny.plan(**_DATA[kind]))
    (x, y), *_ = _batches(kind)
    state = learning.init(learning.tensors(learning.initial))
    plain, plain_loss = learning.step(state, _batch(x, y))
    padded = Batch(
        torch.cat([x, 100 * torch.ones(3, x.shape[1])]),
        torch.cat([y, y[:1].expand(3, *y.shape[1:])]),
        torch.tensor([1.0] * len(x) + [0.0] * 3),
        torch.tensor(-1),
    )
    masked, masked_loss = learning.step(state, padded)
    torch.testing.assert_close(masked_loss, plain_loss)
    np.testing.assert_allclose(
        learning.flat(masked.params), learning.flat(plain.params), rtol=1e-5, atol=1e-6
    )


def test_a_step_changes_nothing_that_it_was_given() -> None:
    learning = tiny.learning(tiny.plan(train={"optimiser": "adam"}))
    (x, y), *_ = _batches("regression")
    start = learning.initial.copy()
    state = learning.init(learning.tensors(start))
    first, loss = learning.step(state, _batch(x, y))
    again, same = learning.step(state, _batch(x, y))
    np.testing.assert_array_equal(start, learning.initial)
    np.testing.assert_array_equal(learning.flat(first.params), learning.flat(again.params))
    assert float(loss) == float(same)
    assert (float(state.steps), float(first.steps)) == (0.0, 1.0)


def test_the_loss_of_a_step_is_the_loss_before_it() -> None:
    learning = tiny.learning(tiny.plan())
    (x, y), *_ = _batches("regression")
    _, loss = learning.step(learning.init(learning.tensors(learning.initial)), _batch(x, y))
    expected = 2 * F.huber_loss(learning.model(x), y)
    assert float(loss) == pytest.approx(float(expected.detach()))


@pytest.mark.parametrize("kind", _DATA)
@pytest.mark.parametrize("name", _SETTINGS)
def test_one_home_steps_as_one_of_many_does(kind: str, name: str) -> None:
    train = dict(_SETTINGS[name])
    mu = train.pop("proximal_mu", 0.0)
    hidden = {"model": {"hidden": [16], "dropout": 0.3}}
    learning = tiny.learning(tiny.plan(train=train, **_DATA[kind], **hidden, **tiny.fedprox(mu)))
    start = learning.initial.copy()
    one = many = learning.init(learning.tensors(start))
    for key, (x, y) in enumerate(_batches(kind)):
        one, loss = learning.step_of_one(one, _batch(x, y, key))
        many, same = learning.step(many, _batch(x, y, key))
        torch.testing.assert_close(loss, same)
        assert not any(tensor.requires_grad for tensor in (loss, *one.params.values()))
    ours, theirs = learning.flat(one.params), learning.flat(many.params)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(start, learning.initial)


class _Spare(nn.Module):
    """Has a part that no loss depends on, and where it is ``idle`` another one beside it."""

    def __init__(self, *, idle: bool) -> None:
        super().__init__()
        self.used, self.spare, self.idle = nn.Linear(2, 1), nn.Linear(2, 3), idle

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.used(x)
        return output.detach() if self.idle else output


@pytest.mark.parametrize("idle", [False, True])
def test_what_no_loss_depends_on_stays_as_it_is_in_one_home_and_in_many(idle: bool) -> None:
    small = tiny.learning(tiny.plan())
    learning = LocalLearning(_Spare(idle=idle), small.task, small.train)
    batch = _batch(torch.ones(5, 2), torch.zeros(5, 1))
    state = learning.init(learning.tensors(learning.initial))
    one, many = (take(state, batch)[0].params for take in (learning.step_of_one, learning.step))
    for name, before in state.params.items():
        assert torch.equal(one[name], many[name])
        assert torch.equal(one[name], before) == (idle or name.startswith("spare"))


class _Thrice(LocalLearning):
    """Learns the same loss three times over, as slices of one network do theirs."""

    @property
    def terms(self) -> int:
        return 3

    def row_losses(self, params: Params, batch: Batch) -> Tensor:
        return 3 * super().row_losses(params, batch)


def test_of_a_sum_of_losses_a_step_tells_the_mean() -> None:
    once = tiny.learning(tiny.plan())
    thrice = _Thrice(once.model, once.task, once.train)
    (x, y), *_ = _batches("regression")
    told = [
        float(one.step(one.init(one.tensors(one.initial)), _batch(x, y))[1])
        for one in (once, thrice)
    ]
    assert told[1] == pytest.approx(told[0])


def test_dropout_is_a_function_of_the_key_and_off_in_prediction() -> None:
    learning = tiny.learning(tiny.plan(model={"hidden": [32], "dropout": 0.5}))
    (x, y), *_ = _batches("regression")
    params = learning.tensors(learning.initial)
    state = learning.init(params)
    after = [learning.flat(learning.step(state, _batch(x, y, key))[0].params) for key in (7, 7, 8)]
    np.testing.assert_array_equal(after[0], after[1])
    assert not np.allclose(after[0], after[2])
    said = learning.predict(params, x)
    assert torch.equal(said, learning.predict(params, x))
    without = tiny.learning(tiny.plan(model={"hidden": [32]}))
    torch.testing.assert_close(said, without.predict(without.tensors(learning.initial), x))


def test_other_rates_and_methods_are_kept_and_change_nothing_else() -> None:
    learning = tiny.learning(tiny.plan(train={"weight_decay": 0.01}, **tiny.fedprox(0.1)))
    assert learning.vary() is learning
    assert learning.vary(rate=1.0, method=FedProx(proximal_mu=0.1)) is learning
    varied = learning.vary(rate=0.5, method=FedAvg())
    assert varied is learning.vary(rate=0.5, method=FedAvg())
    assert varied.method == FedAvg()
    changed = {"learning_rate": learning.train.learning_rate * 0.5}
    assert varied.train == learning.train.model_copy(update=changed)
    np.testing.assert_array_equal(varied.initial, learning.initial)
    few = learning.vary(batch=3)
    assert few is learning.vary(batch=3)
    assert few is not learning.vary(batch=4)
    assert few.train == learning.train.model_copy(update={"batch_size": 3})
    assert learning.vary(batch=learning.train.batch_rows) is learning


@settings(max_examples=share_of(30))
@given(st.lists(st.floats(-30, 30, width=32), min_size=3, max_size=3), st.integers(0, 2))
def test_row_losses_are_the_textbooks(output: list[float], label: int) -> None:
    logits = np.array(output, np.float64)
    told = torch.tensor([output])
    p = 1 / (1 + np.exp(-logits[0]))
    cross = np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[label]
    y, far = float(label > 0), abs(logits[0] - 2)
    binary = -(y * np.log(p) + (1 - y) * np.log1p(-p)) if 0 < p < 1 else abs(logits[0])
    for loss, out, target, expected in (
        ("mse", told[:, :1], torch.tensor([[2.0]]), (logits[0] - 2) ** 2),
        ("huber", told[:, :1], torch.tensor([[2.0]]), min(far**2, 2 * far - 1)),
        ("bce", told[:, :1], torch.tensor([[y]]), binary),
        ("cross-entropy", told, torch.tensor([label]), cross),
    ):
        found = row_losses(loss, out, target)
        assert found.shape == (1,)
        assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_a_train_config_is_read_from_what_flower_sends() -> None:
    config = TrainConfig.of(
        {"server-round": 3, "proximal-mu": 1, "clipping_norm": 0.5, "other": "x"}
    )
    assert (config.round, config.clipping) == (3, UpdateClipping(norm=0.5))
    assert config.settings == (("other", "x"), ("proximal-mu", 1))
    for own in (FedAvg(), FedProx(proximal_mu=7)):
        assert config.method(own) == FedProx(proximal_mu=1)
    assert TrainConfig.of({"server-round": 0}) == TrainConfig(round=0)
    assert TrainConfig(round=0).method(FedProx(proximal_mu=7)) == FedProx(proximal_mu=7)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"server-round": "one"},
        {"server-round": -1},
        {"server-round": 1, "proximal-mu": -0.1},
        {"server-round": 1, "proximal-mu": float("inf")},
        {"server-round": 1, "clipping_norm": float("nan")},
        {"server-round": 1, "clipping_norm": [1.0]},
    ],
)
def test_a_train_config_that_makes_no_sense_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(UpdateError, match="a message came with"):
        TrainConfig.of(config).method(FedAvg())


def test_updates_are_shortened_to_the_norm_and_no_further() -> None:
    start = np.array([1.0, 1.0], np.float32)
    params = np.array([[4.0, 5.0], [1.3, 1.4], [1.0, 1.0], [np.nan, 2.0]], np.float32)
    shortened = UpdateClipping(norm=1.0).shorten(start, params)
    assert shortened is not None
    assert shortened.tolist() == [True, False, False, False]
    expected = np.array([[1.6, 1.8], [1.3, 1.4], [1.0, 1.0]])
    np.testing.assert_allclose(params[:3].astype(np.float64), expected, rtol=1e-6)
    assert np.isnan(params[3]).any()  # it stays for the server to drop
