"""``fedhome new``: a copy of the app for those who want to change it."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedhome.apps import PARTS, app_root
from fedhome.errors import RunError

_PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "0.1.0"
description = "A federated-learning app on fedhome."
license = "Apache-2.0"
dependencies = ["fedhome=={version}"]

[tool.hatch.build.targets.wheel]
packages = ["clients", "server", "simulations"]

[tool.flwr.app]
publisher = "{name}"

[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "clients.app:app"

[tool.flwr.app.config]
plan = ""
out = ""
"""
_README = """\
# {name}

Your own copy of fedhome's app. In this folder, `fedhome simulate` runs this copy:

- `clients/app.py`: what a home does when the server asks
- `server/app.py`, `server/rounds.py`: what the server does in a round
- `simulations/scenarios/`: plans to begin from
"""


def new(
    folder: Annotated[Path, typer.Argument(help="The folder to make.", metavar="DIR")],
) -> None:
    """Copy the app (clients, server, simulations) into a new folder that runs.

    Raises:
        RunError: The folder exists and is not empty, or its name cannot be an app's.
    """
    name = folder.resolve().name
    if not all(c.isascii() and (c.isalnum() or c == "-") for c in name):
        raise RunError(
            f"{name!r} cannot be the name of an app",
            hint="use letters, digits and hyphens: Flower demands it",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} exists and is not empty", hint="name a folder that is not there")
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        shutil.copytree(
            app_root() / part,
            folder / part,
            ignore=shutil.ignore_patterns("__pycache__", "benchmarks"),
        )
    values = {"name": name, "version": version("fedhome")}
    (folder / "pyproject.toml").write_text(_PROJECT.format(**values), encoding="utf-8")
    (folder / "README.md").write_text(_README.format(**values), encoding="utf-8")
    Console().print(f"made {folder}: `cd {folder} && fedhome simulate` runs it", highlight=False)
