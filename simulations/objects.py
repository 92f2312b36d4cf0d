"""Objects in place of names: what a plan says of those that a simulation was handed.

>>> fedhome.simulate(model=MyNet, strategy=FedAdam(eta=0.01), homes=tables)  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flwr.serverapp.strategy import Strategy
from torch import nn

from fedhome.data.home_objects import Homes
from fedhome.errors import PlanError, RunError
from fedhome.learning.methods import Method
from fedhome.learning.personalise import Personaliser
from fedhome.passed_objects import called, is_object, name_of
from fedhome.plan.settings import Plan
from fedhome.server.strategies import shares_of

Model = str | Callable[..., nn.Module]
"""A class, or a function of ``features`` and ``outputs``, that makes the module."""
AnyMethod = str | type[Method]
AnyStrategy = str | Strategy | Callable[..., Strategy]
AnyPersonaliser = str | Personaliser | Callable[[], Personaliser]

_SETTINGS = {
    "model": ("model", "name"),
    "method": ("method", "name"),
    "strategy": ("strategy", "name"),
    "personaliser": ("personalise", "name"),
    "source": ("data", "source"),
}
_ARGUMENTS = {kind: kind for kind in _SETTINGS} | {"source": "homes"}
_FORMER = "flwr.server.strategy"
_WHERE = "the call"


@dataclass(frozen=True, kw_only=True)
class Objects:
    """What was handed over in place of names; None: the plan's own names count.

    Args:
        model: Makes the module.
        method: What a home does in a round.
        strategy: Flower's strategy; an instance is copied for every run.
        personaliser: What each home makes of the global model.
        source: The homes.
    """

    model: Model | None = None
    method: AnyMethod | None = None
    strategy: AnyStrategy | None = None
    personaliser: AnyPersonaliser | None = None
    source: str | Homes | None = None

    @property
    def _handed(self) -> dict[str, Any]:
        return {kind: it for kind in _SETTINGS if (it := getattr(self, kind)) is not None}

    @property
    def at_hand(self) -> dict[str, object]:
        """The objects themselves, by what they are."""
        return {kind: it for kind, it in self._handed.items() if not isinstance(it, str)}

    def laid_over(self, plan: Plan) -> Plan:
        """Return a plan that names the objects.

        Raises:
            PlanError: All faults at once.
        """
        if not self._handed:
            return plan
        if faults := self._faults():
            raise PlanError(faults, where=_WHERE)
        table: dict[str, dict[str, Any]] = {}
        for kind, it in self._handed.items():
            section, key = _SETTINGS[kind]
            table[section] = {key: _named(kind, it)}
        if isinstance(self.strategy, Strategy):
            table["rounds"] = shares_of(self.strategy, plan.rounds, where=_WHERE)
        return plan.change(**table)

    def check_same(self, plan: Plan) -> None:
        """Refuse objects that are not those that an interrupted run was begun with.

        Args:
            plan: The run's plan.

        Raises:
            RunError: All that are missing, and all that are others.
        """
        faults = []
        for kind, (section, key) in _SETTINGS.items():
            it, argument = getattr(self, kind), _ARGUMENTS[kind]
            name = getattr(getattr(plan, section), key)
            if it is None and is_object(name):
                faults.append(f"{argument} was {name}")
            elif (
                it is not None and (now := it if isinstance(it, str) else _named(kind, it)) != name
            ):
                faults.append(f"{argument} was {name}, not {now}")
        if faults:
            raise RunError(
                f"the run was begun with other objects: {'; '.join(faults)}",
                hint="hand over in Python what it was begun with: fedhome.resume(RUN, "
                f"{', '.join(f'{_ARGUMENTS[kind]}=...' for kind in self._needed(plan))})",
            )

    def _needed(self, plan: Plan) -> list[str]:
        return [
            kind
            for kind, (section, key) in _SETTINGS.items()
            if is_object(getattr(getattr(plan, section), key))
        ]

    def _faults(self) -> list[str]:
        return [
            fault
            for kind, it in self._handed.items()
            if not isinstance(it, str) and (fault := _fault(kind, it))
        ]


_ONE_TABLE = (
    ': one home is {"NAME": table}, and of a table with a column of homes dict(list(table.groupby('
    "COLUMN))) makes a table for each"
)


def _fault(kind: str, it: object) -> str:
    """Return why an object cannot be what it was handed over as; empty when it can."""
    found = f"{_ARGUMENTS[kind]} is a {type(it).__name__}"
    match kind:
        case "model" if isinstance(it, nn.Module):
            return (
                f"{found} that is made already: give its class, or a function of features and "
                "outputs, so that the seed draws its first parameters"
            )
        case "model" if not callable(it):
            return f"{found}, not a class or a function"
        case "method" if not isinstance(it, type):
            return f"{found}, not a class; its settings go into method.args"
        case "strategy" if not isinstance(it, Strategy) and not callable(it):
            former = any(kind.__module__.startswith(_FORMER) for kind in type(it).__mro__)
            of = f" of {_FORMER}, as Flower had it before" if former else ""
            return f"{found}{of}, not a strategy of flwr.serverapp.strategy, a class or a function"
        case "source" if not _may_be_homes(it):
            once = ": it can be read only once, so give a list of it"
            more = (
                once if isinstance(it, Iterator) else _ONE_TABLE if hasattr(it, "columns") else ""
            )
            return (
                f"{found}, not tables by the names of their homes, HomeTables or a function{more}"
            )
        case _:  # a personaliser is known by its functions, where it is used
            return ""


def _may_be_homes(it: object) -> bool:
    if isinstance(it, bytes | bytearray):
        return False
    return isinstance(it, Mapping | Sequence) or callable(it)


def _named(kind: str, it: object) -> str:
    """Return what a plan says of an object, or of a name that was given as one."""
    if isinstance(it, str):
        return it
    if kind == "source" and isinstance(it, Mapping | Sequence):
        return called(f"tables of {len(it)} home{'' if len(it) == 1 else 's'}")
    return name_of(it)
