from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedhome.errors import EventLogError
from fedhome.run.events import FIRST, Event, EventLog, read_events
from helpers.patience import PATIENCE_S

NOON = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)


def log_of(path: Path, count: int) -> Path:
    with EventLog(path, clock=lambda: NOON) as log:
        log.append("run-started", plan="default", seed=1)
        for number in range(1, count):
            log.append("round-closed", round=number, loss=1 / number)
    return path


def test_a_line_is_what_the_format_says(tmp_path: Path) -> None:
    lines = log_of(tmp_path / "events.jsonl", 2).read_bytes().splitlines()
    first, second = map(json.loads, lines)
    assert {name: first[name] for name in ("seq", "time", "event", "data", "prev")} == {
        "seq": 0,
        "time": "2026-11-23T12:00:00.123Z",
        "event": "run-started",
        "data": {"plan": "default", "seed": 1},
        "prev": "0" * 64,
    }
    by_hand = (
        '{"data":{"plan":"default","seed":1},"event":"run-started",'
        f'"prev":"{FIRST}","seq":0,"time":"2026-11-23T12:00:00.123Z"}}'
    )
    assert first["hash"] == hashlib.sha256(by_hand.encode()).hexdigest()
    assert second["prev"] == hashlib.sha256(lines[0]).hexdigest()


def test_what_is_written_is_read_and_heard(tmp_path: Path) -> None:
    heard: list[Event] = []
    later: list[Event] = []
    with EventLog(tmp_path / "log", on_event=heard.append) as log:
        log.append("run-started", nested={"homes": ["a", "b"], "rate": 0.1})
        log.subscribe(later.append)
        log.append("run-finished")
    assert heard == read_events(tmp_path / "log")
    assert [event.event for event in later] == ["run-finished"]
    assert heard[0].data == {"nested": {"homes": ["a", "b"], "rate": 0.1}}


def test_an_existing_log_goes_on(tmp_path: Path) -> None:
    path = log_of(tmp_path / "log", 3)
    with EventLog(path) as log:
        log.append("run-resumed")
        head = log.head
    assert [event.seq for event in read_events(path)] == [0, 1, 2, 3]
    assert head == hashlib.sha256(path.read_bytes().splitlines()[-1]).hexdigest()


@pytest.mark.parametrize("kept", [1, 40, -1])
def test_a_torn_last_line_is_cut_off_and_told(tmp_path: Path, kept: int) -> None:
    path = log_of(tmp_path / "log", 3)
    lines = path.read_bytes().splitlines(keepends=True)
    torn = lines[2][:kept]
    path.write_bytes(b"".join(lines[:2]) + torn)

    assert len(read_events(path, skip_torn=True)) == 2
    with pytest.raises(EventLogError, match="line 3 is torn"):
        read_events(path)
    EventLog(path).close()
    events = read_events(path)
    assert [event.event for event in events][1:] == ["round-closed", "log-repaired"]
    assert events[2].data == {"bytes": len(torn)}


def write_until_killed(path: Path, first_event: object) -> None:
    with EventLog(path) as log:
        while True:
            log.append("round-closed", note="x" * 1000)
            first_event.set()  # type: ignore[attr-defined]


@pytest.mark.long
def test_a_killed_process_loses_at_most_the_line_in_flight(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    first_event = context.Event()
    writer = context.Process(target=write_until_killed, args=(tmp_path / "log", first_event))
    writer.start()
    assert first_event.wait(PATIENCE_S)
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    with EventLog(tmp_path / "log") as log:
        log.append("run-resumed")
    assert read_events(tmp_path / "log")[-1].event == "run-resumed"


@given(line=st.integers(0, 3), place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found(
    tmp_path_factory: pytest.TempPathFactory, line: int, place: int, bit: int
) -> None:
    path = log_of(tmp_path_factory.mktemp("run") / "log", 4)
    lines = [bytearray(text) for text in path.read_bytes().splitlines()]
    lines[line][place % len(lines[line])] ^= 1 << bit
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(EventLogError, match=f"line {line + 1} "):
        read_events(path)


@pytest.mark.parametrize(
    ("order", "bad"), [([0, 2, 3], 2), ([0, 2, 1, 3], 2), ([0, 1, 1, 2], 3), ([1, 2, 3], 1)]
)
def test_lines_removed_moved_or_repeated_are_found(
    tmp_path: Path, order: list[int], bad: int
) -> None:
    path = log_of(tmp_path / "log", 4)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[i] for i in order))
    with pytest.raises(EventLogError, match=f"line {bad} does not follow"):
        read_events(path)
    with pytest.raises(EventLogError, match=f"line {bad} does not follow"):
        EventLog(path)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"seq": 0, "time": 0, "event": 0, "data": 0, "prev": 0, "hash": 0}',
        b'{"seq":1e999,"time":"","event":"","data":{"x":NaN},"prev":"","hash":""}',
    ],
)
def test_what_is_no_event_is_refused_with_its_line(tmp_path: Path, line: bytes) -> None:
    path = log_of(tmp_path / "log", 2)
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(EventLogError, match=r"line 3 is not an event"):
        read_events(path)


