"""What a server remembers of an epoch over runs: the last sum, and each home's last bundle."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fedhome.errors import BundleError, StateError
from fedhome.plan.settings import Plan
from fedhome.secagg import Bundle, Pool
from fedhome.server.rounds.counters import LastingScale, Serials
from helpers.secagg_world import World


def test_a_home_that_was_set_back_is_left_out(tmp_path: Path) -> None:
    """Else every sum with it fails: members open no bundle older than the last that they opened."""
    world = World.of(5, bundles=0)
    bundles = [world.bundle("h00") for _ in range(3)]
    first, last, newer = map(Bundle.from_bytes, bundles)
    assert (first.serial, last.serial, newer.serial) == (1, 2, 3)
    path = tmp_path / "serials"
    Serials(path, world.directory).keep({"h00": last})
    Serials(path, world.directory).keep({})

    pool = Pool(world.directory, used=Serials(path, world.directory).used)
    for data in bundles[:2]:
        with pytest.raises(BundleError, match="h00 is older than its last one") as refused:
            pool.add("h00", data)
        assert refused.value.reason == "replayed"
    assert pool.count("h00") == 0
    pool.add("h00", bundles[2])
    assert pool.take(["h00"])["h00"] == newer
    pool.add("h01", world.bundle("h01"))  # of whom nothing is known

    # Control: a server that forgot takes the old one.
    Pool(world.directory).add("h00", bundles[0])
    # Bundles are of one epoch: in the next, serials are not compared with them.
    after = replace(world.directory, epoch=world.directory.epoch + 1)
    assert Serials(path, after).used == {}


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff"])
def test_serials_that_are_damaged(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "serials"
    path.write_bytes(data)
    with pytest.raises(StateError) as caught:
        Serials(path, World.of(5).directory)
    assert caught.value.reason == "altered"


def test_turns_go_on_over_processes(tmp_path: Path) -> None:
    path, settings = tmp_path / "turns", Plan.load().aggregation
    first = LastingScale(settings, path, directory=b"d" * 32)
    first.sum_number = first.sum_number + 1
    asked = first.sum_number
    second = LastingScale(settings, path, directory=b"d" * 32)
    assert second.sum_number >= asked
    second.sum_number = 0  # what a checkpoint of an earlier run says is no way back
    assert second.sum_number >= asked


@contextmanager
def _failing(step: str) -> Iterator[None]:
    """Let a step of writing a file fail, as on a full disk."""

    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, step, fails)
        yield


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_numbers_that_a_full_disk_did_not_keep_are_not_used(tmp_path: Path, step: str) -> None:
    """Else the next process asks for numbers that homes know, and they refuse."""
    path, settings = tmp_path / "turns", Plan.load().aggregation
    scale = LastingScale(settings, path, directory=b"d" * 32)
    with _failing(step), pytest.raises(StateError, match="No space left"):
        scale.sum_number += 1
    for _ in range(3):  # there is room again
        scale.sum_number += 1
    assert LastingScale(settings, path, directory=b"d" * 32).sum_number >= scale.sum_number


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_weight_that_a_full_disk_did_not_keep_is_set_once_more(tmp_path: Path, step: str) -> None:
    """Else it was this process's alone: homes count once in an epoch, so the next had none."""
    path, settings = tmp_path / "turns", Plan.load().aggregation
    scale = LastingScale(settings, path, directory=b"d" * 32)
    with _failing(step), pytest.raises(StateError, match="No space left"):
        scale.count_alike()
    assert scale.weight_cap is None, "it is asked for again"
    scale.count_alike()
    assert LastingScale(settings, path, directory=b"d" * 32).weight_cap == 1


@pytest.mark.parametrize("data", [b"", b"-1", b"12a", b"\xff", b"1" * 9])
def test_a_number_of_sums_that_is_damaged_is_told(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "turns"
    path.write_bytes(data)
    with pytest.raises(StateError, match="is damaged") as caught:
        LastingScale(Plan.load().aggregation, path, directory=b"d" * 32)
    assert caught.value.reason == "altered"
    assert "above all that homes know" in str(caught.value.hint)


def test_a_number_that_somebody_has_written_by_hand_is_taken(tmp_path: Path) -> None:
    """As the hint says; an editor ends the line."""
    path = tmp_path / "turns"
    path.write_bytes(b"1000000\n")
    assert LastingScale(Plan.load().aggregation, path, directory=b"d" * 32).sum_number == 1_000_000


@pytest.mark.parametrize("number", [(1 << 24) - (1 << 16), (1 << 24) - 1, 99_999_999])
def test_a_number_after_which_no_sum_comes_is_told(tmp_path: Path, number: int) -> None:
    """No manifest holds one above 2^24 - 1: the run would end in the middle of a round."""
    path = tmp_path / "turns"
    path.write_text(f"{number}", encoding="ascii")
    with pytest.raises(StateError, match="the last sum that there can be") as caught:
        LastingScale(Plan.load().aggregation, path, directory=b"d" * 32)
    assert "fedhome fleet directory" in str(caught.value.hint)
    path.write_text(f"{(1 << 24) - (1 << 16) - 1}", encoding="ascii")
    LastingScale(Plan.load().aggregation, path, directory=b"d" * 32)
