"""A step that torch would take home by home, or one without end, is not recorded unasked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functionalize, vmap
from torch.nn.utils.parametrizations import weight_norm

from fedhome.errors import EngineError
from fedhome.learning.local import LocalLearning
from fedhome.models.over_homes import without_torchs_warning
from fedhome.simulations.engines.kernels import kernel_of
from fedhome.simulations.engines.torch_kernels import EagerKernel
from fedhome.simulations.engines.traced import TracedKernel, kernel
from fedhome.simulations.engines.traced.budget import not_home_by_home, operations_of
from helpers import tiny

NO_FORM = "torch has no form of aten._embedding_bag for many homes at once"


class Bag(nn.Module):
    """A user's module with an operation that torch has no batched form of."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(2, 4)
        self.head = nn.Linear(features + 4, outputs)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(torch.cat([x, self.bag((x > 0).long())], dim=1))
        return output


class Attention(nn.Module):
    """A user's module whose inputs attend to each other, with normed weights."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        del features
        self.first = weight_norm(nn.Linear(1, 4))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, outputs)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.first(x.unsqueeze(-1))
        attended, _ = self.attention(seen, seen, seen, need_weights=False)
        output: Tensor = self.head((seen + attended).mean(dim=1))
        return output


class Repeating(nn.Module):
    """A user's module with a loop."""

    def __init__(self, features: int, outputs: int, times: int = 30) -> None:
        super().__init__()
        self.times = times
        self.layer = nn.Linear(features, features)
        self.head = nn.Linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = torch.tanh(self.layer(x))
        output: Tensor = self.head(x)
        return output


def learning(module: type[nn.Module]) -> LocalLearning:
    return tiny.learning(tiny.plan(model={"name": f"{__name__}:{module.__name__}"}))


@pytest.mark.long
def test_what_has_no_batched_form_is_named_at_the_second_home() -> None:
    reason = TracedKernel.fits(learning(Bag), tiny.FEATURES)
    assert reason.startswith(f"the module's training step cannot be traced: {NO_FORM}")
    with pytest.raises(EngineError, match=NO_FORM):
        kernel_of(learning(Bag), "traced", tiny.FEATURES, print)


def test_each_operation_of_a_step_counts_once() -> None:
    x = torch.ones(3)
    assert operations_of(lambda: x.add(1).mul(2)) == 2
    assert operations_of(lambda: None) == 0


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: x.renorm(2, 1, 1.0) + x.renorm(2, 0, 1.0), "aten.renorm"),
        (lambda x: x.clone().renorm_(2, 1, 1.0), "aten.renorm_"),
        (lambda x: torch.bilinear(x, x, torch.ones(1, 3, 3)), "aten._trilinear"),
    ],
)
def test_only_what_takes_homes_one_by_one_is_refused(
    function: Callable[[Tensor], Tensor], name: str
) -> None:
    """Alike where writing in place is made a copy, as it is for a recording."""
    x = torch.ones(5, 2, 3)
    with not_home_by_home(5):
        vmap(lambda own: own[1] @ own[0] + own.unbind()[1].sum())(x)
    with (
        pytest.raises(EngineError, match=f"no form of {name} for"),
        without_torchs_warning(),
        not_home_by_home(5),
    ):
        vmap(function)(x)
    with (
        pytest.raises(EngineError, match=f"no form of {name.removesuffix('_')} for"),
        without_torchs_warning(),
        not_home_by_home(5),
    ):
        functionalize(vmap(function), remove="mutations")(x)


def test_the_eager_kernel_trains_it_and_one_notice_says_why() -> None:
    notices: list[str] = []
    taken = kernel_of(learning(Bag), "auto", tiny.FEATURES, notices.append)
    assert isinstance(taken, EagerKernel)
    (notice,) = notices
    assert notice.startswith("the slow kernel trains, one operation at a time: ")
    assert NO_FORM in notice
    assert "docs/models.md" in notice


@pytest.mark.long
@pytest.mark.parametrize(
    ("module", "told"),
    [(Bag, "the slow kernel trains"), (Attention, "by torch (the kernel 'traced')")],
)
def test_its_weights_are_those_of_home_after_home(
    module: type[nn.Module], told: str, tmp_path: Path
) -> None:
    plan = tiny.plan(model={"name": f"{__name__}:{module.__name__}"}).change(
        personalise={"name": "fine-tune"}
    )
    notes: list[str] = []
    found = tiny.run(plan, tiny.homes(), tmp_path / "vector", notes=notes).state.flat
    assert [told in note for note in notes] == [True]
    notes.clear()
    alone = tiny.run(
        plan.change(engine={"name": "sequential"}),
        tiny.homes(),
        tmp_path / "sequential",
        notes=notes,
    ).state.flat
    assert [note.partition(": the ")[0] for note in notes] == ["homes are trained by torch"]
    assert "not a plain MLP" in notes[0]
    np.testing.assert_allclose(found, alone, rtol=2e-4, atol=2e-5)


@pytest.mark.long
def test_a_step_beyond_the_budget_is_recorded_by_name_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repeating = learning(Repeating)
    repeating.try_step(tiny.FEATURES)  # the first one of a thread copies the module as well
    count = operations_of(lambda: repeating.try_step(tiny.FEATURES))
    assert 30 * 10 < count < 30 * 60  # a product, a sum and a tanh, there and back, for each
    monkeypatch.setattr(kernel, "MOST_OPERATIONS", count)
    assert TracedKernel.passed_over(repeating, tiny.FEATURES) == ""
    monkeypatch.setattr(kernel, "MOST_OPERATIONS", count - 1)
    notices: list[str] = []
    assert isinstance(kernel_of(repeating, "auto", tiny.FEATURES, notices.append), EagerKernel)
    assert len(notices) == 1
    assert f"its step is {count} operations" in notices[0]
    assert isinstance(kernel_of(repeating, "traced", tiny.FEATURES, print), TracedKernel)
