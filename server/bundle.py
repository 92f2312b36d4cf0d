"""Flower's bundle of the app, for runs over separate processes.

Our own agents never open it: they run the app that is installed with them. Flower demands one,
and its stock SuperNode runs what is in it.
"""

from __future__ import annotations

from pathlib import Path

from fedhome.apps import app_root
from fedhome.flower_link import bundle
from fedhome.joining import installed_app

_PROJECT = """\
[project]
name = "{name}"
version = "{version}"
description = "Many homes learn one model together."
license = "Apache-2.0"
dependencies = ["fedhome=={version}"]

[tool.flwr.app]
publisher = "{publisher}"
fab-include = ["clients/**/*.py", "server/**/*.py"]

[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "clients.app:app"

[tool.flwr.app.config]
plan = ""
out = ""
"""


def app_bundle() -> bytes:
    """Return the bundle of the app that is installed here."""
    root = app_root()
    name, version = installed_app()
    publisher, _, short = name.partition("/")
    project = _PROJECT.format(name=short, version=version, publisher=publisher)
    files: dict[str, bytes | Path] = {
        path.relative_to(root).as_posix(): path
        for part in ("clients", "server")
        for path in sorted((root / part).rglob("*.py"))
    }
    return bundle({"pyproject.toml": project.encode(), **files})
