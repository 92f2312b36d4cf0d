"""A network that is no perceptron of ours: its forward pass is torch's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.fitted import InputRows
from fedhome.learning.tasks.segments import Floats
from fedhome.toml_text import parse_toml

if TYPE_CHECKING:
    from fedhome.plan.settings import Plan


@dataclass(frozen=True)
class OwnModule:
    """A module of a user's own, by the plan that names it.

    Args:
        plan: The plan as TOML.
        params: Its parameters, flat, float32 ``[size]``.
        slice_: The hash of their layout where they are a slice of the module; empty: they are all
            of it.
    """

    plan: str
    params: NDArray[np.float32]
    slice_: str = ""

    def state(self, rows: InputRows) -> Floats:
        """Return the raw outputs of rows, ``[rows, outputs]``; it loads torch.

        Raises:
            PluginError: The plan's module is not installed here.
            LayoutError: What is installed has other parameters.
        """
        import torch  # noqa: PLC0415 - a perceptron of ours needs none of it

        from fedhome.learning.build import learning_of  # noqa: PLC0415

        plan, features = self._plan, rows.x.shape[1]
        learning = learning_of(plan, features, plan.task.classes)
        if self.slice_:
            from fedhome.learning.carried_slice import carried_slices  # noqa: PLC0415 - torch

            slices = carried_slices(plan, learning, features, plan.task.classes)
            own = [one.own.learning for one in slices]
            learning = next((one for one in own if one.layout.hash == self.slice_), learning)
        output = learning.predict(learning.tensors(self.params), torch.from_numpy(rows.x))
        return np.asarray(output.numpy(), np.float64)

    @property
    def called(self) -> str:
        """What its plan names: the code that is run when it predicts."""
        return self._plan.model.name

    @cached_property
    def _plan(self) -> Plan:
        from fedhome.plan.settings import Plan  # noqa: PLC0415 - a perceptron of ours needs none

        return Plan.parse(parse_toml(self.plan, where="the module's plan"))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that it is, by name."""
        own: dict[str, NDArray[Any]] = {"params": self.params}
        own["plan"] = np.frombuffer(self.plan.encode(), np.uint8)
        if self.slice_:
            own["slice"] = np.frombuffer(self.slice_.encode(), np.uint8)
        return own

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> OwnModule:
        """Return one from its arrays."""
        plan = np.asarray(arrays["plan"], np.uint8).tobytes().decode()
        slice_ = np.asarray(arrays.get("slice", ()), np.uint8).tobytes().decode()
        return cls(plan, np.asarray(arrays["params"], np.float32), slice_)
