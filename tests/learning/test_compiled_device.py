"""A home that learns by the compiled kernel, held against the same home by torch."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from fedhome.errors import EngineError
from fedhome.learning.at_home import device_of
from fedhome.learning.cohort import Training
from fedhome.learning.compiled import compiled_learning
from fedhome.learning.compiled_device import CompiledDevice
from fedhome.learning.device import Device
from fedhome.learning.first_parameters import first_parameters
from fedhome.learning.fused import FusedMLP
from fedhome.learning.losses import LOSSES, row_losses, scored
from fedhome.learning.methods import FedAvg, FedProx
from fedhome.learning.one_home import OneHome
from fedhome.learning.sliced_device import sliced_device
from fedhome.models.mlp import build_model, mlp
from fedhome.plan.settings import Plan
from helpers import tiny

COUNTS = (19, 6, 5)
ROUNDING = {"rtol": 2e-4, "atol": 2e-5}


class OwnMethod(FedAvg):
    """Somebody's own, though it changes nothing."""


def both(plan: Plan, kind: str = "regression") -> tuple[OneHome, Device]:
    """Return a home as it learns on its device, and by torch."""
    data = tiny.home("h", COUNTS, kind=kind)
    classes = tiny.CLASSES if kind == "multi-class" else ()
    return device_of(plan, data, classes), Device(tiny.learning(plan), data, plan.seed)


@pytest.mark.parametrize("widths", [(3, 1), (24, 64, 64, 1), (7, 9, 5, 3), (130, 33, 2)])
def test_a_network_begins_with_the_very_numbers_that_torch_draws(widths: tuple[int, ...]) -> None:
    seed = 0x9E3779B97F4A7C15
    torch.manual_seed(seed)
    module = mlp(widths[0], widths[-1], hidden=widths[1:-1])
    flat = torch.nn.utils.parameters_to_vector(module.parameters()).detach().numpy()
    np.testing.assert_array_equal(first_parameters(widths, seed), flat)


def test_what_homes_learn_with_is_torchs_without_torch() -> None:
    plan = tiny.plan(model={"hidden": [8, 5]})
    own, theirs = compiled_learning(plan, tiny.FEATURES), tiny.learning(plan)
    assert own.layout == theirs.layout
    assert own.task == theirs.task
    assert (own.loss, own.optimiser, own.method) == (theirs.loss, theirs.optimiser, theirs.method)
    np.testing.assert_array_equal(own.initial, theirs.initial)
    assert own.initial.size == sum(p.numel() for p in build_model(plan, 3, 1).parameters())


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "sections"),
    [
        ("regression", {}),
        ("regression", {"model": {"hidden": []}}),
        ("regression", {"model": {"hidden": [33, 17, 9]}, "train": {"optimiser": "adam"}}),
        ("regression", {"train": {"momentum": 0.9, "weight_decay": 0.01, "clip_norm": 0.1}}),
        ("binary", {"train": {"batch_size": 64}}),
        ("multi-class", {"train": {"optimiser": "adam", "clip_norm": 0.0}}),
        ("regression", tiny.fedprox(0.3)),
        ("regression", {"method": {"name": "fedper"}}),
    ],
)
def test_a_home_trains_and_scores_as_torch_does(kind: str, sections: dict[str, Any]) -> None:
    plan = tiny.plan(task={"kind": kind}, **sections)
    own, torchs = both(plan, kind)
    assert isinstance(own, CompiledDevice)
    start = torchs.learning.initial
    for wanted in ({"epochs": 3}, {"epochs": 1, "steps": 5, "part": "train+validation"}):
        found = own.train(start, Training(stream=7, rate=0.5, **wanted))
        expected = torchs.train(start, Training(stream=7, rate=0.5, **wanted))
        np.testing.assert_allclose(found.params, expected.params, **ROUNDING)
        np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-4)
        assert np.abs(found.params - start).max() > 1e-3
        measured, theirs = (one.evaluate(expected.params, "validation") for one in (own, torchs))
        np.testing.assert_allclose(measured.losses, theirs.losses, rtol=1e-5)
        assert measured.metrics.keys() == theirs.metrics.keys()
        for name, values in measured.metrics.items():
            np.testing.assert_allclose(values, theirs.metrics[name], rtol=1e-4, atol=1e-6)
    assert own.train(start, Training(stream=1, epochs=0)).params.tolist() == [start.tolist()]


