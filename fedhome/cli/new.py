"""``fedhome new``: a copy of the app for those who want to change it."""

from __future__ import annotations

import re
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedhome.apps import PARTS, installed_root
from fedhome.errors import RunError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,31}")
_PROJECT = """\
[project]
name = "{name}"
version = "0.1.0"
description = "A federated-learning app on fedhome."
license = "Apache-2.0"
dependencies = ["fedhome=={version}"]

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

Flower's own commands run it too, with a process for the server and Ray for the homes:

    pip install 'fedhome[ray]'
    export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1
    flwr run . --stream --federation-config 'num-supernodes=4' \\
        --run-config "plan='$PWD/my-plan.toml' out='$PWD/runs/flower'"

There, name files by their whole paths: Flower runs the app in a folder of its own choice.
A bundle of Flower's carries Python, TOML and Markdown only; the report's page comes from the
installed fedhome.
"""
_GITIGNORE = """\
__pycache__/
.venv/
runs/
"""


def new(
    folder: Annotated[Path, typer.Argument(help="The folder to make.", metavar="DIR")],
) -> None:
    """Copy the app (clients, server, simulations) into a new folder that runs.

    Raises:
        RunError: The folder exists and is not empty, or its name cannot be an app's.
    """
    name = folder.resolve().name
    if not _NAME.fullmatch(name):
        raise RunError(
            f"{name!r} cannot be the name of an app",
            hint="Flower demands a letter, then letters, digits and hyphens, 32 at most",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} exists and is not empty", hint="name a folder that is not there")
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        shutil.copytree(
            installed_root() / part,
            folder / part,
            ignore=shutil.ignore_patterns("__pycache__", "benchmarks"),
        )
    values = {"name": name, "version": version("fedhome")}
    (folder / "pyproject.toml").write_text(_PROJECT.format(**values), encoding="utf-8")
    # Runs stay out of version control, and out of the bundles that Flower makes of this folder.
    (folder / ".gitignore").write_text(_GITIGNORE, encoding="utf-8")
    (folder / "README.md").write_text(_README.format(**values), encoding="utf-8")
    Console().print(f"made {folder}: `cd {folder} && fedhome simulate` runs it", highlight=False)
