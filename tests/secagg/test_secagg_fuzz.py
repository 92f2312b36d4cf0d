"""Foreign bytes at every door: a typed error or a message that is written the same way again.

Each door gets valid bytes that were flipped, cut, spliced, lengthened, and changed inside (a
field of another type, size or range, an entry twice or not at all), and random ones. Where a
signature, a seal or a hash would turn all of them away at once, they are signed, sealed or
hashed anew: so does a server, a home or an owner who is the attacker.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from fedhome.errors import FedHomeError, WireError
from fedhome.fleet.admission import SERVER
from fedhome.fleet.entries import Anchor, entry_text, read_entry
from fedhome.fleet.owner_folder import DIRECTORY, RECORD, Fleet
from fedhome.fleet.server_secret import SERVER_FILE, server_keys
from fedhome.fleet.state_file import KEY, MARK, STATE, FileStore, _Inside, _Mark
from fedhome.keys.sealing import Scrypt, SealedFile, SealedHead, SealingKey
from fedhome.secagg import (
    Aggregator,
    Bundle,
    Directory,
    Form,
    HomeEntry,
    HomeKeys,
    HomeParty,
    HomeState,
    KeyRing,
    Manifest,
    MemoryStore,
    Pool,
    ShareChecks,
    ShareKey,
)
from fedhome.secagg.directory import Signed, _StoredKeys
from fedhome.secagg.share_checks import (
    FOUND_BYTES,
    HEAD_BYTES,
    WRONG,
    CheckAnswer,
    CheckRequest,
    Dispute,
    ShownKey,
)
from fedhome.secagg.state import (
    Opening,
    _Live,
    _Period,
    _Stored,
)
from fedhome.secagg.sum_messages import (
    Answer,
    Request,
    Upload,
    Vote,
    answer_statement,
    upload_statement,
    vote_statement,
)
from fedhome.store.checksummed import ChecksummedFile
from fedhome.wire.codec import Message
from helpers.rewritten import rewrite
from helpers.secagg_attacker import weaken
from helpers.secagg_mutations import changed, packed, unpacked
from helpers.secagg_world import NOW, Sum, World, expected

QUICK, MANY = 120, 4000  # inputs for each door
ENTRY = b"fedhome/enrol/1\0"


@dataclass(frozen=True)
class Door:
    """Where foreign bytes come in.

    Args:
        name: What reads them.
        seeds: Valid ones.
        read: Reads some; returns them as they are written again, or None.
    """

    name: str
    seeds: list[bytes]
    read: Callable[[bytes], bytes | None]


# --- the doors


def _messages(world: World) -> Iterator[Door]:
    sum_ = world.draw_up()
    for home in sum_.bundles:
        sum_.join(home)
    uploads = {home: sum_.upload(home) for home in sum_.bundles}
    poll = sum_.aggregator.polls()["h00"]
    votes = {name: home.answer(poll, now=NOW) for name, home in world.homes.items()}
    for name, vote in votes.items():
        sum_.aggregator.receive_vote(name, vote)
    requests = sum_.aggregator.requests()
    answers = {name: world.homes[name].answer(asked, now=NOW) for name, asked in requests.items()}
    state = world.homes["h00"].state
    opening = next(iter(state.openings.values()))
    live = _Live(serial=3, key=b"k" * 32, blind=b"b" * 32)
    key = SealingKey(b"k" * 32)
    sealed = SealedFile.from_file(key.seal(b"s", purpose="p", name="n"), purpose="p", where="")
    seeds: list[tuple[type[Message], list[bytes]]] = [
        (Signed, [world.issued, sum_.signed]),
        (Directory, [world.directory.to_bytes()]),
        (HomeEntry, [entry.to_bytes() for entry in world.directory.homes]),
        (Manifest, [sum_.manifest.to_bytes()]),
        (Bundle, [bundle.to_bytes() for bundle in sum_.bundles.values()]),
        (Upload, list(uploads.values())),
        (Request, [poll, *requests.values()]),
        (Vote, list(votes.values())),
        (Answer, list(answers.values())),
        (Opening, [opening.to_bytes()]),
        (_Live, [live.to_bytes()]),
        (_Period, [_Period(period=7, secret=b"s" * 32).to_bytes()]),
        (_Stored, [_with_live(state)]),
        (_StoredKeys, [world.keys["h00"].to_bytes()]),
        (Scrypt, [Scrypt.fresh().to_bytes()]),
        (SealedHead, [sealed.head.to_bytes()]),
        (SealedFile, [sealed.to_bytes()]),
        (_Mark, [_Mark(identity=b"i" * 32, file=b"f" * 32).to_bytes()]),
        (Anchor, [Anchor(fleet=b"f" * 16, authority=b"a" * 32).to_bytes()]),
    ]
    for message, valid in seeds:
        yield Door(message.LABEL, valid, lambda data, to=message: to.from_bytes(data).to_bytes())  # type: ignore[misc]
    yield Door("Form", [packed(sum_.manifest.form.to_plain())], _form)
    yield Door("HomeState", [state.to_bytes()], _state)
    yield Door(
        "HomeKeys",
        [world.keys["h00"].to_bytes()],
        lambda data: HomeKeys.from_bytes(data).to_bytes(),
    )
    yield from _server(sum_, uploads, votes["h00"], answers)


def _with_live(state: HomeState) -> bytes:
    live = (_Live(serial=3, key=b"k" * 32, blind=b"b" * 32),)
    return replace(_Stored.from_bytes(state.to_bytes()), live=live).to_bytes()


def _state(data: bytes) -> None:
    # The order of what is in it may be another: nothing is hashed of a state, it is sealed.
    state = HomeState.from_bytes(data)
    assert HomeState.from_bytes(state.to_bytes()) == state


def _form(data: bytes) -> bytes:
    plain = unpacked(data)
    written = packed(Form.from_plain(plain).to_plain())
    return data if written == packed(plain) else written  # other forms of msgpack are not its own


def _server(
    sum_: Sum, uploads: dict[str, bytes], voted: bytes, answers: dict[str, bytes]
) -> Iterator[Door]:
    """Yield what comes to the server from a home, which may sign what it likes."""
    world = sum_.world
    keys = world.keys["h00"]

    def bundle(data: bytes) -> None:
        made = Bundle.from_bytes(data)
        made = replace(made, signature=keys.sign(made.head.statement(world.directory.hash)))
        Pool(world.directory).add("h00", made.to_bytes())

    def aggregator(*homes: str) -> Aggregator:
        fresh = Aggregator(sum_.signed, world.directory, sum_.bundles, verify=world.verify)
        for home in homes:
            fresh.receive(home, uploads[home])
        return fresh

    def upload(data: bytes) -> None:
        sent = Upload.from_bytes(data)
        digest = hashlib.sha256(sent.vector).digest()
        signature = keys.sign(upload_statement(sent.manifest, digest))
        started.receive("h00", replace(sent, signature=signature).to_bytes())
        started._arrivals.clear()

    def vote(data: bytes) -> None:
        sent = Vote.from_bytes(data)
        signature = keys.sign(vote_statement(sent.manifest, sent.present))
        polled.receive_vote("h00", replace(sent, signature=signature).to_bytes())

    def answer(data: bytes) -> None:
        sent = Answer.from_bytes(data)
        message = answer_statement(sent.manifest, sent.present, sent.shares)
        polled.receive_opening("h00", replace(sent, signature=keys.sign(message)).to_bytes())
        others = [(home, good) for home, good in answers.items() if home != "h00"]
        for home, good in others[:4]:
            polled.receive_opening(home, good)
        opened = polled.open()  # one of five answers may be bad: four are enough
        polled._opened, polled._shares, polled._total = False, {}, masked.copy()
        assert np.array_equal(opened.words, sum_.expected)

    started, polled = aggregator(), aggregator(*uploads)
    polled.polls()
    masked = polled._total.copy()
    yield Door("Pool.add", [sum_.bundles["h00"].to_bytes()], bundle)
    yield Door("Aggregator.receive", [uploads["h00"]], upload)
    yield Door("Aggregator.receive_vote", [voted], vote)
    yield Door("Aggregator.receive_opening", [answers["h00"]], answer)


def _homes(world: World) -> Iterator[Door]:
    """Yield what comes to homes, from a server and an owner who may sign what they like."""
    sum_ = world.draw_up()
    before = {name: home.state for name, home in world.homes.items()}
    for name in sum_.bundles:
        sum_.join(name)
        sum_.upload(name)
    poll = sum_.aggregator.polls()["h00"]
    sum_.vote()
    request = sum_.aggregator.requests()["h00"]
    member = world.homes["h00"]
    voted = member.state
    joiner = HomeParty(
        world.keys["h01"],
        world.authority.public,
        state=before["h01"],
        store=MemoryStore(),
        policy=world.policy,
    )
    joiner.renew(world.issued)

    def renew(data: bytes) -> None:
        body = Signed(body=data, signature=world.authority.sign(data)).to_bytes()
        home = HomeParty(
            world.keys["h00"], world.authority.public, state=HomeState(), store=MemoryStore()
        )
        home.renew(body)
        home.bundle(now=NOW)

    def join(data: bytes) -> None:
        joiner.state = before["h01"]
        signed = Signed(body=data, signature=world.server.sign(data)).to_bytes()
        for purpose in ("train", "evaluate"):
            joiner.join(signed, now=NOW, **{**expected(world.turn), "purpose": purpose})

    def answer(data: bytes) -> None:
        member.state = voted
        member.answer(data, now=NOW)

    def answer_signed_anew(data: bytes) -> None:
        member.state = replace(voted, openings={})
        signed = Signed(body=data, signature=world.server.sign(data)).to_bytes()
        for asked in (poll, request):
            changed_one = replace(Request.from_bytes(asked), manifest=signed)
            member.answer(changed_one.to_bytes(), now=NOW)

    yield Door("Home.renew", [world.directory.to_bytes()], _but_for("no-ring", renew))
    yield Door("Home.join", [sum_.manifest.to_bytes()], _but_for("purpose", join))
    yield Door("Home.answer", [poll, request], answer)
    yield Door("Home.answer, manifest", [sum_.manifest.to_bytes()], answer_signed_anew)


def _checks(world: World) -> Iterator[Door]:
    """Yield what comes of rings and of checks, of parties that may sign what they like."""
    ring, place = world.ring(), 1
    member = world.directory.members[place]
    maker = next(home for home in world.homes if home != member)
    bundle = Bundle.from_bytes(world.homes[maker].bundle(ring.to_bytes(), now=NOW))
    request = CheckRequest.of([bundle], place)
    answer = CheckAnswer.from_bytes(world.homes[member].check(request.to_bytes(), now=NOW))
    dispute = Dispute(bundle=bundle, answer=_signed(world, replace(answer, values=WRONG)), place=0)
    shown = world.homes[maker].show_key(dispute.to_bytes(), now=NOW)
    state = world.homes[maker].state
    seeds: list[tuple[type[Message], list[bytes]]] = [
        (ShareKey, [key.to_bytes() for key in ring.keys]),
        (KeyRing, [ring.to_bytes()]),
        (CheckRequest, [request.to_bytes()]),
        (CheckAnswer, [answer.to_bytes(), dispute.answer.to_bytes()]),
        (Dispute, [dispute.to_bytes()]),
        (ShownKey, [shown]),
    ]
    for message, valid in seeds:
        yield Door(message.LABEL, valid, lambda data, to=message: to.from_bytes(data).to_bytes())  # type: ignore[misc]

    def sealed(data: bytes) -> None:
        keys = []
        for key in KeyRing.from_bytes(data).keys:
            owner = world.keys.get(key.member)
            keys.append(replace(key, signature=owner.sign(key.statement)) if owner else key)
        world.homes[maker].state = replace(state, ring=b"")
        world.homes[maker].bundle(KeyRing(keys=tuple(keys)).to_bytes(), now=NOW)

    def check(data: bytes) -> None:
        asked = CheckRequest.from_bytes(data)
        heads = b""
        for number, (head, _) in enumerate(asked.parts()):
            owner = world.keys.get(head.home)
            signed = owner.sign(head.statement(world.directory.hash)) if owner else head.signature
            heads += asked.heads[number * HEAD_BYTES :][: HEAD_BYTES - 64] + signed
        found = world.homes[member].check(replace(asked, heads=heads).to_bytes(), now=NOW)
        assert len(CheckAnswer.from_bytes(found).values) == FOUND_BYTES * len(asked.homes)

    def show(data: bytes) -> None:
        said = Dispute.from_bytes(data)
        made, owner = said.bundle, world.keys.get(said.bundle.home)
        if owner is not None:
            made = replace(made, signature=owner.sign(made.head.statement(world.directory.hash)))
        said = replace(said, bundle=made, answer=_signed(world, said.answer))
        world.homes[maker].show_key(said.to_bytes(), now=NOW)

    def asking() -> ShareChecks:
        checks = ShareChecks(world.directory)
        checks.requests([bundle])
        return checks

    def receive(data: bytes) -> None:
        asking().receive(member, _signed(world, CheckAnswer.from_bytes(data)).to_bytes())

    def settle(data: bytes) -> None:
        checks = asking()
        checks.receive(member, dispute.answer.to_bytes())
        checks.settle(dispute, data, {ring.hash: ring})
        assert (member in checks.liars) != (maker in checks.cheats)
        assert data != shown or checks.liars

    yield Door("Home.bundle", [ring.to_bytes()], sealed)
    yield Door("Home.check", [request.to_bytes()], check)
    yield Door("Home.show_key", [dispute.to_bytes()], show)
    yield Door("ShareChecks.receive", [answer.to_bytes(), dispute.answer.to_bytes()], receive)
    yield Door("ShareChecks.settle", [shown], settle)


def _signed(world: World, answer: CheckAnswer) -> CheckAnswer:
    keys = world.keys.get(answer.member)
    return replace(answer, signature=keys.sign(answer.statement)) if keys else answer


def _but_for(reason: str, read: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Take one refusal, which the last of several calls always meets, for none."""

    def reading(data: bytes) -> None:
        try:
            read(data)
        except FedHomeError as error:
            if getattr(error, "reason", "") != reason:
                raise

    return reading


