"""FedProx: Li et al., MLSys 2020, arXiv:1812.06127, equation 2.

Home ``k`` is pulled towards the parameters ``w_t`` that the round began with: instead of its loss
``F_k`` it descends along::

    grad ( F_k(w) + mu / 2 * |w - w_t|^2 )  =  grad F_k(w) + mu * (w - w_t)

The server half is Flower's strategy "fedprox", which averages as FedAvg does and sends ``mu`` with
every train message; or any other strategy, with ``mu`` from the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from fedhome.learning.methods.method import Method
from fedhome.learning.params import Params
from fedhome.plan.settings import Plan


class FedProx(Method):
    """Descent with a pull towards the round's start.

    Args:
        proximal_mu: Strength of the pull; 0 is FedAvg.
    """

    told_by: ClassVar[Mapping[str, str]] = {"proximal-mu": "proximal_mu"}
    strategy: ClassVar[str] = "fedprox"

    proximal_mu: float = Field(ge=0)

    def gradient(self, gradient: Params, params: Params, start: Params) -> Params:
        """Return the gradient with the pull."""
        if not self.proximal_mu:
            return gradient
        return {
            name: g + self.proximal_mu * (params[name] - start[name])
            for name, g in gradient.items()
        }

    @classmethod
    def note_on(cls, plan: Plan) -> str:
        """Say where there is no pull: that is FedAvg (Li et al., section 3.2)."""
        for half in (plan.strategy, plan.method):
            if half.name.lower() == cls.strategy and not half.args.get("proximal_mu", 0.0):
                kind = "strategy" if half is plan.strategy else "method"
                return (
                    f"{kind} fedprox with {kind}.args.proximal_mu = 0 is fedavg: set "
                    f"{kind}.args.proximal_mu above 0, or name fedavg"
                )
        return ""

    def fused(self) -> Mapping[str, float]:
        """Return the term that the compiled kernel has for it."""
        return {"proximal_mu": self.proximal_mu}
