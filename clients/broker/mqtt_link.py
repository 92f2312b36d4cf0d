"""One connection to a broker, by paho-mqtt: MQTT 5, with or without TLS."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fedhome.clients.broker.broker_address import PASSWORD, BrokerAddress
from fedhome.errors import SourceError

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

MOST_BYTES: Final = 1 << 16
"""Of a message."""
KEPT_S: Final = 7 * 86_400
"""For as long a broker is asked to keep messages while nobody takes them."""
_ALIVE_S = 30  # the broker is asked after as much silence whether it is there
_ANSWER_S = 15.0
_LOOK_S = 0.25
_PACKET = 16 * MOST_BYTES  # larger ones no broker that keeps to MQTT 5 sends
_UNANSWERED = 1024  # messages that a broker may send before it has heard of the first
_MOST_WAITING = 2 * _UNANSWERED  # packets to a broker that reads none
_TAKEN_OVER = 142
_LATER = frozenset({136, 137, 151, 159})  # not available, busy, over its quota or rate
_NOT_ALLOWED = frozenset({134, 135})
_NO_MQTT_5 = 132
_NO_RIGHT = 135
_WITH_WILL = 4


class BrokerGoneError(Exception):
    """The broker cannot be reached, or refuses.

    Args:
        why: What happened, in words.
        hint: What to do about it.
        passing: Whether waiting may help.
        taken_over: Whether another one has taken this one's place.
        topic: Where it lets nothing be published; empty: that is not why.
    """

    def __init__(
        self,
        why: str,
        *,
        hint: str = "",
        passing: bool = True,
        taken_over: bool = False,
        topic: str = "",
    ) -> None:
        super().__init__(why)
        self.why, self.hint, self.passing, self.taken_over = why, hint, passing, taken_over
        self.topic = topic


class Receipt(NamedTuple):
    """What tells a broker that a message is on the disk."""

    number: int
    quality: int


Taken = Callable[[str, bytes, bool, Receipt], None]
"""Takes a topic, what a message holds, whether it was kept from before, and its receipt."""


class _Sent(NamedTuple):
    """What was published and is not answered: where, and when by a clock that is never set."""

    topic: str
    at_s: float


class Publication(NamedTuple):
    """What is said on a topic; a broker keeps what is retained for those who come later."""

    topic: str
    payload: str
    retained: bool


class BrokerLink:
    """A connection to a broker; it takes messages while `attend` is called.

    Args:
        address: Where the broker is.
        topics: What is taken.
        name: By which the broker knows who takes it, and keeps for it what it misses.
        kept: Whether the broker is to keep it.
        take: Takes each message.
        stop: Tells whether it is to be given up.
        will: What the broker is to say when the connection is lost; None: nothing.
        answered: Takes each topic on which the broker has taken what was published.

    Raises:
        SourceError: A file of certificates cannot be used.
        BrokerGoneError: It cannot be reached, or refuses.
    """

    def __init__(
        self,
        address: BrokerAddress,
        topics: tuple[str, ...],
        *,
        name: str,
        kept: bool,
        take: Taken,
        stop: Callable[[], bool],
        will: Publication | None = None,
        answered: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._address, self._topics, self._take = address, topics, take
        self._tell_answered = answered
        self._fault: BrokerGoneError | None = None
        self._ready = False
        self._unanswered: dict[int, _Sent] = {}  # the oldest first
        self.kept_before = False
        self._client = self._made(name, kept)
        if will is not None:
            self._client.will_set(will.topic, will.payload, qos=1, retain=will.retained)
        self._connect(kept)
        self._await_answer(stop)

    def attend(self, wait_s: float) -> None:
        """Take what comes; return when something came, or after a while.

        Args:
            wait_s: How long to wait for it.

        Raises:
            BrokerGoneError: The connection is lost, or what was published stays unanswered.
        """
        failed = self._client.loop(min(wait_s, _LOOK_S))
        if self._fault is None and (excess := _excess(self._client)):
            self._fault = BrokerGoneError(excess)
        oldest = next(iter(self._unanswered.values()), None)
        if self._fault is None and failed:
            self._fault = BrokerGoneError("the connection was lost")
        elif self._fault is None and oldest and time.monotonic() - oldest.at_s > _ANSWER_S:
            # It says that it is there, and takes nothing: all that is said would stay here.
            self._fault = BrokerGoneError("it does not answer what is published")
        if self._fault is not None:
            self.close()
            raise self._fault

    def acknowledge(self, receipts: list[Receipt]) -> None:
        """Tell the broker that messages are on the disk."""
        for one in receipts:
            self._client.ack(one.number, one.quality)

    def publish(self, said: Publication) -> None:
        """Say something; the broker has it once `settle` returns.

        Raises:
            BrokerGoneError: The connection is lost.
        """
        sent = self._client.publish(said.topic, said.payload, qos=1, retain=said.retained)
        if sent.rc:
            raise self._fault or BrokerGoneError("the connection was lost")
        self._unanswered[sent.mid] = _Sent(said.topic, time.monotonic())

    def settle(self, most_s: float) -> None:
        """Wait until the broker has all that was published, or for as long as is allowed.

        Raises:
            BrokerGoneError: The connection is lost, or the broker refuses something.
        """
        end = time.monotonic() + most_s
        while self._unanswered and (left_s := end - time.monotonic()) > 0.0:
            self.attend(left_s)

    def close(self) -> None:
        """End the connection; the broker says the will if it has not answered all before."""
        from paho.mqtt.packettypes import PacketTypes  # noqa: PLC0415 - an extra
        from paho.mqtt.reasoncodes import ReasonCode  # noqa: PLC0415

        reason = _WITH_WILL if self._unanswered else 0
        self._client.disconnect(ReasonCode(PacketTypes.DISCONNECT, identifier=reason))
        if (still_open := self._client.socket()) is not None:  # until the broker closes it, too
            still_open.close()

    def _await_answer(self, stop: Callable[[], bool]) -> None:
        end = time.monotonic() + _ANSWER_S
        while not self._ready:
            if stop() or time.monotonic() > end:
                self.close()
                raise BrokerGoneError("it does not answer in MQTT")
            self.attend(_LOOK_S)

    def _made(self, name: str, kept: bool) -> Client:
        check_installed()
        from paho.mqtt.client import Client  # noqa: PLC0415 - an extra
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion  # noqa: PLC0415

        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=name,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=kept,
        )
        if self._address.user:
            client.username_pw_set(self._address.user, self._address.password or None)
        if self._address.tls:
            client.tls_set_context(_context(self._address.authorities))
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_disconnect = self._disconnected
        client.on_message = self._came
        client.on_publish = self._answered
        return client

    def _connect(self, kept: bool) -> None:
        from paho.mqtt.packettypes import PacketTypes  # noqa: PLC0415 - an extra
        from paho.mqtt.properties import Properties  # noqa: PLC0415

        asked = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        asked.SessionExpiryInterval = KEPT_S if kept else 0
        asked.MaximumPacketSize = _PACKET
        asked.ReceiveMaximum = _UNANSWERED
        address = self._address
        try:
            self._client.connect(
                address.host,
                address.port,
                keepalive=_ALIVE_S,
                clean_start=not kept,
                properties=asked,
            )
        except ssl.SSLCertVerificationError as error:
            raise BrokerGoneError(
                f"its certificate does not hold ({error.verify_message})",
                hint="name the authority that signed it (--ca FILE), and the broker as its "
                "certificate does; check this device's clock",
                passing=False,
            ) from None
        except ssl.SSLError as error:
            raise BrokerGoneError(
                f"it speaks no TLS that this device takes ({error.reason or 'no TLS'})",
                hint="mqtts:// is for the broker's port with TLS, mostly 8883",
                passing=False,
            ) from None
        except socket.gaierror:
            raise BrokerGoneError("its name is not known here") from None
        except TimeoutError:
            raise BrokerGoneError("it does not answer") from None
        except ConnectionResetError:
            where = " (mqtts:// is for its port with TLS, mostly 8883)" if address.tls else ""
            raise BrokerGoneError(f"it ends the connection at once{where}") from None
        except OSError as error:
            why = os.strerror(error.errno).lower() if error.errno else "there is no way to it"
            raise BrokerGoneError(why) from None

    def _connected(self, client: Client, _: Any, flags: Any, reason: Any, __: Any) -> None:
        if reason.is_failure:
            self._fault = _refusal(int(reason.value), str(reason), self._address)
            return
        from paho.mqtt.subscribeoptions import SubscribeOptions  # noqa: PLC0415 - an extra

        self.kept_before = bool(flags.session_present)
        # What a broker has kept from before is no new reading: it need not send it.
        how = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
        client.subscribe([(topic, how) for topic in self._topics])

    def _subscribed(self, _: Client, __: Any, ___: int, reasons: Any, ____: Any) -> None:
        refused = [
            topic for topic, reason in zip(self._topics, reasons, strict=False) if reason.is_failure
        ]
        if not refused:
            self._ready = True
            return
        self._fault = BrokerGoneError(
            f"it does not let this user take {', '.join(refused)}",
            hint="let the user read these topics (the broker's access list), or name others",
            passing=False,
        )

    def _disconnected(self, _: Client, __: Any, flags: Any, reason: Any, ___: Any) -> None:
        if self._fault is not None:
            return
        taken_over = int(reason.value) == _TAKEN_OVER and flags.is_disconnect_packet_from_server
        self._fault = BrokerGoneError(
            f"the connection was lost ({reason})", taken_over=bool(taken_over)
        )

    def _answered(self, _: Client, __: Any, number: int, reason: Any, ___: Any) -> None:
        sent = self._unanswered.pop(number, None)
        if sent is None:
            return
        if not reason.is_failure:
            self._tell_answered(sent.topic)
        elif reason.value == _NO_RIGHT:
            self._fault = BrokerGoneError(
                f"it does not let this user publish on {sent.topic} ({reason})",
                hint="let the user write there (the broker's access list)",
                passing=False,
                topic=sent.topic,
            )
        else:
            self._fault = BrokerGoneError(
                f"it does not take what is published on {sent.topic} ({reason})",
                passing=reason.value in _LATER,
                topic=sent.topic,
            )

    def _came(self, _: Client, __: Any, message: MQTTMessage) -> None:
        receipt = Receipt(message.mid, message.qos)
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = "(a topic that is no text)"
        self._take(topic, bytes(message.payload), bool(message.retain), receipt)


def check_installed() -> None:
    """Refuse to go on without what speaks to brokers, an extra.

    Raises:
        SourceError: paho-mqtt is not installed.
    """
    try:
        import paho.mqtt.client  # noqa: F401, PLC0415
    except ImportError:
        raise SourceError(
            "brokers are spoken to by paho-mqtt, which is not installed",
            hint="pip install 'fedhome[mqtt]'",
        ) from None


def _excess(client: Client) -> str:
    """Return what a broker makes this device hold though it was asked not to; empty: nothing.

    paho-mqtt asks for these bounds and holds no broker to them: one could fill the memory. It reads
    a hundred pieces of one packet at most in each turn, so little is held before it shows.
    """
    if client._in_packet["remaining_length"] > _PACKET:  # noqa: SLF001 - paho has no words for it
        return f"it sends a packet of more than {_PACKET:,} bytes"
    if client._in_messages:  # noqa: SLF001 - as above; held until the broker says that it may go
        return "it sends messages with QoS 2, where 1 is the most that was asked for"
    if len(client._out_packet) > _MOST_WAITING:  # noqa: SLF001 - as above
        return "it sends without end, and reads no answer"
    return ""


def _context(authorities: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authorities)
    except (OSError, ssl.SSLError):
        raise SourceError(
            f"{authorities} holds no certificates that can be read",
            hint="name the authority's certificate, in PEM (-----BEGIN CERTIFICATE-----)",
        ) from None


def _refusal(code: int, said: str, address: BrokerAddress) -> BrokerGoneError:
    if code in _NOT_ALLOWED:
        whom = "this user and password" if address.user else "anybody without a name and a password"
        user = (
            "" if address.user else f"name the user ({address.host} as USER@{address.host}), and "
        )
        return BrokerGoneError(
            f"it does not take {whom}",
            hint=f"{user}give the password by --password-file FILE or the variable {PASSWORD}",
            passing=False,
        )
    if code == _NO_MQTT_5:
        return BrokerGoneError(
            "it does not speak MQTT 5",
            hint="use a broker of our days: mosquitto does from 1.6 on",
            passing=False,
        )
    return BrokerGoneError(f"it refuses: {said}", passing=code in _LATER)
