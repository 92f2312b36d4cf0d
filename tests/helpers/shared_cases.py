"""Small inputs that lie beside the project on some machines; others skip the tests of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("FEDHOME_SHARED", _ROOT.parent / "shared"))


def readings(case: str) -> Path:
    """Return the folder of a case; skip the test on a machine that has none."""
    folder = SHARED / "cases" / "readings" / case
    if not folder.is_dir():
        pytest.skip("the shared cases of readings are not on this machine")
    return folder
