"""fedhome: many homes learn one model together, and each gets its own version of it back.

>>> import fedhome
>>> plan = fedhome.Plan.load(sets=["data.homes=5", "data.days=20", "rounds.count=2"])
>>> result = fedhome.simulate(plan, out="runs/first")  # doctest: +SKIP
>>> result.homes.to_pandas()                           # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedhome.errors import FedHomeError
from fedhome.plan.settings import Plan

if TYPE_CHECKING:
    from fedhome.simulations.simulate import Result, resume, simulate

__all__ = ["FedHomeError", "Plan", "Result", "resume", "simulate"]


def __getattr__(name: str) -> Any:
    # Torch is loaded when the first simulation is asked for, not before.
    if name in {"simulate", "resume", "Result"}:
        from fedhome.simulations import simulate  # noqa: PLC0415

        return getattr(simulate, name)
    raise AttributeError(f"module 'fedhome' has no attribute {name!r}")
