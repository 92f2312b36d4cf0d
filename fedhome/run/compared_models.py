"""The models that a run compares, by name; apart from the tables, which load a large library."""

from __future__ import annotations

from typing import Final

MODELS: Final = ("baseline", "local", "global", "personalised")
"""The models that a home is scored with, from the simplest to the last."""

CHOICES: Final = ("local", "global", "personalised")
"""The models that a home's gate may keep."""
