"""Secrets at rest: sealed with AES-256-GCM under a key, or under one made from a passphrase."""

from __future__ import annotations

import hmac
import os
import unicodedata
from dataclasses import dataclass
from typing import Annotated

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf import scrypt

from fedhome.errors import StateError, WireError
from fedhome.keys.derivation import hkdf
from fedhome.wire.codec import Id, Message, number, octets, several

KEY_BYTES = 32
LEAST_PASSPHRASE = 8  # characters
_MAGIC = b"fedhome sealed\0\1"
_LENGTH_BYTES = 8
_SEAL, _CHECK = b"fedhome/at-rest/seal/1", b"fedhome/at-rest/check/1"
_MOST = 1 << 26


@dataclass(frozen=True, kw_only=True)
class Scrypt(Message, label="scrypt", most=128):
    """How a passphrase becomes a key (RFC 7914).

    Args:
        salt: 16 random bytes.
        log2_n: Log2 of the cost: memory is ``128 * r * 2^log2_n`` bytes.
        r: Size of a block.
        p: How often.
    """

    salt: Annotated[bytes, octets(16)]
    log2_n: Annotated[int, number(18, least=10)]  # a foreign file may not ask for gigabytes
    r: Annotated[int, number(8, least=8)]
    p: Annotated[int, number(16, least=1)]

    @classmethod
    def fresh(cls) -> Scrypt:
        """Return a new salt with OWASP's cost for 32 MiB: as much as a small device can afford."""
        return cls(salt=os.urandom(16), log2_n=15, r=8, p=3)


@dataclass(frozen=True, kw_only=True)
class SealedHead(Message, label="sealed-head", most=512):
    """The part of a sealed file that can be read without its key; the seal covers it.

    Args:
        purpose: What is inside: a file of one purpose is not taken for another.
        name: Whose it is.
        version: Which state of it.
        scrypt: How its passphrase becomes the key; empty where a key file does.
        check: Tells a wrong key from altered bytes, and ties the file to one key.
        nonce: 12 random bytes, new for every seal.
    """

    purpose: Id
    name: Id
    version: Annotated[int, number()]
    scrypt: Annotated[tuple[Scrypt, ...], several(Scrypt.kind(), most=1)]
    check: Annotated[bytes, octets(16)]
    nonce: Annotated[bytes, octets(12)]


@dataclass(frozen=True, kw_only=True)
class SealedFile(Message, label="sealed", most=_MOST):
    """A sealed file.

    Args:
        head: What it is.
        body: Ciphertext and tag.
    """

    head: Annotated[SealedHead, SealedHead.kind()]
    body: Annotated[bytes, octets(most=_MOST)]

    def to_file(self) -> bytes:
        """Return the bytes of the file."""
        message = self.to_bytes()
        return _MAGIC + len(message).to_bytes(_LENGTH_BYTES, "big") + message

    @classmethod
    def from_file(cls, data: bytes, *, purpose: str, where: str) -> SealedFile:
        """Return what a file holds, still sealed.

        Args:
            data: As `to_file` wrote it.
            purpose: What should be inside.
            where: Name of the file, for messages.

        Raises:
            StateError: ``truncated``, ``altered``, or ``foreign``: no such file, or one of
                another purpose.
        """
        begin = len(_MAGIC) + _LENGTH_BYTES
        if len(data) < begin and _MAGIC.startswith(data[: len(_MAGIC)]):
            raise _truncated(where)
        length = int.from_bytes(data[len(_MAGIC) : begin], "big")
        if not data.startswith(_MAGIC):
            raise StateError(
                f"{where} is no sealed file of fedhome's", reason="foreign", hint=_ANOTHER
            )
        if len(data) - begin < length:
            raise _truncated(where)
        try:
            sealed = cls.from_bytes(data[begin:])
        except WireError:
            raise _altered(where) from None
        if len(data) - begin != length:
            raise _altered(where)
        if sealed.head.purpose != purpose:
            raise StateError(
                f"{where} holds a {sealed.head.purpose}, not a {purpose}",
                reason="foreign",
                hint=_ANOTHER,
            )
        return sealed


class SealingKey:
    """A key for files; it does not print.

    Args:
        secret: 32 bytes that are uniformly random, or come out of `Scrypt`.
        scrypt: How they came out of a passphrase.
    """

    def __init__(self, secret: bytes, scrypt: Scrypt | None = None) -> None:
        chosen = () if scrypt is None else (scrypt,)
        salt = b"".join(parameters.to_bytes() for parameters in chosen)
        self._scrypt = chosen
        self._cipher = AESGCM(hkdf(secret, salt, _SEAL))
        self._check = hkdf(secret, salt, _CHECK)[:16]

    @classmethod
    def from_passphrase(cls, passphrase: str, parameters: Scrypt | None = None) -> SealingKey:
        """Return the key that a passphrase makes; it takes about a tenth of a second.

        Args:
            passphrase: As it was typed; how a keyboard composes its letters does not matter.
            parameters: Those of the file to be opened; None: new ones.

        Raises:
            StateError: ``passphrase``: too short for a new file.
        """
        if parameters is None and len(passphrase) < LEAST_PASSPHRASE:
            raise StateError(
                f"a passphrase needs {LEAST_PASSPHRASE} characters at least",
                reason="passphrase",
                hint="four words drawn at random are easy to type and hard to guess",
            )
        chosen = parameters or Scrypt.fresh()
        derive = scrypt.Scrypt(
            salt=chosen.salt, length=KEY_BYTES, n=1 << chosen.log2_n, r=chosen.r, p=chosen.p
        )
        typed = unicodedata.normalize("NFKC", passphrase).encode()
        return cls(derive.derive(typed), chosen)

    def seal(self, secret: bytes, *, purpose: str, name: str, version: int = 0) -> bytes:
        """Return a file that holds a secret, bound to purpose, name and version."""
        head = SealedHead(
            purpose=purpose,
            name=name,
            version=version,
            scrypt=self._scrypt,
            check=self._check,
            nonce=os.urandom(12),
        )
        body = self._cipher.encrypt(head.nonce, secret, head.to_bytes())
        return SealedFile(head=head, body=body).to_file()

    def open(self, sealed: SealedFile, *, where: str) -> bytes:
        """Return the secret that a file holds.

        Args:
            sealed: The file.
            where: Its name, for messages.

        Raises:
            StateError: ``wrong-key`` or ``altered``.
        """
        if not hmac.compare_digest(sealed.head.check, self._check):
            what = "passphrase" if sealed.head.scrypt else "key"
            raise StateError(
                f"{where} does not open with this {what}",
                reason="wrong-key",
                hint=f"use the {what} that it was made with; there is no other way to open it",
            )
        try:
            return self._cipher.decrypt(sealed.head.nonce, sealed.body, sealed.head.to_bytes())
        except InvalidTag:
            raise _altered(where) from None


def _truncated(where: str) -> StateError:
    return StateError(f"{where} ends too early", reason="truncated", hint=_LOST)


def _altered(where: str) -> StateError:
    return StateError(f"{where} was altered or is damaged", reason="altered", hint=_LOST)


_ANOTHER = "another file was put in its place: name the right folder, or bring the file back"
_LOST = "check the disk; an owner's key comes back from its backup, a home is enrolled anew"
