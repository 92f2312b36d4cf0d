"""``fedhome new``: a small project of one's own on the installed framework."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedhome.errors import RunError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,31}")
_APP = Path(__file__).parent / "templates" / "app"
_FILES = {
    "plan.toml": "plan.toml",
    "model.py": "model.py",
    "method.py": "method.py",
    "strategy.py": "strategy.py",
    "test_app.py": "test_app.py",
    # Under their own names these three would be taken for this package's.
    "readme": "README.md",
    "pyproject": "pyproject.toml",
    "gitignore": ".gitignore",
}


def new(
    folder: Annotated[Path, typer.Argument(help="The folder to make.", metavar="DIR")],
) -> None:
    """Make a small app: a plan, a model, a method, a strategy and their test.

    `fedhome` and `flwr run` both run it.

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
    for template, file in _FILES.items():
        text = (_APP / template).read_text(encoding="utf-8")
        text = text.replace("{name}", name).replace("{version}", version("fedhome"))
        (folder / file).write_text(text, encoding="utf-8")
    Console().print(f"made {folder}: `cd {folder} && fedhome simulate plan.toml`", highlight=False)
