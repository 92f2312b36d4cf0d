"""The short names of what a plan names, told without loading torch or Flower.

Whoever has the objects holds a table of the same names; a test holds the two equal.
"""

from __future__ import annotations

STRATEGIES = (
    "bulyan",
    "fedadagrad",
    "fedadam",
    "fedavg",
    "fedavgm",
    "fedmedian",
    "fedprox",
    "fedtrimmedavg",
    "fedyogi",
    "krum",
    "multikrum",
    "qfedavg",
)
"""Of ``strategy.name``."""
WRAPPERS = ("dp-client-adaptive", "dp-client-fixed", "dp-server-adaptive", "dp-server-fixed")
"""Of ``strategy.wrap``."""
PERSONALISERS = ("fine-tune", "fine-tune-head", "knn-per", "none")
"""Of ``personalise.name``."""
MODELS = ("mlp",)
"""Of ``model.name``."""
