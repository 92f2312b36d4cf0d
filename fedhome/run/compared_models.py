"""The models that a run compares, by name; apart from the tables, which load a large library."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

ALONE: Final = ("seasonal", "linear", "trees", "local", "settings")
"""What a home can do alone: without learning, with a linear model, with trees, with the network
tuned by its own rows, with the network at the rate and passes that the whole fleet chose."""

FEDERATED: Final = ("global", "tuned", "personalised")
"""What a fleet gives: its model as it is, fine-tuned, and what a home ends with."""

MODELS: Final = ("baseline", *ALONE, "alone", *FEDERATED)
"""All models that a home may be scored with. ``alone`` is the one of a plan's opponents that was
best on the home's own validation rows: what the fleet has to beat."""

_MEANT: Final = {
    "baseline": "no learning",
    "seasonal": "naive",
    "linear": "alone",
    "trees": "alone",
    "local": "network, alone",
    "settings": "network, alone",
    "alone": "each home's pick",
    "tuned": "fine-tuned",
}


def with_meaning(model: str) -> str:
    """Return the name of a model, and what it is where the name does not say it.

    A model has one name in plans, tables, files and reports; only people are told more.

    >>> with_meaning("alone")
    "alone (each home's pick)"

    Args:
        model: One of :data:`MODELS`.
    """
    return f"{model} ({_MEANT[model]})" if model in _MEANT else model


EXPERTS: Final = ("tuned", "global", "naive", "linear", "trees")
"""What a home's predictions may be a mean of."""

LAST: Final = "last"
"""An expert more, of new homes in a simulation: the last value of a series, whatever season their
few days name."""

VERDICTS: Final = ("hurt", "no difference", "helped")
"""What an interval of 95 % says of a model against the best alone, from worse to better."""

WORST_ERROR: Final = 1e30
"""What an error or a loss counts as that is not finite."""


def models_of(opponents: Collection[str]) -> tuple[str, ...]:
    """Return the models that homes are scored with, from the simplest to the last.

    Args:
        opponents: The ways to be alone that a plan compares with, of :data:`ALONE`.
    """
    alone = (name for name in ALONE if name in opponents)
    return ("baseline", *alone, "alone", *FEDERATED)


AT: Final = "@"
"""Between a metric's name and that of one of several horizons: ``skill@6h``."""
