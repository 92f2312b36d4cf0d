"""A small file system of its own, in memory, that can be filled and made read-only."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from fedhome.errors import RunError


@cache
def why_no_disks() -> str:
    """Return why no file system can be mounted here, as a clause; empty where one can: it tries."""
    if os.geteuid():
        return "only root may mount a file system"
    if shutil.which("mount") is None:
        return "there is no command mount"
    with tempfile.TemporaryDirectory() as folder:
        try:
            SmallDisk(Path(folder), 1 << 16).unmount()
        except RunError as error:
            return error.message
    return ""


class SmallDisk:
    """A file system that is mounted over a folder, until it is unmounted.

    Args:
        folder: Where; it is made.
        size: Bytes.

    Raises:
        RunError: It cannot be mounted.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self._filler = folder, folder / "filler"
        folder.mkdir(parents=True, exist_ok=True)
        done = _command("mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder))
        if done.returncode:
            raise RunError(
                f"a file system cannot be mounted here: {done.stderr.strip()}",
                hint="a container needs the right to mount (CAP_SYS_ADMIN)",
            )

    def fill(self) -> None:
        """Leave no byte free."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError as full:
                    if full.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        """Make room again."""
        self._filler.unlink(missing_ok=True)

    def protect(self) -> bool:
        """Let nobody write; False while somebody has a file open to write."""
        return _command("mount", "-o", "remount,ro", str(self.folder)).returncode == 0

    def unprotect(self) -> None:
        """Let everybody write again."""
        _command("mount", "-o", "remount,rw", str(self.folder))

    def unmount(self) -> None:
        """Take it away, with all that is on it."""
        with suppress(OSError):
            _command("umount", "--lazy", str(self.folder))

    def unmount_and_keep(self) -> None:
        """Take it away, and leave what is on it in its folder."""
        self.free()
        kept = self.folder.with_name(f"{self.folder.name}.kept")
        shutil.copytree(self.folder, kept, ignore=shutil.ignore_patterns("socket"))
        self.unmount()
        self.folder.rmdir()
        kept.rename(self.folder)


def _command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, check=False, capture_output=True, text=True)  # noqa: S603
