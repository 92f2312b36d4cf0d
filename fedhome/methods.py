"""For those who choose or write a method, what a home does in a round (docs/methods.md)."""

from __future__ import annotations

from fedhome.learning.methods import METHODS, FedAvg, FedProx, Method, Params

__all__ = ["METHODS", "FedAvg", "FedProx", "Method", "Params"]
