"""A log that grows is read on, not anew; a bad line, and another log in its place, are noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedhome.errors import EventLogError
from fedhome.run import events
from fedhome.run.events import EventLog, read_events
from fedhome.run.growing_log import GrowingLog


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the numbers of the lines that were read."""
    numbers: list[int] = []
    verify = events._verify_line

    def counted(path: Path, line: bytes, seq: int, prev: str) -> events.Event:
        numbers.append(seq)
        return verify(path, line, seq, prev)

    monkeypatch.setattr(events, "_verify_line", counted)
    return numbers


def test_each_line_is_read_once(tmp_path: Path, checked: list[int]) -> None:
    path, log = tmp_path / "log", GrowingLog()
    assert log.read(path) == ()
    with EventLog(path) as written:
        written.append("a", n=1)
        written.append("b")
        assert [one.event for one in log.read(path)] == ["a", "b"]
        written.append("c")
        assert list(log.read(path)) == read_events(path)
        del checked[:]
        assert len(log.read(path)) == 3
        assert checked == []
        written.append("d")
        assert len(log.read(path)) == 4
        assert checked == [3]


def test_a_line_that_is_not_whole_yet_is_read_once_it_is(tmp_path: Path) -> None:
    path, log = tmp_path / "log", GrowingLog()
    with EventLog(path) as written:
        written.append("a")
        written.append("b")
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert [one.event for one in log.read(path)] == ["a"]
    with path.open("ab") as file:
        file.write(whole[-5:])
    assert [one.event for one in log.read(path)] == ["a", "b"]


def test_a_new_line_that_does_not_follow_is_refused_each_time(tmp_path: Path) -> None:
    path, log = tmp_path / "log", GrowingLog()
    with EventLog(path) as written:
        written.append("a")
        log.read(path)
        written.append("b")
    line = path.read_bytes().splitlines(keepends=True)[0]
    path.write_bytes(line * 2)
    for _ in range(2):
        with pytest.raises(EventLogError, match="line 2 does not follow"):
            log.read(path)


def test_another_log_and_one_that_was_put_back_are_read_from_their_start(tmp_path: Path) -> None:
    first, second, log = tmp_path / "first", tmp_path / "second", GrowingLog()
    for path, kinds in ((first, "abc"), (second, "xy")):
        with EventLog(path) as written:
            for kind in kinds:
                written.append(kind)
    assert len(log.read(first)) == 3
    assert [one.event for one in log.read(second)] == ["x", "y"]
    assert len(log.read(first)) == 3
    copy = b"".join(first.read_bytes().splitlines(keepends=True)[:2])
    first.write_bytes(copy)
    assert [one.event for one in log.read(first)] == ["a", "b"]
