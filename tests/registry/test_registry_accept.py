"""What a home takes from its server, and everything that it refuses."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedhome.errors import FedHomeError, ReleaseError, WireError
from fedhome.registry import FORMATS, SeenRelease, accept, follow, recall
from fedhome.registry.formats import encode
from fedhome.registry.release import (
    NONE,
    Package,
    ReleaseManifest,
    ReleaseScores,
    ReleaseSlices,
    ReleaseTier,
    TierScore,
)
from fedhome.registry.vault import MOST_RELEASES
from fedhome.secagg import ServerKeys
from fedhome.secagg.directory import Signed
from fedhome.wire.layout import Layout
from helpers.examples import share_of
from helpers.registry_world import DIRECTORY, LAYOUT, SERVER, Shelf, draft, model, numbers

accept_module = sys.modules["fedhome.registry.accept"]  # the function has its name
chain_module = sys.modules["fedhome.registry.chain"]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Rounds 1, 2 and 3."""
    return Shelf.of(tmp_path / "registry")


def reason_of(data: bytes, *arguments: Any, **more: Any) -> str:
    with pytest.raises(ReleaseError) as caught:
        accept(data, *(arguments or (DIRECTORY,)), **more)
    assert caught.value.hint
    return caught.value.reason


def signed(manifest: ReleaseManifest, payload: bytes, keys: ServerKeys = SERVER) -> bytes:
    body = manifest.to_bytes()
    both = Signed(body=body, signature=keys.sign(body))
    return Package(signed=both, payload=payload).to_release()


def signed_manifest(manifest: ReleaseManifest, keys: ServerKeys = SERVER) -> bytes:
    body = manifest.to_bytes()
    return Signed(body=body, signature=keys.sign(body)).to_bytes()


def after(seen: SeenRelease, **changes: Any) -> bytes:
    """Return a release that the server signed, the one after ``seen`` but for some changes."""
    payload = changes.pop("data", draft(1).payload)
    usual = {
        "number": seen.number + 1,
        "previous": seen.hash,
        "round": seen.round + 1,
        "payload": hashlib.sha256(payload).digest(),
    }
    return signed(replace(base(), **{**usual, **changes}), payload)


def base() -> ReleaseManifest:
    return ReleaseManifest.of(draft(1), fleet=DIRECTORY.fleet, number=1, previous=NONE)


@pytest.fixture
def seen() -> SeenRelease:
    """A home that accepted round 1."""
    return accept(signed(base(), draft(1).payload), DIRECTORY).seen


@pytest.mark.parametrize("storage", FORMATS)
def test_homes_take_what_the_registry_packs(tmp_path: Path, storage: str) -> None:
    shelf = Shelf.of(tmp_path / "r", rounds=0)
    shelf.registry.publish(draft(1, storage=storage), SERVER)
    taken = accept(shelf.registry.package(), DIRECTORY, layout=LAYOUT.hash)
    assert taken.model.layout == LAYOUT
    assert taken.model.flat.tobytes() == shelf.registry.load().flat.tobytes()
    assert taken.manifest == shelf.registry.find(1).manifest
    assert SeenRelease.from_bytes(taken.seen.to_bytes()) == taken.seen


def test_a_home_follows_the_chain(shelf: Shelf) -> None:
    last = None
    for number in (1, 2, 3):
        taken = accept(shelf.registry.package(number), DIRECTORY, last)
        last = taken.seen
        assert taken.model.flat.tobytes() == numbers(number).tobytes()
    shelf.registry.rollback(1, SERVER)
    back = accept(shelf.registry.package(), DIRECTORY, last)
    assert back.model.flat.tobytes() == numbers(1).tobytes()
    assert (back.seen.number, back.seen.round) == (4, 3)
    shelf.registry.publish(draft(4), SERVER)
    assert accept(shelf.registry.package(), DIRECTORY, back.seen).seen.round == 4
    # What was taken last may be asked for again; anything before it may not.
    again = accept(shelf.registry.package(back.manifest.hash.hex()), DIRECTORY, back.seen)
    assert again.seen == back.seen
    for number in (1, 2, 3):
        assert reason_of(shelf.registry.package(number), DIRECTORY, back.seen) == "older"


