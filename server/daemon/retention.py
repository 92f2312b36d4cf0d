"""What a server keeps of its past: runs, logs and models, as its settings say.

Nothing goes that is in use: not the run in progress or the last one, nor the run that made the
release that homes have, nor one that was pinned, nor the last that went on from one of these: the
next one goes on from there, with its sums. Whatever goes is told.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from fedhome.errors import FedHomeError
from fedhome.registry import Registry
from fedhome.registry.vault import INDEX
from fedhome.server.daemon.current_run import Runs
from fedhome.server.daemon.publishing import MODELS
from fedhome.server.daemon.run_chain import last_after
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.store import disk

_MEGABYTE = 1 << 20


class Retention:
    """Removes what is older than the settings of a server's folder let it be.

    Args:
        server_folder: The folder.
        say: Called with what was removed, a line each.
    """

    def __init__(self, server_folder: ServerFolder, say: Callable[[str], None]) -> None:
        self._server_folder, self._say = server_folder, say

    def tend(self) -> None:
        """Remove old runs and the old part of logs; what cannot be removed is told, too."""
        settings = self._server_folder.settings
        for path in self._server_folder.logs.glob("*.log"):
            if trim(path, settings.keep_log_mb * _MEGABYTE):
                self._say(
                    f"{path.name} was longer than {settings.keep_log_mb} MB: it begins anew, and "
                    f"{path.name}.1 is its last part (keep_log_mb in server.toml)"
                )
        if not settings.keep_runs:
            return
        try:
            in_use = self._in_use()
            for folder in old_runs(self._server_folder.runs, settings.keep_runs, in_use):
                with disk.errors_of(folder):
                    shutil.rmtree(folder)
                self._say(
                    f"run {folder.name} was removed: the {settings.keep_runs} newest are kept "
                    "(keep_runs in server.toml)"
                )
        except FedHomeError as error:
            self._say(f"old runs stay on the disk: {error.message}")

    def _in_use(self) -> set[str]:
        """Return the names of the runs that must stay."""
        names, runs = set[str](), self._server_folder.runs
        if (current := Runs(self._server_folder).current) is not None:
            names.add(current.run)
        models = self._server_folder.path / MODELS
        if (models / INDEX).exists() and (releases := Registry.open(models).releases()):
            newest = releases[-1]
            names |= {one.manifest.run for one in releases if one.pinned or one is newest}
            names |= {
                one.manifest.run
                for one in releases
                if one.manifest.payload == newest.manifest.payload  # that it went back to
            }
        following = {last_after(runs, run, lambda _: None).path.name for run in names}
        return names | following


def old_runs(runs: Path, keep: int, in_use: Collection[str]) -> list[Path]:
    """Return the folders of runs that may go: not among the newest, and not in use.

    Args:
        runs: Where they lie.
        keep: How many of the newest stay.
        in_use: Names of those that stay in any case.

    Raises:
        StateError: They cannot be listed.
    """
    with disk.errors_of(runs):
        folders = [path for path in runs.iterdir() if path.is_dir()]
        newest = sorted(folders, key=_last_written, reverse=True)
    return [folder for folder in newest[keep:] if folder.name not in in_use]


def _last_written(folder: Path) -> tuple[float, str]:
    """Return when a run last wrote to its log; the name settles what was written at once."""
    log = folder / "events.jsonl"
    return (log if log.exists() else folder).stat().st_mtime, folder.name


def trim(path: Path, most: int) -> bool:
    """Keep a log that a process appends to from growing without end; a copy keeps the last part.

    Args:
        path: The log.
        most: Bytes after which it begins anew.

    Returns:
        Whether it did.
    """
    try:
        if path.stat().st_size <= most:
            return False
        shutil.copyfile(path, path.with_suffix(".log.1"))
        os.truncate(path, 0)  # whoever appends goes on at the new end
    except OSError:
        return False  # a full disk: the log is no reason to end
    return True
