"""How readings become one a step of the grid, by name.

A process that stays loads this to check a model, and nothing that reads plans.
"""

from __future__ import annotations

from typing import Literal

Rule = Literal["mean", "last", "hold", "sum", "difference"]
"""What each is: `fedhome.data.series.step_rules`."""