def test_missed_releases_are_walked_by_their_manifests(shelf: Shelf) -> None:
    registry = shelf.registry
    first = accept(registry.package(1), DIRECTORY).seen
    assert reason_of(registry.package(3), DIRECTORY, first) == "gap"
    walked = follow(registry.missed(2, 2), DIRECTORY, first)
    assert (walked.number, walked.hash) == (2, registry.find(2).hash)
    assert accept(registry.package(3), DIRECTORY, walked).seen.number == 3
    registry.rollback(2, SERVER)
    walked = follow(registry.missed(2, 3), DIRECTORY, first)
    assert accept(registry.package(), DIRECTORY, walked).seen.number == 4
    assert follow((), DIRECTORY, first) == first


def test_a_walk_that_does_not_hold_is_refused_where_it_breaks(shelf: Shelf) -> None:
    registry = shelf.registry
    first = accept(registry.package(1), DIRECTORY).seen
    second, third = registry.missed(2, 3)
    other = signed_manifest(replace(registry.find(2).manifest, homes=9))
    strange = signed_manifest(registry.find(2).manifest, ServerKeys(b"x" * 32))
    foreign = signed_manifest(replace(registry.find(2).manifest, fleet=b"g" * 16))
    for chain, reason in (
        ((third,), "gap"),
        ((second, second), "chain"),  # on the spot
        ((registry.missed(1, 1)[0],), "chain"),
        ((second, third, second), "older"),
        ((other, third), "chain"),  # the third names the true second
        ((strange,), "signature"),
        ((foreign,), "fleet"),
        ((b"no manifest",), "format"),
        ((second, signed_manifest(replace(registry.find(3).manifest, round=2))), "round"),
        ((second, signed_manifest(replace(registry.find(3).manifest, round=1))), "round"),
    ):
        with pytest.raises(ReleaseError) as caught:
            follow(chain, DIRECTORY, first)
        assert caught.value.reason == reason
        assert caught.value.hint
    # Another run counts its own rounds.
    later = replace(registry.find(3).manifest, round=0, run_hash=b"q" * 32)
    assert follow((second, signed_manifest(later)), DIRECTORY, first).round == 0


