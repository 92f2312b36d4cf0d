"""``fedhome client predict --watch``: a line for each new prediction, for as long as readings come.

What waits is :mod:`fedhome.clients.prediction_watch`, in place of this process; what predicts is
:mod:`fedhome.cli.predict_look`.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rich.markup import escape

import fedhome
from fedhome.cli.broker_login import broker_address
from fedhome.cli.console import Console
from fedhome.clients.lean_process import LEAN
from fedhome.plan.time_steps import step_seconds

if TYPE_CHECKING:
    from fedhome.clients.membership.home_folder import HomeFolder


def every_seconds(every: str) -> int:
    """Return how often to look, in seconds.

    >>> every_seconds("15m"), every_seconds("1h")
    (900, 3600)

    Args:
        every: A whole number and ``s``, ``m`` or ``min``, ``h``, ``d``.

    Raises:
        PlanError: It is no such text.
    """
    return step_seconds(re.sub(r"(\d)\s*m$", r"\1min", every.strip()), "--every")


@dataclass(frozen=True, kw_only=True)
class PredictionBroker:
    """What the command line says of the broker to which predictions go.

    Args:
        address: Where it is, as it was written.
        password_file: File of the user's password.
        authorities: File of the certificates that vouch for it.
    """

    address: str
    password_file: Path | None
    authorities: Path | None

    def argument(self, home_folder: HomeFolder) -> str:
        """Return it as an argument of the process that watches; the password goes by a variable.

        Args:
            home_folder: The home's folder.

        Raises:
            SourceError: Its address is none, or what speaks to it is not installed.
            StateError: A file cannot be read.
        """
        from fedhome.clients.broker.broker_address import PASSWORD  # noqa: PLC0415
        from fedhome.clients.broker.home_assistant_device import (  # noqa: PLC0415
            DiscoveredDevice,
            identity_of,
        )
        from fedhome.clients.broker.mqtt_link import check_installed  # noqa: PLC0415
        from fedhome.clients.broker.published_predictions import as_argument  # noqa: PLC0415

        check_installed()
        address = broker_address(
            self.address,
            password_file=self.password_file,
            authorities=self.authorities,
            what="predictions",
            tell=lambda told: Console(stderr=True, soft_wrap=True).print(
                escape(told), highlight=False
            ),
        )
        os.environ[PASSWORD] = address.password
        home = home_folder.settings.home
        device = DiscoveredDevice(
            identity=identity_of(home_folder.anchor.fleet, home),
            home=home,
            version=fedhome.__version__,
        )
        return as_argument(self.address, self.authorities, device)


def watch(
    home_folder: HomeFolder,
    *,
    source: Path | None,
    horizon: str | None,
    every_s: int,
    as_json: bool,
    broker: PredictionBroker | None = None,
) -> NoReturn:
    """Become the process that prints a line for each new prediction, until it is told to stop.

    Args:
        home_folder: The home's folder.
        source: Readings in place of the home's own.
        horizon: One of the plan's horizons; None: all of them, a line for each.
        every_s: Seconds from look to look, at least.
        as_json: Each as one line of JSON.
        broker: To which they go, too; None: to none.

    Raises:
        SourceError: The broker's address is none, or what speaks to it is not installed.
        StateError: The file of its password cannot be read.
    """
    from fedhome.cli.predict_look import AS_JSON, AS_TEXT  # noqa: PLC0415 - what predicts

    # In place of this process: what the command line loaded would stay in memory for months.
    command = [
        sys.executable,
        "-P",  # nothing of the current folder shadows what we import
        *("-m", "fedhome.ops.processes", "0"),
        *("fedhome.clients.prediction_watch", str(every_s)),
        "" if broker is None else broker.argument(home_folder),
        *(LEAN, "fedhome.cli.predict_look", str(home_folder.path)),
        AS_JSON if as_json else AS_TEXT,
        horizon or "",
        *([] if source is None else [str(source.absolute())]),
    ]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)  # noqa: S606 - our own module
