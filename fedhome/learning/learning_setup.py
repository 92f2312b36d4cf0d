"""What homes of a plan learn with, as all that is written over a cohort sees it; free of torch."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.losses import Loss
from fedhome.learning.methods import Method
from fedhome.learning.optimisers import Optimiser
from fedhome.learning.tasks import Task
from fedhome.plan.settings import TrainSettings
from fedhome.wire.layout import Layout


class LearningSetup(Protocol):
    """The task, how it is learnt, and the parameters that a run begins with.

    :class:`fedhome.learning.local.LocalLearning` has all of it and torch's functions besides;
    :class:`fedhome.learning.compiled.CompiledLearning` has no more than the compiled kernel needs.
    """

    @property
    def task(self) -> Task:
        """What is learnt."""

    @property
    def train(self) -> TrainSettings:
        """How."""

    @property
    def method(self) -> Method:
        """What a home does in a round beside plain descent."""

    @property
    def loss(self) -> Loss:
        """What it is learnt by."""

    @property
    def optimiser(self) -> Optimiser:
        """How parameters follow their gradients."""

    @property
    def layout(self) -> Layout:
        """Names and shapes of the parameters."""

    @property
    def initial(self) -> NDArray[np.float32]:
        """The parameters that a run begins with, float32 ``[size]``."""
