"""A socket in a folder of one's own: who may connect, and paths of any length."""

from __future__ import annotations

import socket
import stat
import sys
from pathlib import Path

import pytest

from fedhome.errors import RunError, StateError
from fedhome.ops import local_socket


def test_a_socket_is_its_owners_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with local_socket.listen(tmp_path):
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / local_socket.SOCKET).stat().st_mode) == 0o600
        assert local_socket.is_open(tmp_path)
    assert not local_socket.is_open(tmp_path)


def test_a_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    local_socket.listen(tmp_path).close()
    with local_socket.listen(tmp_path):
        assert local_socket.is_open(tmp_path)


def test_nobody_listens_in_a_folder_without_socket(tmp_path: Path) -> None:
    assert not local_socket.is_open(tmp_path)
    assert not local_socket.is_open(tmp_path / "missing")
    with pytest.raises(StateError) as raised:
        local_socket.listen(tmp_path / "missing")
    assert raised.value.reason == "missing"


@pytest.fixture
def long_path(tmp_path: Path) -> Path:
    folder = tmp_path / ("x" * 200)
    folder.mkdir()
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux names open folders")
def test_a_folder_may_have_a_long_path(long_path: Path) -> None:
    with local_socket.listen(long_path) as listener:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(local_socket.address(long_path))
            caller.sendall(b"here")
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.recv(4) == b"here"
        assert (long_path / local_socket.SOCKET).is_socket()


def test_where_a_long_path_does_not_fit_it_is_told(
    long_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(RunError, match="too long a path") as raised:
        local_socket.listen(long_path)
    assert "shorter" in raised.value.hint