def test_batches_of_another_size_are_those_of_a_plan_that_names_it() -> None:
    """Steps are counted in whole batches: so is what twelve of them learn from."""
    asked, named = (both(tiny.plan(train={"batch_size": size})) for size in (8, 3))
    for other, plans in zip(asked, named, strict=True):
        start = compiled_learning(tiny.plan(), tiny.FEATURES).initial
        for wanted in ({"epochs": 2}, {"epochs": 1, "steps": 12}):
            found = other.train(start, Training(stream=7, batch=3, **wanted))
            np.testing.assert_array_equal(
                found.params, plans.train(start, Training(stream=7, **wanted)).params
            )
            plain = other.train(start, Training(stream=7, **wanted)).params
            assert np.abs(found.params - plain).max() > 1e-4


TIERS = [
    {"name": "sensor", "width": 0.25, "depth": 1, "share": 0.34},
    {"name": "plug", "width": 0.5, "depth": 2, "share": 0.33},
    {"name": "hub", "width": 1.0, "depth": 2, "share": 0.33},
]
DEEP = [{**tier, "depth": 2} for tier in TIERS]
SLICED: dict[str, Any] = {"model": {"hidden": [8, 8]}, "slicing": {"tiers": TIERS}}


def sliced(plan: Plan, tier: str) -> tuple[OneHome, Device]:
    """Return a home of a tier as it learns on its device, and by torch."""
    data, seen = tiny.home("h", COUNTS, kind=plan.task.kind), tiny.learning(plan).task.classes
    return device_of(plan, data, seen, tier=tier), sliced_device(plan, data, seen, tier=tier)


@pytest.mark.long
@pytest.mark.parametrize(
    ("tier", "sections"),
    [
        ("sensor", {}),
        ("plug", {"train": {"momentum": 0.9, "clip_norm": 0.1}}),
        ("hub", {"task": {"kind": "multi-class"}, **tiny.fedprox(0.3)}),
        ("plug", {"slicing": {"tiers": DEEP, "rule": "fedrolex"}}),
    ],
)
def test_a_home_with_a_slice_trains_and_scores_as_torch_does(
    tier: str, sections: dict[str, Any]
) -> None:
    own, torchs = sliced(tiny.plan(**SLICED).change(**sections), tier)
    whole = 0.3 * np.random.default_rng(4).normal(size=torchs.fleets_layout.size)
    assert own.fleets_layout == torchs.fleets_layout
    assert own.learning.layout == torchs.learning.layout
    np.testing.assert_array_equal(own.learning.initial, torchs.learning.initial)
    for part, theirs in ((own.rounds, torchs.rounds), (own, torchs)):
        assert isinstance(part, CompiledDevice)
        assert isinstance(theirs, Device)
        start = theirs.own_part(whole.astype(np.float32))
        np.testing.assert_array_equal(part.own_part(whole.astype(np.float32)), start)
        assert part.carries is not None
        assert theirs.carries is not None
        np.testing.assert_array_equal(
            part.carries.in_round(3).places, theirs.carries.in_round(3).places
        )
        found, expected = (one.train(start, Training(stream=7, epochs=3)) for one in (part, theirs))
        np.testing.assert_allclose(found.params, expected.params, **ROUNDING)
        np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-4)
        assert np.abs(found.params - start).max() > 1e-3
        measured, by_torch = (one.evaluate(expected.params, "validation") for one in (part, theirs))
        np.testing.assert_allclose(measured.losses, by_torch.losses, rtol=1e-5)


def test_slices_begin_with_the_very_numbers_that_torch_draws() -> None:
    own, _ = sliced(tiny.plan(**SLICED), "hub")
    assert own.rounds is not None
    model = build_model(tiny.plan(**SLICED), tiny.FEATURES, 1)
    flat = torch.nn.utils.parameters_to_vector(model.parameters()).detach().numpy()
    np.testing.assert_array_equal(own.rounds.learning.initial, flat)


_WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # to import it is an error
import numpy as np
from fedhome.learning.cohort import Training
from fedhome.data.series.examples import HomeExamples
from fedhome.learning.at_home import device_of
from fedhome.plan.settings import Plan
x = np.random.default_rng(1).normal(size=(30, 5)).astype(np.float32)
rows = {"x": x, "y": x[:, :1].copy(), "naive": np.zeros(30, np.float32), "counts": (20, 5, 5)}
for rule in ("nested", "fedrolex"):
    plan = Plan.load(task={"kind": "regression"}, model={"hidden": [8, 8]}, slicing={
        "rule": rule, "tiers": [{"name": "plug", "width": 0.5, "depth": 2, "share": 0.5},
                                {"name": "hub", "width": 1.0, "depth": 2, "share": 0.5}]},
        aggregation={"mode": "plain"})
    device = device_of(plan, HomeExamples(home="h", **rows), tier="hub")
    start = np.full(device.fleets_layout.size, 0.1, np.float32)
    how = Training(stream=1, epochs=1)
    trained = device.rounds.train(device.rounds.own_part(start, 2), how)
    print(rule, bool(trained.losses[0] > 0))