@pytest.mark.parametrize("number", [3, 1000, MOST_RELEASES, MOST_RELEASES + 1, 2**63 - 1])
def test_nobody_is_led_to_the_end_of_all_numbers(
    seen: SeenRelease, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    forward = after(seen, number=number)
    reason = "gap" if number <= MOST_RELEASES else "number"
    assert reason_of(forward, DIRECTORY, seen) == reason
    if reason == "number":  # nor is a home that knows nothing yet
        assert reason_of(forward) == "number"
    accept(after(seen), DIRECTORY, seen)
    # The control: where numbers need only rise, no honest release is ever taken again.
    monkeypatch.setattr(accept_module, "check_order", _rises)
    monkeypatch.setattr(chain_module, "MOST_RELEASES", 2**63 - 1)
    led = accept(forward, DIRECTORY, seen).seen
    assert led.number == number
    assert reason_of(after(seen), DIRECTORY, led) == "older"


def _rises(manifest: ReleaseManifest, last: SeenRelease) -> None:
    """Check the order as it was checked before gaps were walked."""
    if manifest.number < last.number:
        raise ReleaseError("an older release", reason="older", hint="none")


def test_the_order_of_releases(seen: SeenRelease) -> None:
    accept(after(seen), DIRECTORY, seen)
    assert reason_of(after(seen, previous=NONE), DIRECTORY, seen) == "chain"
    assert reason_of(after(seen, round=1), DIRECTORY, seen) == "round"
    assert reason_of(after(seen, number=1, homes=9), DIRECTORY, seen) == "fork"
    later = replace(seen, number=5)
    assert reason_of(after(seen), DIRECTORY, later) == "older"


def test_releases_of_others(seen: SeenRelease) -> None:
    foreign = ServerKeys(b"x" * 32)
    payload = draft(1).payload
    assert reason_of(signed(base(), payload, foreign)) == "signature"
    accept(signed(base(), payload, foreign), replace(DIRECTORY, server=foreign.public))
    assert reason_of(signed(base(), payload), replace(DIRECTORY, server=b"k" * 32)) == "signature"
    assert reason_of(after(seen, fleet=b"g" * 16), DIRECTORY, seen) == "fleet"
    # What the server signs elsewhere is no manifest of a release.
    body = DIRECTORY.to_bytes()
    other = Package(signed=Signed(body=body, signature=SERVER.sign(body)), payload=payload)
    assert reason_of(other.to_release()) == "format"


def test_a_server_with_a_new_key_begins_anew(shelf: Shelf) -> None:
    last = accept(shelf.registry.package(), DIRECTORY).seen
    assert (last.number, last.server) == (3, SERVER.public)
    new = ServerKeys(b"n" * 32)
    later = replace(DIRECTORY, epoch=2, server=new.public)
    begun = signed(base(), draft(1).payload, new)
    first = accept(begun, later, last).seen
    assert (first.number, first.server) == (1, new.public)
    # From then on its releases are in order again, and the old key's count no more.
    assert reason_of(shelf.registry.package(), later, first) == "signature"
    assert reason_of(begun, later, replace(first, number=2)) == "older"
    # A directory that names the old key again finds the home where it was with that key.
    again = replace(DIRECTORY, epoch=3)
    assert reason_of(shelf.registry.package(2), again, last) == "older"
    assert accept(shelf.registry.package(3), again, last).seen == last


def test_what_was_taken_is_read_back(shelf: Shelf) -> None:
    data = shelf.registry.package(2)
    taken = accept(data, DIRECTORY)
    read = recall(data, server=SERVER.public, fleet=DIRECTORY.fleet)
    assert (read.manifest, read.seen) == (taken.manifest, taken.seen)
    assert read.model.flat.tobytes() == numbers(2).tobytes()
    for server, fleet, reason in (
        (b"k" * 32, DIRECTORY.fleet, "signature"),
        (SERVER.public, b"g" * 16, "fleet"),
    ):
        with pytest.raises(ReleaseError) as caught:
            recall(data, server=server, fleet=fleet)
        assert caught.value.reason == reason


def test_models_of_another_layout(seen: SeenRelease) -> None:
    wide = Layout(("w",), ((3,),))
    data = encode(model(0, wide), "float32")[0]
    honest = after(seen, data=data, layout=bytes.fromhex(wide.hash))
    assert accept(honest, DIRECTORY, seen, layout=wide.hash).model.layout == wide
    assert reason_of(honest, DIRECTORY, seen, layout=LAYOUT.hash) == "layout"
    assert reason_of(after(seen, data=data), DIRECTORY, seen, layout=LAYOUT.hash) == "layout"
    assert reason_of(after(seen), DIRECTORY, seen, layout="") == "layout"


def test_payloads_that_are_none(seen: SeenRelease) -> None:
    assert reason_of(after(seen, payload=b"p" * 32), DIRECTORY, seen) == "altered"
    assert reason_of(after(seen, data=b""), DIRECTORY, seen) == "format"
    assert reason_of(after(seen, storage="int8"), DIRECTORY, seen) == "format"
    assert reason_of(after(seen, storage="int4"), DIRECTORY, seen) == "format"


def flips(data: bytes) -> Iterator[tuple[int, bytes]]:
    for place in range(len(data)):
        yield place, data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]


@pytest.mark.long
@pytest.mark.parametrize("storage", FORMATS)
def test_every_flipped_bit_is_refused(storage: str) -> None:
    made = draft(1, storage=storage)
    manifest = ReleaseManifest.of(made, fleet=DIRECTORY.fleet, number=1, previous=NONE)
    data = signed(manifest, made.payload)
    accept(data, DIRECTORY)
    body, payload = data.index(manifest.to_bytes()), data.index(made.payload)
    signature = body + len(manifest.to_bytes()) + 2  # two bytes say how long it is
    assert payload == len(data) - len(made.payload)
    for place, flipped in flips(data):
        if place < 17:
            expected = {"foreign"}
        elif place < 25:
            expected = {"truncated", "altered"}  # a length
        elif body <= place < signature - 2 or signature <= place < signature + 64:
            expected = {"signature"}
        else:
            expected = {"altered"}
        assert reason_of(flipped) in expected, place


