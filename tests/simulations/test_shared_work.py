"""What the homes of one process work out once is what each would alone; what is altered is seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from weakref import ref

import pytest

from fedhome.errors import WireError
from fedhome.keys.signing import Signer, signature_holds
from fedhome.secagg import Bundle, Policy
from fedhome.secagg.bundle import ROW_BYTES
from fedhome.secagg.seals import Seals, make_bundle
from fedhome.secagg.share_checks import row_hashes
from fedhome.secagg.sum_messages import Request
from fedhome.simulations.engines import shared_reads
from fedhome.simulations.engines.shared_reads import KnownKeys, KnownSignatures, Reading
from fedhome.simulations.secure.parties import LocalParties, PartyKeys
from helpers.secagg_world import World


@pytest.mark.parametrize("altered", ["key", "signature", "message"])
def test_a_signature_that_was_made_here_is_known_and_an_altered_one_is_not(altered: str) -> None:
    keys, known = KnownKeys.create("home"), KnownSignatures()
    keys.known = known
    one = {
        "key": keys.entry().identity,
        "signature": keys.sign(b"what it says"),
        "message": b"what it says",
    }
    assert known(**one)
    assert known._newer == {tuple(one.values())}
    other = bytearray(one[altered])
    other[0] ^= 1
    for _ in range(2):  # a refusal is not remembered, and no acceptance either
        assert not known(**{**one, altered: bytes(other)})
    assert known(**one)


def test_a_signature_from_elsewhere_is_checked_and_then_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known, signer, checked = KnownSignatures(), Signer.create(), list[bytes]()

    def counted(key: bytes, signature: bytes, message: bytes) -> bool:
        checked.append(message)
        return signature_holds(key, signature, message)

    monkeypatch.setattr(shared_reads, "signature_holds", counted)
    signature = signer.sign(b"said")
    assert [known(signer.public, signature, b"said") for _ in range(3)] == [True] * 3
    assert len(checked) == 1
    # Of two generations the older one is forgotten, and what is asked again stays.
    monkeypatch.setattr(shared_reads, "_MOST_SIGNATURES", 1)
    for number in range(4):
        known.made(b"", bytes([number]), b"")
        assert known(signer.public, signature, b"said")
    assert len(checked) == 1
    for number in range(2):
        known.made(b"", bytes([number]), b"")
    assert known(signer.public, signature, b"said")
    assert len(checked) == 2


def test_what_follows_from_the_same_bytes_is_worked_out_once_and_an_error_each_time() -> None:
    reading, done = Reading(Policy()), list[str]()

    def work(name: str) -> Callable[[], str]:
        def worked() -> str:
            done.append(name)
            if name == "fault":
                raise ValueError(name)
            return name

        return worked

    assert reading.once("a", b"1", work("first")) == "first"
    assert reading.once("a", b"1", work("second")) == "first"
    assert reading.once("b", b"1", work("third")) == "third"
    for _ in range(2):
        with pytest.raises(ValueError, match="fault"):
            reading.once("a", b"2", work("fault"))
    assert reading.once("a", b"1", work("fourth")) == "first"
    assert reading.once("a", b"3", work("fifth")) == "fifth"
    assert done == ["first", "third", "fault", "fault", "fifth"]


def test_of_messages_that_differ_in_their_end_the_rest_is_read_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, reading = list[bytes](), Reading(Policy())
    from_bytes = Request.from_bytes

    def counted(data: bytes, *, most: int | None = None) -> Request:
        read.append(data)
        return from_bytes(data, most=most)

    monkeypatch.setattr(Request, "from_bytes", counted)
    first = Request(manifest=b"m", present=b"p", arrivals=b"a", votes=b"v", sealed=b"first")
    second, third = replace(first, sealed=b"other"), replace(first, votes=b"w")
    for request in (first, second, first, third, second):
        assert reading.message(Request, request.to_bytes()) == request
    # The votes of the third one are others: it is read, and so is what came before it.
    assert read == [first.to_bytes(), third.to_bytes(), second.to_bytes()]
    with pytest.raises(WireError):
        reading.message(Request, second.to_bytes()[:-1])
    assert reading.message(Request, second.to_bytes()) == second


def test_a_homes_key_is_made_once_and_is_the_one_of_its_bytes() -> None:
    reading = Reading(Policy())
    private, public = reading.key(b"k" * 32)
    assert reading.key(b"k" * 32)[0] is private
    assert private.private_bytes_raw() == b"k" * 32
    assert public == private.public_key().public_bytes_raw()


@pytest.mark.parametrize("altered", ["statement", "row", "member", "fewer"])
def test_rows_are_named_once_for_member_and_server_and_altered_ones_anew(
    monkeypatch: pytest.MonkeyPatch, altered: str
) -> None:
    done = list[str]()

    def counted(statements: Sequence[bytes], rows: bytes, member: str) -> bytes:
        done.append(member)
        return row_hashes(statements, rows, member)

    monkeypatch.setattr(shared_reads, "row_hashes", counted)
    row, other_row = b"r" * ROW_BYTES, b"o" * ROW_BYTES
    reading, given = Reading(Policy()), ([b"s1", b"s2"], row + row, "m")
    for _ in range(2):
        assert reading.name_rows(*given) == row_hashes(*given)
    assert done == ["m"]
    other = {
        "statement": ([b"s1", b"s3"], given[1], "m"),
        "row": (given[0], row + other_row, "m"),
        "member": (given[0], given[1], "n"),
        "fewer": (given[0][:1], row, "m"),
    }[altered]
    assert reading.name_rows(*other) == row_hashes(*other)
    assert len(done) == 2


def test_a_bundle_that_was_written_here_is_known_once_and_an_altered_one_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World.of(3, bundles=0)
    reading = Reading(Policy())
    seals = reading.seals(world.keys["h00"], world.directory)
    given = {"secret": b"s" * 32, "ring": world.ring()}
    bundle, _ = make_bundle(world.keys["h00"], world.directory, seals, 1, **given)
    assert "dealt" in vars(bundle), "it was worked out as the bundle was made"
    server = reading.of_server
    data = reading.write(bundle)
    assert data == bundle.to_bytes()
    alone = Bundle.from_bytes(data)
    assert (alone, alone.dealt, alone.head) == (bundle, bundle.dealt, bundle.head)
    altered = data[:-1] + bytes([data[-1] ^ 1])
    assert server.read(Bundle, altered) == Bundle.from_bytes(altered) != bundle
    assert server.read(Bundle, data) is bundle
    again = server.read(Bundle, data)
    assert again == bundle
    assert again is not bundle
    with pytest.raises(WireError):
        server.read(Bundle, data[:-1])
    for kind, most in ((Request, None), (Bundle, len(data) - 1)):  # what is known is refused too
        with pytest.raises(WireError):
            server.read(kind, reading.write(bundle), most=most)
    monkeypatch.setattr(shared_reads, "_MOST_WRITTEN_BYTES", 2 * len(data))
    others = [
        make_bundle(world.keys["h00"], world.directory, seals, serial, **given)[0]
        for serial in (2, 3)
    ]
    data, *kept = [reading.write(one) for one in (bundle, *others)]
    assert server.read(Bundle, data) is not bundle, "no more are kept than have room"
    for one, written in zip(others, kept, strict=True):
        assert server.read(Bundle, written) is one


def test_no_bundle_is_kept_where_no_server_reads_it() -> None:
    """In a worker's process there are homes alone: a run of months would leave all of them."""
    parties = LocalParties({0: "h00"}, PartyKeys(bytes(32), Policy()))
    world = World.of(3, bundles=0)
    seals = Seals(world.keys["h00"], world.directory)
    given = {"secret": b"s" * 32, "ring": world.ring()}
    bundles = [
        make_bundle(world.keys["h00"], world.directory, seals, serial, **given)[0]
        for serial in (1, 2)
    ]
    write = parties.parties[0].machine._workings.write
    data = write(bundles[0])
    assert data == bundles[0].to_bytes()
    gone = ref(bundles.pop(0))
    assert gone() is None, "the homes of a process of their own keep none"
    server = parties.workings
    data = write(bundles[0])
    kept = ref(bundles.pop(0))
    assert server.read(Bundle, data) is kept(), "the control: beside a server"
