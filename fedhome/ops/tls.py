"""Certificates of a fleet's server: an authority of its own, and what that signs.

Homes get the authority's certificate from the owner and trust no other: a certificate of a
public authority for the same name does not help an attacker.

The authority's key lies beside the server's, so that the server can renew its certificate for as
long as the authority lasts, and no home has to know. That costs nothing: the authority stands
for this one server, so its key lets nobody do more than the server's own key does, which is to
play this server; and whoever can read the one file can read the other. What a server can do at
most does not follow from either of them (:mod:`fedhome.secagg`). After a theft a renewal is no
cure: then a new server is made, with an authority of its own.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedhome.counted import counted
from fedhome.errors import StateError
from fedhome.new_folders import make_folder
from fedhome.store import disk

CA, CA_KEY, CERTIFICATE, KEY = "ca.pem", "ca.key", "certificate.pem", "key.pem"
FEW_DAYS = 30
"""Days that a certificate may still be good for before it is time for another."""
_AUTHORITY_FEW_DAYS = 180  # time for every home to take another card
_PUBLIC = 0o644
_AUTHORITY_DAYS, _SERVER_DAYS = 3650, 825  # the latter: what current platforms accept at most
_EARLIER = timedelta(days=1)  # a device's clock may be behind
_CURE = "`fedhome server renew DIR` makes a new one; homes notice nothing"
_ANEW = (
    "make a new server with `fedhome server init`: homes then need its card, in an invite of their "
    "own"
)


@dataclass(frozen=True, kw_only=True)
class CertificateTerms:
    """What the server's certificate says.

    Args:
        names: Host names and addresses that it is for.
        begins: From when on it is good, UTC.
        ends: Until when it is good, UTC.
        authority_ends: Until when the authority is, which no certificate outlives.
    """

    names: tuple[str, ...]
    begins: datetime
    ends: datetime
    authority_ends: datetime

    def is_due(self, now: datetime) -> bool:
        """Whether it is time for another one, and another one would be good for longer.

        So it is of one that is not good yet: a clock that was ahead made it, and no home whose
        clock is right takes it.
        """
        if now < self.begins:
            return True
        return self.ends - now < timedelta(FEW_DAYS) and self.authority_ends > self.ends

    def faults(self, now: datetime) -> list[str]:
        """Return what whoever runs the server should know of it at a time, a sentence each."""
        left, days = (self.authority_ends - now).days, (self.ends - now).days
        told = ""
        if now < self.begins:
            told = (
                f"the certificate is good from {self.begins.date()} on, and it is {now.date()} "
                "here: homes refuse it until then; set this machine's clock by the network (NTP), "
                "and if it is right, a running server makes another one by itself, and so does "
                "`fedhome server renew`"
            )
        elif left < _AUTHORITY_FEW_DAYS:
            told = (
                f"the certificate's authority is good for {counted(max(left, 0), 'more day')}, and "
                f"nothing that it signs for longer: {_ANEW}"
            )
        elif days < FEW_DAYS:
            told = (
                f"the certificate is good for {counted(max(days, 0), 'more day')}: homes refuse it "
                "after that; a running server renews it by itself, and so does `fedhome server "
                "renew`"
            )
        return [told] if told else []


def make_certificates(folder: Path, names: Sequence[str], *, now: datetime | None = None) -> None:
    """Make an authority and a server's certificate: four files, see `CA` and the names after it.

    Args:
        folder: Made if it is not there.
        names: Host names and addresses by which homes reach the server.
        now: The time, UTC; None for this machine's.

    Raises:
        StateError: The folder cannot be written.
    """
    with disk.errors_of(folder):
        make_folder(folder, mode=0o700)
    authority, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = _name("fedhome authority")
    now = datetime.now(UTC) if now is None else now
    root = (
        _builder(issuer, issuer, authority.public_key(), now, now + timedelta(_AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(authority.public_key()), critical=False
        )
        .sign(authority, hashes.SHA256())
    )
    certificate = _certificate(names, root, authority, server.public_key(), now)
    disk.put(folder / CA_KEY, _private(authority))
    disk.put(folder / KEY, _private(server))
    disk.put(folder / CERTIFICATE, _pem(certificate), mode=_PUBLIC)
    disk.put(folder / CA, _pem(root), mode=_PUBLIC)


def renew_certificate(
    folder: Path, names: Sequence[str] = (), *, now: datetime | None = None
) -> CertificateTerms:
    """Make a new key and a new certificate under the same authority, in place of those before.

    Homes notice nothing: they know the authority. Whoever serves with the old ones goes on with
    them until it reads the files again. A crash leaves the old pair, the new one, or what `mend`
    puts right.

    Args:
        folder: Where `make_certificates` made them.
        names: Host names and addresses; none: those of the present certificate.
        now: The time, UTC; None for this machine's.

    Returns:
        What the new certificate says.

    Raises:
        StateError: ``expired``: the authority is; ``clock``: or it is not good yet; ``missing``:
            there is no authority's key; ``altered``: a file is damaged; ``in-use``: another
            process renews it; or the folder cannot be written.
    """
    now = datetime.now(UTC) if now is None else now
    lock = disk.lock(folder)
    try:
        authority, root = _authority(folder, now)
        names = names or _names(_read(folder / CERTIFICATE))
        server = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(names, root, authority, server.public_key(), now)
        # Both are on the disk before either counts: what a crash leaves in between fits together.
        new_key = disk.stage(folder / KEY, _private(server))
        try:
            new = disk.stage(folder / CERTIFICATE, _pem(certificate), mode=_PUBLIC)
        except StateError:
            disk.discard(folder / KEY)
            raise
        disk.commit(new_key, folder / KEY)
        disk.commit(new, folder / CERTIFICATE)
    finally:
        os.close(lock)
    return _terms(certificate, root)


def renew_if_due(folder: Path, now: datetime) -> bool:
    """Renew a certificate of which few days are left; return whether it was.

    Args:
        folder: As of `renew_certificate`, whose errors it raises.
        now: The time, UTC.
    """
    if not terms_of(folder).is_due(now):
        return False
    renew_certificate(folder, now=now)
    return True


def mend(folder: Path) -> bool:
    """Finish a renewal that a crash has cut off between its two files.

    Returns:
        Whether there was something to finish.

    Raises:
        StateError: ``altered``: key and certificate are not of each other, and nothing here
            makes them so; ``permissions``: others may read the key; ``in-use``: another process
            renews them; ``missing``.
    """
    lock = disk.lock(folder)
    try:
        key = _read_key(folder / KEY).public_key()
        if key == _read(folder / CERTIFICATE).public_key():
            return False
        new = folder / f"{CERTIFICATE}{disk.NEW}"
        if new.exists() and _read(new).public_key() == key:
            disk.commit(new, folder / CERTIFICATE)
            return True
    finally:
        os.close(lock)
    raise StateError(
        f"{folder / KEY} is not the key of {folder / CERTIFICATE}", reason="altered", hint=_CURE
    )


def terms_of(folder: Path) -> CertificateTerms:
    """Return what the server's certificate says.

    Raises:
        StateError: ``missing`` or ``altered``.
    """
    return _terms(_read(folder / CERTIFICATE), _read(folder / CA, hint=_ANEW))


def _authority(folder: Path, now: datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    root = _read(folder / CA, hint=_ANEW)
    begin, end = root.not_valid_before_utc, root.not_valid_after_utc
    if now >= end:
        raise StateError(
            f"the authority in {folder / CA} has expired on {end.date()}: nothing that it signs "
            "is good any more",
            reason="expired",
            hint=_ANEW,
        )
    if now < begin:
        raise StateError(
            f"the authority in {folder / CA} is good from {begin.date()} on, and this machine's "
            f"clock says {now.date()}",
            reason="clock",
            hint="set the clock by the network (NTP); if it is right, the authority was made by "
            f"one that was ahead: {_ANEW}",
        )
    if not (folder / CA_KEY).exists():
        raise StateError(f"{folder / CA_KEY} is missing", reason="missing", hint=_ANEW)
    key = _read_key(folder / CA_KEY, hint=_ANEW)
    if key.public_key() != root.public_key():
        raise StateError(
            f"{folder / CA_KEY} is not the key of {folder / CA}", reason="altered", hint=_ANEW
        )
    return key, root


def _certificate(
    names: Sequence[str],
    root: x509.Certificate,
    authority: ec.EllipticCurvePrivateKey,
    server: ec.EllipticCurvePublicKey,
    now: datetime,
) -> x509.Certificate:
    """Sign a certificate that is good for as long as may be; the authority's end is its end."""
    end = min(now + timedelta(_SERVER_DAYS), root.not_valid_after_utc)
    return (
        _builder(_name(names[0]), root.subject, server, now, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),
            critical=False,
        )
        .sign(authority, hashes.SHA256())
    )


def _terms(certificate: x509.Certificate, root: x509.Certificate) -> CertificateTerms:
    return CertificateTerms(
        names=_names(certificate),
        begins=certificate.not_valid_before_utc,
        ends=certificate.not_valid_after_utc,
        authority_ends=root.not_valid_after_utc,
    )


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return tuple(str(name.value) for name in names)


def _read(path: Path, *, hint: str = _CURE) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(disk.read(path))
    except ValueError:
        raise StateError(f"{path} is no certificate", reason="altered", hint=hint) from None


def _read_key(path: Path, *, hint: str = _CURE) -> ec.EllipticCurvePrivateKey:
    disk.check_private(path)  # who copies a folder easily opens it to all
    try:
        key = serialization.load_pem_private_key(disk.read(path), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise StateError(f"{path} is no key of ours", reason="altered", hint=hint)
    return key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(end)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _general_name(name: str) -> x509.GeneralName:
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
