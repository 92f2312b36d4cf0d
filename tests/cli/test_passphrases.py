"""Passphrases as commands are given them."""

from __future__ import annotations

import getpass
import io
import os
import sys
import threading
from pathlib import Path

import pytest

from fedhome.cli.passphrases import passphrase_of
from fedhome.errors import StateError


def test_a_pipe_without_a_terminal_is_read_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python warns, with a line of its own source, that a terminal may show what is typed."""
    monkeypatch.setattr(getpass, "getpass", getpass.fallback_getpass)  # as without a terminal
    monkeypatch.setattr(sys, "stdin", io.StringIO("correct horse\ncorrect horse\n"))
    assert passphrase_of(None, new=True) == "correct horse"
    assert "correct horse" not in "".join(capsys.readouterr())


@pytest.mark.skipif(sys.platform == "win32", reason="pipes in the file system are POSIX")
def test_a_file_may_be_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=("correct horse\r\n",))
    writer.start()
    assert passphrase_of(tmp_path / "pipe") == "correct horse"
    writer.join()


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Letters that are put in the place of others would open what they should not."""
    (tmp_path / "phrase").write_bytes("schlüssel".encode("latin-1"))
    with pytest.raises(StateError, match="is not text in UTF-8"):
        passphrase_of(tmp_path / "phrase")