@pytest.mark.long
def test_every_other_length_is_refused() -> None:
    data = signed(base(), draft(1).payload)
    for end in range(len(data)):
        assert reason_of(data[:end]) == "truncated"
    assert reason_of(data + b"\0") == "altered"
    assert reason_of(b"\0" + data) == "foreign"


WHOLE = signed(base(), draft(1).payload)


@settings(max_examples=share_of(150))
@given(
    st.binary(max_size=80)
    | st.builds(
        lambda place, piece: WHOLE[:place] + piece + WHOLE[place + len(piece) :],
        st.integers(0, 800),
        st.binary(max_size=40),
    )
)
def test_only_typed_errors_come_out_of_foreign_bytes(data: bytes) -> None:
    if data != WHOLE:  # a piece may be what was there
        with pytest.raises(ReleaseError):
            accept(data, DIRECTORY)


real = st.floats(allow_nan=True, width=64) | st.integers() | st.text(max_size=3)


@pytest.mark.long
@settings(max_examples=share_of(100))
@given(
    st.dictionaries(
        st.sampled_from(["number", "round", "time", "homes", "restores", "run", "storage"]),
        st.integers(-1, 2**63) | st.text(max_size=3) | st.none() | st.binary(max_size=32),
        max_size=3,
    ),
    st.dictionaries(st.sampled_from(["rmse", "max_error", "share"]), real, max_size=2),
)
def test_only_typed_errors_come_out_of_signed_nonsense(
    changes: dict[str, Any], fidelity: dict[str, Any]
) -> None:
    manifest = base()
    odd = replace(manifest, fidelity=replace(manifest.fidelity, **fidelity), **changes)
    try:
        data = signed(odd, draft(1).payload)
    except (ValueError, OverflowError):  # msgpack cannot write it, so nobody can send it
        return
    try:
        taken = accept(data, DIRECTORY)
    except FedHomeError:
        return
    assert taken.manifest == odd
    assert 0 <= taken.manifest.fidelity.share <= 1
    assert 0 <= taken.manifest.fidelity.rmse < float("inf")


def test_a_manifest_without_slices_or_scores_is_the_bytes_that_it_was() -> None:
    made = ReleaseManifest.of(draft(1), fleet=DIRECTORY.fleet, number=1, previous=NONE)
    tier = ReleaseTier(name="sensor", units=(2,))
    sliced = replace(made, slices=(ReleaseSlices(rule="nested", tiers=(tier,)),))
    worth = TierScore(tier="sensor", homes=5, score=-0.25, tuned=(0.5,))
    scored = replace(sliced, scores=(ReleaseScores(score="skill", tiers=(worth,)),))
    changes = replace(made, learns=("change",))
    for manifest, fields in ((made, 18), (sliced, 19), (scored, 20), (changes, 21)):
        plain = msgpack.unpackb(manifest.to_bytes())
        assert len(plain) == fields
        assert ReleaseManifest.from_bytes(manifest.to_bytes()) == manifest
        assert manifest.learnt == ("change" if fields == 21 else "level")
        if fields < 21:
            with pytest.raises(WireError, match="one form"):
                ReleaseManifest.from_bytes(msgpack.packb([*plain, []]))


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_no_part_of_a_manifest(score: float) -> None:
    worth = TierScore(tier="sensor", homes=5, score=score)
    with pytest.raises(WireError, match="not finite"):
        TierScore.from_bytes(worth.to_bytes())


@pytest.mark.parametrize("word", ["level", "", 1, None])
def test_what_else_a_model_learns_is_no_part_of_a_manifest(word: object) -> None:
    made = ReleaseManifest.of(draft(1), fleet=DIRECTORY.fleet, number=1, previous=NONE)
    plain = msgpack.unpackb(made.to_bytes())
    with pytest.raises(WireError, match="is not known"):
        ReleaseManifest.from_bytes(msgpack.packb([*plain, [], [], [word]]))
