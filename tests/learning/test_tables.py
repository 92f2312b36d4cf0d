"""Tables by name: an unknown name is refused, and a new row trains in every engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from fedhome.data.series.examples import Targets
from fedhome.errors import EngineError, PlanError, PluginError
from fedhome.learning.fused import loss_code as fused_losses
from fedhome.learning.fused import optimiser_code as fused_optimisers
from fedhome.learning.fused.rule import LABELLED, LossName, OptimiserName, moments_of
from fedhome.learning.local import LocalLearning
from fedhome.learning.losses import LOSSES, Loss, row_losses
from fedhome.learning.optimisers import OPTIMISERS, Optimiser
from fedhome.learning.params import Params
from fedhome.learning.plan_check import check_plan
from fedhome.learning.tasks import TASKS, TaskKind, kind_of, regression
from fedhome.models.mlp import mlp
from fedhome.ops.service import write_service
from fedhome.plan.settings import Plan
from fedhome.plugins import look_up
from fedhome.questions.contributions import sizes_of
from fedhome.simulations.engines.kernels import KERNELS, FusedKernel, kernel_of
from helpers import tiny

ENGINES = [("vector", "auto"), ("vector", "traced"), ("vector", "eager"), ("sequential", "auto")]


def log_cosh(output: Tensor, y: Tensor) -> Tensor:
    """A loss that nobody here knows: square near zero, straight far away."""
    return torch.cosh(output - y).log().mean(dim=-1)


def robust() -> TaskKind:
    return TaskKind(
        name="robust",
        targets="continuous",
        loss="log-cosh",
        measure=regression.measure,
        metrics=("r2", "mae", "rmse"),
        score="r2",
        series_metrics=("skill",),
    )


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a loss and a task: one row and one function."""
    monkeypatch.setitem(LOSSES, "log-cosh", Loss(name="log-cosh", rows=log_cosh))
    monkeypatch.setitem(TASKS, "robust", robust())


def weights(plan: Plan, folder: Path, notes: list[str] | None = None) -> np.ndarray:
    found = tiny.run(plan, tiny.homes(), folder, notes=notes).state.flat
    assert not np.allclose(found, tiny.learning(plan).initial, atol=1e-3)
    return found


def test_an_unknown_name_is_told_what_there_is() -> None:
    with pytest.raises(
        PluginError, match="colour 'bleu' is unknown: did you mean 'blue'"
    ) as caught:
        look_up({"red": 1, "blue": 2}, "bleu", "colour")
    assert caught.value.hint == "known are: blue, red"
    with pytest.raises(PluginError) as caught:
        look_up({"red": 1, "blue": 2}, "x", "colour")
    assert caught.value.hint == "known are: blue, red"
    assert look_up({"red": 1}, "red", "colour") == 1


def test_no_look_up_takes_an_unknown_name_for_a_known_one(tmp_path: Path) -> None:
    plan = tiny.plan()
    learning = tiny.learning(plan)
    unknown: list[tuple[Any, str]] = [
        (lambda: row_losses("hinge", torch.zeros(1, 1), torch.zeros(1, 1)), "loss 'hinge'"),
        (lambda: tiny.learning(plan.change(train={"optimiser": "adm"})), "optimiser 'adm'"),
        (lambda: tiny.learning(plan.change(task={"kind": "regresion"})), "task 'regresion'"),
        (lambda: kernel_of(learning, "fast", tiny.FEATURES, print), "kernel 'fast'"),
        (lambda: mlp(3, 1, norm="batch"), "norm 'batch'"),
        (lambda: sizes_of(np.ones((1, 2), np.float32), "l1"), "norm of an update 'l1'"),
        (
            lambda: write_service("snap", "client", tmp_path, [], tmp_path),  # type: ignore[arg-type]
            "kind of service 'snap'",
        ),
    ]
    for call, told in unknown:
        with pytest.raises(PluginError, match=f"{told} is unknown") as caught:
            call()
        assert "known are: " in caught.value.hint


