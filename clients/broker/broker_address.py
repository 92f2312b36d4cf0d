"""Where a broker is, as whom it is asked, and what names its topics."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from fedhome.errors import SourceError

SCHEMES: Final = {"mqtt": 1883, "mqtts": 8883}
PASSWORD: Final = "FEDHOME_MQTT_PASSWORD"  # noqa: S105 - the variable's name
_LONGEST = 65_535  # bytes of any text of MQTT


@dataclass(frozen=True, kw_only=True)
class BrokerAddress:
    """Where a broker is, and as whom it is asked.

    Args:
        host: Its name or address.
        port: Its port.
        tls: Whether it is spoken to under TLS.
        user: The user's name; empty: none.
        password: The user's; it is never shown.
        authorities: File of the certificates that vouch for it; None: those of this device.
    """

    host: str
    port: int
    tls: bool
    user: str = ""
    password: str = field(default="", repr=False)
    authorities: Path | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"mqtt{'s' if self.tls else ''}://{host}:{self.port}"

    @property
    def in_the_clear(self) -> bool:
        """Whether others on the way can read what is said."""
        return not self.tls and self.host not in {"localhost", "127.0.0.1", "::1"}

    @classmethod
    def parse(
        cls, text: str, *, password: str = "", authorities: Path | None = None
    ) -> BrokerAddress:
        """Return the address in a text such as ``mqtts://user@broker.local``.

        Raises:
            SourceError: It is none, or holds a password; or MQTT has no such user or password.
        """
        hint = "write it as mqtt://broker.local, or mqtts://USER@HOST:PORT"
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise SourceError("the broker's address cannot be read", hint=hint) from None
        if parts.password is not None:
            raise SourceError(
                "the broker's address holds a password, which others on this device could read",
                hint=f"leave it out: --password-file FILE, or the variable {PASSWORD}",
            )
        more = parts.path.strip("/") or parts.query or parts.fragment
        if parts.scheme not in SCHEMES or not parts.hostname or more:
            # It is not shown: what does not go apart as it should may have a password in it.
            raise SourceError("this is no address of a broker", hint=hint)
        tls, user = parts.scheme == "mqtts", unquote(parts.username or "")
        if password and not user:
            raise SourceError(
                "there is a password for the broker, and no user",
                hint=f"name the user: {parts.scheme}://USER@{parts.hostname}",
            )
        if authorities is not None and not tls:
            raise SourceError(
                "--ca has no effect without TLS", hint=f"write mqtts://{parts.hostname}"
            )
        try:
            parts.hostname.encode("idna")
        except UnicodeError:
            raise SourceError("the broker's name is none that a network has", hint=hint) from None
        _check_text(user, "user's name", "write it after mqtt:// and before @")
        _check_text(password, "password", f"look at the file, or at the variable {PASSWORD}")
        return cls(
            host=parts.hostname,
            port=port or SCHEMES[parts.scheme],
            tls=tls,
            user=user,
            password=password,
            authorities=authorities,
        )


def _check_text(text: str, what: str, hint: str) -> None:
    """Refuse a text that MQTT cannot say; it is not shown."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:  # of bytes that are no UTF-8
        size = _LONGEST + 1
    if size > _LONGEST or "\0" in text:
        raise SourceError(
            f"the broker's {what} is none that MQTT has: UTF-8 without NUL, {_LONGEST:,} bytes "
            "at most",
            hint=hint,
        )


def check_filter(topic: str) -> None:
    """Refuse what can name no topics.

    Raises:
        SourceError: It is empty, too long or no text, or has a ``+`` or ``#`` where none can be.
    """
    try:
        size = len(topic.encode())
    except UnicodeEncodeError:  # of bytes on the command line that are no UTF-8
        size = 0
    levels = topic.split("/")
    stray = any(("+" in one or "#" in one) and len(one) > 1 for one in levels)
    if not 0 < size <= _LONGEST or "\0" in topic or stray or "#" in levels[:-1]:
        raise SourceError(
            f"{topic[:80]!r} names no topics of MQTT",
            hint="+ stands for one level and # for all below, each alone between slashes: "
            "zigbee2mqtt/+, home/#",
        )
