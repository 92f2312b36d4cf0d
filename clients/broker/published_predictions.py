"""A home's predictions to a broker, for as long as it watches: a thread beside the one that looks.

It holds the connection while a look takes its time, and goes on without one. What it says is of
now: a prediction that can no longer be made is not said again, and Home Assistant shows none.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from fedhome.clients.broker.broker_address import PASSWORD, BrokerAddress
from fedhome.clients.broker.broker_patience import BrokerPatience
from fedhome.clients.broker.home_assistant_device import AGAIN_S, BIRTH, ONLINE, DiscoveredDevice
from fedhome.clients.broker.mqtt_link import BrokerGoneError, BrokerLink, Receipt
from fedhome.errors import SourceError
from fedhome.wire.moments import length

_LOOK_S = 0.25
_SOON_S: Final = 5.0  # Home Assistant needs a moment to listen to what it has just found
_ANSWER_S: Final = 2.0
_END_S = 10.0


class _Current(NamedTuple):
    """A prediction, and from when until when it is one of now; None: always."""

    prediction: Mapping[str, Any]
    of_now: tuple[float, float] | None

    def is_of(self, now: float, late_s: float) -> bool:
        """Return whether it is one of a moment."""
        return self.of_now is None or self.of_now[0] <= now <= self.of_now[1] + late_s


class PublishedPredictions:
    """What says a home's predictions to a broker, while its context lasts.

    Args:
        device: What they are, for Home Assistant.
        address: Where the broker is.
        every_s: Seconds from one look to the next, at least: as much older a prediction may be.
        say: Takes in words how it goes; from another thread, too.
        clock: The present, Unix time in s.
    """

    def __init__(
        self,
        device: DiscoveredDevice,
        address: BrokerAddress,
        *,
        every_s: float,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._device, self._address, self._every_s = device, address, every_s
        self._say, self._clock, self._stop = say, clock, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._failure: BaseException | None = None
        # Replaced whole by the thread that looks, and only read by the other.
        self._found: Mapping[str, _Current] = {}
        self._looked_at: Mapping[str, _Current] = self._found
        # One prediction of each horizon of which Home Assistant has been told.
        self._known: dict[str, Mapping[str, Any]] = {}
        self._said: dict[str, _Current] = {}
        self._online: bool | None = None
        self._anew, self._due_s, self._none = True, 0.0, False
        self._asked, self._anew_s = False, -_SOON_S
        self._taken: set[str] = set()  # topics on which the broker has let this user publish

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_END_S)

    def check(self) -> None:
        """Raise what ended it.

        Raises:
            SourceError: The broker refuses, and waiting does not help.
        """
        if self._failure is not None:
            raise self._failure

    def heard(self, look: Callable[[], Mapping[str, Any]]) -> Callable[[], Mapping[str, Any]]:
        """Return a look whose predictions are said to the broker.

        Args:
            look: Returns ``predictions``, each with its ``horizon`` where there are several, and
                for each ``of_now``, from when until when it is one of now; or a fault, and there
                are none of now.
        """

        def looked() -> Mapping[str, Any]:
            found = look()
            each = zip(found.get("predictions", ()), found.get("of_now", ()), strict=True)
            self._found = {one.get("horizon", ""): _Current(one, when) for one, when in each}
            return found

        return looked

    def _run(self) -> None:
        try:
            self._stay()
        except BaseException as error:  # noqa: BLE001 - the thread that looks raises it
            self._failure = error

    def _stay(self) -> None:
        twice = "publishes the predictions of this home"
        patience = BrokerPatience(self._address, self._say, twice=twice)

        def serve() -> None:
            try:
                publish()
            except BrokerGoneError as error:
                if error.topic and error.topic not in self._taken and not error.passing:
                    raise SourceError(f"{self._address}: {error.why}", hint=error.hint) from None
                raise

        def publish() -> None:
            link = self._linked()
            link.publish(self._device.status(online=False))
            link.settle(_ANSWER_S)  # who may not publish is told so before anything else
            away_s = patience.linked()
            again = "" if away_s is None else f" again after {length(away_s)}"
            patience.tell(f"{self._address}: connected{again}; publishes {self._device.name}")
            self._attend(link, patience)

        patience.connect(serve, self._stop)

    def _linked(self) -> BrokerLink:
        return BrokerLink(
            self._address,
            (BIRTH,),
            name=self._device.identity,
            kept=False,
            take=self._take,
            stop=self._stop.is_set,
            will=self._device.status(online=False),
            answered=self._taken.add,
        )

    def _take(self, _: str, payload: bytes, __: bool, ___: Receipt) -> None:
        self._asked |= payload == ONLINE.encode()

    def _attend(self, link: BrokerLink, patience: BrokerPatience) -> None:
        self._anew = True
        while not self._stop.is_set():
            self._tell(link)
            link.attend(_LOOK_S)
            patience.attended()
        link.publish(self._device.status(online=False))
        link.settle(_ANSWER_S)
        link.close()

    def _tell(self, link: BrokerLink) -> None:
        """Say what is new, and at times all of it."""
        found, now = self._found, self._clock()
        current = {horizon: one for horizon, one in found.items() if one.is_of(now, self._every_s)}
        self._tell_age(none=len(current) < len(found))
        if found is not self._looked_at:
            self._looked_at = found
            known = self._known | {horizon: one.prediction for horizon, one in found.items()}
            self._anew |= self._device.config(known) != self._device.config(self._known)
            self._known = known
        now_s = time.monotonic()
        # Whoever may write there can ask without end: not more often than is said again anyway.
        asked = self._asked and now_s >= self._anew_s + _SOON_S
        anew, self._anew = self._anew or asked, False
        if anew:
            self._asked, self._anew_s = False, now_s
        if anew and self._known:
            link.publish(self._device.config(self._known))
        if anew or self._online != bool(current):
            self._online = bool(current)
            link.publish(self._device.status(online=self._online))
        if anew or current != self._said or now_s >= self._due_s:
            for horizon, one in current.items():
                link.publish(self._device.state(horizon, one.prediction))
            self._said = current
            self._due_s = now_s + (_SOON_S if anew else AGAIN_S)

    def _tell_age(self, *, none: bool) -> None:
        if none and not self._none:
            self._say(
                f"{self._address}: the newest readings are too old for a prediction of now, or "
                "ahead of this device's clock; none is published until newer ones come"
            )
        self._none = none


def published(broker: str, *, every_s: float, say: Callable[[str], None]) -> PublishedPredictions:
    """Return what says predictions to a broker that the command line names.

    The password is that of the variable, which processes begun later do not get.

    Args:
        broker: As of :func:`as_argument`.
        every_s: Seconds from one look to the next.
        say: Takes in words how it goes.

    Raises:
        SourceError: The address is none.
    """
    address, authorities, device = json.loads(broker)
    return PublishedPredictions(
        DiscoveredDevice(**device),
        BrokerAddress.parse(
            address,
            password=os.environ.pop(PASSWORD, ""),
            authorities=Path(authorities) if authorities else None,
        ),
        every_s=every_s,
        say=say,
    )


def as_argument(address: str, authorities: Path | None, device: DiscoveredDevice) -> str:
    """Return a broker and a device as an argument of a command; no password is in it.

    Args:
        address: The broker's address.
        authorities: File of the certificates that vouch for it.
        device: What is published.
    """
    return json.dumps([address, str(authorities.absolute()) if authorities else "", asdict(device)])
