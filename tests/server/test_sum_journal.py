"""What a server keeps of sums: it never asks twice, and finishes what it began to open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedhome.errors import ManifestError, StateError
from fedhome.secagg import Aggregator
from fedhome.server.rounds.sum_journal import KeptSum, SumJournal, name_of
from helpers.secagg_sums import refused
from helpers.secagg_world import NOW, World, form_of

MODEL, OTHER = b"m" * 32, b"o" * 32
KINDS: dict[str, Callable[[Path], Path | None]] = {
    "in memory": lambda _: None,
    "in files": lambda folder: folder / "sums",
}


def _kept(model: bytes = MODEL) -> KeptSum:
    form = form_of()
    words = np.arange(form.words, dtype=form.packing.dtype)
    return KeptSum(purpose="train", model_hash=model, form=form, homes=5, data=words.tobytes())


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_opened_is_found_until_a_checkpoint(kind: str, tmp_path: Path) -> None:
    journal = SumJournal(KINDS[kind](tmp_path))
    name, other = name_of("train", MODEL, 0), name_of("train", OTHER, 0)
    assert journal.opened(name) is None
    journal.keep_opened(name, _kept())
    journal.keep_opened(other, _kept(OTHER))
    found = journal.opened(name)
    assert found == _kept()
    assert found.words.tolist() == list(range(form_of().words))
    journal.keep_only([MODEL])
    assert journal.opened(name) is not None
    assert journal.opened(other) is None


def test_files_outlive_the_process_and_are_gone_with_the_checkpoint(tmp_path: Path) -> None:
    name = name_of("train", MODEL, 3)
    SumJournal(tmp_path).keep_closed(name, b"half way")
    assert SumJournal(tmp_path).closed(name) == b"half way"
    SumJournal(tmp_path).keep_opened(name, _kept())
    after = SumJournal(tmp_path)
    assert after.closed(name) is None
    assert after.opened(name) == _kept()
    after.keep_only([])
    assert list(tmp_path.iterdir()) == []


def test_a_kill_between_what_was_opened_and_what_it_took_leaves_nothing_to_finish(
    tmp_path: Path,
) -> None:
    name = name_of("train", MODEL, 3)
    SumJournal(tmp_path).keep_opened(name, _kept())
    SumJournal(tmp_path).keep_closed(name, b"half way")  # as it stands where the kill came
    after = SumJournal(tmp_path)
    assert after.half_opened == []
    for directory in (b"1", b"2"):  # nor is it lost with the next directory
        after.begin_epoch(directory)
    assert not after.spent(name)
    assert after.opened(name) == _kept()


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    name = name_of("train", MODEL, 0)
    SumJournal(tmp_path).keep_opened(name, _kept())
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(StateError, match="is damaged"):
        SumJournal(tmp_path).opened(name)


def test_a_sum_goes_on_after_a_kill_where_members_had_given_shares() -> None:
    sum_ = World.of(6).draw_up()
    for home in sum_.bundles:
        sum_.join(home)
        sum_.upload(home)
    sum_.vote()
    snapshot = sum_.aggregator.snapshot()
    requests = sum_.aggregator.requests()
    for member in list(requests)[:3]:  # and then the server is killed, and their shares are lost
        sum_.world.homes[member].answer(requests[member], now=NOW)
    sum_.aggregator = Aggregator.resume(snapshot, sum_.world.directory)
    sum_.answer()
    assert np.array_equal(sum_.open().words, sum_.expected)


def test_without_what_was_kept_nobody_opens_it_any_more() -> None:
    """The control: another sum about this model is refused by those who gave shares."""
    world = World.of(6, bundles=2)
    sum_ = world.draw_up()
    for home in sum_.bundles:
        sum_.join(home)
        sum_.upload(home)
    sum_.vote()
    gave = list(sum_.aggregator.requests().items())[:3]
    for member, request in gave:
        world.homes[member].answer(request, now=NOW)
    again = world.draw_up(model_hash=sum_.manifest.model_hash)
    for member, _ in gave:  # three of six, and five must be in a sum
        refused(ManifestError, "opened-before", lambda: again.join(member))  # noqa: B023
