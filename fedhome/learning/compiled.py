"""What the compiled kernel can learn, and how it is told; free of torch.

The kernel (:mod:`fedhome.learning.fused`) is a second implementation of the three functions for
plain MLPs. Homes and the vector engine both ask here whether it fits, and why not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome import rng
from fedhome.counted import counted
from fedhome.errors import EngineError, PlanError
from fedhome.learning import gradient_clipping
from fedhome.learning.first_parameters import drawn_layers
from fedhome.learning.fused import FusedMLP
from fedhome.learning.fused.nesting import Nesting
from fedhome.learning.fused.rule import TERMS
from fedhome.learning.learning_setup import LearningSetup
from fedhome.learning.losses import LOSSES, Loss, loss_of
from fedhome.learning.methods import METHODS, Method, method_of
from fedhome.learning.optimisers import Optimiser, optimiser_of
from fedhome.learning.personalise import PERSONALISERS
from fedhome.learning.tasks import Task, task_of
from fedhome.models.slicing import SlicedShape, Widths
from fedhome.plan.settings import Plan, TrainSettings
from fedhome.plan.sliced_plan import is_sliced
from fedhome.wire.layout import Layout


def why_not_compiled(
    learning: LearningSetup, widths: Sequence[int], slices: Sequence[Widths] = ()
) -> str:
    """Return why the compiled kernel does not fit what is to be learnt; empty where it does.

    Args:
        learning: What is to be learnt.
        widths: Widths of Linear, ReLU, Linear, …, Linear; empty where the model is no such one.
        slices: As of :class:`fedhome.learning.fused.FusedMLP`.
    """
    if not widths:
        return "the model is not a plain MLP of Linear and ReLU"
    task = learning.task
    if not learning.loss.labels and task.outputs != task.targets:
        return f"the task has {counted(task.targets, 'target')} a row, and {task.outputs} outputs"
    for noun, named in (("loss", learning.loss), ("optimiser", learning.optimiser)):
        if named.fused_as is None:
            return f"the {noun} {named.name!r} is not compiled into it"
    terms = learning.method.fused()
    if terms is None or not terms.keys() <= TERMS:
        return f"the method {type(learning.method).__name__} is not compiled into it"
    return FusedMLP.supports(widths, **told(learning), slices=slices) or ""


def kernel_for(
    learning: LearningSetup,
    widths: Sequence[int],
    *,
    slices: Sequence[Widths] = (),
    apart: bool = False,
) -> FusedMLP:
    """Return the compiled kernel for what is to be learnt.

    Args:
        learning: What is to be learnt.
        widths: As of `why_not_compiled`.
        slices: As of :class:`fedhome.learning.fused.FusedMLP`, and so is the next.
        apart: Whether another process compiles.

    Raises:
        EngineError: It does not fit.
    """
    return FusedMLP(widths, **told(learning), slices=slices, apart=apart)


def told(learning: LearningSetup) -> dict[str, Any]:
    """Return the compiled kernel's settings for a learning."""
    train = learning.train
    return {
        "loss": learning.loss.fused_as,
        "optimiser": learning.optimiser.fused_as,
        "momentum": train.momentum,
        "weight_decay": train.weight_decay,
        **gradient_clipping.fused(train),
        **(learning.method.fused() or {}),
    }


