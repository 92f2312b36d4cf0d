"""A sum is opened exactly, whoever drops out: of the fleet, a part of it, or groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedhome.errors import ManifestError, OpeningError
from fedhome.secagg import Manifest, Policy
from fedhome.secagg.graph import groups
from fedhome.secagg.policy import most_corrupt
from fedhome.secagg.sum_messages import Upload
from helpers.examples import share_of
from helpers.secagg_sums import ready, refused
from helpers.secagg_world import World, form_of


@pytest.mark.long
@pytest.mark.parametrize(
    ("count", "drop", "absent"),
    [
        (5, (), ()),
        (8, ("h00",), ("h03",)),
        (8, ("h03", "h07"), ("h01", "h02", "h05")),  # as many members absent as may be
        (20, ("h00", "h01", "h02", "h10", "h18", "h19"), ("h04",)),
    ],
)
def test_the_opened_sum_is_exactly_that_of_the_homes_in_it(
    count: int, drop: tuple[str, ...], absent: tuple[str, ...]
) -> None:
    world = World.of(count)
    sum_ = world.run(drop=drop, absent_members=absent)
    assert sum_.opened is not None
    assert sum_.opened.homes == tuple(home for home in world.homes if home not in drop)
    assert np.array_equal(sum_.opened.words, sum_.expected)
    total = sum_.manifest.form.decode(sum_.opened.words, len(sum_.opened.homes))
    sent = [sum_.manifest.form.decode(sum_.sent[home], 1) for home in sum_.opened.homes]
    assert total.weight == sum(one.weight for one in sent)
    mean = sum(one.weight * one.mean for one in sent) / total.weight
    assert np.allclose(total.mean, mean)


@pytest.mark.parametrize(
    ("bits", "lanes", "elements"), [(9, "u16", 0), (9, "u16", 5), (12, "u21x3", 10), (20, "u32", 3)]
)
def test_it_is_exact_for_every_kind_of_word(bits: int, lanes: str, elements: int) -> None:
    form = form_of(elements, bits=bits)
    assert form.packing.name == lanes
    sum_ = World.of(6).run(drop={"h01"}, form=form)
    assert sum_.opened is not None
    assert np.array_equal(sum_.opened.words, sum_.expected)


def test_what_a_home_sends_is_not_what_it_added_up() -> None:
    sum_ = World.of(5).draw_up(form=form_of(1000))
    sum_.join("h00")
    vector = np.frombuffer(Upload.from_bytes(sum_.masked("h00")).vector, "<u2")
    assert np.mean(vector == sum_.sent["h00"]) < 0.01


def test_sums_of_many_turns_use_new_bundles_and_all_are_exact() -> None:
    world = World.of(6, bundles=3)
    for drop in ("h00", "h05", "h02"):
        sum_ = world.run(drop={drop})
        assert sum_.opened is not None
        assert np.array_equal(sum_.opened.words, sum_.expected)
    assert [home.state.sum_number for home in world.homes.values()] == [3] * 6
    assert world.pool.count("h00") == 0


def test_a_part_of_the_fleet_may_be_summed_by_a_committee_of_others() -> None:
    world = World.of(10, eligible=["h07", "h08", "h09"], policy=Policy(corrupt=0))
    sum_ = world.run([f"h{number:02d}" for number in range(6)], drop={"h04"})
    assert sum_.opened is not None
    assert set(world.directory.members) == {"h07", "h08", "h09"}
    assert np.array_equal(sum_.opened.words, sum_.expected)


@pytest.mark.long
@settings(max_examples=share_of(15))
@given(st.data())
def test_whoever_drops_or_answers_the_sum_is_exact_or_an_error(
    data: st.DataObject,
) -> None:
    world = WORLD_OF_SEVEN
    home = st.sampled_from(sorted(world.homes))
    drop = data.draw(st.sets(home, max_size=3))
    absent = data.draw(st.sets(home, max_size=4))
    world.refill()
    stays, answers = 7 - len(drop), 7 - len(absent)
    if stays < 6 or answers < 4:
        refused(
            OpeningError,
            "a-min" if stays < 6 else "votes",
            lambda: world.run(drop=drop, absent_members=absent, a_min=6),
        )
        for name, machine in world.homes.items():  # what was not used is not left lying about
            assert not machine.state.live, name
        return
    sum_ = world.run(drop=drop, absent_members=absent, a_min=6)
    assert sum_.opened is not None
    assert np.array_equal(sum_.opened.words, sum_.expected)


WORLD_OF_SEVEN = World.of(7, bundles=0)


def test_errors_and_prints_show_no_secret() -> None:
    sum_ = ready(6)
    secrets = sum_.world.homes["h00"].state.live
    assert secrets == {}
    joined = World.of(5).draw_up().join("h01")
    assert joined._seeds is not None
    for seeds in joined._seeds:
        for seed in seeds:
            assert seed.hex() not in repr(joined)
            assert repr(seed) not in repr(joined)
    assert isinstance(sum_.manifest, Manifest)


# --- a sparse graph, and groups


@pytest.mark.long
def test_a_sparse_graph_opens_after_a_vote() -> None:
    world = World.of(40, policy=Policy(corrupt=0.0), remember=True)
    # Without corrupt homes the graph must only be connected.
    sum_ = world.run(drop={"h00", "h39"}, degree=30, tau=15, a_min=30)
    degree = sum_.manifest.adjacency(world.directory).sum(axis=1)
    assert degree.max() < 39
    assert sum_.opened is not None
    assert np.array_equal(sum_.opened.words, sum_.expected)


@pytest.mark.long
def test_a_graph_that_could_fall_apart_is_refused() -> None:
    world = World.of(40)
    sum_ = world.draw_up(degree=6, tau=3, a_min=30)
    refused(ManifestError, "graph", lambda: sum_.join("h00"))


@pytest.mark.long
def test_uneven_groups_are_each_summed_on_their_own() -> None:
    world = World.of(17, policy=Policy(corrupt=0.1, groups=2))
    cut = groups(world.directory.seed, world.directory.names, 2)
    assert sorted(map(len, cut)) == [8, 9]
    for number, names in enumerate(cut):
        world.turn = 0  # one turn, two sums
        sum_ = world.run(names, groups=2, group=number, drop={names[0]})
        assert sum_.opened is not None
        assert sum_.opened.homes == names[1:]
        assert np.array_equal(sum_.opened.words, sum_.expected)


@pytest.mark.long
def test_a_server_cannot_put_homes_into_another_group() -> None:
    world = World.of(17, policy=Policy(groups=2))
    cut = groups(world.directory.seed, world.directory.names, 2)
    for names, number in (((*cut[0][:-1], cut[1][0]), 0), (cut[0], 1), (cut[0], 2)):
        world.turn = 0
        world.refill(names)
        sum_ = world.draw_up(names, groups=2, group=number)
        refused(ManifestError, "group", lambda: sum_.join(names[0]))  # noqa: B023 - called at once


@pytest.mark.long
def test_groups_so_small_that_corrupt_homes_could_fill_them_are_refused() -> None:
    # 10 of 100 homes may be corrupt, and somebody may have looked through 2^24 seeds for a group
    # that has all of them: 12 homes are needed for two honest ones.
    world = World.of(100, policy=Policy(groups=8), remember=True)
    cut = groups(world.directory.seed, world.directory.names, 8)
    sum_ = world.draw_up(cut[0], groups=8, group=0, a_min=11)
    refused(ManifestError, "a-min", lambda: sum_.join(cut[0][0]))


def test_how_many_corrupt_homes_come_into_a_group() -> None:
    # Of 10 homes 2 are corrupt; 5 are drawn. Both are among them with chance 2 / 9.
    assert most_corrupt(10, 2, 5, bits=2) == 1
    assert most_corrupt(10, 2, 5, bits=3) == 2
    # One at least is, with chance 1 - 2 / 9 = 0.78: more than 2 with none.
    assert most_corrupt(10, 2, 5, bits=1) == 1
    assert most_corrupt(10, 0, 5, bits=40) == 0
