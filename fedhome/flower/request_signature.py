"""Who signed a home's request: told from its head alone, before anything of its body is read."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_HEADER, TIMESTAMP_TOLERANCE
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, verify_signature

_KEY, _STAMP, _SIGNATURE = (
    name.lower().encode("ascii")
    for name in (FLEET_HTTP_PUBLIC_KEY_HEADER, TIMESTAMP_HEADER, FLEET_HTTP_SIGNATURE_HEADER)
)


class RequestSignature(NamedTuple):
    """The signature that Flower's SuperNodes, and our homes, put on each request.

    Args:
        key: Public key of the node, PEM.
        stamp: The time that is signed, ISO 8601.
        signature: Over the time.
    """

    key: bytes
    stamp: bytes
    signature: bytes

    @classmethod
    def read(cls, headers: Iterable[tuple[bytes, bytes]]) -> Self | None:
        """Return the signature of a request; None if it has none, or two.

        Of two, the front would look at one, and the SuperLink at the other.

        Args:
            headers: The request's, names in lower case.
        """
        headers = list(headers)
        if sum(name in {_KEY, _STAMP, _SIGNATURE} for name, _ in headers) > len(cls._fields):
            return None
        found = dict(headers)
        try:
            return cls(
                b64decode(found[_KEY], validate=True),
                found[_STAMP],
                b64decode(found[_SIGNATURE], validate=True),
            )
        except (KeyError, binascii.Error):
            return None

    def holds(self) -> bool:
        """Whether the key signed this time, and that was just now, by Flower's own measure."""
        try:
            stamp = self.stamp.decode("ascii")
            age_s = (now() - datetime.fromisoformat(stamp)).total_seconds()
            if not -SYSTEM_TIME_TOLERANCE < age_s < TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE:
                return False
            key: object = bytes_to_public_key(self.key)  # of whatever kind it is
        except (ValueError, TypeError, UnsupportedAlgorithm):
            return False
        if not isinstance(key, EllipticCurvePublicKey):  # a home may claim any kind for its node
            return False
        return verify_signature(key, self.stamp, self.signature)