def test_the_same_content_in_another_spelling_is_an_alteration(tmp_path: Path) -> None:
    path = log_of(tmp_path / "log", 1)
    path.write_bytes(path.read_bytes().replace(b'"seq":0', b'"seq": 0'))
    with pytest.raises(EventLogError, match="line 1 was altered"):
        read_events(path)


def test_numbers_that_are_not_finite_become_null_and_are_told(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with EventLog(path) as log:
        log.append("round-closed", loss=float("nan"), scores={"a": [1.0, np.float32("-inf")]})
    json.loads(path.read_bytes(), parse_constant=pytest.fail)
    assert read_events(path)[0].data == {
        "loss": None,
        "scores": {"a": [1.0, None]},
        "not_finite": {"loss": "nan", "scores.a.1": "-inf"},
    }


def test_numpy_paths_and_times_are_taken(tmp_path: Path) -> None:
    with EventLog(tmp_path / "log") as log:
        log.append(
            "run-started",
            count=np.int64(3),
            flag=np.bool_(True),  # noqa: FBT003 - the value under test
            half=np.float16(0.5),
            many=np.arange(3, dtype=np.int32),
            where=Path("runs") / "a",
            when=NOON,
        )
    assert read_events(tmp_path / "log")[0].data == {
        "count": 3,
        "flag": True,
        "half": 0.5,
        "many": [0, 1, 2],
        "where": str(Path("runs") / "a"),
        "when": "2026-11-23T12:00:00.123Z",
    }


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # Lone surrogates are what a file name that is no UTF-8 turns into.
    | st.text(st.characters(codec=None, exclude_categories=())),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3),
    max_leaves=8,
)


@pytest.mark.long
@given(data=st.dictionaries(st.text().filter(lambda name: name != "self"), json_values, max_size=3))
def test_any_json_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, object]
) -> None:
    path = tmp_path_factory.mktemp("run") / "log"
    with EventLog(path) as log:
        log.append("round-closed", **data)
    assert read_events(path)[0].data == data


@pytest.mark.parametrize("kind", ["", "Run Started", "run_started", "run-", "a\nb"])
def test_other_kinds_are_refused(tmp_path: Path, kind: str) -> None:
    with EventLog(tmp_path / "log") as log, pytest.raises(EventLogError, match="not a kind"):
        log.append(kind)
    assert (tmp_path / "log").read_bytes() == b""


@pytest.mark.parametrize("value", [object(), {1: "a"}, {1, 2}, b"bytes", 1j])
def test_values_that_json_cannot_hold_are_refused_by_name(tmp_path: Path, value: object) -> None:
    with EventLog(tmp_path / "log") as log, pytest.raises(EventLogError, match=r"deep\.0 is a"):
        log.append("round-closed", deep=[value])
    assert (tmp_path / "log").read_bytes() == b""


def test_a_second_writer_is_found_out(tmp_path: Path) -> None:
    path = log_of(tmp_path / "log", 1)
    with EventLog(path) as ours, EventLog(path) as theirs:
        theirs.append("round-closed")
        with pytest.raises(EventLogError, match="another process"):
            ours.append("round-closed")
    assert len(read_events(path)) == 2


def test_a_closed_log_and_a_missing_folder_say_so(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log")
    log.close()
    log.close()
    with pytest.raises(EventLogError, match="is closed"):
        log.append("run-started")
    with pytest.raises(EventLogError, match="cannot be opened"):
        EventLog(tmp_path / "nowhere" / "log")
    with pytest.raises(EventLogError, match="cannot be read"):
        read_events(tmp_path / "nowhere")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_leaves_the_log_whole(tmp_path: Path) -> None:
    path = log_of(tmp_path / "log", 1)
    log = EventLog(path)
    disk = log._file
    with Path("/dev/full").open("ab", buffering=0) as full:

        class FullDisk:
            fileno, truncate, write, closed = disk.fileno, disk.truncate, full.write, False

        log._file = FullDisk()  # type: ignore[assignment]
        with pytest.raises(EventLogError, match="cannot be written"):
            log.append("round-closed")
    log._file = disk
    log.append("round-closed")
    log.close()
    assert [event.seq for event in read_events(path)] == [0, 1]


def test_an_error_of_a_listener_reaches_the_writer_and_the_event_stays(tmp_path: Path) -> None:
    def fail(event: Event) -> None:
        raise LookupError(event.event)

    with EventLog(tmp_path / "log", on_event=fail) as log, pytest.raises(LookupError):
        log.append("run-started")
    assert len(read_events(tmp_path / "log")) == 1
