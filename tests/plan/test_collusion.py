"""How many must work together to see a single home: what is told, and what so few can do."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedhome.errors import ManifestError, OpeningError
from fedhome.fleet.owner_folder import PLAN, Fleet
from fedhome.plan.protocol import collusion, least_allowed, least_in_a_sum, lines, policy_of
from fedhome.plan.settings import Plan
from fedhome.secagg import MemoryStore
from helpers.command import fedhome
from helpers.secagg_attacker import eve_of, refused, send
from helpers.secagg_world import World

PASSPHRASE = "a passphrase that is long enough"  # noqa: S105 - of a fleet in a temporary folder
DEFAULT = Plan()


def test_how_many_must_collude_by_hand() -> None:
    # Of 20 members two may be corrupt: two openings must take more than 22 answers, so each takes
    # 12; for 24 answers of 20 members four answer twice. A sum has two honest homes beside two
    # corrupt ones, and five at least.
    told = dict(lines(DEFAULT, 20))["who must collude"]
    assert told == collusion(20, 12, 5)
    assert told == (
        "to see one home, beside the server: 4 members that vote twice, or 12 that hand over their "
        "keys, or all others in a sum, 4 at least: homes take part in sums over 5"
    )
    assert least_in_a_sum(DEFAULT, fleet=20, roster=20) == 14, "what a server of ours asks for"
    assert least_allowed(DEFAULT, 100) == 12, "two honest homes beside ten corrupt ones"


def test_a_server_that_cheats_opens_a_sum_over_as_few_as_are_told() -> None:
    least = least_allowed(DEFAULT, 20)
    policy = replace(
        policy_of(DEFAULT), plan=bytes(32), bits=None, norm=None, exact_clip=False, most_clip=1.0
    )
    world = World.of(20, policy=policy, bundles=2)
    roster = list(world.homes)[:10]  # half of the fleet: homes take part with no fewer
    fewer = world.draw_up(roster, a_min=least - 1)
    refused(ManifestError, "a-min", lambda: fewer.join("h00"))
    sum_ = world.run(roster, a_min=least, drop=roster[least:])
    assert sum_.opened is not None
    assert len(sum_.aggregator.arrived) == least
    assert np.array_equal(sum_.opened.words, sum_.expected)


@pytest.mark.parametrize(("liars", "seen"), [(2, False), (3, True)])
def test_members_that_vote_twice_see_a_home_from_the_number_that_is_told(
    liars: int, *, seen: bool
) -> None:
    world = World.of(7)
    directory = world.directory
    assert collusion(7, directory.threshold, 5).startswith(
        "to see one home, beside the server: 3 members that vote twice"
    )
    eve = eve_of(world, a_min=5, tau=4)
    words = send(eve, range(7))[0]
    twice, others = directory.members[:liars], directory.members[liars:]
    half = len(others) // 2
    start = {home: world.homes[home].state for home in twice}
    for honest, shown in ((others[:half], range(7)), (others[half:], range(1, 7))):
        for home in twice:
            world.homes[home].state = start[home]
            world.homes[home]._store = MemoryStore()  # it forgets what it voted for
        with suppress(OpeningError):
            eve.ask(dict.fromkeys([*twice, *honest], shown))
    assert eve.has(0, words) is seen


def test_an_owner_is_told_how_many_must_collude(tmp_path: Path) -> None:
    owner = tmp_path / "owner"
    with Fleet.create(owner, PASSPHRASE) as fleet:
        fleet.add_trial("ash", "elm", "oak", "fir", "yew")
        fleet.sign(PASSPHRASE)
    assert "collude" not in fedhome("fleet", "show", folder=owner).stdout, "it follows from a plan"
    (owner / PLAN).write_text("")
    told = " ".join(fedhome("fleet", "show", folder=owner).stdout.split())
    # One of five may be corrupt: two openings must take more than six answers.
    assert f"who must collude {collusion(5, 4, 5)}" in told
    (owner / PLAN).write_text('[aggregation]\nmode = "plain"\n')
    told = " ".join(fedhome("fleet", "show", folder=owner).stdout.split())
    assert "who must collude to see one home: nobody. The plan is plain" in told
