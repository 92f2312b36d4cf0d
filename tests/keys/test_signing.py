"""Signatures: Ed25519 as RFC 8032 has it; whatever else is shown as one does not hold."""

from __future__ import annotations

from fedhome.keys.signing import Signer, signature_holds

# The first case of section 7.1 signs nothing.
PRIVATE = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
SIGNATURE = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
    "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
)


def test_the_first_case_of_the_standard() -> None:
    signer = Signer(PRIVATE)
    assert signer.public == PUBLIC
    assert signature_holds(PUBLIC, SIGNATURE, b"")


def test_another_message_key_or_signature_does_not_hold() -> None:
    assert not signature_holds(PUBLIC, SIGNATURE, b"\0")
    assert not signature_holds(Signer.create().public, SIGNATURE, b"")
    for place in range(len(SIGNATURE)):
        flipped = bytearray(SIGNATURE)
        flipped[place] ^= 1
        assert not signature_holds(PUBLIC, bytes(flipped), b""), place


def test_what_is_malformed_holds_for_nothing() -> None:
    for key in (b"", PUBLIC[:-1], PUBLIC + b"\0"):
        assert not signature_holds(key, SIGNATURE, b"")
    for signature in (b"", SIGNATURE[:-1], SIGNATURE + b"\0"):
        assert not signature_holds(PUBLIC, signature, b"")


def test_a_private_key_does_not_print() -> None:
    told = f"{Signer(PRIVATE)!r} {Signer(PRIVATE)}"
    assert PRIVATE.hex() not in told
    assert repr(PRIVATE) not in told
