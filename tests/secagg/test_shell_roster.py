"""Who carries a shell stands in the signed directory: rosters are held against it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedhome.errors import ManifestError, OpeningError, WireError
from fedhome.questions import private_sums
from fedhome.questions.contributions import Terms
from fedhome.questions.empty_handed import empty_terms
from fedhome.secagg import Directory, FixedPoint, Form, HomeEntry, Policy
from fedhome.secagg.shell_roster import purpose_of, shell_faults, shell_of, tier_numbers
from fedhome.secagg.sum_messages import Request
from helpers.secagg_world import Sum, World

TIERS = ("sensor", "plug", "hub")


def _entry(home: str, tier: str) -> HomeEntry:
    identity, share = (hashlib.sha256(f"{home} {key}".encode()).digest() for key in "is")
    return HomeEntry(home=home, identity=identity, share=share, eligible=True, tier=tier)


def _directory(tiers: list[str]) -> Directory:
    homes = tuple(_entry(f"h{number:02}", tier) for number, tier in enumerate(tiers))
    return Directory(
        fleet=bytes(16),
        epoch=1,
        seed=bytes(32),
        server=bytes(32),
        committee=1,
        corrupt=0,
        threshold=1,
        homes=homes,
    )


def _manifest(purpose: str, names: list[str]) -> Any:
    return SimpleNamespace(purpose=purpose, names=tuple(names))


@given(
    st.lists(st.sampled_from((*TIERS, "", "of another plan")), min_size=1, max_size=20),
    st.integers(1, 4),
    st.integers(1, 8),
    st.data(),
)
@settings(max_examples=200, deadline=None)
def test_a_roster_passes_only_if_all_of_it_carry_the_shell_and_enough_homes_do(
    tiers: list[str], shell: int, least: int, data: st.DataObject
) -> None:
    directory = _directory(tiers)
    names = data.draw(st.lists(st.sampled_from(directory.names), unique=True, min_size=1))
    faults = list(
        shell_faults(
            _manifest(purpose_of("train", shell), names),
            directory,
            directory.names,
            tiers=TIERS,
            least=least,
            least_share=0.5,
        )
    )
    size = {"hub": 2, "plug": 1}
    carrying = {f"h{n:02}" for n, tier in enumerate(tiers) if size.get(tier, 0) >= shell}
    allowed = (
        shell < len(TIERS)
        and set(names) <= carrying
        and len(carrying) >= least
        and len(names) >= 0.5 * len(carrying)
    )
    assert (not faults) is allowed
    assert {reason for reason, _ in faults} <= {"shell", "share"}


@given(st.text(max_size=12), st.integers(0, 99))
def test_a_purpose_says_which_shell_it_is_about_in_one_way(other: str, shell: int) -> None:
    assert shell_of(purpose_of("train", shell)) == shell
    if shell_of(other):
        assert purpose_of(other.rpartition("-")[0], shell_of(other)) == other


def test_a_home_and_a_member_refuse_a_part_of_a_model_that_their_plan_does_not_have() -> None:
    world = World.of(8)
    summed = world.draw_up()
    policy = world.policy
    assert policy.tiers == ()
    policy.check(summed.manifest, world.directory)
    with pytest.raises(ManifestError, match="has no such slice") as refused:
        policy.check(replace(summed.manifest, purpose="train-1"), world.directory)
    assert refused.value.reason == "shell"


def test_the_whole_policy_looks_at_tiers() -> None:
    world = World.of(8)
    manifest = replace(world.draw_up().manifest, purpose="train-1")
    policy = replace(world.policy, tiers=TIERS)
    homes = world.directory.homes
    for tier, passes in (("hub", True), ("plug", True), ("sensor", False), ("", False)):
        mixed = (*(replace(one, tier="plug") for one in homes[1:]), replace(homes[0], tier=tier))
        directory = replace(
            world.directory, homes=tuple(sorted(mixed, key=lambda entry: entry.home))
        )
        if passes:
            policy.check(manifest, directory)
        else:
            with pytest.raises(ManifestError, match="does not carry what tier plug has"):
                policy.check(manifest, directory)


def test_of_each_shell_about_a_model_one_sum_is_opened() -> None:
    world = World.of(8, policy=Policy(tiers=TIERS), tier="hub", bundles=4)
    model = bytes(range(32))
    for purpose in ("train", "train-1", "train-2"):
        opened = world.run(model_hash=model, purpose=purpose).opened
        assert opened is not None
        assert len(opened.homes) == 8
    again = world.draw_up(list(world.homes)[1:], model_hash=model, purpose="train-1")
    for home in again.bundles:
        with pytest.raises(ManifestError, match="opened before") as refused:
            again.join(home)
        assert refused.value.reason == "opened-before"
    with pytest.raises(OpeningError, match="was opened before"):
        _examine_again(world, again)


def _examine_again(world: World, asked: Sum) -> None:
    """Let a member look at a sum for which no home has signed."""
    member = world.directory.members[0]
    request = Request(manifest=asked.signed, present=b"\xfe", arrivals=b"", votes=b"", sealed=b"")
    world.homes[member].answer(request.to_bytes(), now=world.now)


def test_an_entry_without_a_tier_is_the_same_bytes_as_before_there_were_tiers() -> None:
    plain, tiered = _entry("oak", ""), _entry("oak", "sensor")
    assert HomeEntry.from_bytes(plain.to_bytes()) == plain
    assert HomeEntry.from_bytes(tiered.to_bytes()) == tiered
    assert tiered.to_bytes().endswith(b"\xa6sensor")
    before = plain.to_bytes()
    with_empty = bytes([before[0] + 1]) + before[1:] + b"\xa0"
    with pytest.raises(WireError, match="not in its one form"):
        HomeEntry.from_bytes(with_empty)
    with pytest.raises(WireError, match="1 to 32 printable bytes"):
        HomeEntry.from_bytes(_entry("oak", "s" * 33).to_bytes())


def test_a_tier_that_a_plan_does_not_know_is_the_smallest() -> None:
    directory = _directory(["hub", "", "of another plan", "plug"])
    assert list(tier_numbers(directory, TIERS).values()) == [2, 0, 0, 1]


def test_a_later_shell_does_not_tell_who_had_nothing_to_add() -> None:
    """Else its weight, taken from the first shell's, would be that of a tier's homes alone."""
    form = Form(
        elements=3,
        layout=bytes(32),
        fixed=FixedPoint(bits=9, clip=1.0, norm="linf", weight_cap=1),
        scalars=(),
        homes=8,
    )
    terms = Terms(np.array([1, 0, 1]), np.array([[0.0], [1.0], [0.0]]))  # the flag is the last
    added = private_sums.added(form, terms)
    assert added.weights.tolist() == [1, 1, 1]
    assert added.values.shape == (3, 0)
    assert empty_terms(2, form).weights.tolist() == [1, 1]
