"""What a command line says of a broker: where it is, who asks it, and who vouches for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fedhome.clients.broker.broker_address import BrokerAddress

PasswordOption = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        help="Of a broker: file of the user's password; or set FEDHOME_MQTT_PASSWORD.",
        show_default=False,
    ),
]
AuthoritiesOption = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        help="Of a broker at mqtts://: file of the certificates that vouch for it.",
        metavar="FILE",
        show_default="this device's",
    ),
]


def broker_address(
    text: str,
    *,
    password_file: Path | None,
    authorities: Path | None,
    what: str,
    tell: Callable[[str], None],
) -> BrokerAddress:
    """Return a broker's address, and say what others on the way to it can read.

    Args:
        text: The address, as it was written.
        password_file: File of the user's password; None: a variable may hold it.
        authorities: File of the certificates that vouch for the broker.
        what: What is told to the broker, or by it.
        tell: Takes what is said.

    Raises:
        SourceError: It is no address of a broker, or holds a password.
        StateError: The file cannot be read.
    """
    from fedhome.cli.fleet_words import text_of  # noqa: PLC0415
    from fedhome.clients.broker.broker_address import PASSWORD, BrokerAddress  # noqa: PLC0415

    if password_file is None:
        password = os.environ.get(PASSWORD, "")
    else:
        password = text_of(password_file).rstrip("\r\n")
    address = BrokerAddress.parse(text, password=password, authorities=authorities)
    if address.in_the_clear:
        told = f"its password and {what}" if password else what
        tell(f"{address}: {told} pass the network in the clear; mqtts:// hides them")
    return address
