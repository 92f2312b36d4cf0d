"""``fedhome client record DIR mqtt://…``: what a broker's messages say, into a home's store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedhome.cli import ages
from fedhome.cli.broker_login import broker_address
from fedhome.errors import PlanError, SourceError

if TYPE_CHECKING:
    from fedhome.clients.recorded.mqtt_recording import BrokerRecording
    from fedhome.clients.recorded.recording import Recorded, Recorder

_DAY_S = 86_400


@dataclass(frozen=True, kw_only=True)
class BrokerOptions:
    """What the command line says of a broker.

    Args:
        topics: What is taken; None: nothing was said.
        every: Times are rounded down to it.
        time_field: The field of a message that says when it was read.
        password_file: File of the user's password.
        authorities: File of the certificates that vouch for the broker.
    """

    topics: Sequence[str] | None
    every: str | None
    time_field: str | None
    password_file: Path | None
    authorities: Path | None

    def check_unused(self) -> None:
        """Refuse what has no effect on a source that is no broker.

        Raises:
            SourceError: Something is said.
        """
        given = {
            "--topic": self.topics,
            "--every": self.every,
            "--time": self.time_field,
            "--password-file": self.password_file,
            "--ca": self.authorities,
        }
        if said := [name for name, value in given.items() if value]:
            raise SourceError(
                f"{said[0]} is for the messages of a broker, and the source is none",
                hint="a broker's address begins with mqtt:// or mqtts://",
            )


def is_broker(source: str) -> bool:
    """Tell whether a source is the address of a broker."""
    return source.partition("://")[0].lower() in {"mqtt", "mqtts"}


def broker_recording(
    recorder: Recorder,
    source: str,
    options: BrokerOptions,
    *,
    told: Callable[[int, Recorded], None],
    waiting: Callable[[str], None],
    stop: threading.Event,
    most_s: float,
) -> BrokerRecording:
    """Return what records the messages of a broker.

    Args:
        recorder: What records.
        source: The broker's address.
        options: What the command line says of it.
        told: Is called when messages are on the disk.
        waiting: Takes in words what is waited for, or is not recorded.
        stop: Set when no more is to be taken.
        most_s: Seconds after which a message is recorded, at the latest.

    Raises:
        SourceError: The address, a topic, or a file is none that can be used, or paho-mqtt is not
            installed.
        PlanError: ``--every`` is no length of time.
    """
    from fedhome.clients.broker.broker_address import check_filter  # noqa: PLC0415
    from fedhome.clients.broker.mqtt_link import check_installed  # noqa: PLC0415
    from fedhome.clients.recorded.mqtt_recording import BrokerRecording  # noqa: PLC0415

    topics = tuple(dict.fromkeys(options.topics or ()))
    if not topics:
        raise SourceError(
            "which topics are to be recorded?",
            hint="name them: --topic home/power, --topic 'zigbee2mqtt/+'; # alone is all of them",
        )
    for topic in topics:
        check_filter(topic)
    address = broker_address(
        source,
        password_file=options.password_file,
        authorities=options.authorities,
        what="readings",
        tell=waiting,
    )
    every_s = _every_seconds(options.every or "1min")
    check_installed()
    return BrokerRecording(
        recorder,
        address,
        topics,
        every_s=every_s,
        time_field=options.time_field or "",
        told=told,
        waiting=waiting,
        stop=stop,
        most_s=most_s,
        clock=ages.now,
    )


def _every_seconds(every: str) -> int:
    from fedhome.cli.client_predict_watch import every_seconds  # noqa: PLC0415

    seconds = every_seconds(every)
    if _DAY_S % seconds:
        raise PlanError([f"--every is {every!r}: a part of a day is needed, such as 1min or 5min"])
    return seconds
