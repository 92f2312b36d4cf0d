"""Flower's bundle of the app, for runs over separate processes.

Our own agents never open it: they run the app that is installed with them. Flower demands one,
and its stock SuperNode runs what is in it.
"""

from __future__ import annotations

from fedhome.fleet.claims import installed_app
from fedhome.flower.superlink import bundle

_PROJECT = """\
[project]
name = "{name}"
version = "{version}"
description = "Many homes learn one model together."
license = "Apache-2.0"
dependencies = ["fedhome=={version}"]

[tool.flwr.app]
publisher = "{publisher}"

[tool.flwr.app.components]
serverapp = "fedhome.server.server_app:app"
clientapp = "fedhome.clients.client_app:app"

[tool.flwr.app.config]
plan = ""
out = ""
"""


def app_bundle() -> bytes:
    """Return the bundle of the app that is installed here."""
    name, version = installed_app()
    publisher, _, short = name.partition("/")
    project = _PROJECT.format(name=short, version=version, publisher=publisher)
    return bundle({"pyproject.toml": project.encode()})