@dataclass(frozen=True, kw_only=True)
class CompiledLearning:
    """What a plan's homes learn with, where the compiled kernel can.

    Args:
        widths: Widths of the network from its input to its output.
        slices: Of smaller networks in it and of itself, the widths of hidden layers, where all of
            them are trained together; none: it is trained alone.
        seed: The plan's seed.
        task: What is learnt.
        train: How.
        method: What a home does in a round beside plain descent.
    """

    widths: tuple[int, ...]
    slices: tuple[Widths, ...] = ()
    seed: int
    task: Task
    train: TrainSettings
    method: Method

    @cached_property
    def loss(self) -> Loss:
        """What it is learnt by."""
        return loss_of(self.task.loss)

    @cached_property
    def optimiser(self) -> Optimiser:
        """How parameters follow their gradients."""
        return optimiser_of(self.train)

    @cached_property
    def layout(self) -> Layout:
        """Names and shapes of the parameters, as torch's modules have them."""
        return self._plain if self._shape is None else self._shape.layout

    @cached_property
    def _shape(self) -> SlicedShape | None:
        """The network with its slices, where it has any."""
        if not self.slices:
            return None
        return SlicedShape(self.widths[0], self.widths[-1], self.slices)

    @cached_property
    def _plain(self) -> Layout:
        names, shapes = [], []
        for place, (inputs, outputs) in enumerate(pairwise(self.widths)):
            names += [f"{2 * place}.weight", f"{2 * place}.bias"]
            shapes += [(outputs, inputs), (outputs,)]
        return Layout(tuple(names), tuple(shapes))

    @cached_property
    def initial(self) -> NDArray[np.float32]:
        """The parameters that a run begins with, float32 ``[size]``."""
        return drawn_layers(Nesting(self.widths, self.slices).layers, rng.key(self.seed, "model"))

    def network(self, params: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """Return the arrays of the largest network by name, as a plain one has them.

        Args:
            params: Parameters ``[size]``.
        """
        if self._shape is None:
            return self._plain.unflatten(params)
        return self._plain.unflatten(params[self._shape.path(len(self.slices) - 1)])

    @cached_property
    def kernel(self) -> FusedMLP:
        """What trains it."""
        return kernel_for(self, self.widths, slices=self.slices, apart=True)

    def vary(
        self, *, rate: float = 1.0, method: Method | None = None, batch: int = 0
    ) -> CompiledLearning:
        """Return the same learning at another rate (a multiple), method or size of batches.

        Args:
            rate: What the plan's learning rate is multiplied with.
            method: In place of the plan's; None: that.
            batch: Examples in a step, in place of the plan's; 0: as many.
        """
        batch = batch or self.train.batch_rows
        if rate == 1.0 and method in (None, self.method) and batch == self.train.batch_rows:
            return self
        changed = {"learning_rate": self.train.learning_rate * rate, "batch_size": batch}
        return replace(
            self, train=self.train.model_copy(update=changed), method=method or self.method
        )


def compiled_learning(plan: Plan, features: int, classes: tuple[str, ...] = ()) -> CompiledLearning:
    """Return what every home of a plan learns with, for the compiled kernel.

    Args:
        plan: The plan.
        features: Width of the input.
        classes: Class names found in the data, where the plan names none.

    Raises:
        EngineError: The kernel cannot learn it; torch can.
        PlanError: The task does not fit the data, or the method refuses its settings.
        PluginError: A name behind which there is nothing.
    """
    task, method = task_of(plan, classes), method_of(plan.method)
    if fault := method.fault_on(plan):
        raise PlanError([fault])
    learning = CompiledLearning(
        widths=(features, *plan.model.hidden, task.outputs),
        seed=plan.seed,
        task=task,
        train=plan.train,
        method=method,
    )
    if reason := _of_ones_own(plan, learning) or why_not_compiled(learning, learning.widths):
        raise EngineError(f"the compiled kernel does not fit: {reason}")
    return learning


def _of_ones_own(plan: Plan, learning: CompiledLearning) -> str:
    """Return what of a plan is a user's own code, or a layer, that is written for torch."""
    model, loss, method = plan.model, learning.loss, type(learning.method)
    plain = model.name == "mlp" and not model.dropout and model.norm == "none"
    for holds, told in (
        (not is_sliced(plan), "devices carry slices of the model"),
        (plain, "the model is not a plain MLP of Linear and ReLU"),
        (loss in LOSSES.values(), f"the loss {loss.name!r} is not one of fedhome's"),
        (method in METHODS.values(), f"the method {method.__name__} is not one of fedhome's"),
        (
            method.module is Method.module,
            f"the method {method.__name__} trains another model than the plan's",
        ),
        (
            plan.personalise.name in (*PERSONALISERS, "none"),
            f"the personaliser {plan.personalise.name!r} is not one of fedhome's",
        ),
    ):
        if not holds:
            return told
    return ""
