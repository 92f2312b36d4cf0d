"""Attacks on homes: each fails against the code, and works on a copy without one check.

Together with `test_secagg_attacks_committee` this is the whole list, in the order of the
protocol's own; there are the lines that are missing here.

==============================  ==================================================================
attack                          what stops it (taken out: the attack works)
==============================  ==================================================================
substituted key                 neighbours' keys are signed; so is every arrival
roster below the minimum        the home's own smallest cohort
duplicate home                  a roster names each home once
replayed manifest               its number is recorded, and the bundle gone, before anything is sent
bundle used twice               a bundle leaves the state when its home joins
altered manifest                the server's signature
different models                the manifest's digest, with the model's hash in it, salts masks
sum over one home               the fewest homes that the home's policy allows
masks uniform                   a chi-square test, which words without masks fail
gradient inversion              the masks
state restored from a backup    the mark beside the state
crash before the upload         the state is saved first
==============================  ==================================================================
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray
from scipy.stats import chi2

from fedhome.errors import ManifestError, OpeningError, StateError
from fedhome.fleet.state_file import MARK, STATE, FileStore
from fedhome.secagg import FixedPoint, Form, HomeParty, HomeState, Manifest, Policy
from fedhome.secagg import member as committee_member
from fedhome.secagg.masks import add_masks, self_seed
from fedhome.secagg.seals import Seals, make_bundle
from helpers.secagg_attacker import Eve, eve_of, join, refused, send, stranger, weaken, words_of
from helpers.secagg_world import Sum, World, form_of

NEVER = 1e-9  # chance that a test of randomness fails although all is well
SIGNED_KEYS = "not self._verify_head(identity, head.signature, statement)"
JOINED = "return counted._with(sum_number=sum_number, live=live, spent=spent)"


def test_substituted_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.of(6)
    bundles = list(world.pool.take(world.homes).values())
    own = {place: X25519PrivateKey.generate() for place in range(1, 6)}
    for place, key in own.items():
        bundles[place] = replace(bundles[place], public=key.public_key().public_bytes_raw())
    signed = world.manifest(dict(zip(world.homes, bundles, strict=True)), turn=1).sign(world.server)
    eve = Eve(world, signed, bundles)
    eve.keys = {place: key.private_bytes_raw() for place, key in own.items()}

    refused(ManifestError, "neighbour-signature", lambda: join(world, "h00", signed))
    weaken(monkeypatch, HomeParty, "_seeds", SIGNED_KEYS)
    sent = send(eve, {0})
    for place in own:
        eve.play(place, stranger())
    # No other home signs for a sum in which its own key is not its own: a second wall.
    refused(ManifestError, "own-bundle", lambda: join(world, "h01", signed))
    refused(OpeningError, "arrival-signature", lambda: eve.ask(range(6)))
    assert eve.bare(0) is None
    weaken(
        monkeypatch,
        committee_member,
        "check_arrivals",
        "not verify(directory.entries[home].identity, arrival[32:], signed)",
    )
    eve.ask(range(6))
    assert eve.has(0, sent[0])


def test_a_roster_below_the_minimum() -> None:
    few = World.of(2).draw_up(a_min=2, tau=1)
    refused(ManifestError, "roster", lambda: few.join("h00"))
    # Homes with a minimum of two: one that works for the server subtracts its own update.
    sum_ = World.of(2, policy=Policy(min_cohort=2, corrupt=0)).run(a_min=2, tau=1)
    assert sum_.opened is not None
    assert np.array_equal(sum_.opened.words - sum_.sent["h01"], sum_.sent["h00"])


def test_a_duplicate_home(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.of(8)
    # h01 works for the server: four bundles of one serial, all of them properly signed.
    keys = world.keys["h01"]
    seals = Seals(keys, world.directory)
    secret, ring = os.urandom(32), world.ring()
    made = [
        make_bundle(keys, world.directory, seals, 1, secret=secret, ring=ring) for _ in range(4)
    ]
    bundles = [world.pool.take(["h00"])["h00"], *(bundle for bundle, _ in made)]
    numbered: Any = dict(enumerate(bundles))
    signed = world.manifest(numbered, turn=1, n_min=5, a_min=5).sign(world.server)
    eve = Eve(world, signed, bundles)
    eve.keys = {place: secrets.key for place, (_, secrets) in enumerate(made, 1)}

    refused(ManifestError, "duplicate", lambda: join(world, "h00", signed))
    weaken(
        monkeypatch,
        Policy,
        "_roster_faults",
        "len(publics) < count or any(a >= b for a, b in pairwise(names))",
    )
    sent = send(eve, {0})
    for place in range(1, 5):
        eve.play(place, keys)
    eve.ask(range(5))
    assert eve.has(0, sent[0])


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        (JOINED, "replayed"),
        ("return counted._with(sum_number=sum_number)", "replayed"),
        ("return counted._with(live=live)", "bundle-used"),  # a second wall
        ("return counted", None),
    ],
)
def test_a_replayed_manifest(
    monkeypatch: pytest.MonkeyPatch, kept: str, reason: str | None
) -> None:
    weaken(monkeypatch, HomeState, "with_sum", JOINED, kept)
    eve = eve_of(World.of(5))
    sent = send(eve, {0})
    first = eve.words(0)
    if reason is not None:
        refused(ManifestError, reason, lambda: join(eve.world, "h00", eve.signed))
        return
    again = send(eve, {0}, seed=100)
    # The same masks hid two vectors: their difference is open.
    assert np.array_equal(eve.words(0) - first, again[0] - sent[0])


def test_a_bundle_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def second(eve: Eve) -> Eve:
        signed = replace(eve.manifest, turn=2, model_hash=b"x" * 32).sign(eve.world.server)
        return Eve(eve.world, signed, eve.bundles, eve.loot)

    eve = eve_of(World.of(6))
    send(eve, range(6))
    eve.ask(range(6))  # all as it should be: she has the secrets of all homes' own masks
    for home in eve.world.homes:
        refused(ManifestError, "bundle-used", lambda: join(eve.world, home, second(eve).signed))  # noqa: B023

    weaken(
        monkeypatch,
        HomeState,
        "with_sum",
        JOINED,
        "return counted._with(sum_number=sum_number)",
    )
    eve = eve_of(World.of(6))
    send(eve, range(6))
    eve.ask(range(6))
    again = second(eve)
    sent = send(again, range(6), seed=100)
    total = np.add.reduce([again.words(place) for place in range(6)], dtype=np.uint16)
    blinds = [again.secret(place, own_mask=True) or b"" for place in range(6)]
    add_masks(total, [], [self_seed(blind, again.manifest.digest) for blind in blinds])
    # A sum that no member was asked to open.
    assert np.array_equal(total, np.add.reduce(list(sent.values()), dtype=np.uint16))


def test_an_altered_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.of(8)
    sum_ = world.draw_up()
    # Somebody on the line between server and homes wants a sum over fewer homes for himself.
    altered = replace(sum_.manifest, a_min=5, tau=4)
    forged = altered.sign(stranger())
    for home in world.homes:
        refused(ManifestError, "signature", lambda: join(world, home, forged))  # noqa: B023
    weaken(
        monkeypatch,
        Manifest,
        "verify",
        "not verify(directory.server, signed.signature, signed.body)",
    )
    for machine in world.homes.values():
        machine._read_manifest = Manifest.verify
    stolen = Sum(world, sum_.bundles, forged)
    for home in list(world.homes)[:5]:
        stolen.join(home)
        stolen.upload(home)
    stolen.answer()
    assert np.array_equal(stolen.open().words, stolen.expected)


def test_different_models_for_different_homes(monkeypatch: pytest.MonkeyPatch) -> None:
    # Pasquini et al., "Eluding secure aggregation", CCS 2022: all homes but one get a model
    # whose gradients vanish, so that the sum is the update of that one.
    def total(world: World, salt: bytes | None) -> tuple[NDArray[Any], NDArray[Any]]:
        blinds = [home.state.live[1].blind for home in world.homes.values()]
        dead = eve_of(world)
        other = replace(dead.manifest, model_hash=b"x" * 32)
        eve = Eve(world, other.sign(world.server), dead.bundles)
        words = words_of(other, 1)
        eve.take(0, join(world, "h00", eve.signed, model=b"x" * 32).upload(words.copy()))
        for place, home in enumerate(world.homes):
            if place:
                dead.take(place, join(world, home, dead.signed).upload(np.zeros_like(words)))
        added = sum((dead.words(place) for place in range(1, 6)), start=eve.words(0))
        # The most that she could have: the secrets of all homes' own masks.
        salts = [salt or one.manifest.digest for one in (eve, *[dead] * 5)]
        add_masks(added, [], [self_seed(*pair) for pair in zip(blinds, salts, strict=True)])
        return added, words

    added, words = total(World.of(6), None)
    assert np.mean(added == words) < 0.5  # of noise, one word in 65 536 is
    weaken(monkeypatch, HomeParty, "_seeds", "salt = manifest.digest", "salt = bytes(32)")
    added, words = total(World.of(6), bytes(32))
    assert np.array_equal(added, words)


def test_a_sum_over_one_home(monkeypatch: pytest.MonkeyPatch) -> None:
    eve = eve_of(World.of(8), a_min=1, tau=0)
    refused(ManifestError, "a-min", lambda: join(eve.world, "h00", eve.signed))
    weaken(monkeypatch, Policy, "_sum_faults", "not least <= manifest.a_min <= count")
    sent = send(eve, {0})
    sum_ = Sum(eve.world, {bundle.home: bundle for bundle in eve.bundles}, eve.signed)
    sum_.aggregator.receive("h00", eve.uploads[0].to_bytes())
    sum_.answer()
    assert np.array_equal(sum_.open().words, sent[0])


def _unlike_uniform(words: NDArray[Any]) -> float:
    """Return the chance that bytes as uneven as these are uniform (Pearson's chi-square)."""
    counts = np.bincount(np.frombuffer(words.tobytes(), np.uint8), minlength=256)
    expected = counts.sum() / 256
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), 255))


