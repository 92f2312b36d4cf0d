"""Slices by depth alone, whose exits teach each other.

Kim et al., "DepthFL: Depthwise federated learning for heterogeneous clients", ICLR 2023, section
3: a device of depth d has the first d layers and an exit at each depth of a tier up to d; it
learns the sum of their losses, and each exit learns from every other one what that one answers,
the mean over the others (equation 2, Kullback-Leibler divergence, no gradient into the teacher).
The paper's code lets the second part grow over the first rounds; here it counts in full from the
first. A tier's own network ends in the exit of its depth: their mean over exits is not taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor
from torch.nn import functional

from fedhome.errors import PlanError
from fedhome.learning.local import Batch
from fedhome.learning.params import Params
from fedhome.learning.slice_rules.carried import CarriedSlice, Slicing
from fedhome.learning.slice_rules.nested import SandwichLearning, nested


def _divergence(output: Tensor, teacher: Tensor) -> Tensor:
    known = functional.log_softmax(teacher, dim=-1)
    said = functional.log_softmax(output, dim=-1)
    return (known.exp() * (known - said)).sum(dim=-1)


def _binary_divergence(output: Tensor, teacher: Tensor) -> Tensor:
    """Return the divergence of two yes-or-no answers, each given by the logit of yes."""
    yes = teacher.sigmoid()
    gain = yes * (functional.logsigmoid(teacher) - functional.logsigmoid(output))
    loss = (1 - yes) * (functional.logsigmoid(-teacher) - functional.logsigmoid(-output))
    return (gain + loss).mean(dim=-1)


def _apart(output: Tensor, teacher: Tensor) -> Tensor:
    """Return half the squared difference: the divergence of two normal answers of variance 1."""
    return ((output - teacher) ** 2).mean(dim=-1) / 2


TEACHING: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": _divergence,
    "bce": _binary_divergence,
    "mse": _apart,
    "huber": _apart,
}
"""How far an exit's answer is from another's, for each row ``[batch]``, by the task's loss."""


class DistilledLearning(SandwichLearning):
    """Local learning of all exits of a network, which learn from each other as well."""

    def row_losses(self, params: Params, batch: Batch) -> Tensor:
        """Return losses and what exits differ by, of each row ``[batch]``."""
        outputs = self.forward(params, batch.x, every=True).unbind(0)  # each [batch, outputs]
        losses = [self.loss.rows(output, batch.y) for output in outputs]
        total = sum(losses[1:], losses[0])
        apart, others = TEACHING[self.loss.name], max(len(outputs) - 1, 1)
        for place, output in enumerate(outputs):
            for teacher in (*outputs[:place], *outputs[place + 1 :]):
                total = total + apart(output, teacher.detach()) / others
        return total


def depthfl(slicing: Slicing, number: int) -> CarriedSlice:
    """Return what a device of a tier carries: the first layers, and the exits among them.

    Raises:
        PlanError: The task's loss is none that says how far two answers are apart.
    """
    loss = slicing.whole.loss.name
    if loss not in TEACHING:
        fault = (
            f"slicing.rule = depthfl lets exits learn from each other, and of the loss {loss!r} it "
            f"is not known how far two answers are apart: of {', '.join(TEACHING)} it is"
        )
        raise PlanError([fault], hint='set slicing.rule = "nested"')
    return nested(slicing, number, together=DistilledLearning)