def _files(folder: Path, undo: ExitStack) -> Iterator[Door]:
    keys = HomeKeys.create("oak")
    home = folder / "oak"
    with FileStore.create(home, keys) as store:
        state, mark = (home / STATE).read_bytes(), (home / MARK).read_bytes()
        key, newer = store._key, replace(store.state, version=1)
    inside = _Inside(keys=keys.to_bytes(), state=newer.to_bytes()).to_bytes()

    def placed(path: Path, sound: bytes, read: Callable[[], object]) -> Callable[[bytes], None]:
        def reading(data: bytes) -> None:
            rewrite(path, data)
            try:
                read()
            finally:
                rewrite(path, sound)

        return reading

    def opened() -> None:
        FileStore.open(home).close()

    def sealed_anew(data: bytes) -> None:
        placed(home / STATE, state, opened)(key.seal(data, purpose="home's state", name="oak"))
        rewrite(home / MARK, mark)  # it was brought up to a state that was read

    yield Door("state file", [state], placed(home / STATE, state, opened))
    yield Door("state file, inside", [inside], sealed_anew)
    yield Door("mark file", [mark], placed(home / MARK, mark, opened))
    key_file = (home / KEY).read_bytes()
    yield Door("key file", [key_file], placed(home / KEY, key_file, opened))
    yield Door(
        "sealed file",
        [state],
        lambda data: SealedFile.from_file(data, purpose="home's state", where="").to_file(),
    )
    yield from _texts(keys)
    yield from _owner(folder / "fleet", undo, placed)