"""


@pytest.mark.long
def test_a_device_that_carries_a_slice_trains_where_there_is_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_TORCH], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n") == ["nested True", "fedrolex True", ""]


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"slicing": {"tiers": DEEP, "rule": "heterofl"}}, "rule 'heterofl' are not compiled"),
        ({"model": {"hidden": [8, 8], "dropout": 0.1}}, "not a plain MLP"),
    ],
)
def test_slices_that_the_kernel_does_not_know_are_torchs_and_told(
    sections: dict[str, Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    plan = tiny.plan(**SLICED).change(**sections)
    with caplog.at_level(logging.WARNING, "fedhome.learning"):
        device = device_of(plan, tiny.home("h", COUNTS), tier="hub")
    assert isinstance(device, Device)
    assert [told in message for message in caplog.messages] == [True]


def test_a_step_of_a_slice_that_has_no_code_is_torchs_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    own, torchs = sliced(tiny.plan(**SLICED), "hub")
    start = np.zeros(torchs.fleets_layout.size, np.float32) + 0.1
    pull: dict[str, Any] = {"method": FedProx(proximal_mu=2.0), "towards": start + 1}
    assert own.rounds is not None
    assert torchs.rounds is not None
    with caplog.at_level(logging.WARNING, "fedhome.learning"):
        found = own.rounds.train(start, Training(stream=1, epochs=1, **pull)).params
    expected = torchs.rounds.train(start, Training(stream=1, epochs=1, **pull)).params
    np.testing.assert_array_equal(found, expected)
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_a_loss_scores_in_numpy_as_it_does_in_torch(loss: str) -> None:
    drawn = np.random.default_rng(2)
    outputs = 4 if LOSSES[loss].labels else 1
    output = (3 * drawn.normal(size=(50, outputs))).astype(np.float32)
    y: Any = drawn.normal(size=(50, 1)).astype(np.float32)
    if LOSSES[loss].labels:
        y = drawn.integers(0, outputs, 50)
    elif loss == "bce":
        y = (y > 0).astype(np.float32)
    expected = row_losses(loss, torch.from_numpy(output), torch.from_numpy(y))
    np.testing.assert_allclose(scored(LOSSES[loss], output, y), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"model": {"norm": "layer"}}, "not a plain MLP"),
        ({"model": {"dropout": 0.1}}, "not a plain MLP"),
        ({"model": {"name": "fedhome.models:mlp"}}, "not a plain MLP"),
        ({"method": {"name": f"{__name__}:OwnMethod"}}, "method OwnMethod is not one of"),
        ({"method": {"name": "ifca"}}, "method Ifca trains another model"),
        ({"personalise": {"name": "mine:tune"}}, "personaliser 'mine:tune' is not one of"),
    ],
)
def test_what_the_kernel_does_not_know_is_torchs_and_told(
    sections: dict[str, Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    plan = tiny.plan(**sections)
    with pytest.raises(EngineError, match=told):
        compiled_learning(plan, tiny.FEATURES)
    with caplog.at_level(logging.WARNING, "fedhome.learning"):
        device = device_of(plan, tiny.home("h", COUNTS))
    assert isinstance(device, Device)
    assert [told in message for message in caplog.messages] == [True]


@pytest.mark.long
def test_a_pull_towards_other_parameters_is_torchs_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    own, torchs = both(tiny.plan())
    start = torchs.learning.initial
    pull: dict[str, Any] = {"method": FedProx(proximal_mu=2.0), "towards": start + 1}
    with caplog.at_level(logging.WARNING, "fedhome.learning"):
        found = [own.train(start, Training(stream=1, epochs=1, **pull)).params for _ in range(2)]
    np.testing.assert_array_equal(
        found[0], torchs.train(start, Training(stream=1, epochs=1, **pull)).params
    )
    np.testing.assert_array_equal(*found)
    assert len(caplog.messages) == 1
    assert "a pull towards anything but where training began" in caplog.messages[0]
    assert not np.array_equal(found[0], own.train(start, Training(stream=1, epochs=1)).params)


def test_a_system_that_forbids_machine_code_is_trained_by_torch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def forbidden(*_: object) -> None:
        raise EngineError("no machine code here")

    monkeypatch.setattr(FusedMLP, "compile", forbidden)
    own, torchs = both(tiny.plan())
    start = torchs.learning.initial
    with caplog.at_level(logging.WARNING, "fedhome.learning"):
        found = own.train(start, Training(stream=1, epochs=1))
    np.testing.assert_array_equal(
        found.params, torchs.train(start, Training(stream=1, epochs=1)).params
    )
    assert "no machine code here" in caplog.text
