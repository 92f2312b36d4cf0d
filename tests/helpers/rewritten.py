"""Files that a test writes again and again."""

from __future__ import annotations

from pathlib import Path


def rewrite(path: Path, data: bytes) -> None:
    """Give a file other content, thousands of times a minute.

    A file that is cut to nothing first, as `Path.write_bytes` does, is waited for by ext4 until it
    is on the disk: that took longer than what was tested.
    """
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(data)
        file.truncate()
