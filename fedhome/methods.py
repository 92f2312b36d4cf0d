"""For those who choose or write a method, what a home does in a round (docs/methods.md)."""

from __future__ import annotations

from fedhome.learning.methods import (
    METHODS,
    Apfl,
    Ditto,
    FedAvg,
    FedPer,
    FedProx,
    FedRep,
    HomeEmbedding,
    Ifca,
    LgFedAvg,
    Method,
    Params,
)
from fedhome.learning.methods.model_layers import first_layers, last_layers

__all__ = [
    "METHODS",
    "Apfl",
    "Ditto",
    "FedAvg",
    "FedPer",
    "FedProx",
    "FedRep",
    "HomeEmbedding",
    "Ifca",
    "LgFedAvg",
    "Method",
    "Params",
    "first_layers",
    "last_layers",
]
