"""What a method is: its settings as one frozen value, and pure functions of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.params import Params
from fedhome.plan.section import Settings
from fedhome.plan.settings import Plan

if TYPE_CHECKING:  # it imports methods
    from torch import nn

    from fedhome.learning.cohort import Cohort
    from fedhome.learning.home_round import HomeRound, RoundEnd


class Method(Settings):
    """A federated method: its home half, and what its server half tells it.

    A method is a subclass whose fields are its settings (``method.args`` of a plan) and whose
    functions are pure: the same arguments give the same result, and nothing is kept. Engines pass
    it on without knowing what is in it; it is hashed and compared by its settings.

    The server half is a strategy. Where it has something to tell the homes in a round, it puts a
    number into the configuration of its train messages, and ``told_by`` says which setting that is.

    A method may keep something in each home: parameters that are `private`, and further arrays,
    which begin as `first` says. Both stay where they are; what is sealed, kept and composed is
    :mod:`fedhome.learning.home_round`'s work. What a method leaves alone is as plain as FedAvg.

    Attributes:
        told_by: Keys of a train message, each with the setting that it takes the place of.
        strategy: Name of the strategy that sends them; empty: there is none.
        shown: What secure sums show of a home by this method and by no other, as its people are
            told before they agree; empty: nothing.
    """

    told_by: ClassVar[Mapping[str, str]] = {}
    strategy: ClassVar[str] = ""
    shown: ClassVar[str] = ""

    def gradient(self, gradient: Params, params: Params, start: Params) -> Params:
        """Return the gradient of what a home descends along in one step.

        It is called under ``torch.func``: operations on tensors alone, no branch on their values.

        Args:
            gradient: Gradient of the batch's mean loss, by parameter.
            params: The home's parameters before the step.
            start: The parameters that the round began with.

        Returns:
            A tensor for each parameter, of its shape; clipping, decay and optimiser follow.
        """
        del params, start
        return gradient

    def module(self, make: Callable[[int], nn.Module]) -> nn.Module:
        """Return what homes train: the plan's model, unless a method says otherwise.

        Args:
            make: Makes the plan's model; by its number 0, 1, ... with other first parameters.
        """
        return make(0)

    def plain(self, params: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Return the parameters of the plan's own model that a home's are, by name.

        It is the inverse of :meth:`module`, by which a home's model is kept and predicts.

        Args:
            params: The home's parameters by name.
        """
        return params

    def settle(self, cohort: Cohort, params: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return parameters as homes use them, by what their rows say; as they are by default.

        Args:
            cohort: The homes.
            params: The fleet's, with each home's own at private places, ``[homes, size]``.
        """
        del cohort
        return params

    def still(self, names: tuple[str, ...]) -> frozenset[str]:
        """Return the parameters that a step does not move; none, unless a method says so.

        Args:
            names: The model's parameters, in their order.
        """
        del names
        return frozenset()

    def private(self, names: tuple[str, ...]) -> frozenset[str]:
        """Return the parameters that stay at home; none, unless a method says so.

        A home on its first day begins with what the fleet's model has in their places, which is
        what that began with.

        Args:
            names: The model's parameters, in their order.
        """
        del names
        return frozenset()

    def first(self, shared: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """Return the further arrays that a home keeps, as they are on its first day.

        Args:
            shared: The fleet's parameters then, float32 ``[size]``.

        Returns:
            float32 ``[numbers]`` by name, always the same names and sizes for a model.
        """
        del shared
        return {}

    def round(self, homes: HomeRound) -> RoundEnd:
        """Do what homes do in a round, side by side.

        Args:
            homes: The homes, what came, and what they keep.
        """
        from fedhome.learning.home_round import RoundEnd  # noqa: PLC0415 - it imports methods

        return RoundEnd(homes.train(homes.start, method=self), homes.own)

    def ends(
        self, start: NDArray[np.float32], own: Mapping[str, NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """Return the parameters that homes personalise from after the rounds.

        Args:
            start: The fleet's, with each home's own at private places, ``[homes, size]``.
            own: The further arrays, each ``[homes, numbers]``.

        Returns:
            float32 ``[homes, size]``.
        """
        del own
        return start

    def fused(self) -> Mapping[str, float] | None:
        """Return what the compiled kernel is told to do the same; None: it cannot.

        Names are of :data:`fedhome.learning.fused.rule.TERMS`. A class that has its own
        :meth:`gradient` and says nothing here is trained by the other kernels.
        """
        return None if self.changes_gradient() else {}

    @classmethod
    def note_on(cls, plan: Plan) -> str:
        """Return what of a plan that holds is hardly meant, in a plain sentence; or nothing."""
        del plan
        return ""

    @classmethod
    def fault_on(cls, plan: Plan) -> str:
        """Return what of a plan this method cannot work with and what to do; or nothing."""
        del plan
        return ""

    @classmethod
    def changes_gradient(cls) -> bool:
        """Whether a step is anything but plain descent of all parameters."""
        return cls.gradient is not Method.gradient or cls.still is not Method.still

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        # What a base's gradient is compiled as says nothing about another gradient.
        if {"gradient", "still"} & vars(cls).keys() and "fused" not in vars(cls):
            cls.fused = Method.fused  # type: ignore[method-assign]
