"""What lies where a file is expected: pipes, devices and holes cost nobody a hang or all memory."""

from __future__ import annotations

import io
import os
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedhome.cli import app
from fedhome.data.homes_folder import read_folder
from fedhome.errors import PlanError, RunError, SourceError, StateError
from fedhome.personal.stored_models import StoredModels
from fedhome.plan.settings import Plan
from fedhome.run.model_file import read_model_file
from fedhome.server.rounds.sum_journal import SumJournal
from fedhome.store import disk
from helpers.patience import PATIENCE_S

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes have no names there")


@contextmanager
def pipe(path: Path, content: bytes) -> Iterator[threading.Thread]:
    """Make a pipe that somebody writes to as soon as it is opened, so that no test waits for it."""
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(content,), daemon=True)
    writer.start()
    yield writer
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer.join(PATIENCE_S)
    os.close(reader)
    assert not writer.is_alive()


def refused(path: Path, most: int = disk.MOST_READ) -> str:
    with pytest.raises(StateError) as raised:
        disk.read(path, most=most)
    assert raised.value.reason == "foreign"
    return raised.value.message


def test_a_pipe_and_a_device_are_no_files(tmp_path: Path) -> None:
    place = tmp_path / "state.fh"
    with pipe(place, b""):
        assert refused(place) == f"{place} is no ordinary file"
    other = tmp_path / "other.fh"
    other.symlink_to("/dev/null")
    assert refused(other) == f"{other} is no ordinary file"
    before = _next_descriptor()
    with pytest.raises(StateError) as raised:
        disk.read(tmp_path)
    assert "a folder, and a file is needed" in raised.value.hint
    assert _next_descriptor() == before, "nothing is left open"


def _next_descriptor() -> int:
    os.close(free := os.dup(0))
    return free


def test_a_hole_of_many_gigabytes_is_not_read(tmp_path: Path) -> None:
    place = tmp_path / "model"
    place.write_bytes(b"12345")
    assert disk.read(place, most=5) == b"12345"
    assert refused(place, most=4) == f"{place} is longer than 4 bytes"
    os.truncate(place, disk.MOST_READ + 1)
    assert "longer than" in refused(place)


class Counted(bytes):
    """Bytes that count how many of them are copied to join them to others."""

    copied = 0

    def __add__(self, other: bytes) -> Counted:  # type: ignore[override]
        Counted.copied += len(self) + len(other)
        return Counted(bytes(self) + other)


class Growing(io.BytesIO):
    """A file that says 0 bytes and has no end, as one that grows, or some of Linux's in /proc."""

    def __init__(self, place: Path) -> None:
        super().__init__()
        self._descriptor = os.open(place, os.O_RDONLY)

    def read(self, size: int | None = -1, /) -> bytes:
        assert size
        return Counted(bytes(size))

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        os.close(self._descriptor)


def test_a_file_that_grows_takes_no_hours(tmp_path: Path) -> None:
    """To join each piece to those before takes the square of their number: 20 s for 64 MB."""
    place, most = tmp_path / "state.fh", 4 << 20
    place.write_bytes(b"")
    Counted.copied = 0
    with closing(Growing(place)) as file:
        assert disk._at_most(file, most) is None
    assert Counted.copied <= 2 * most
    assert Counted(b"a") + b"b" == b"ab"  # the control: a copy would have been counted
    assert Counted.copied == 2


@pytest.mark.skipif(not Path("/proc/self/pagemap").exists(), reason="Linux alone has it")
def test_a_link_to_what_has_no_end_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "state.fh"
    place.symlink_to("/proc/self/pagemap")
    assert "longer than" in refused(place, most=1 << 20)


def test_a_short_file_is_read_in_little_memory(tmp_path: Path) -> None:
    """A read of at most so many bytes sets as many aside: 2 GB, more than small devices have."""
    place = tmp_path / "state.fh"
    place.write_bytes(bytes(1000))
    tracemalloc.start()
    try:
        assert disk.read(place) == bytes(1000)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1 << 20


def test_a_passphrase_may_come_by_a_pipe(tmp_path: Path) -> None:
    place = tmp_path / "63"
    with pipe(place, b"correct horse"):
        assert disk.read(place, most=100, streams=True) == b"correct horse"
    place.unlink()
    with pipe(place, bytes(101)), pytest.raises(StateError, match="longer than 100 bytes"):
        disk.read(place, most=100, streams=True)
    place.unlink()
    place.symlink_to("/dev/zero")
    with pytest.raises(StateError, match="no ordinary file"):
        disk.read(place, most=100, streams=True)


def test_what_is_too_long_for_an_invite_or_a_plan_is_told(tmp_path: Path) -> None:
    place = tmp_path / "kitchen.invite"
    place.write_bytes(bytes(1 << 21))
    told = CliRunner().invoke(app, ["client", "join", str(place), "--data", str(tmp_path)])
    assert isinstance(told.exception, StateError)
    assert told.exception.message == f"{place} is longer than 1048576 bytes"
    with pytest.raises(PlanError, match="it has more than 1048576 characters"):
        Plan.load(place)


@pytest.mark.parametrize("of_homes", [True, False], ids=["homes' models", "a run's model"])
def test_a_pipe_is_no_model(tmp_path: Path, of_homes: bool) -> None:
    place = tmp_path / "models.safetensors"
    with pipe(place, b"") as writer:
        with pytest.raises(RunError, match=r"models\.safetensors is no ordinary file"):
            StoredModels(place) if of_homes else read_model_file(place)
        writer.join(0.3)
        assert writer.is_alive(), "nobody has opened the pipe"


def test_a_pipe_says_of_no_home_how_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "oak.csv").write_text("time,load\n2024-01-01T00:00Z,1\n2024-01-01T01:00Z,2\n")
    with pipe(tmp_path / "homes.toml", b"") as writer:
        with pytest.raises(SourceError, match=r"homes\.toml is no ordinary file"):
            read_folder(tmp_path)
        writer.join(0.3)
        assert writer.is_alive(), "nobody has opened the pipe"


def test_opened_sums_are_nobody_elses(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        SumJournal(tmp_path / "sums")
    finally:
        os.umask(before)
    assert (tmp_path / "sums").stat().st_mode & 0o077 == 0