def test_a_plans_unknown_names_are_told_at_once_and_before_anything_runs() -> None:
    plan = Plan.load(sets=["task.kind=regresion", "train.optimiser=adm"])
    with pytest.raises(PlanError) as caught:
        check_plan(plan, where="mine.toml")
    assert "mine.toml has 2 faults" in caught.value.message
    assert "did you mean 'regression'?" in caught.value.faults[0]
    assert "did you mean 'adam'?" in caught.value.faults[1]
    assert check_plan(Plan()) == Plan()


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (
            ["task.kind=regression", "data.split_by=class"],
            'needs classes, but task.kind is "regression"',
        ),
        (["task.kind=regression", "task.score=accuracy"], "is none of r2, mae, rmse, skill"),
        (["task.kind=regression", "task.score=mae"], "higher if better"),
    ],
)
def test_what_does_not_fit_a_task_is_a_fault_of_the_plan(sets: list[str], told: str) -> None:
    with pytest.raises(PlanError) as caught:
        check_plan(Plan.load(sets=sets))
    assert len(caught.value.faults) == 1
    assert told in caught.value.faults[0]


@pytest.mark.long
def test_a_plans_names_are_checked_without_torch() -> None:
    program = (
        "import sys; from fedhome import Plan; from fedhome.learning.plan_check import check_plan; "
        "check_plan(Plan.load(sets=['train.optimiser=adam', 'task.kind=binary'])); "
        "print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_row_that_does_not_hold_is_refused() -> None:
    kind: dict[str, Any] = {**vars(robust())}
    with pytest.raises(PluginError, match="encoded as 'numbers'") as caught:
        TaskKind(**kind | {"targets": "numbers"})
    assert ", ".join(get_args(Targets)) in caught.value.hint
    with pytest.raises(PluginError, match="no metric 'accuracy'"):
        TaskKind(**kind | {"score": "accuracy"})


def test_the_compiled_kernel_has_code_for_every_name_that_it_knows() -> None:
    assert set(LABELLED) == set(get_args(LossName))
    assert {*fused_losses._POINTWISE, *fused_losses._OF_CLASSES} == set(LABELLED)
    assert {n for n, labelled in LABELLED.items() if labelled} == set(fused_losses._OF_CLASSES)
    assert set(fused_optimisers._MOVES) == set(get_args(OptimiserName))
    assert all(moments_of(name, 0.0) for name in get_args(OptimiserName))
    assert {loss.fused_as for loss in LOSSES.values()} == set(LABELLED)
    assert {optimiser.fused_as for optimiser in OPTIMISERS.values()} == set(get_args(OptimiserName))


@pytest.mark.usefixtures("rows")
def test_a_step_with_a_new_loss_is_what_torch_makes_of_it() -> None:
    plan = tiny.plan(task={"kind": "robust"})
    learning, data = tiny.learning(plan), tiny.home("h", (8, 0, 0))
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    state = learning.init(learning.tensors(learning.initial.copy()))
    batch = learning.blank(tiny.FEATURES)._replace(x=x, y=y, mask=torch.ones(8))
    moved, loss = learning.step(state, batch)
    expected = torch.log((torch.exp(z := learning.model(x) - y) + torch.exp(-z)) / 2).mean()
    gradients = torch.autograd.grad(expected, list(learning.model.parameters()))
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-5)
    for (name, p), gradient in zip(learning.model.named_parameters(), gradients, strict=True):
        stepped = p.detach() - plan.train.learning_rate * gradient
        torch.testing.assert_close(moved.params[name], stepped, rtol=1e-4, atol=1e-6)


@pytest.mark.long
@pytest.mark.usefixtures("rows")
def test_a_new_loss_and_task_train_alike_in_every_engine(tmp_path: Path) -> None:
    plan = tiny.plan(task={"kind": "robust"})
    found = {}
    for engine, kernel in ENGINES:
        own = plan.change(engine={"name": engine, "kernel": kernel})
        found[engine, kernel] = weights(own, tmp_path / f"{engine} {kernel}")
    for other in found.values():
        np.testing.assert_allclose(other, found["sequential", "auto"], rtol=2e-4, atol=2e-5)
    squared = weights(tiny.plan(), tmp_path / "squared")
    assert not np.allclose(found["vector", "auto"], squared, atol=1e-3)
    with pytest.raises(EngineError, match="the loss 'log-cosh' is not compiled into it"):
        weights(plan.change(engine={"kernel": "fused"}), tmp_path / "fused")