def _texts(keys: HomeKeys) -> Iterator[Door]:
    def text(read: Callable[[str], object]) -> Callable[[bytes], None]:
        return lambda data: (read(data.decode("utf-8", "surrogateescape")), None)[1]

    def entry(data: bytes) -> None:
        signed = Signed(body=data, signature=keys.sign(ENTRY + data)).to_bytes()
        line = "fedhome-home-1:" + base64.b64encode(signed).decode()
        assert read_entry(line).to_bytes() == data

    anchor = Anchor(fleet=b"f" * 16, authority=b"a" * 32).to_text().encode()
    yield Door("entry", [entry_text(keys).encode()], text(read_entry))
    yield Door("entry, inside", [keys.entry().to_bytes()], entry)
    yield Door("anchor", [anchor], text(Anchor.from_text))


def _owner(
    folder: Path,
    undo: ExitStack,
    placed: Callable[[Path, bytes, Callable[[], object]], Callable[[bytes], None]],
) -> Iterator[Door]:
    fleet = Fleet.create(folder, "correct horse battery")
    fleet.add(*(HomeKeys.create(f"h{number}").entry() for number in range(6)))
    fleet.sign("correct horse battery", corrupt=0.0)
    fleet.close()
    record, directory = (folder / RECORD).read_bytes(), (folder / DIRECTORY).read_bytes()
    server = (folder / SERVER / SERVER_FILE).read_bytes()

    def reopened() -> None:
        with Fleet.open(folder) as again:
            again.changes()

    copy = Path(shutil.copytree(folder, folder.with_name("copy")))
    held = undo.enter_context(Fleet.open(copy))

    def hashed_anew(data: bytes) -> None:
        checked = ChecksummedFile(body=data, hash=hashlib.sha256(data).digest())
        placed(folder / RECORD, record, reopened)(checked.to_bytes())

    body = ChecksummedFile.from_bytes(record).body
    yield Door("fleet file", [record], placed(folder / RECORD, record, reopened))
    yield Door("fleet file, inside", [body], hashed_anew)
    yield Door("directory file", [directory], placed(copy / DIRECTORY, directory, held.last))
    yield Door(
        "server's file",
        [server],
        placed(folder / SERVER / SERVER_FILE, server, lambda: server_keys(folder / SERVER)),
    )


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Door]]:
    with ExitStack() as undo, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # what is written here may be lost
        found = [
            *_messages(World.of(6)),
            *_homes(World.of(6)),
            *_checks(World.of(6, bundles=0)),
            *_files(tmp_path_factory.mktemp("files"), undo),
        ]
        yield found


