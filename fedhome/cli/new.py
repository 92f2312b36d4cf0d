"""``fedhome new``: a small project of one's own on the installed framework."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedhome.errors import RunError
from fedhome.plan.settings import Plan

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,31}")
_PROJECT = """\
[project]
name = "{name}"
version = "0.1.0"
description = "A federated-learning app on fedhome."
license = "Apache-2.0"
dependencies = ["fedhome>={version}"]

[tool.flwr.app]
publisher = "{name}"

[tool.flwr.app.components]
serverapp = "fedhome.server.server_app:app"
clientapp = "fedhome.clients.client_app:app"

[tool.flwr.app.config]
plan = ""
out = ""
"""
_README = """\
# {name}

    fedhome simulate plan.toml

Flower's own commands run it too, with a process for the server and Ray for the homes:

    pip install 'fedhome[ray]'
    export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1
    flwr run . --stream --federation-config 'num-supernodes=4' \\
        --run-config "plan='$PWD/plan.toml' out='$PWD/runs/flower'"

There, name files by their whole paths: Flower runs the app in a folder of its own choice.
"""
_GITIGNORE = """\
__pycache__/
.venv/
runs/
"""


def new(
    folder: Annotated[Path, typer.Argument(help="The folder to make.", metavar="DIR")],
) -> None:
    """Make a folder with a plan of your own, which `fedhome` and `flwr run` both run.

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
    values = {"name": name, "version": version("fedhome")}
    (folder / "plan.toml").write_text(Plan().to_toml(), encoding="utf-8")
    (folder / "pyproject.toml").write_text(_PROJECT.format(**values), encoding="utf-8")
    # Runs stay out of version control, and out of the bundles that Flower makes of this folder.
    (folder / ".gitignore").write_text(_GITIGNORE, encoding="utf-8")
    (folder / "README.md").write_text(_README.format(**values), encoding="utf-8")
    Console().print(f"made {folder}: `cd {folder} && fedhome simulate plan.toml`", highlight=False)
