"""The front looks at a request's signature first: whatever key a home has claimed, it answers."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import (
    bytes_to_public_key,
    sign_message,
    verify_signature,
)
from starlette.datastructures import Headers

from fedhome.flower.request_signature import RequestSignature

OTHERS: dict[str, Any] = {
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "X25519": x25519.X25519PrivateKey.generate,
}


def _pem(private: Any) -> bytes:
    data: bytes = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return data


@pytest.mark.parametrize("kind", OTHERS)
def test_a_key_of_another_kind_holds_nothing_and_ends_no_request(kind: str) -> None:
    pem, stamp = _pem(OTHERS[kind]()), now().isoformat().encode()
    assert not RequestSignature(pem, stamp, bytes(64)).holds()
    with pytest.raises((TypeError, AttributeError)):  # the control: Flower's own check
        verify_signature(bytes_to_public_key(pem), stamp, bytes(64))


def test_a_nodes_own_key_holds_now_and_for_its_time_alone() -> None:
    private, stamp = ec.generate_private_key(ec.SECP256R1()), now().isoformat().encode()
    signature = sign_message(private, stamp)
    assert RequestSignature(_pem(private), stamp, signature).holds()
    assert not RequestSignature(_pem(private), stamp + b" ", signature).holds()
    old = b"2020-01-01T00:00:00+00:00"
    assert not RequestSignature(_pem(private), old, sign_message(private, old)).holds()
    for pem in (b"", b"\xff" * 1000, _pem(private)[:-30]):
        assert not RequestSignature(pem, stamp, signature).holds()


def test_a_request_with_two_signatures_has_none() -> None:
    """The front would look at the last of them, and Flower takes the first."""
    names = FLEET_HTTP_PUBLIC_KEY_HEADER, TIMESTAMP_HEADER, FLEET_HTTP_SIGNATURE_HEADER
    one, other = (
        [(name.lower().encode(), b64encode(value)) for name in names] for value in (b"one", b"two")
    )
    assert RequestSignature.read([*one, (b"host", b"hub")]) is not None
    for both in ([*one, *other], [*one, other[0]], [*one, other[1]], [*one, other[2]]):
        assert RequestSignature.read(both) is None
    twice = Headers(raw=[*one, *other])  # the control: what Flower's middleware asks
    assert [twice[name] for name in names] == [value.decode() for _, value in one]
