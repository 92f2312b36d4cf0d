"""The key by which Flower knows a home's node, and how it signs the node's requests."""

from __future__ import annotations

from base64 import b64encode
from functools import cached_property
from typing import Self

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import sign_message
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

from fedhome.errors import LinkError


class NodeKey:
    """The key by which Flower knows a home's node; the home's identity is another one.

    Args:
        private: On a NIST curve, as Flower demands.
    """

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self.private = private

    @classmethod
    def create(cls) -> Self:
        """Make a key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_bytes(cls, pem: bytes) -> Self:
        """Return the key that :meth:`to_bytes` wrote.

        Raises:
            LinkError: It is none.
        """
        try:
            private = serialization.load_pem_private_key(pem, password=None)
        except ValueError:
            private = None
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise LinkError("the node's key cannot be read", reason="refused", hint="join anew")
        return cls(private)

    def to_bytes(self) -> bytes:
        """Return the private key as PEM."""
        return self.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @cached_property
    def public(self) -> bytes:
        """The public key as PEM."""
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )


class RequestSigner:
    """Signs each request, as Flower's own interceptor does, whose imports take 10 MB.

    Those belong to an exchange of releases that ends the process where they differ; ours are
    compared when a home joins.
    """

    def __init__(self, key: NodeKey) -> None:
        self._key = key

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Sign the time, and add the signature and its public key as headers."""
        stamp = now().isoformat()
        signature = sign_message(self._key.private, stamp.encode("ascii"))
        context.request.headers.update(
            {
                FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(self._key.public).decode("ascii"),
                TIMESTAMP_HEADER: stamp,
                FLEET_HTTP_SIGNATURE_HEADER: b64encode(signature).decode("ascii"),
            }
        )
        return call_next(context)
