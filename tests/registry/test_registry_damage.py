"""What was flipped, cut, swapped or forged in a registry is refused, and told where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedhome.keys.sealing import SealedFile
from fedhome.registry import Registry, Release
from fedhome.registry.formats import encode
from fedhome.registry.release import NONE
from fedhome.secagg import ServerKeys
from fedhome.wire.layout import Layout
from helpers.registry_world import LAYOUT, SERVER, Shelf, draft, faults_of, model, reason_of


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Rounds 1, 2 and 3."""
    return Shelf.of(tmp_path / "registry")


def read_all(folder: Path) -> None:
    registry = Registry.open(folder)
    for release in registry.releases():
        registry.load(release)


def flips(data: bytes) -> Iterator[tuple[int, bytes]]:
    for place in range(len(data)):
        yield place, data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]


@pytest.mark.long
@pytest.mark.parametrize(
    "name", ["registry.fh", "registry.key", "releases/00000001.manifest", "releases/00000001.model"]
)
def test_every_flipped_bit_is_refused(tmp_path: Path, name: str) -> None:
    shelf = Shelf.of(tmp_path / "r", rounds=1)
    path = shelf.folder / name
    whole = path.read_bytes()
    read_all(shelf.folder)
    if name == "registry.key":
        expected = {"wrong-key": range(32)}
    else:
        sealed = SealedFile.from_file(whole, purpose=purpose_of(name), where="")
        check = whole.index(sealed.head.check)
        body = whole.index(sealed.body)
        nonce = whole.index(sealed.head.nonce)
        expected = {
            "foreign": range(15),  # no sealed file
            # Another key's check: for the index a wrong key, for the rest another file.
            "wrong-key" if name == "registry.fh" else "foreign ": range(check, check + 16),
            "altered": [*range(nonce, nonce + 12), *range(body, body + len(sealed.body))],
        }
    reasons = {p: reason.strip() for reason, places in expected.items() for p in places}
    for place, data in flips(whole):
        path.write_bytes(data)
        reason = reason_of(read_all, shelf.folder)
        # Elsewhere are lengths and labels, of which some may say that it is another file.
        others = {"altered", "truncated", "foreign", "passphrase"}
        assert reason in ({reasons[place]} if place in reasons else others), place
    path.write_bytes(whole)
    read_all(shelf.folder)


def purpose_of(name: str) -> str:
    if name == "registry.fh":
        return "registry of models"
    return f"{name.rpartition('.')[2]} of a release"


@pytest.mark.long
@pytest.mark.parametrize(
    "name", ["registry.fh", "releases/00000001.manifest", "releases/00000001.model"]
)
def test_every_shortened_file_is_refused(tmp_path: Path, name: str) -> None:
    shelf = Shelf.of(tmp_path / "r", rounds=1)
    path = shelf.folder / name
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert reason_of(read_all, shelf.folder) == "truncated"
    path.write_bytes(whole + b"\0")
    assert reason_of(read_all, shelf.folder) == "altered"
    path.unlink()
    assert reason_of(read_all, shelf.folder) == "missing"


def test_verify_lists_every_damaged_file(shelf: Shelf) -> None:
    place = shelf.folder / "releases"
    (place / "00000001.model").write_bytes((place / "00000002.model").read_bytes())
    damaged = bytearray((place / "00000002.manifest").read_bytes())
    damaged[-1] ^= 1
    (place / "00000002.manifest").write_bytes(damaged)
    (place / "00000003.model").unlink()
    assert faults_of(shelf.registry) == [(1, "foreign"), (2, "altered"), (3, "missing")]
    assert shelf.registry.verify().models == 0


def test_an_older_index_and_a_foreign_one(shelf: Shelf, tmp_path: Path) -> None:
    path = shelf.folder / "registry.fh"
    old = path.read_bytes()
    shelf.registry.publish(draft(4), SERVER)
    path.write_bytes(old)
    names = [leftover.name for leftover in shelf.registry.verify().leftovers]
    assert names == ["00000004.manifest", "00000004.model"]  # that is how it shows
    other = Shelf.of(tmp_path / "other")
    path.write_bytes((other.folder / "registry.fh").read_bytes())
    assert reason_of(Registry.open, shelf.folder) == "wrong-key"


def payload_of(layout: Layout) -> bytes:
    return encode(model(0, layout), "float32")[0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"signer": ServerKeys(b"x" * 32)}, "signature"),
        ({"fleet": b"g" * 16}, "chain"),
        ({"number": 9}, "missing"),
        ({"previous": NONE}, "chain"),
        ({"round": 3}, "round"),
        ({"payload": payload_of(LAYOUT)[:-1]}, "format"),
        ({"payload": payload_of(Layout(("w",), ((3,),)))}, "layout"),
        ({"layout": b"l" * 32}, "layout"),
        ({"storage": "int8"}, "format"),
        ({"restores": 4}, "chain"),
        ({"restores": 99}, "chain"),
        ({"restores": 1}, "chain"),  # it says another payload than that of release 1
    ],
)
def test_verify_sees_through_who_has_the_registry_key(
    shelf: Shelf, changes: dict[str, Any], reason: str
) -> None:
    shelf.forge(**changes)
    assert (4, reason) in faults_of(shelf.registry)
    assert {number for number, _ in faults_of(shelf.registry)} == {4}


def test_a_release_that_goes_back_to_another_model_is_not_loaded(shelf: Shelf) -> None:
    shelf.forge(restores=1)
    assert reason_of(shelf.registry.load) == "altered"
    assert reason_of(shelf.registry.package) == "altered"


def test_a_manifest_may_not_take_anothers_place(shelf: Shelf) -> None:
    vault = shelf.registry._vault
    index = vault.read()
    first, second, third = index.entries
    vault.write(replace(index, entries=(first, replace(second, hash=third.hash), third)))
    assert faults_of(shelf.registry) == [(2, "chain"), (3, "chain")]
    vault.write(replace(index, entries=(first, replace(second, model=1), third)))
    assert (2, "chain") in faults_of(shelf.registry)


def test_payloads_swapped_with_their_keys(shelf: Shelf) -> None:
    place = shelf.folder / "releases"
    index = shelf.registry._vault.read()
    other = Shelf.of(shelf.folder.parent / "other", rounds=0)
    made = other.registry.publish(draft(7), SERVER)
    assert isinstance(made, Release)
    (stolen,) = other.registry._vault.read().entries
    (place / "00000002.model").write_bytes(
        (other.folder / "releases" / "00000001.model").read_bytes()
    )
    first, second, third = index.entries
    changed = replace(index, entries=(first, replace(second, key=stolen.key), third))
    shelf.registry._vault.write(changed)
    # The manifest no longer opens; and were it sealed anew, the payload's hash is another.
    assert faults_of(shelf.registry) == [(2, "foreign")]
