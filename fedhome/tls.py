"""Certificates of a fleet's server: an authority of its own, and what that signs.

Homes are given the authority's certificate by the owner and trust no other: a certificate of a
public authority for the same name does not help an attacker.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedhome.secagg import disk

CA, CERTIFICATE, KEY = "ca.pem", "certificate.pem", "key.pem"
_PUBLIC = 0o644
_AUTHORITY_DAYS, _SERVER_DAYS = 3650, 825  # the latter: what current platforms accept at most


def make_certificates(folder: Path, names: Sequence[str]) -> None:
    """Write ``ca.pem``, ``certificate.pem`` and ``key.pem`` into a folder.

    The authority's own key is thrown away: a new certificate is a new authority, which homes
    learn from their owner.

    Args:
        folder: Made if it is not there.
        names: Host names and addresses by which homes reach the server.

    Raises:
        StateError: The folder cannot be written.
    """
    with disk.errors_of(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = _name("fedhome authority")
    now = datetime.now(UTC)
    root = (
        _builder(issuer, issuer, authority.public_key(), now, _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(authority.public_key()), critical=False
        )
        .sign(authority, hashes.SHA256())
    )
    certificate = (
        _builder(_name(names[0]), issuer, server.public_key(), now, _SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([_place(name) for name in names]), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),
            critical=False,
        )
        .sign(authority, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    disk.put(
        folder / KEY,
        server.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    disk.put(folder / CERTIFICATE, certificate.public_bytes(pem), mode=_PUBLIC)
    disk.put(folder / CA, root.public_bytes(pem), mode=_PUBLIC)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # a device's clock may be behind
        .not_valid_after(now + timedelta(days=days))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _place(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