@pytest.mark.long
def test_a_new_optimiser_trains_alike_in_every_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def direction(_: Any, slots: Any, gradient: Params, count: Tensor) -> Any:
        """Half of the gradient, and half of the one before."""
        kept = {name: g / 2 for name, g in gradient.items()}
        return {"last": kept}, {n: g + slots["last"][n] for n, g in kept.items()}, count

    row = Optimiser(name="smoothed", slots=lambda _: ("last",), direction=direction)
    monkeypatch.setitem(OPTIMISERS, "smoothed", row)
    plan = tiny.plan(train={"optimiser": "smoothed"})
    found = []
    for engine, kernel in ENGINES:
        own = plan.change(engine={"name": engine, "kernel": kernel})
        found.append(weights(own, tmp_path / f"{engine} {kernel}"))
    for other in found[:-1]:
        np.testing.assert_allclose(other, found[-1], rtol=2e-4, atol=2e-5)
    assert not np.allclose(found[0], weights(tiny.plan(), tmp_path / "sgd"), atol=1e-3)
    reason = FusedKernel.fits(tiny.learning(plan), tiny.FEATURES)
    assert reason == "the optimiser 'smoothed' is not compiled into it"


def test_a_kernel_goes_by_what_a_loss_is_not_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = tiny.plan()
    assert FusedKernel.fits(tiny.learning(plan), tiny.FEATURES) == ""
    monkeypatch.setitem(LOSSES, "huber", Loss(name="huber", rows=log_cosh))
    assert "'huber' is not compiled" in FusedKernel.fits(tiny.learning(plan), tiny.FEATURES)
    kernel = kernel_of(tiny.learning(plan), "auto", tiny.FEATURES, print)
    assert isinstance(kernel, KERNELS["traced"])


def test_several_outputs_for_one_target_are_not_compiled() -> None:
    row: dict[str, Any] = vars(regression.KIND) | {"outputs": 3}
    kind = TaskKind(**row)
    assert kind.outputs == 3
    task = tiny.learning(tiny.plan()).task
    learning = LocalLearning(
        mlp(tiny.FEATURES, 3), type(task)(**vars(task) | {"outputs": 3}), tiny.plan().train
    )
    reason = FusedKernel.fits(learning, tiny.FEATURES)
    assert reason == "the task has 1 target a row, and 3 outputs"
    assert learning.vectorises(tiny.FEATURES) == ""


_OWN = """
from fedhome.learning.losses import Loss
from fedhome.learning.tasks import TaskKind
from fedhome.learning.tasks.regression import measure

ABSOLUTE = TaskKind(
    name="absolute",
    targets="continuous",
    loss=Loss(name="absolute error", rows=lambda output, y: (output - y).abs().mean(dim=-1)),
    measure=measure,
    metrics=("r2", "mae", "rmse"),
    score="r2",
    series_metrics=("skill",),
)
NOTHING = 3
"""


@pytest.mark.long
def test_a_users_own_task_is_named_by_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"my_task_{abs(hash(tmp_path))}"
    (tmp_path / f"{module}.py").write_text(_OWN)
    monkeypatch.syspath_prepend(tmp_path)
    plan = tiny.plan(task={"kind": f"{module}:ABSOLUTE"})
    assert check_plan(plan) is plan
    found = weights(plan, tmp_path / "vector")
    other = weights(plan.change(engine={"name": "sequential"}), tmp_path / "sequential")
    np.testing.assert_allclose(found, other, rtol=2e-4, atol=2e-5)
    for name, told in (("NOTHING", "not a TaskKind"), ("MISSING", "not found")):
        with pytest.raises(PluginError, match=told):
            kind_of(f"{module}:{name}")


@pytest.mark.long
def test_a_loss_that_does_not_vectorise_is_trained_home_after_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choosing(output: Tensor, y: Tensor) -> Tensor:
        far = bool((output - y).abs().max() > 1)  # hangs on numbers: torch.func cannot follow
        return log_cosh(output, y) if far else ((output - y) ** 2).mean(dim=-1)

    monkeypatch.setitem(LOSSES, "log-cosh", Loss(name="log-cosh", rows=choosing))
    monkeypatch.setitem(TASKS, "robust", robust())
    notes: list[str] = []
    plan = tiny.plan(task={"kind": "robust"})
    found = weights(plan, tmp_path / "vector", notes)
    assert len(notes) == 1
    assert notes[0].startswith("the model is trained home after home: ")
    sequential = plan.change(engine={"name": "sequential"})
    np.testing.assert_array_equal(found, weights(sequential, tmp_path / "sequential"))
    with pytest.raises(EngineError, match="no kernel fits"):
        kernel_of(tiny.learning(plan), "auto", tiny.FEATURES, print)
