"""The public names, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import fedhome

_COSTLY = ("torch", "flwr", "pyarrow", "plotly", "scipy", "simulations", "server", "clients")


def test_the_public_names_are_these() -> None:
    assert sorted(fedhome.__all__) == ["FedHomeError", "Plan", "Result", "resume", "simulate"]
    assert all(getattr(fedhome, name) is not None for name in fedhome.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        _ = fedhome.train


@pytest.mark.long
def test_importing_fedhome_loads_nothing_costly() -> None:
    program = (
        f"import sys; loaded = lambda: [n for n in {_COSTLY!r} if n in sys.modules]; "
        "import fedhome; fedhome.Plan(); print(loaded()); import fedhome.cli; print(loaded())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[]", "['pyarrow']"]  # the commands read runs' tables
