"""What docstrings show is what comes of it: every example that can be run by itself is run."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {name: ROOT / name for name in ("fedhome", "clients", "server", "simulations")}


def modules() -> list[str]:
    """Return the names of the modules that show examples."""
    found = []
    for name, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            if name == "fedhome" and path.relative_to(folder).parts[0] in FOLDERS:
                continue  # the links' side of what the folders themselves hold
            if "\n>>> " in (text := path.read_text("utf-8")) or "  >>> " in text:
                parts = path.relative_to(ROOT).with_suffix("").parts
                named = [part for part in parts if part != "__init__"]
                found.append(".".join(named if name == "fedhome" else ["fedhome", *named]))
    return found


MODULES = modules()


def test_there_are_examples() -> None:
    assert {"fedhome", "fedhome.printable", "fedhome.server.page.page_address"} <= {*MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_hold(module: str) -> None:
    done = doctest.testmod(importlib.import_module(module))
    assert done.failed == 0