@pytest.mark.parametrize("bits", [9, 12, 20])  # words of 16, 64 and 32 bits
def test_masked_words_are_uniform(bits: int) -> None:
    eve = eve_of(World.of(5), form=form_of(60_000, bits=bits))
    sent = send(eve, {0, 1})
    for place in (0, 1):
        assert _unlike_uniform(eve.words(place)) > NEVER
        assert _unlike_uniform(sent[place]) < NEVER
    # Nor does one mask tell anything of another.
    assert _unlike_uniform(eve.words(0) ^ eve.words(1)) > NEVER


def test_gradient_inversion() -> None:
    # One layer with softmax: the gradient of a row of weights is (p - y) times the input, that of
    # its bias is p - y. So a home that trained on one sample shows it (Phong et al., "Privacy-
    # preserving deep learning via additively homomorphic encryption", TIFS 2018, section 3).
    inputs, classes = 784, 10
    rng = np.random.default_rng(5)
    image = np.clip(rng.normal(0.5, 0.4, inputs), 0, 1)
    logits = rng.normal(0, 0.05, (classes, inputs)) @ image
    error = np.exp(logits - logits.max())
    error /= error.sum()
    error[3] -= 1
    update = -0.1 * np.concatenate([np.outer(error, image).ravel(), error]).astype(np.float32)
    form = Form(update.size, b"l" * 32, FixedPoint(9, 0.1, "linf", 1), (), 128)
    words = form.encode(update[None], np.array([1]), np.zeros((1, 0)), [bytes(32)])[0]

    eve = eve_of(World.of(5), form=form)
    joined = join(eve.world, "h00", eve.signed)
    eve.take(0, joined.upload(words.copy()))

    def likeness(seen: NDArray[Any]) -> float:
        elements = form.packing.unpack(seen, elements=form.scalar_elements + update.size, homes=1)
        mean = form.fixed.mean(elements[form.scalar_elements :], 1)
        rows, biases = mean[:-classes].reshape(classes, inputs), mean[-classes:]
        row = int(np.abs(biases).argmax())
        return float(np.corrcoef(rows[row] / biases[row], image)[0, 1])

    assert likeness(words) > 0.99
    # Of noise, 784 numbers correlate by 0.036 (one standard deviation).
    assert abs(likeness(eve.words(0))) < 0.3


