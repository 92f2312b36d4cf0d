"""A home's own models on its disk: sealed, replaced whole, rolled back."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from fedhome.clients.membership.own_models import MOST_BYTES, OwnModels
from fedhome.errors import StateError
from fedhome.fleet.state_file import KEY
from fedhome.store import disk

SECRET = b"what this home learnt of its people"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    disk.put(tmp_path / KEY, bytes(range(32)))
    return tmp_path


def test_a_home_keeps_the_model_that_came_last(home: Path) -> None:
    models = OwnModels(home, "kitchen")
    assert models.read() is None
    models.replace(b"first")
    models.replace(b"second")
    assert OwnModels(home, "kitchen").read() == b"second"


def test_going_back_twice_is_where_it_was(home: Path) -> None:
    models = OwnModels(home, "kitchen")
    models.replace(b"first")
    models.replace(b"second")
    models.roll_back()
    assert models.read() == b"first"
    models.roll_back()
    assert models.read() == b"second"


@pytest.mark.parametrize(("kept", "told"), [([], "no model"), ([b"first"], "one model")])
def test_without_a_model_before_there_is_no_going_back(
    home: Path, kept: list[bytes], told: str
) -> None:
    models = OwnModels(home, "kitchen")
    for model in kept:
        models.replace(model)
    with pytest.raises(StateError, match=told) as caught:
        models.roll_back()
    assert caught.value.reason == "missing"
    assert models.read() == (kept[0] if kept else None)


def test_nobody_reads_a_model_without_the_home_s_key(home: Path) -> None:
    models = OwnModels(home, "kitchen")
    models.replace(SECRET)
    assert SECRET not in models.path.read_bytes()
    assert models.path.stat().st_mode & 0o077 == 0
    (home / KEY).unlink()
    disk.put(home / KEY, bytes(32))
    with pytest.raises(StateError) as caught:
        models.read()
    assert caught.value.reason == "wrong-key"


def test_a_model_of_another_home_is_refused(home: Path) -> None:
    OwnModels(home, "kitchen").replace(b"first")
    with pytest.raises(StateError, match=re.escape("of home 'kitchen', not of 'hall'")) as caught:
        OwnModels(home, "hall").read()
    assert caught.value.reason == "foreign"


def test_every_altered_byte_is_noticed(home: Path) -> None:
    models = OwnModels(home, "kitchen")
    models.replace(b"first")
    whole = models.path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        models.path.write_bytes(damaged)
        with pytest.raises(StateError):
            models.read()
    assert len(whole) > len(b"first")
    for length in range(len(whole)):
        models.path.write_bytes(whole[:length])
        with pytest.raises(StateError, match="remove the file"):
            models.read()


def test_a_model_that_is_too_large_leaves_the_old_one(home: Path) -> None:
    models = OwnModels(home, "kitchen")
    models.replace(b"first")
    for model in (b"", bytes(MOST_BYTES + 1)):
        with pytest.raises(StateError) as caught:
            models.replace(model)
        assert caught.value.reason == "size"
    assert models.read() == b"first"


@pytest.mark.long
def test_the_largest_pair_can_be_kept_and_read(home: Path) -> None:
    models = OwnModels(home, "kitchen")
    models.replace(bytes(MOST_BYTES))
    models.replace(bytes(MOST_BYTES))
    models.roll_back()
    assert models.read() == bytes(MOST_BYTES)


def test_two_processes_do_not_write_at_once(home: Path) -> None:
    models = OwnModels(home, "kitchen")
    models.replace(b"first")
    lock = disk.lock(models.path.parent)
    try:
        with pytest.raises(StateError) as caught:
            models.replace(b"second")
        assert caught.value.reason == "in-use"
        assert models.read() == b"first"  # to read takes no lock
    finally:
        os.close(lock)


@pytest.mark.parametrize("act", ["replace", "roll_back"])
@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_whatever_step_fails_one_whole_pair_is_there(
    home: Path, monkeypatch: pytest.MonkeyPatch, act: str, step: str
) -> None:
    models = OwnModels(home, "kitchen")
    models.replace(b"first")
    models.replace(b"second")
    real, calls = getattr(os, step), [0]

    def failing(*given: object, **named: object) -> object:
        calls[0] += 1
        if calls[0] == fails_at:
            raise OSError(5, "broken")
        return real(*given, **named)

    reached = []
    for fails_at in range(1, 6):
        calls[0] = 0
        monkeypatch.setattr(os, step, failing)
        try:
            models.replace(b"third") if act == "replace" else models.roll_back()
        except StateError:
            reached.append(fails_at)
        finally:
            monkeypatch.undo()
        assert models.read() in {b"first", b"second", b"third"}
        models.replace(b"first")
        models.replace(b"second")
    assert reached
