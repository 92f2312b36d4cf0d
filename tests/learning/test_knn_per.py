"""kNN-Per: what homes remember, against a plain loop, and what is kept of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

import fedhome
from fedhome.errors import PlanError
from fedhome.learning import fitted
from fedhome.learning.device import Device
from fedhome.learning.fitted import InputRows, Neighbours
from fedhome.learning.personalise import knn_per, personaliser
from fedhome.learning.personalise.experts import Adaptation, Experts
from fedhome.plan.settings import PersonaliseSettings, Plan
from helpers import tiny

KINDS = ("regression", "binary", "multi-class")


def experts_of(device: Device, start: np.ndarray, settings: PersonaliseSettings) -> Experts:
    how = personaliser("knn-per")
    return Experts(device, settings, start=start, how=how, adaptation=Adaptation(1.0, 0))


def asked(x: np.ndarray) -> InputRows:
    return InputRows(x, np.zeros(len(x)), np.empty((len(x), 0)))


def stated(output: Tensor, kind: str) -> Tensor:
    by_kind = {"regression": lambda o: o, "binary": torch.sigmoid, "multi-class": F.softmax}
    return by_kind[kind](output, **({"dim": 1} if kind == "multi-class" else {}))


def by_a_loop(device: Device, kind: str, remembered: slice, new: slice, share: float) -> np.ndarray:
    """Marfoq et al., equations 5 to 8, row after row."""
    module, x = device.learning.model, torch.from_numpy(device.examples.x)
    y = torch.from_numpy(device.examples.y)
    truth = F.one_hot(y, len(tiny.CLASSES)).float() if kind == "multi-class" else y
    with torch.no_grad():
        seen, network = module[:-1](x), stated(module(x), kind)
        rows = []
        for row in range(new.start, new.stop):
            distances = torch.linalg.vector_norm(seen[remembered] - seen[row], dim=1)
            nearest = torch.argsort(distances)[:10]
            weights = torch.exp(-distances[nearest])
            memory = (weights[:, None] * truth[remembered][nearest]).sum(0) / weights.sum()
            rows.append(share * memory + (1 - share) * network[row])
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_stated_is_what_a_plain_loop_makes_of_the_paper(kind: str) -> None:
    plan = tiny.plan(task={"kind": kind})
    home = tiny.home("h", (40, 12, 9), kind=kind)
    device = Device(tiny.learning(plan), home, plan.seed)
    experts = experts_of(device, device.learning.initial, PersonaliseSettings())
    train, validation, test = (home.rows(part) for part in ("train", "validation", "test"))
    truth = experts.truth("validation")
    tried = [by_a_loop(device, kind, train, validation, share) for share in knn_per.SHARES]
    best = int(np.argmin([np.mean((one - truth) ** 2) for one in tried]))
    assert best > 0
    both = slice(train.start, validation.stop)
    found = experts.stated("tuned")
    np.testing.assert_allclose(found.validation, tried[best], rtol=1e-4, atol=1e-5)
    expected = by_a_loop(device, kind, both, test, knn_per.SHARES[best])
    np.testing.assert_allclose(found.test, expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(found.test, by_a_loop(device, kind, both, test, 0.0), atol=1e-3)
    (model,) = experts.models("tuned")
    assert isinstance(model, Neighbours)
    again = fitted.read(fitted.kind_of(model), model.arrays())
    kept = experts.encoding.stated(again.state(asked(home.x[test])))
    np.testing.assert_allclose(kept, found.test, atol=1e-6)


def test_without_a_refit_validation_rows_are_not_remembered() -> None:
    plan, home = tiny.plan(), tiny.home("h", (20, 12, 9))
    device = Device(tiny.learning(plan), home, plan.seed)
    start = device.learning.initial
    for refit, rows in ((True, 32), (False, 20)):
        (model,) = experts_of(device, start, PersonaliseSettings(refit=refit)).models("tuned")
        assert isinstance(model, Neighbours)
        assert len(model.held) == len(model.truth) == rows
        device.memory.clear()


def test_what_is_forgotten_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(knn_per, "_MOST_ROWS", 16)
    plan, home = tiny.plan(), tiny.home("h", (20, 12, 9))
    device = Device(tiny.learning(plan), home, plan.seed)
    settings = PersonaliseSettings(refit=False)
    (model,) = experts_of(device, device.learning.initial, settings).models("tuned")
    assert isinstance(model, Neighbours)
    np.testing.assert_array_equal(model.truth, home.y[4:20])
    assert "home h remembers its newest 16 rows, of 20" in caplog.text


def test_of_a_network_that_diverged_nothing_is_stated() -> None:
    plan, home = tiny.plan(), tiny.home("h", (20, 12, 9))
    device = Device(tiny.learning(plan), home, plan.seed)
    broken = np.full_like(device.learning.initial, np.nan)
    experts = experts_of(device, broken, PersonaliseSettings())
    np.testing.assert_array_equal(experts.stated("tuned").test, experts.naive().test)


def test_far_from_all_rows_the_nearest_count() -> None:
    plan, home = tiny.plan(), tiny.home("h", (20, 12, 9))
    device = Device(tiny.learning(plan), home, plan.seed)
    (model,) = experts_of(device, device.learning.initial, PersonaliseSettings()).models("tuned")
    assert isinstance(model, Neighbours)
    far = model.remembered(np.full((1, 8), 1e4, np.float32))
    assert model.truth.min() <= far[0, 0] <= model.truth.max()


@pytest.mark.parametrize("model", [{"norm": "group"}, {"name": "mine:Net"}])
def test_a_model_whose_last_layer_is_not_known_remembers_nothing(model: dict[str, str]) -> None:
    with pytest.raises(PlanError, match=r"set model\.name = mlp and model\.norm = none") as caught:
        Plan.load(personalise={"name": "knn-per"}, model=model)
    assert len(caught.value.faults) == 1


@pytest.mark.long
def test_a_runs_homes_keep_what_they_remember(tmp_path: Path) -> None:
    plan = Plan.load(
        data={"homes": 5, "days": 10},
        model={"hidden": [8]},
        rounds={"count": 2},
        personalise={
            "name": "knn-per",
            "opponents": ["seasonal"],
            "experts": ["tuned", "global", "naive"],
        },
        method={"name": "fedper"},
        engine={"threads": 1},
    )
    result = fedhome.simulate(plan, out=tmp_path / "run")
    experts = [model.experts.get("tuned") for model in result.models.values()]
    assert len(experts) == 5
    memories = [one for one in experts if isinstance(one, Neighbours)]
    assert memories
    heads = {one.network.layers["2.bias"].tobytes() for one in memories}
    assert len(heads) == len(memories)  # the fleet's model as each home uses it
    by_torch = fedhome.simulate(plan.change(engine={"name": "sequential"}), out=tmp_path / "other")
    scores = [
        [row["score"] for row in run.homes.to_pylist() if row["model"] == "tuned"]
        for run in (result, by_torch)
    ]
    np.testing.assert_allclose(scores[0], scores[1], atol=2e-3)
