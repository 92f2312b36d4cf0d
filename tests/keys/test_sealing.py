"""Sealed files in memory: their key alone opens them, and as what they were sealed as."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fedhome.errors import StateError
from fedhome.keys.sealing import Scrypt, SealedFile, SealingKey

KEY, SECRET = bytes(range(32)), b"of one home alone"
CHEAP = Scrypt(salt=b"0123456789abcdef", log2_n=10, r=8, p=1)


def opened(data: bytes, key: SealingKey, purpose: str = "state") -> bytes:
    return key.open(SealedFile.from_file(data, purpose=purpose, where="file"), where="file")


def reason(data: bytes, key: SealingKey, purpose: str = "state") -> str:
    with pytest.raises(StateError) as caught:
        opened(data, key, purpose)
    assert caught.value.hint
    return caught.value.reason


def test_a_key_opens_what_it_sealed_and_no_other_does() -> None:
    key = SealingKey(KEY)
    first, second = (key.seal(SECRET, purpose="state", name="oak", version=3) for _ in range(2))
    assert first != second  # another nonce
    assert SECRET not in first
    assert opened(first, SealingKey(KEY)) == SECRET
    assert reason(first, SealingKey(KEY[::-1])) == "wrong-key"
    assert reason(first, key, "mark") == "foreign"
    head = SealedFile.from_file(first, purpose="state", where="file").head
    assert (head.purpose, head.name, head.version, head.scrypt) == ("state", "oak", 3, ())


def test_a_passphrase_opens_however_its_letters_are_composed() -> None:
    data = SealingKey.from_passphrase("Gr\u00fc\u00dfe nach \u00c5by", CHEAP).seal(
        SECRET, purpose="state", name="oak"
    )
    (told,) = SealedFile.from_file(data, purpose="state", where="file").head.scrypt
    assert told == CHEAP
    typed = "Gru\u0308\u00dfe nach A\u030aby"
    assert opened(data, SealingKey.from_passphrase(typed, told)) == SECRET
    assert reason(data, SealingKey.from_passphrase(typed.lower(), told)) == "wrong-key"


def test_a_new_passphrase_costs_what_owasp_says_and_has_a_salt_of_its_own(
    costly_scrypt: Callable[[], Scrypt],
) -> None:
    first, second = costly_scrypt(), costly_scrypt()
    assert (first.log2_n, first.r, first.p) == (15, 8, 3)
    assert len(first.salt) == 16
    assert first.salt != second.salt


def test_a_new_passphrase_has_eight_characters_at_least() -> None:
    with pytest.raises(StateError, match="8 characters") as caught:
        SealingKey.from_passphrase("seven77")
    assert caught.value.reason == "passphrase"


def test_every_altered_byte_and_every_cut_is_noticed() -> None:
    key = SealingKey(KEY)
    data = key.seal(SECRET, purpose="state", name="oak")
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1
        assert reason(bytes(flipped), key) in {"altered", "foreign", "truncated", "wrong-key"}
        assert reason(data[:place], key) == "truncated"
    assert reason(data + b"\0", key) == "altered"
