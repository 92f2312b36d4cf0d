"""How long a test waits for what has to come: no machine is so busy, and less than a test has."""

from __future__ import annotations

PATIENCE_S = 240.0