def _home_on_disk(world: World, folder: Path) -> FileStore:
    """Let h00 keep its state in a folder."""
    store = FileStore.create(folder, world.keys["h00"], state=world.homes["h00"].state)
    _start(world, store)
    return store


def _start(world: World, store: FileStore) -> None:
    home = HomeParty(
        store.keys, world.authority.public, state=store.state, store=store, policy=world.policy
    )
    home.renew(world.issued)
    world.homes["h00"] = home


def test_a_state_restored_from_an_old_backup(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World.of(5)
    with _home_on_disk(world, tmp_path):
        backup = (tmp_path / STATE).read_bytes()
        eve = eve_of(world)
        sent = send(eve, {0})
        first = eve.words(0)
    (tmp_path / STATE).write_bytes(backup)
    refused(StateError, "rolled-back", lambda: FileStore.open(tmp_path))
    weaken(
        monkeypatch,
        FileStore,
        "_behind",
        "not mine or last > version or (last == version and not same)",
    )
    with FileStore.open(tmp_path) as store:
        _start(world, store)
        again = send(eve, {0}, seed=100)
    assert np.array_equal(eve.words(0) - first, again[0] - sent[0])
    assert (tmp_path / MARK).exists()


def test_a_crash_between_joining_and_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(eve: Eve) -> tuple[NDArray[Any], NDArray[Any]]:
        sent = send(eve, {0})
        first = eve.words(0)
        eve.world.restart("h00")
        again = send(eve, {0}, seed=100)
        return eve.words(0) - first, again[0] - sent[0]

    refused(ManifestError, "replayed", lambda: twice(eve_of(World.of(5))))
    weaken(
        monkeypatch,
        HomeParty,
        "join",
        "self._commit(self.state.with_sum(manifest.turn, serial, entry, spent=spent))",
        "pass",
    )
    seen, difference = twice(eve_of(World.of(5)))
    assert np.array_equal(seen, difference)
