"""For those who write a kind of task or a loss: ours, and what one of their own is made of.

The modules ``regression``, ``binary`` and ``multi_class`` have a ``measure`` each, which scores
what a model puts out (docs/methods.md).
"""

from __future__ import annotations

from fedhome.learning.losses import Loss
from fedhome.learning.tasks import TASKS, TaskKind, binary, multi_class, regression

__all__ = ["TASKS", "Loss", "TaskKind", "binary", "multi_class", "regression"]
