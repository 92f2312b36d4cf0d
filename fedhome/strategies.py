"""For those who choose or write a strategy: Flower's own, by class and by name, and a layout.

>>> from fedhome.strategies import FedAdam, STRATEGIES
>>> STRATEGIES["fedadam"] is FedAdam
True

The classes are Flower's, unmodified. ``STRATEGIES`` and ``WRAPPERS`` are the names that a plan may
say. Parameters travel as one flat array; :class:`Layout` cuts it into named arrays and back.
"""

from __future__ import annotations

from flwr.serverapp.strategy import (
    Bulyan,
    DifferentialPrivacyClientSideAdaptiveClipping,
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    FedYogi,
    Krum,
    MultiKrum,
    QFedAvg,
    Strategy,
)

from fedhome.server.strategies import STRATEGIES, WRAPPERS
from fedhome.wire.layout import Layout

__all__ = [
    "STRATEGIES",
    "WRAPPERS",
    "Bulyan",
    "DifferentialPrivacyClientSideAdaptiveClipping",
    "DifferentialPrivacyClientSideFixedClipping",
    "DifferentialPrivacyServerSideAdaptiveClipping",
    "DifferentialPrivacyServerSideFixedClipping",
    "FedAdagrad",
    "FedAdam",
    "FedAvg",
    "FedAvgM",
    "FedMedian",
    "FedProx",
    "FedTrimmedAvg",
    "FedYogi",
    "Krum",
    "Layout",
    "MultiKrum",
    "QFedAvg",
    "Strategy",
]
