"""fedhome: many homes learn one model together, and each gets its own version of it back.

>>> import fedhome
>>> plan = fedhome.Plan.load(sets=["data.homes=5", "data.days=20", "rounds.count=2"])
>>> result = fedhome.simulate(plan, out="runs/first")  # doctest: +SKIP
>>> result.homes.to_pandas()                           # doctest: +SKIP

Users may rely on ``fedhome.__all__`` (which is also all that ``dir(fedhome)`` shows), on the
``__all__`` of the modules in it, and on the command line. These names and their signatures change
only with a line in CHANGELOG.md. Every other module is internal, also without an underscore in its
name, and may change at any time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fedhome import errors
from fedhome.errors import FedHomeError

if TYPE_CHECKING:
    from fedhome import methods, models, registry, strategies, tasks
    from fedhome.clients.kept_model import load, load_predictor
    from fedhome.clients.recorded.recording import Recorded, record
    from fedhome.data.pack_homes import pack
    from fedhome.data.table import HomeTable
    from fedhome.personal.model import PersonalModel
    from fedhome.personal.predictor import Predictor
    from fedhome.plan.settings import Plan
    from fedhome.simulations.simulate import Result, resume, simulate

    __version__: str

__all__ = [
    "FedHomeError",
    "HomeTable",
    "PersonalModel",
    "Plan",
    "Predictor",
    "Recorded",
    "Result",
    "__version__",
    "errors",
    "load",
    "load_predictor",
    "methods",
    "models",
    "pack",
    "record",
    "registry",
    "resume",
    "simulate",
    "strategies",
    "tasks",
]

# Loaded when they are first asked for: torch and Flower take seconds, and a plan's settings a third
# of one, which a command that shows how a server is does not need.
_MODULES = ("methods", "models", "registry", "strategies", "tasks")
_LATER = {
    "HomeTable": "fedhome.data.table",
    "PersonalModel": "fedhome.personal.model",
    "Plan": "fedhome.plan.settings",
    "Predictor": "fedhome.personal.predictor",
    "Recorded": "fedhome.clients.recorded.recording",
    "Result": "fedhome.simulations.simulate",
    "load": "fedhome.clients.kept_model",
    "load_predictor": "fedhome.clients.kept_model",
    "pack": "fedhome.data.pack_homes",
    "record": "fedhome.clients.recorded.recording",
    "resume": "fedhome.simulations.simulate",
    "simulate": "fedhome.simulations.simulate",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - 3 MB, for few who ask

        return version("fedhome")
    if name in _MODULES:
        return import_module(f"fedhome.{name}")
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'fedhome' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
