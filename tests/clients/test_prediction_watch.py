"""What waits for new readings in little memory: when it looks, what it says, and what it loads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fedhome.clients.changes import WatchedPaths, paths_of
from fedhome.clients.prediction_watch import PredictionWatch, by_process
from fedhome.clients.recorded.recording import Recorder
from helpers.kept_home import kept_home

EVERY_S = 60.0


class Watched:
    """A watch on one file, and what each look is to find."""

    def __init__(self, path: Path) -> None:
        self.path, self.looks = path, 0
        self.said, self.complained = list[str](), list[str]()
        self.found: dict[str, Any] = {"line": "0.4 kWh", "lasting": 0.4}
        self.watch = PredictionWatch(
            self.look, every_s=EVERY_S, say=self.said.append, complain=self.complained.append
        )

    def look(self) -> Mapping[str, Any]:
        self.looks += 1
        paths = WatchedPaths(files=(str(self.path),), folders=())
        return {"files": paths.files, "folders": (), "state": paths.state(), **self.found}

    def fault(self, *, passing: bool) -> None:
        self.found = {"fault": "no readings", "hint": "record some", "passing": passing}


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    (tmp_path / "readings.csv").write_text("1")
    return Watched(tmp_path / "readings.csv")


def test_it_looks_again_when_something_has_changed_and_not_before(watched: Watched) -> None:
    for now in range(1000):
        assert watched.watch.tend(now) is None
    assert (watched.looks, watched.said) == (1, ["0.4 kWh"])
    watched.path.write_text("12")
    watched.watch.tend(1000)
    assert (watched.looks, watched.said) == (2, ["0.4 kWh"]), "the same prediction is no new one"
    watched.found = {"line": "0.5 kWh", "lasting": 0.5}
    watched.path.write_text("123")
    watched.watch.tend(1000 + EVERY_S - 1)
    assert watched.looks == 2, "not sooner than it is told"
    watched.watch.tend(1000 + EVERY_S)
    assert watched.said == ["0.4 kWh", "0.5 kWh"]


def test_what_changes_during_a_look_is_seen_at_the_next(watched: Watched) -> None:
    usual = watched.watch._look

    def look() -> Mapping[str, Any]:
        found = usual()
        watched.path.write_text("a reading that came too late to be read")
        return found

    watched.watch._look = look
    watched.watch.tend(0)
    watched.watch._look = usual
    watched.watch.tend(EVERY_S)
    watched.watch.tend(2 * EVERY_S)
    assert watched.looks == 2


def test_a_fault_is_told_once_and_looked_at_again_though_nothing_changed(watched: Watched) -> None:
    watched.fault(passing=True)
    for now in (0, EVERY_S, 2 * EVERY_S):
        assert watched.watch.tend(now) is None
    assert watched.looks == 3
    assert watched.complained == ["no readings; record some; it looks again every 60 s"]
    watched.found = {"line": "0.4 kWh", "lasting": 0.4}
    watched.watch.tend(3 * EVERY_S)
    assert watched.said == ["0.4 kWh"]
    watched.fault(passing=False)
    watched.path.write_text("12")
    assert watched.watch.tend(4 * EVERY_S) is None, "what was there may come back"
    assert len(watched.complained) == 2


def test_what_is_wrong_at_the_first_look_and_no_reading_mends_ends_it(watched: Watched) -> None:
    watched.fault(passing=False)
    assert watched.watch.tend(0) == 1
    assert watched.complained == ["error: no readings", "hint:  record some"]


def test_a_look_that_is_killed_is_told_and_tried_again() -> None:
    found = by_process(["fedhome.absent"], [])()
    assert found["fault"] == "the process that predicts ended with status 1"
    assert found["passing"]


@pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks")
def test_a_new_model_a_new_release_and_new_readings_are_changes(tmp_path: Path) -> None:
    place = kept_home(tmp_path)
    source = Path(place.settings.data)
    seen = [paths_of(place).state()]

    def changed() -> bool:
        seen.append(paths_of(place).state())
        return seen[-1] != seen[-2]

    assert not changed()
    pq.write_table(pq.read_table(source).slice(0, 100), source)
    assert changed()
    for name in ("personal/model.fh", "model/release.fh"):
        (place.path / name).parent.mkdir()
        (place.path / name).write_bytes(b"1")
        assert changed()
    Recorder(place).begin()
    assert changed(), "it records its readings from now on"
    source.unlink()
    assert not changed(), "and its file is not read any more"
    (place.path / "readings" / "2026-11-29.000001.fh").write_bytes(b"1")
    assert changed()


def test_a_file_deep_in_a_folder_of_readings_is_a_change(tmp_path: Path) -> None:
    place = kept_home(tmp_path)
    (tmp_path / "days" / "november").mkdir(parents=True)
    paths = paths_of(place, tmp_path / "days")
    before = paths.state()
    (tmp_path / "days" / "november" / "29.csv").write_text("time,load\n")
    assert paths.state() != before
    paths = paths_of(place, tmp_path / "days")
    before = paths.state()
    (tmp_path / "days" / "november" / "29.csv").write_text("time,load\n2026-11-29,1\n")
    assert paths.state() != before


def test_what_waits_beside_a_database_is_a_change_and_its_index_none(tmp_path: Path) -> None:
    place, database = kept_home(tmp_path), tmp_path / "config" / "home-assistant_v2.db"
    database.parent.mkdir()
    for where in (database, database.parent):
        for ending, matters in (("", True), ("-wal", True), ("-shm", False)):
            database.with_name(f"{database.name}{ending}").write_bytes(b"1")
            paths = paths_of(place, where)
            before = paths.state()
            database.with_name(f"{database.name}{ending}").write_bytes(b"22")
            assert (paths.state() != before) is matters


def test_what_waits_holds_neither_numbers_nor_tables_nor_the_command_line() -> None:
    costly = ("numpy", "pyarrow", "pydantic", "typer", "rich", "cryptography", "flwr", "torch")
    script = (
        "import sys, fedhome.ops.processes, fedhome.clients.prediction_watch\n"
        f"print([name for name in {costly!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr
