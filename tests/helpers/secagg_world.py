"""A fleet in memory that adds up vectors with the real protocol: for tests, attacks, benchmarks.

::

    world = World.of(5)
    run = world.run(drop={"h02"})          # a whole sum
    assert (run.opened.words == run.expected).all()

or step by step, so that something can go wrong in between::

    sum_ = world.draw_up()                 # takes bundles, signs the manifest
    sum_.join("h00")
    sum_.upload("h00")                     # ... for as many as should
    sum_.answer()                          # all members vote and answer, or those named
    opened = sum_.aggregator.open()

Keys come from ``os.urandom`` as in earnest; what is added up comes from a seed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.secagg import (
    Aggregator,
    Authority,
    Bundle,
    Directory,
    FixedPoint,
    Form,
    HomeKeys,
    HomeParty,
    HomeState,
    JoinedSum,
    KeyRing,
    Manifest,
    MemoryStore,
    OpenedSum,
    Policy,
    Pool,
    Scalar,
    ServerKeys,
    ShareKey,
    most_corrupt,
    signature_holds,
)
from fedhome.secagg.parameters import corrupt_among

NOW = 1_700_000_000
MODEL, LAYOUT, RUN, FLEET = b"m" * 32, b"l" * 32, b"r" * 16, b"f" * 16
LOSS = Scalar("loss", 0.0, 8.0, weighted=True)

SETTINGS = b"t" * 32

Words = NDArray[np.unsignedinteger[Any]]


def form_of(elements: int = 7, *, homes: int = 128, bits: int = 9, layout: bytes = LAYOUT) -> Form:
    """Return a form with one scalar."""
    return Form(elements, layout, FixedPoint(bits, 0.5, "linf", 50), (LOSS,), homes)


def model_of(turn: int) -> bytes:
    """Return the hash of the model that a sum is about: of each another one."""
    return MODEL[:-4] + turn.to_bytes(4, "big")


def expected(turn: int) -> dict[str, Any]:
    """Return what a home expects of the manifest of a sum."""
    return {
        "purpose": "train",
        "settings": SETTINGS,
        "model_hash": model_of(turn),
        "layout": LAYOUT,
    }


def names_of(count: int) -> list[str]:
    """Return names that sort as they are numbered."""
    return [f"h{number:0{max(2, len(str(count - 1)))}d}" for number in range(count)]


@dataclass
class World:
    """A fleet with all its parties.

    Args:
        authority: The owner's key.
        server: The server's keys.
        directory: As homes accepted it; ``issued`` is the same with its signature.
        issued: The signed directory.
        keys: Each home's keys.
        homes: Each home's machine.
        stores: Each home's store.
        pool: The server's bundles.
        policy: What homes insist on.
        turn: Of the last sum.
        now: What all clocks show, Unix time, s.
    """

    authority: Authority
    server: ServerKeys
    directory: Directory
    issued: bytes
    keys: dict[str, HomeKeys]
    homes: dict[str, HomeParty]
    stores: dict[str, MemoryStore]
    pool: Pool
    policy: Policy
    turn: int = 0
    now: float = NOW
    verify: Any = signature_holds

    @classmethod
    def of(
        cls,
        count: int = 5,
        *,
        policy: Policy | None = None,
        eligible: Collection[str] | None = None,
        committee: int | None = None,
        corrupt: int | None = None,
        threshold: int | None = None,
        seed: bytes = b"s" * 32,
        bundles: int = 1,
        remember: bool = False,
        tier: str = "",
    ) -> World:
        """Make a fleet of ``count`` homes.

        Args:
            count: Homes, named ``h00``, ``h01``, ...
            policy: What homes insist on.
            eligible: Homes that may serve; None: all.
            committee: Members; None: all eligible homes.
            corrupt: Corrupt members that are tolerated; None: the policy's share.
            threshold: Answers that open; None: as few as hold.
            seed: The epoch's.
            bundles: How many of each home wait in the pool.
            remember: Check each signature once for all parties, as simulations do.
            tier: Of all homes, by the directory.
        """
        policy = policy or Policy()
        authority, server = Authority.create(), ServerKeys.create()
        keys = {name: HomeKeys.create(name) for name in names_of(count)}
        serving = set(keys) if eligible is None else set(eligible)
        size = len(serving) if committee is None else committee
        likely = corrupt_among(len(serving), policy.corrupt)
        bad = most_corrupt(len(serving), likely, size, 40) if corrupt is None else corrupt
        directory = Directory(
            fleet=FLEET,
            epoch=1,
            expires=2**40,
            seed=seed,
            server=server.public,
            committee=size,
            corrupt=bad,
            threshold=(size + bad) // 2 + 1 if threshold is None else threshold,
            homes=tuple(
                own.entry(eligible=name in serving, tier=tier) for name, own in keys.items()
            ),
        )
        issued = authority.issue(directory)
        verify = lru_cache(maxsize=1 << 16)(signature_holds) if remember else signature_holds
        stores = {name: MemoryStore() for name in keys}
        homes = {
            name: HomeParty(
                own,
                authority.public,
                state=HomeState(),
                store=stores[name],
                policy=policy,
                verify=verify,
            )
            for name, own in keys.items()
        }
        world = cls(
            authority,
            server,
            directory,
            issued,
            keys,
            homes,
            stores,
            Pool(directory, verify=verify),
            policy,
            verify=verify,
        )
        for home in homes.values():
            home.renew(issued)
        for _ in range(bundles):
            world.refill()
        return world

    def ring(self, *, now: float | None = None) -> KeyRing:
        """Return the ring of the members' keys of the present period, of those that are here."""
        members = (self.homes[one] for one in self.directory.members if one in self.homes)
        keys = (
            ShareKey.from_bytes(member.share_key(now=self.now if now is None else now))
            for member in members
        )
        return KeyRing(keys=tuple(keys))

    def bundle(self, home: str, *, now: float | None = None) -> bytes:
        """Let a home make a bundle for the members of the present period."""
        return self.homes[home].bundle(
            self.ring(now=now).to_bytes(), now=self.now if now is None else now
        )

    def refill(self, homes: Iterable[str] | None = None) -> None:
        """Let homes (all of them) put one more bundle into the pool."""
        ring = self.ring().to_bytes()
        for home in self.homes if homes is None else homes:
            self.pool.add(home, self.homes[home].bundle(ring, now=self.now))

    def next_epoch(self, **changes: Any) -> bytes:
        """Issue the next directory and start a new pool; homes do not have it yet."""
        last = self.directory
        follows = {"epoch": last.epoch + 1, "previous": last.hash}
        changed = {**follows, "seed": b"t" * 32, **changes}
        self.directory = replace(self.directory, **changed)
        self.issued = self.authority.issue(self.directory)
        self.pool = Pool(self.directory, verify=self.verify)
        return self.issued

    def restart(self, home: str) -> HomeParty:
        """Start a home's machine anew from what its store holds."""
        self.homes[home] = HomeParty(
            self.keys[home],
            self.authority.public,
            state=self.stores[home].load(),
            store=self.stores[home],
            policy=self.policy,
            verify=self.verify,
        )
        self.homes[home].renew(self.issued)
        return self.homes[home]

    def manifest(self, bundles: Mapping[str, Bundle], **changes: Any) -> Manifest:
        """Return the terms of a sum over these bundles' homes; ``changes`` replace fields."""
        count = len(bundles)
        a_min = changes.get("a_min", max(self.policy.min_cohort, -(-7 * count // 10)))
        terms: dict[str, Any] = {
            "run": RUN,
            "turn": self.turn,
            "round": self.turn,
            "purpose": "train",
            "plan": bytes(32),
            "settings": SETTINGS,
            "model_hash": model_of(self.turn),
            "form": form_of(),
            "n_min": min(self.policy.min_cohort, count),
            "a_min": a_min,
            "degree": 0,
            "tau": a_min - 1,
            "expires": int(self.now) + 600,
        }
        fields = {name: value for name, value in changes.items() if name in {*terms, "groups"}}
        fields |= {"group": changes["group"]} if "group" in changes else {}
        drawn = Manifest.of(self.directory, bundles.values(), **(terms | fields))
        rest = {name: value for name, value in changes.items() if name not in fields}
        return replace(drawn, **rest) if rest else drawn

    def draw_up(self, homes: Iterable[str] | None = None, **changes: Any) -> Sum:
        """Take bundles of homes (all of them) and sign a manifest."""
        self.turn += 1
        bundles = self.pool.take(self.homes if homes is None else homes)
        return Sum(self, bundles, self.manifest(bundles, **changes).sign(self.server))

    def run(
        self,
        homes: Iterable[str] | None = None,
        *,
        drop: Collection[str] = (),
        absent_members: Collection[str] = (),
        **changes: Any,
    ) -> Sum:
        """Run a whole sum.

        Args:
            homes: The roster; None: all.
            drop: Homes that join and then vanish.
            absent_members: Members that neither vote nor answer.
            changes: Fields of the manifest.
        """
        sum_ = self.draw_up(homes, **changes)
        for home in sum_.bundles:
            sum_.join(home)
        for home in sum_.bundles:
            if home not in drop:
                sum_.upload(home)
        members = [one for one in self.directory.members if one not in absent_members]
        sum_.answer(members)
        sum_.open()
        return sum_


@dataclass
class Sum:
    """One sum on its way.

    Args:
        world: The fleet.
        bundles: Each home's bundle.
        signed: The manifest that went out.
        aggregator: The server's machine.
        joined: Homes that joined, until they upload.
        sent: What each home added up, before its masks.
        opened: The outcome.
    """

    world: World
    bundles: dict[str, Bundle]
    signed: bytes
    aggregator: Aggregator = field(init=False)
    joined: dict[str, JoinedSum] = field(default_factory=dict)
    sent: dict[str, Words] = field(default_factory=dict)
    opened: OpenedSum | None = None

    def __post_init__(self) -> None:
        self.aggregator = Aggregator(
            self.signed, self.world.directory, self.bundles, verify=self.world.verify
        )

    @property
    def manifest(self) -> Manifest:
        """The terms."""
        return self.aggregator.manifest

    def words(self, home: str) -> Words:
        """Return what a home adds up: drawn from its name and the turn."""
        form = self.manifest.form
        number = self.manifest.indices[home]
        rng = np.random.default_rng([self.manifest.turn, number])
        update = rng.normal(0, 0.2, (1, form.elements)).astype(np.float32)
        weights = np.array([rng.integers(1, form.fixed.weight_cap)])
        values = rng.uniform(0, 8, (1, len(form.scalars)))
        words = form.encode(update if form.elements else None, weights, values, [bytes(32)])
        row: Words = words[0]
        return row

    def join(self, home: str, **changes: Any) -> JoinedSum:
        """Let a home join; ``changes`` replace what it expects of the manifest."""
        expected: dict[str, Any] = {
            "now": self.world.now,
            "purpose": self.manifest.purpose,
            "settings": self.manifest.settings,
            "model_hash": self.manifest.model_hash,
            "layout": LAYOUT,
        }
        self.joined[home] = self.world.homes[home].join(self.signed, **(expected | changes))
        return self.joined[home]

    def masked(self, home: str) -> bytes:
        """Return a home's upload without giving it to the server."""
        self.sent[home] = self.words(home)
        return self.joined.pop(home).upload(self.sent[home].copy())

    def upload(self, home: str) -> bytes:
        """Let a home that joined send its update, and return what it sent."""
        data = self.masked(home)
        self.aggregator.receive(home, data)
        return data

    def vote(self, members: Iterable[str] | None = None) -> None:
        """Let members (all) vote on who is in the sum."""
        polls = self.aggregator.polls()
        for member in polls if members is None else members:
            vote = self.world.homes[member].answer(polls[member], now=self.world.now)
            self.aggregator.receive_vote(member, vote)

    def answer(self, members: Iterable[str] | None = None) -> None:
        """Let members (all) answer, after a vote if there was none."""
        if not self.aggregator.elected:
            self.vote(members)
        requests = self.aggregator.requests()
        for member in requests if members is None else members:
            answer = self.world.homes[member].answer(requests[member], now=self.world.now)
            self.aggregator.receive_opening(member, answer)

    def open(self) -> OpenedSum:
        """Open the sum."""
        self.opened = self.aggregator.open()
        return self.opened

    @property
    def expected(self) -> Words:
        """What the sum must be: of what the homes in it sent."""
        form = self.manifest.form
        total = np.zeros(form.words, form.packing.dtype)
        for home in self.aggregator.arrived:
            total += self.sent[home]
        return total
