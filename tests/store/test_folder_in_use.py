"""A folder that is in use: the error names the process that uses it, where the system tells."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedhome.errors import StateError
from fedhome.store import disk

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks")


def refusal(folder: Path) -> StateError:
    with pytest.raises(StateError) as caught:
        disk.lock(folder)
    assert caught.value.reason == "in-use"
    return caught.value


def test_a_folder_in_place_of_a_file_is_told_as_that(tmp_path: Path) -> None:
    """It said to check the disk."""
    with pytest.raises(StateError) as caught:
        disk.read(tmp_path)
    assert caught.value.hint == "this is a folder, and a file is needed: name the file"


@pytest.mark.skipif(sys.platform != "linux", reason="Linux lists its locks in /proc/locks")
def test_the_process_that_uses_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other, lock = disk.lock(tmp_path / "other"), disk.lock(tmp_path)
    try:
        process = os.getpid()
        told = f"{tmp_path} is in use by process {process} (`ps -p {process}` shows it)"
        assert refusal(tmp_path).message == told
    finally:
        os.close(lock)
        os.close(other)
    os.close(disk.lock(tmp_path))


def test_who_waits_gets_the_folder_when_it_is_free_and_no_later_than_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, passed = disk.lock(tmp_path), [0.0]

    def sleep(seconds: float) -> None:
        passed[0] += seconds
        if passed[0] >= frees:
            os.close(lock)

    monkeypatch.setattr(disk, "time", SimpleNamespace(monotonic=lambda: passed[0], sleep=sleep))
    frees = float("inf")
    with pytest.raises(StateError, match="is in use by"):
        disk.lock(tmp_path, wait_s=2.0)
    assert passed[0] == pytest.approx(2.0, abs=disk._PAUSE_S)
    frees = 3.0
    os.close(disk.lock(tmp_path, wait_s=2.0))
    assert passed[0] == pytest.approx(3.0, abs=disk._PAUSE_S)


@pytest.mark.parametrize(
    "locks",
    [
        None,  # no such list
        "",
        "1: FLOCK  ADVISORY  WRITE 7 00:2a:{other} 0 EOF\n",
        "1: POSIX  ADVISORY  WRITE 7 00:2a:{own} 0 EOF\n",
        "1: FLOCK  ADVISORY  WRITE 0 00:2a:{own} 0 EOF\n",  # of a container that we do not see
        "1: -> FLOCK  ADVISORY  WRITE 7 00:2a:{own} 0 EOF\n",  # it waits, as we do
        "1: FLOCK A WRITE 7 00:2a:{own} 0 EOF\n2: FLOCK A WRITE 8 00:2b:{own} 0 EOF\n",  # which?
        "not such a list\n",
    ],
)
def test_where_the_system_does_not_tell_it_is_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: str | None
) -> None:
    folder, told = tmp_path / "home", tmp_path / "locks"
    folder.mkdir()
    own = folder.stat().st_ino
    if locks is not None:
        told.write_text(locks.format(own=own, other=own + 1))
    monkeypatch.setattr(disk, "_LOCKS", told)
    lock = disk.lock(folder)
    try:
        assert refusal(folder).message == f"{folder} is in use by another process"
    finally:
        os.close(lock)
