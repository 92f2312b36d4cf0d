"""What the server knows of how far homes' states had come: it forgets nothing that matters."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedhome.errors import DirectoryError, StateError
from fedhome.secagg import Directory, HomeKeys
from fedhome.server.daemon import home_marks
from fedhome.server.daemon.home_marks import MARKS, HomeMarks
from helpers.listed_homes import listing

OAK, ELM = HomeKeys.create("oak"), HomeKeys.create("elm")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


BOTH = listing(OAK, ELM)


def refused(marks: HomeMarks, home: str, saves: int, directory: Directory = BOTH) -> str:
    with pytest.raises(DirectoryError) as raised:
        marks.check(home, saves, directory)
    return raised.value.reason


def test_an_older_state_is_refused_also_by_the_server_that_comes_after(tmp_path: Path) -> None:
    clock = Clock()
    marks = HomeMarks(tmp_path, clock)
    for saves in (3, 3, 7):
        marks.check("oak", saves, BOTH)
    assert refused(marks, "oak", 6) == "rolled-back"
    marks.check("elm", 1, BOTH)  # each by its own
    marks.check("oak", 7, BOTH)  # started again, with nothing new
    # Written at once first, and then once a minute: two of these are not on the disk yet.
    HomeMarks(tmp_path).check("oak", 3, BOTH)
    clock.now += 60.0
    marks.check("oak", 8, BOTH)
    after = HomeMarks(tmp_path)
    assert refused(after, "oak", 7) == refused(after, "elm", 0) == "rolled-back"


def test_what_came_within_the_minute_is_written_after_it_although_nothing_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fleet that has nothing to do saves nothing: its last saves were lost with the front."""
    clock = Clock()
    marks = HomeMarks(tmp_path, clock)
    for saves in (3, 7, 7):
        marks.check("oak", saves, BOTH)
    clock.now += 60.0
    marks.check("oak", 7, BOTH)
    assert refused(HomeMarks(tmp_path), "oak", 6) == "rolled-back"
    clock.now += 60.0
    monkeypatch.setattr(home_marks.checksummed, "put", None)  # it is written once
    marks.check("oak", 7, BOTH)


def test_new_keys_begin_anew_and_who_left_is_forgotten(tmp_path: Path) -> None:
    clock, again = Clock(), HomeKeys.create("oak")
    marks = HomeMarks(tmp_path, clock)
    marks.check("oak", 9, BOTH)
    marks.check("oak", 0, listing(again, ELM))
    clock.now += 60.0
    marks.check("elm", 1, listing(again, ELM))
    HomeMarks(tmp_path).check("oak", 0, BOTH)


def test_a_damaged_file_and_a_full_disk_are_told_and_keep_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / MARKS).write_bytes(b"no marks")
    clock = Clock()
    marks = HomeMarks(tmp_path, clock)
    assert "one from a backup goes unnoticed" in caplog.text

    def full(*_: object) -> None:
        raise StateError("there is no room", reason="disk-full", hint="make some")

    with monkeypatch.context() as patch:
        patch.setattr(home_marks.checksummed, "put", full)
        for saves in (1, 2):
            marks.check("oak", saves, BOTH)
            clock.now += 60.0
        assert caplog.text.count("there is no room") == 1
    assert refused(marks, "oak", 1) == "rolled-back"  # what is heard counts at once
    marks.check("oak", 3, BOTH)
    assert refused(HomeMarks(tmp_path), "oak", 2) == "rolled-back"