# --- tests


def _fuzz(doors: list[Door], count: int, seed: int) -> int:
    others = [seed for door in doors for seed in door.seeds]
    done = 0
    for number, door in enumerate(doors):
        rng = random.Random(seed * 1000 + number)  # noqa: S311 - not for secrets
        read = 0
        for turn in range(count):
            first = rng.choice(door.seeds)
            data = changed(rng, first, others) if turn else first
            try:
                again = door.read(data)
            except FedHomeError:
                assert turn, f"{door.name} refuses what is valid"
                continue
            except Exception as error:
                shown = data.hex() if len(data) < 4000 else f"{len(data)} bytes"
                raise AssertionError(f"{door.name} raised {error!r} for {shown}") from error
            read += 1
            if again is not None:
                assert again == data, f"{door.name} writes {data.hex()} as {again.hex()}"
        assert read < count, f"{door.name} takes anything"
        done += count
    return done


@pytest.mark.long
def test_foreign_bytes_are_refused_or_come_back_the_same(doors: list[Door]) -> None:
    assert _fuzz(doors, QUICK, seed=1) >= 4000


@pytest.mark.long
@pytest.mark.parametrize(
    ("where", "check", "instead", "found"),
    [
        ("_unpacked", "if not same:", "if False:", "writes"),
        ("_unpacked", "        ValueError,\n", "", "raised"),
        ("from_bytes", "cls._read(cls._unpacked(", "cls(*cls._unpacked(", "raised"),
    ],
)
def test_it_finds_a_door_that_lets_something_through(
    monkeypatch: pytest.MonkeyPatch,
    doors: list[Door],
    *,
    where: str,
    check: str,
    instead: str,
    found: str,
) -> None:
    weaken(monkeypatch, Message, where, check, instead)
    with pytest.raises(AssertionError, match=found):
        _fuzz(doors, QUICK, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_very_many_foreign_bytes(doors: list[Door]) -> None:
    assert _fuzz(doors, MANY, seed=2) >= 100_000


@pytest.mark.long
@pytest.mark.parametrize("nested", [1, 6, 500])
@pytest.mark.parametrize("header", [b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"])
def test_a_length_that_is_claimed_takes_no_memory(header: bytes, nested: int) -> None:
    most = 1 << 20
    for message in (Bundle, Vote, Request, Directory, KeyRing, CheckRequest, CheckAnswer, Dispute):
        size = min(message.MOST, most)
        for claimed in (size - 10, 1 << 16, (1 << 32) - 1):
            data = ((header + claimed.to_bytes(4, "big")) * nested + b"\xc0" * size)[:size]
            tracemalloc.start()
            try:
                with pytest.raises(WireError):
                    message.from_bytes(data)
                assert tracemalloc.get_traced_memory()[1] < 64 * size + (1 << 20)
            finally:
                tracemalloc.stop()
