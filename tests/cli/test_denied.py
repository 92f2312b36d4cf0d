"""What a command says of a file that its account may not look at, and of a full disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from fedhome import cli
from fedhome.accounts import account_name
from fedhome.denied import told_denied
from fedhome.errors import StateError
from fedhome.store import disk
from helpers.command import fedhome

ME = account_name(os.geteuid())


def _raises(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    """Let every command meet an error of the system's."""

    def command() -> None:
        raise error

    monkeypatch.setattr(cli, "app_of", lambda _: command)


def test_a_command_ends_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "hub" / "models"
    _raises(monkeypatch, PermissionError(errno.EACCES, "Permission denied", str(path)))
    said = fedhome("model", "list", folder=tmp_path)
    assert said.returncode == 1
    assert said.stderr.startswith(f"error: {path}: the account {ME} may not look there, or not")
    assert "Traceback" not in said.stderr


def test_output_that_a_full_disk_does_not_take_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _raises(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    said = fedhome("model", "list", folder=tmp_path)
    assert said.returncode == 1
    assert said.stderr.startswith("error: where the output goes: No space left on device\n")


def test_a_disk_that_is_read_only_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _raises(monkeypatch, OSError(errno.EROFS, "Read-only file system", "/media/app"))
    said = fedhome("model", "list", folder=tmp_path)
    assert said.returncode == 1
    assert said.stderr.startswith("error: /media/app: Read-only file system\n")
    assert "mounted for reading alone" in said.stderr
    with pytest.raises(StateError) as caught, disk.errors_of(Path("/media/app")):
        raise OSError(errno.EROFS, "Read-only file system", "/media/app")
    assert caught.value.reason == "not-writable"
    assert "mounted for reading alone" in caught.value.hint


def test_what_is_no_matter_of_accounts_or_room_is_no_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _raises(monkeypatch, OSError(errno.EIO, "Input/output error"))
    with pytest.raises(OSError, match="Input/output error"):
        fedhome("model", "list", folder=tmp_path)


def test_whose_it_is_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file in a folder that cannot be entered, it is the folder's account."""
    missing = tmp_path / "hub" / "server.toml"
    error = PermissionError(errno.EACCES, "Permission denied", str(missing))
    message, hint = told_denied(error)
    assert message.startswith(f"{missing}: the account {ME} ")
    assert "`ls -ld`" in hint, "it is this account's own"
    monkeypatch.setattr("os.geteuid", lambda: 4_000_000_000)
    message, hint = told_denied(error)
    assert "the account 4000000000 " in message
    assert f"`sudo -u {ME}`" in hint
    message, hint = told_denied(PermissionError(errno.EPERM, "Operation not permitted"))
    assert message == "Operation not permitted, to the account 4000000000"
    assert hint
